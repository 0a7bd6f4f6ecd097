from __future__ import annotations

import pytest

from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.findings import SERVED, Finding, new_failures
from etcdfleet.checks.host import service_finding
from etcdfleet.drivers.init import ServiceState
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, ExpectedMember, HashKV, Member, MemberList
from etcdfleet.etcd.cluster import Cluster

FULL = Finding("alarms", False, "a: memberID:1 alarm:NOSPACE")
BOOT = Finding("service", False, "running, not enabled at boot")
GOOD = Finding("health", True, "all 3 members answer")


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        ((), (GOOD,), ()),
        ((), (GOOD, FULL), (FULL,)),
        ((FULL, BOOT, GOOD), (FULL, BOOT, GOOD), ()),
        ((FULL,), (BOOT, FULL), (BOOT,)),
        ((Finding("alarms", True, FULL.evidence),), (FULL,), (FULL,)),
    ],
)
def test_what_was_so_before_is_no_fault_of_the_change(
    before: tuple[Finding, ...], after: tuple[Finding, ...], held: tuple[Finding, ...]
) -> None:
    assert new_failures(after, before) == list(held)


def test_the_same_check_with_another_evidence_counts() -> None:
    full = Finding("health", False, "a: Active Alarm(s): NOSPACE")
    worse = Finding("health", False, "a: Active Alarm(s): NOSPACE; b: no answer")
    assert new_failures([worse], [full]) == [worse]


GB = 2**30
EXPECTED = tuple(ExpectedMember(name, f"https://{name}:2380", f"https://{name}:2379") for name in "abc")
MEMBERS = MemberList(1, tuple(Member(i, m.name, (m.peer_url,), (m.client_url,)) for i, m in enumerate(EXPECTED, 1)))
NOSPACE_B, NOSPACE_C, CORRUPT_C = "memberID:2 alarm:NOSPACE ", "memberID:3 alarm:NOSPACE ", "memberID:3 alarm:CORRUPT "


def look(*errors: str, size: int = 2**20, hashes: tuple[int, int, int] = (7, 7, 7)) -> tuple[Finding, ...]:
    """The findings about three healthy members that all tell of these alarms."""
    urls = [member.client_url for member in EXPECTED]
    statuses = [
        EndpointStatus(url, number, 1, "3.5.16", size, size, 1, 3, 90, 90, 50, errors=errors)
        for number, url in enumerate(urls, 1)
    ]
    healths = [EndpointHealth(url, True, 0.01) for url in urls]
    told = [HashKV(url, number, 50, 1) for url, number in zip(urls, hashes, strict=True)]
    return cluster_checks(Cluster(EXPECTED, MEMBERS, tuple(statuses), tuple(healths), tuple(told)))


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        pytest.param(look(NOSPACE_B, NOSPACE_C), look(NOSPACE_C, NOSPACE_B), [], id="told in another order"),
        pytest.param(look(NOSPACE_B), look(NOSPACE_B, NOSPACE_C), [], id="a write through another full member"),
        pytest.param(look(NOSPACE_B), look(NOSPACE_B, CORRUPT_C), ["alarms"], id="another kind of alarm"),
        pytest.param(look(), look(NOSPACE_B), ["alarms"], id="new"),
        pytest.param(look(NOSPACE_B), look("etcdserver: storage is broken"), ["alarms"], id="no alarm, but an error"),
        pytest.param(look(size=2 * GB), look(size=2 * GB + 4096), [], id="the database has grown"),
        pytest.param(look(), look(size=2 * GB), ["database size"], id="and was not large before"),
        pytest.param(look(hashes=(7, 7, 8)), look(hashes=(17, 17, 18)), [], id="written to, and differing still"),
        pytest.param(look(), look(hashes=(7, 7, 8)), ["equal data"], id="differing now"),
    ],
)
def test_what_differs_from_one_look_to_the_next_is_the_same_fault(
    before: tuple[Finding, ...], after: tuple[Finding, ...], held: list[str]
) -> None:
    assert [finding.check for finding in new_failures(after, before)] == held


def service(*, running: bool = True, restarts: int = 0) -> Finding:
    detail = f"active (running), {restarts} automatic restarts"
    state = ServiceState(running=running, enabled=False, detail=detail)
    return service_finding(state, "a")


def test_a_service_that_was_not_enabled_is_still_not() -> None:
    assert new_failures([service(restarts=1)], [service()]) == []
    assert new_failures([service(running=False)], [service()]) == [service(running=False)]


def test_alarms_are_told_by_who_raised_them() -> None:
    found = next(finding for finding in look(NOSPACE_C, NOSPACE_B, CORRUPT_C) if finding.check == "alarms")
    assert found.evidence == "CORRUPT, raised by c; NOSPACE, raised by b, c"
    assert "stop using this cluster" in found.remedy


def test_what_a_port_shows_must_be_seen() -> None:
    closed = Finding(f"{SERVED} 2379", False, "it cannot be reached")
    assert new_failures([closed], [closed]) == [closed]
