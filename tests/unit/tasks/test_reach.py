"""Members try each other's ports before the first etcd starts: which ports are reached, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from nornir.core.task import AggregatedResult, Task

from etcdfleet.errors import RemoteError
from etcdfleet.etcd.wal import DataIds
from etcdfleet.host.facts import DataFacts
from etcdfleet.program.runners import TogetherRunner
from etcdfleet.settings.models import PreflightSettings
from tasks import reach as module
from tasks.reach import LISTENS, Meeting, reach
from tests.unit.support.fake_run import nornir_of
from tests.unit.support.site import MEMBERS, settings
from tests.unit.support.stand_ins import RUNNING, STOPPED, Place, Scripted, seen

NAMES = ("az-1", "az-2", "az-3")
CLOSED = "Connection timed out"
PATIENCE = 20
LIVE = DataFacts(exists=True, ids=DataIds(member_id=1, cluster_id=9, last_index=50, complete=True))


class Ports:
    """What was opened on a host, in place of `Held`."""

    def __init__(self, first: str) -> None:
        self.first, self.released = first, False

    def release(self) -> None:
        self.released = True


class Member(Scripted):
    """A host that reaches the others but for ``closed`` ports, and has its address."""

    def __init__(self, number: int, closed: Mapping[tuple[int, int], str], first: str | Exception) -> None:
        own = MEMBERS[number - 1].address
        routes = "".join(f"= {m.address}\n{m.address} src {own}\n" for m in MEMBERS if m.address != own)
        meets = [
            f"{m.address},{port} {closed.get((at, port), 'open')}"
            for at, m in enumerate(MEMBERS, 1)
            for port in (2379, 2380)
            if at != number
        ]
        super().__init__({"ip route get": f"2: eth0 inet {own}/24\n{routes}", "connect": "\n".join(meets)})
        self.first = first
        self.opened: Ports | None = None

    def hold(self, script: str, *, timeout: float = 10) -> Any:  # noqa: ARG002
        if isinstance(self.first, Exception):
            raise self.first
        self.sent.append(script)
        self.opened = Ports(self.first)
        return self.opened


class Cluster:
    """Three hosts that meet; what each was found to be, and what becomes of connections, is as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.closed: dict[tuple[int, int], str] = {}
        self.first: dict[int, str | Exception] = {}
        self.observed: dict[int, Any] = {}
        self.hosts: dict[str, Member] = {}

    def meet(self, names: tuple[str, ...] = NAMES, *, at_work: tuple[str, ...] = NAMES) -> AggregatedResult:
        """Has the hosts in ``at_work`` take part in a meeting of all ``names``."""
        quiet = PreflightSettings(controller_reaches_members=False)
        every = {name: settings(number, preflight=quiet) for number, name in enumerate(NAMES, 1)}
        for number, name in enumerate(NAMES, 1):
            self.hosts[name] = Member(number, self.closed, self.first.get(number, LISTENS))
        places = {
            name: Place(self.hosts[name], self.observed.get(number, seen(STOPPED)), of=every[name])
            for number, name in enumerate(NAMES, 1)
        }

        def site_of(task: Task) -> Place:
            place = places[task.host.name]
            if isinstance(place.coming[0], Exception):
                raise place.coming[0]
            return place

        self.monkeypatch.setattr(module, "site_of", site_of)
        self.monkeypatch.setattr(module, "settings_of", lambda host: every[host.name])
        self.monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.3 if names != at_work else PATIENCE)
        nornir = nornir_of(dict.fromkeys(at_work, "k8s-home")).with_runner(TogetherRunner())
        everything = nornir_of(dict.fromkeys(NAMES, "k8s-home"))
        nornir.inventory.hosts.update({n: h for n, h in everything.inventory.hosts.items() if n not in at_work})
        return nornir.filter(filter_func=lambda host: host.name in at_work).run(reach, meeting=Meeting(names))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def said(results: AggregatedResult) -> dict[str, str]:
    """Each host's summary, or what it failed with."""
    return {name: str(result.exception or result[0].result.summary) for name, result in results.items()}


def test_members_that_meet_release_what_they_opened(cluster: Cluster) -> None:
    found = said(cluster.meet())
    assert set(found.values()) == {"reached by the others"}, found
    assert all(host.opened and host.opened.released for host in cluster.hosts.values())


def test_a_port_that_the_others_do_not_reach_is_the_fault_of_its_host(cluster: Cluster) -> None:
    cluster.closed = {(2, 2380): CLOSED}
    found = said(cluster.meet())
    assert found["az-1"] == found["az-3"] == "reached by the others", found
    assert "TCP port 2380 of 198.51.100.12 cannot be reached from az-1 and az-3" in found["az-2"]
    assert "a firewall drops it" in found["az-2"]
    assert all(host.opened and host.opened.released for host in cluster.hosts.values())


def test_a_running_member_opens_nothing_and_a_refusal_at_it_tells_nothing(cluster: Cluster) -> None:
    cluster.observed = {2: seen(RUNNING, data=LIVE)}
    cluster.closed = {(2, 2379): "Connection refused", (2, 2380): "Connection refused"}
    found = said(cluster.meet())
    assert set(found.values()) == {"reached by the others"}, found
    assert cluster.hosts["az-2"].opened is None


@pytest.mark.parametrize("first", [RemoteError("one session at a time", where="az-2"), "no perl, no nc"])
def test_nothing_is_concluded_from_a_host_that_cannot_listen(cluster: Cluster, first: str | Exception) -> None:
    cluster.first = {2: first}
    cluster.closed = {(2, 2379): "Connection refused", (2, 2380): "Connection refused"}
    found = said(cluster.meet())
    assert set(found.values()) == {"reached by the others"}, found
    opened = cluster.hosts["az-2"].opened
    assert opened is None or opened.released


def test_a_member_that_does_not_come_keeps_the_others_from_nothing(cluster: Cluster) -> None:
    found = said(cluster.meet(at_work=("az-1", "az-3")))
    assert set(found.values()) == {"not tried from the others"}, found
    opened = [cluster.hosts[name].opened for name in ("az-1", "az-3")]
    assert all(ports and ports.released for ports in opened)


def test_one_that_fails_before_the_meeting_lets_the_others_go_at_once(cluster: Cluster) -> None:
    cluster.observed = {2: RemoteError("the connection was lost", where="az-2")}
    began = time.monotonic()
    results = cluster.meet()
    assert time.monotonic() - began < PATIENCE, "nothing was waited for"
    found = said(results)
    assert found["az-1"] == found["az-3"] == "not tried from the others", found
    assert "the connection was lost" in found["az-2"]
    assert all(host.opened is None or host.opened.released for host in cluster.hosts.values())


def test_a_host_without_its_address_says_so_and_opens_nothing(cluster: Cluster) -> None:
    original = Member.__init__

    def elsewhere(self: Member, number: int, *more: Any) -> None:
        original(self, number, *more)
        if number == 2:
            self.answers["ip route get"] = "2: eth0 inet 203.0.113.9/24\n"

    cluster.monkeypatch.setattr(Member, "__init__", elsewhere)
    found = said(cluster.meet())
    assert "the host has no address 198.51.100.12" in found["az-2"]
    assert cluster.hosts["az-2"].opened is None
