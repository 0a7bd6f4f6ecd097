"""A client in Python: asks members for their version by HTTPS, with the trust that Python's ssl has as it comes.

    client.py FOLDER ADDRESS…

FOLDER is a link to a folder with ca.pem, client.pem and client.key, read anew for each connection. A line of JSON for
each call: the attempts it took, and what was said when the last one failed. Ends when its standard input does.
"""

import itertools
import json
import os
import select
import ssl
import sys
import urllib.request


def ask(folder: str, address: str) -> str:
    """The answer of a member, over a connection of its own."""
    files = os.path.realpath(folder)  # one set of files, whatever becomes of the link meanwhile
    context = ssl.create_default_context(cafile=f"{files}/ca.pem")
    context.load_cert_chain(f"{files}/client.pem", f"{files}/client.key")
    handler = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
    with opener.open(f"https://{address}:2379/version", timeout=5) as answer:
        return str(json.load(answer)["etcdserver"])


def main() -> None:
    """Calls one member after the other; the next attempt of a call goes to the next member."""
    folder, *addresses = sys.argv[1:]
    turn = itertools.cycle(addresses)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        said, attempts = [], 0
        while attempts < 3:
            attempts += 1
            address = next(turn)
            try:
                ask(folder, address)
                break
            except OSError as error:
                said.append(f"{address}: {error}")
        print(json.dumps({"attempts": attempts, "said": said}), flush=True)


main()
