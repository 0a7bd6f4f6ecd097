"""Shell that opens a member's ports for a moment, and connects to those of others, before there is any etcd.

Perl is on every Debian (``perl-base`` is essential there), busybox's ``nc`` on every Alpine. A host with neither says
nothing, and nothing is concluded from that.
"""

from __future__ import annotations

from collections.abc import Sequence

from etcdfleet import timeouts
from etcdfleet.remote.scripts import program, script

LISTENS = "listens"


def listen(address: str, ports: Sequence[int]) -> str:
    """Listens on the ports of ``address`` until its input ends; its first line is `LISTENS`, or why it cannot.

    For `RemoteHost.hold`: with the connection, or the run, what it opened ends as well.
    """
    return script("listen", *map(str, ports), program=program("listen.pl"), address=address, life=timeouts.LISTEN)


def connect(targets: Sequence[tuple[str, int]]) -> str:
    """Connects to addresses and ports, all side by side; a line ``ADDRESS,PORT RESULT`` for each."""
    words = [f"{address},{port}" for address, port in targets]
    return script("connect", *words, program=program("connect.pl"), limit=timeouts.REACH)


def routes(targets: Sequence[str]) -> str:
    """The host's addresses, then for each address of ``targets`` the route there."""
    return script("routes", *targets)
