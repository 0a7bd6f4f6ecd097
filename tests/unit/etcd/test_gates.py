"""When a member may be taken down, when it is back, and who leads meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, Member, MemberList
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.gates import caught_up, may_restart, move_leader_to

NAMES = ("a", "b", "c")
ID = {"a": 1, "b": 2, "c": 3}
MEMBERS = MemberList(7, tuple(Member(ID[n], n, (f"https://{n}:2380",), (f"https://{n}:2379",)) for n in NAMES))


def status(name: str, **more: Any) -> EndpointStatus:
    return replace(EndpointStatus(f"https://{name}:2379", ID[name], 7, "3.5.1", 1, 1, 1, 4, 5000, 5000, 10), **more)


def health(name: str, error: str = "") -> EndpointHealth:
    return EndpointHealth(f"https://{name}:2379", not error, 0.003, error)


def seen(
    listed: MemberList, statuses: Iterable[EndpointStatus] = (), healths: Iterable[EndpointHealth] = ()
) -> Cluster:
    return Cluster((), listed, tuple(statuses), tuple(healths))


STATUSES = {name: status(name) for name in NAMES}
HEALTHS = {name: health(name) for name in NAMES}


def members(**changes: dict[str, Any]) -> MemberList:
    return replace(MEMBERS, members=tuple(replace(m, **changes.get(m.name, {})) for m in MEMBERS.members))


CASES: list[tuple[str, dict[str, EndpointStatus | None], dict[str, EndpointHealth | None], str]] = [
    ("all well", {}, {}, ""),
    ("silent", {"b": None}, {"b": None}, "b does not answer"),
    ("sick", {}, {"c": health("c", "context deadline exceeded")}, "c is not healthy: context"),
    ("no health", {}, {"c": None}, "c is not healthy: no answer"),
    ("no leader", {"b": status("b", leader_id=0)}, {}, "b knows of no leader"),
    ("two leaders", {"b": status("b", leader_id=3)}, {}, "do not agree"),
    ("two terms", {"c": status("c", term=5)}, {}, "do not agree"),
    ("behind", {"c": status("c", raft_applied=3999, raft_index=3999)}, {}, "c is 1001 entries behind"),
    ("a little behind", {"c": status("c", raft_applied=4000, raft_index=4000)}, {}, ""),
    ("index without apply", {"c": status("c", raft_applied=10)}, {}, "c is 4990 entries behind"),
    ("corrupt", {"c": status("c", errors=("memberID:3 alarm:CORRUPT ",))}, {}, "corrupt"),
    (
        "full",
        {"c": status("c", errors=("memberID:3 alarm:NOSPACE ",))},
        {"c": health("c", "Active Alarm(s): NOSPACE ")},
        "",
    ),
    (
        "all full",  # 3.5 prints the word once for each member that raised the alarm
        {},
        {name: health(name, "Active Alarm(s): NOSPACE NOSPACE NOSPACE ") for name in "bc"},
        "",
    ),
    ("full and corrupt", {}, {"c": health("c", "Active Alarm(s): NOSPACE CORRUPT ")}, "c is not healthy: Active"),
    ("corrupt and full", {}, {"c": health("c", "Active Alarm(s): CORRUPT NOSPACE ")}, "c is not healthy: Active"),
    ("other alarm", {}, {"c": health("c", "Active Alarm(s): NOSPACEX ")}, "c is not healthy: Active"),
    ("no alarms read", {}, {"c": health("c", "Unable to fetch the alarm list")}, "c is not healthy: Unable"),
    ("other cluster", {"c": status("c", cluster_id=8)}, {}, "another cluster"),
]


@pytest.mark.parametrize(("statuses", "healths", "wanted"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_others_decide(statuses: Any, healths: Any, wanted: str) -> None:
    asked = [answer for answer in {**STATUSES, **statuses}.values() if answer]
    well = [answer for answer in {**HEALTHS, **healths}.values() if answer]
    reason = may_restart(seen(MEMBERS, asked, well), "a")
    assert wanted in (reason or "")
    assert bool(wanted) == bool(reason)
    for down in {*statuses, *healths}:  # the member that is in trouble itself may be restarted, and is not back
        assert may_restart(seen(MEMBERS, asked, well), down) is None
        assert bool(caught_up(seen(MEMBERS, asked, well), down)) == bool(wanted)


def test_membership() -> None:
    well = (STATUSES.values(), HEALTHS.values())
    assert "learner" in (may_restart(seen(members(b={"learner": True}), *well), "a") or "")
    assert "never started" in (may_restart(seen(members(b={"client_urls": ()}), *well), "a") or "")
    assert "not in the member list" in (may_restart(seen(MEMBERS, *well), "d") or "")
    assert "not in the member list" in (caught_up(seen(MEMBERS, *well), "d") or "")
    one = replace(MEMBERS, members=MEMBERS.members[:1])
    assert may_restart(seen(one, ()), "a") is None
    assert caught_up(seen(one, ()), "a") == "a does not answer"
    assert caught_up(seen(one, *well), "a") is None


def test_plain_health_of_a_member_that_is_listed_with_tls() -> None:
    plain = [replace(answer, endpoint=answer.endpoint.replace("https", "http")) for answer in HEALTHS.values()]
    assert may_restart(seen(MEMBERS, STATUSES.values(), plain), "a") is None


@pytest.mark.parametrize(
    ("statuses", "more", "wanted"),
    [
        ({}, {}, "b"),
        ({"c": status("c", raft_applied=5001)}, {}, "c"),
        ({"c": status("c", raft_applied=5001)}, {"pending": ["c"]}, "b"),
        ({"c": status("c", raft_applied=5001)}, {"restarted": ["b"]}, "b"),
        ({"b": status("b", term=9)}, {}, "c"),
        ({"b": None, "c": None}, {}, None),
        ({"a": None}, {}, None),
        ({}, {"pending": ["b", "c"]}, None),
        ({"a": status("a", leader_id=2)}, {}, None),
    ],
)
def test_move_leader(statuses: Any, more: Any, wanted: str | None) -> None:
    target = move_leader_to(
        seen(MEMBERS, [answer for answer in {**STATUSES, **statuses}.values() if answer]), 1, **more
    )
    assert (target.name if target else None) == wanted


def test_no_learner_leads() -> None:
    assert (move_leader_to(seen(members(b={"learner": True}), STATUSES.values()), 1) or MEMBERS.members[0]).name == "c"
