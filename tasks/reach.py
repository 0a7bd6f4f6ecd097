"""Whether the members of a cluster that is about to begin can reach each other: tried before the first etcd starts.

Perl is on every Debian (``perl-base`` is essential there), busybox's ``nc`` on every Alpine. A host with neither says
nothing, and nothing is concluded from that.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import FleetError
from etcdfleet.host.preflight import Trouble
from etcdfleet.host.reach import (
    CONTROLLER,
    OPEN,
    REFUSED,
    TIME_OUT,
    Heard,
    address_problems,
    closed_ports,
    read_heard,
    read_routes,
)
from etcdfleet.outcome import done
from etcdfleet.remote import Held
from etcdfleet.remote.scripts import program, script
from etcdfleet.settings.load import settings_of
from etcdfleet.settings.models import HostSettings
from tasks.observe import Site, site_of
from tasks.preflight import refusal

LISTENS = "listens"
_PATIENCE_SECONDS = 20
"""How long a host waits for the others of its cluster at one step."""


@dataclass
class Meeting:
    """Where the hosts of a cluster wait for each other, and tell what they met."""

    hosts: tuple[str, ...]
    barrier: threading.Barrier = field(init=False)
    heard: dict[str, Heard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(len(self.hosts))

    def wait(self) -> bool:
        """Wait for all others; return whether all came."""
        try:
            self.barrier.wait(_PATIENCE_SECONDS)
        except threading.BrokenBarrierError:
            return False
        return True


def reach(task: Task, meeting: Meeting) -> Result:
    """Prove that the other members, and this machine, reach the two ports of a host; change nothing.

    Where etcd does not run yet, the ports are opened briefly: else a firewall that rejects would look like a
    port on which nothing listens. Must run on all hosts of a `Meeting` at the same time
    (`etcdfleet.program.runners.TogetherRunner`). Raises `RemoteError`, and `PreflightError` with the host's ports that
    others cannot reach, and with addresses that cannot work.
    """
    hold: Held | None = None
    troubles: list[Trouble] = []
    from_here: Heard = {}
    try:
        site = site_of(task)
        settings, observed = site.settings, site.observe()
        if observed.facts.data.ids is None and not observed.service.running:
            troubles = _addresses(site, observed.facts.resolves)
            hold = None if troubles else _listen(site)
        whole = meeting.wait()
        if whole:
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(_from_here, settings) if settings.preflight.controller_reaches_members else None
                meeting.heard[settings.name] = _connect(site, meeting.hosts, task)
                from_here = asked.result() if asked else {}
            whole = meeting.wait()
    except BaseException:
        meeting.barrier.abort()
        raise
    finally:
        if hold:
            hold.release()
    if whole and not troubles:
        heard = {name: results for name, results in meeting.heard.items() if name != settings.name}
        # Whether the etcd of a running member listens just now is its own affair: there, a refusal tells nothing.
        troubles = closed_ports(settings, {**heard, CONTROLLER: from_here}, listening=hold is not None)
    if troubles:
        raise refusal(settings.name, troubles)
    return done(task, "reached by the others" if whole else "not tried from the others")


def _addresses(site: Site, resolves: Mapping[str, Sequence[str]]) -> list[Trouble]:
    others = [member.address for member in site.settings.members if member.fqdn != site.settings.member.fqdn]
    routes = read_routes(site.remote.run(script("routes", *others)).stdout)
    return address_problems(site.settings, routes, resolves)


def _listen(site: Site) -> Held | None:
    """Open the host's two ports until it is released; None where that cannot be done."""
    cluster = site.settings.cluster
    try:
        hold = site.remote.hold(listen(site.settings.member.address, (cluster.client_port, cluster.peer_port)))
    except FleetError:
        return None  # sshd may allow one session at a time; nothing is concluded from that
    if hold.first == LISTENS:
        return hold
    hold.release()
    return None


def listen(address: str, ports: Sequence[int]) -> str:
    """Return shell that listens on ports of ``address`` until its input ends; it first prints `LISTENS`, or why not.

    For `RemoteHost.hold`: with the connection, or the run, what it opened ends as well.
    """
    return script("listen", *map(str, ports), program=program("listen.pl"), address=address, life=timeouts.LISTEN)


def connect(targets: Sequence[tuple[str, int]]) -> str:
    """Return shell that connects to addresses and ports side by side, and prints ``ADDRESS,PORT RESULT`` for each."""
    words = [f"{address},{port}" for address, port in targets]
    return script("connect", *words, program=program("connect.pl"), limit=timeouts.REACH)


def _connect(site: Site, hosts: Sequence[str], task: Task) -> Heard:
    """Return what this host meets at the ports of the others that take part."""
    targets = []
    for name in hosts:
        other = settings_of(task.nornir.inventory.hosts[name])
        if name != site.settings.name:
            ports = (other.cluster.client_port, other.cluster.peer_port)
            targets += [(other.member.address, port) for port in ports]
    return read_heard(site.remote.run(connect(targets)).stdout) if targets else {}


def _from_here(settings: HostSettings) -> Heard:
    """Return what this machine meets at the client port, which is where `verify` asks."""
    place = (settings.member.address, settings.cluster.client_port)
    try:
        socket.create_connection(place, timeouts.REACH).close()
    except TimeoutError:
        return {place: TIME_OUT}
    except ConnectionRefusedError:
        return {place: REFUSED}
    except OSError as error:
        return {place: error.strerror or str(error)}
    return {place: OPEN}
