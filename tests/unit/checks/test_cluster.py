from __future__ import annotations

from dataclasses import replace

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


NO_READ = "etcdserver: rpc not supported for learner"


def with_learner(behind: int, seconds: float | None, *, here: bool = False, **lacks: bool) -> dict[str, Finding]:
    """The findings where c is a learner; ``here``: on its own host, where etcd gives no member list."""
    urls = [member.client_url for member in EXPECTED]
    statuses = tuple(
        EndpointStatus(
            url, number, 1, "3.5.16", 2**20, 2**20, 1, 3, 60000, 60000 - behind * (number == 3), 50, number == 3
        )
        for number, url in enumerate(urls, 1)
    )
    sick = urls[1:] if lacks.get("b_is_sick") else urls[2:]
    healths = tuple(EndpointHealth(url, url not in sick, 0.01, NO_READ if url in sick else "") for url in urls)
    hashes = tuple(HashKV(url, 7, 50, 1) for url in (urls[:1] if lacks.get("b_has_no_hash") else urls[:2]))
    entries = tuple(replace(entry, learner=entry.name == "c") for entry in MEMBERS.members)
    entries = entries[1:] if lacks.get("a_is_missing") else entries
    listed = None if here else replace(MEMBERS, members=entries)
    cluster = Cluster(EXPECTED, listed, statuses, healths, hashes, no_list=NO_READ if here else "")
    return {finding.check: finding for finding in cluster_checks(cluster, seconds={"c": seconds})}


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize(
    ("behind", "seconds", "seen", "remedy"),
    [
        (3, 60.0, "it is 3 entries behind, near enough for one, 60.0 s", "gives it its vote"),
        (
            52310,
            7200.0,
            "52310 entries behind, 2 hours after its etcd was started: it does",
            "remove_member.py c takes",
        ),
        (52310, None, "it is 52310 entries behind", "once it has caught up"),
    ],
)
def test_a_learner_is_one_fault_from_which_others_follow(
    behind: int, seconds: float | None, seen: str, remedy: str, here: bool
) -> None:
    found = with_learner(behind, seconds, here=here)
    assert not found["learner"].ok
    assert found["learner"].about == ("c",)
    assert seen in found["learner"].evidence
    assert remedy in found["learner"].remedy
    for check in ("member list", "health", "equal data"):
        assert not found[check].ok
        assert (found[check].follows, found[check].remedy) == ("learner", "")


@pytest.mark.parametrize(
    ("lacks", "check", "says"),
    [
        ("b_is_sick", "health", "b: "),
        ("b_has_no_hash", "equal data", "no hash from b, c"),
        ("a_is_missing", "member list", "a is in the inventory and not a member"),
    ],
)
def test_what_else_is_wrong_beside_a_learner_keeps_its_own_cause(lacks: str, check: str, says: str) -> None:
    found = with_learner(3, 60.0, **{lacks: True})
    assert says in found[check].evidence
    assert (found[check].ok, found[check].follows) == (False, "")
    assert found[check].remedy


def test_a_learner_that_catches_up_between_two_looks_is_the_same_fault() -> None:
    before, after, late = (list(with_learner(*one).values()) for one in ((9000, 60.0), (3, 90.0), (9000, 7200.0)))
    assert "learner" not in [finding.check for finding in new_failures(after, before)]
    assert "learner" in [finding.check for finding in new_failures(late, before)]
