"""Names: a name server on the bridge for the hosts, and a marked block in the controller's own ``/etc/hosts``."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from lab import daemons, machine
from lab.errors import LabError
from lab.state import Lab, write_atomic

DAEMON = "dnsmasq"
ETC_HOSTS = Path("/etc/hosts")


def records(lab: Lab) -> list[tuple[str, str]]:
    """Return every (address, name) of the lab; the service name of a cluster appears once per member."""
    pairs = [(lab.address, lab.vault_name)]
    for host in lab.hosts:
        pairs += [(host.address, host.fqdn), (host.address, host.name)]
    for cluster in lab.clusters:
        if cluster.service_name:
            members = [host for host in lab.hosts if host.cluster == cluster.name]
            pairs += [(host.address, cluster.service_name) for host in members]
    return pairs


def up(lab: Lab) -> None:
    """Start the name server (if it does not run) and wait until it answers. Raises LabError."""
    folder = lab.dir / "dns"
    folder.mkdir(exist_ok=True)
    _write_records(lab, {})
    # `local` for each name: what is not in the list (an IPv6 address, say) does not exist, no other server is asked.
    local = sorted({name for _, name in records(lab)})
    config = [
        "no-hosts",
        "no-daemon",
        "bind-interfaces",
        f"listen-address={lab.address}",
        "no-dhcp-interface=",
        "no-negcache",
        "local-ttl=0",
        "user=root",
        f"addn-hosts={folder / 'hosts'}",
        *(f"local=/{name}/" for name in local),
    ]
    write_atomic(folder / "dnsmasq.conf", "\n".join(config) + "\n")
    if not daemons.running(lab, DAEMON):
        daemons.stop(lab, DAEMON)
        program = shutil.which("dnsmasq", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "dnsmasq"
        daemons.start(lab, DAEMON, [program, f"--conf-file={folder / 'dnsmasq.conf'}"])
    _wait(lab)


def _wait(lab: Lab) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.create_connection((lab.address, 53), timeout=1).close()
        except OSError:
            if time.monotonic() < deadline and daemons.running(lab, DAEMON):
                time.sleep(0.05)
                continue
            raise LabError(
                f"the name server does not answer:\n{daemons.tail(lab, DAEMON)}",
                where=f"{lab.address}:53",
                remedy=f"see {lab.logs / 'dnsmasq.log'}",
            ) from None
        return


def override(lab: Lab, changes: dict[str, str]) -> None:
    """Make the name server answer with other addresses for the names in ``changes``; an empty one resets all."""
    _write_records(lab, changes)
    daemons.signal_main(lab, DAEMON, signal.SIGHUP)


def _write_records(lab: Lab, changes: dict[str, str]) -> None:
    kept = [(address, name) for address, name in records(lab) if name not in changes]
    lines = [f"{address} {name}" for address, name in [*kept, *((a, n) for n, a in changes.items())]]
    write_atomic(lab.dir / "dns" / "hosts", "\n".join(lines) + "\n")


def add_to_controller(lab: Lab, say: Callable[[str], None]) -> None:
    """Write the lab's block into ``/etc/hosts``; names others have there already are skipped, and said."""
    with machine.lock():
        text = without_block(ETC_HOSTS.read_text(), lab.id)
        taken = claimed(text)
        wanted = records(lab)
        skipped = sorted({name for _, name in wanted if name in taken})
        _replace_hosts(text + block(lab.id, [(address, name) for address, name in wanted if name not in taken]))
    if skipped:
        say(f"names that mean something else on this machine already (addresses work): {', '.join(skipped)}")


def remove_from_controller(identity: str) -> None:
    """Remove the block of the lab with that id from ``/etc/hosts``; nothing else changes. Call it under the lock."""
    before = ETC_HOSTS.read_text()
    after = without_block(before, identity)
    if after != before:
        _replace_hosts(after)


def controller_knows(lab: Lab, name: str) -> bool:
    """Return whether ``name`` means this lab's address on the controller (another lab may have claimed it first)."""
    wanted = {address for address, other in records(lab) if other == name}
    addresses = {line.split("#")[0].split()[0] for line in _lines_naming(ETC_HOSTS.read_text(), name)}
    return bool(addresses) and addresses <= wanted


def _lines_naming(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if name in line.split("#")[0].split()[1:]]


def claimed(text: str) -> set[str]:
    """Return all names that a hosts file gives an address to."""
    return {name for line in text.splitlines() for name in line.split("#")[0].split()[1:]}


def block(identity: str, wanted: list[tuple[str, str]]) -> str:
    """Return the marked lines for a hosts file."""
    lines = [f"{address} {name}" for address, name in wanted]
    return "\n".join([_begin(identity), *lines, _end(identity)]) + "\n"


def without_block(text: str, identity: str) -> str:
    """``text`` without the marked lines of that lab; a block cut off half way ends at the next comment or blank."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line == _begin(identity):
            inside = True
        elif inside and line == _end(identity):
            inside = False
        elif inside and (not line.strip() or line.startswith("#")):
            inside = False
            kept.append(line)
        elif not inside:
            kept.append(line)
    return "\n".join(kept) + "\n" if kept else ""


def _begin(identity: str) -> str:
    return f"# etcdfleet lab {identity}: begin (removed by `python -m lab down`)"


def _end(identity: str) -> str:
    return f"# etcdfleet lab {identity}: end"


def _replace_hosts(text: str) -> None:
    try:
        write_atomic(ETC_HOSTS, text, mode=ETC_HOSTS.stat().st_mode & 0o7777)
    except OSError:
        # In some containers the file is a mount of its own and cannot be replaced, only written.
        ETC_HOSTS.with_name(f".{ETC_HOSTS.name}.new").unlink(missing_ok=True)
        ETC_HOSTS.write_text(text)
