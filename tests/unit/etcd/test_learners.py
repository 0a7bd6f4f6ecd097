"""Members without a vote: what is said of them, by how far they are behind and for how long their etcd has run."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.answers import EndpointStatus, ExpectedMember, Member, MemberList
from etcdfleet.etcd.cluster import MAX_LAG, Cluster
from etcdfleet.etcd.learners import PATIENCE, SLOWEST, WHY_LATE, Learner, learners

GIB = 2**30
NEXT, BACK = "python runbooks/replace_member.py pi-3", "python runbooks/remove_member.py pi-3"

CASES: dict[str, tuple[Learner, str, str, str]] = {
    "it has just begun": (
        Learner("c", 52310, True, True, 40, GIB),
        "it is 52310 entries behind, 40.0 s after its etcd was started",
        "it gets the data from the others",
        f"{NEXT} gives it its vote, once it has caught up",
    ),
    "a large database takes its time": (
        Learner("c", 52310, True, True, PATIENCE + 1000, GIB),
        "it is 52310 entries behind, 27 min after its etcd was started",
        "it gets the data from the others",
        f"{NEXT} gives it its vote, once it has caught up",
    ),
    "no database takes so long": (
        Learner("c", 52310, True, True, PATIENCE + 1100, GIB),
        f"28 min after its etcd was started: it does not become fit for a vote ({WHY_LATE})",
        WHY_LATE,
        f"then {NEXT} goes on with it, or {BACK} takes it back",
    ),
    "a small one does not either": (
        Learner("c", MAX_LAG + 1, True, True, PATIENCE + 1, 20480),
        "it is 1001 entries behind, 10 min after its etcd was started: it does not become fit",
        WHY_LATE,
        f"or {BACK} takes it back",
    ),
    "it has caught up, and a run was ended before the vote": (
        Learner("c", 1, True, True, 60, GIB),
        "it is 1 entry behind, near enough for one, 60.0 s after",
        "a run is about to give it its vote",
        f"{NEXT} gives it its vote",
    ),
    "it had caught up long ago, or is cut off from a cluster in which little is written": (
        Learner("c", MAX_LAG, True, True, 86400 * 3, GIB),
        "it is 1000 entries behind, near enough for one, 3.0 days after",
        "a run is about to give it its vote",
        f"{NEXT} gives it its vote, or says why not; {BACK} takes it back",
    ),
    "it has never heard of the others": (
        Learner("c", 90, True, False, 30, 20480),
        "it knows of no leader, and is 90 entries behind, 30.0 s after",
        "it gets the data from the others",
        f"{NEXT} gives it its vote, once it has caught up",
    ),
    "for hours": (
        Learner("c", 90, True, False, 10800, 20480),
        "it knows of no leader, and is 90 entries behind, 3 hours after its etcd was started: it does not become fit",
        "on the peer port",
        f"or {BACK} takes it back",
    ),
    "it hangs": (
        Learner("c", None, False, False, 10800, 20480),
        "it does not answer, 3 hours after its etcd was started: it does not become fit",
        "on the peer port",
        f"or {BACK} takes it back",
    ),
    "it is asked alone, as on its own host once it is cut off": (
        Learner("c", None, True, True, 10800, 20480),
        "no other member answers that could tell how far it is behind, 3 hours after its etcd was started",
        "the other members do not answer here",
        f"{NEXT} gives it its vote, once it has caught up",
    ),
    "its host cannot be asked": (
        Learner("c", None, False, False, None, 20480),
        "it has no vote; it does not answer",
        "it gets the data from the others",
        f"{NEXT} gives it its vote, once it has caught up",
    ),
    "how long it has run is not known": (
        Learner("c", 52310, True, True, None, 20480),
        "it has no vote; it is 52310 entries behind",
        "it gets the data from the others",
        f"{NEXT} gives it its vote, once it has caught up",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_of_a_learner(case: str) -> None:
    learner, what, why, remedy = CASES[case]
    assert learner.what.startswith("c is a learner: it has no vote; ")
    assert what in learner.what
    assert why in learner.why
    assert remedy in learner.remedy("pi-3")
    assert (BACK in learner.remedy("pi-3")) is (learner.old and (learner.near or learner.overdue))
    assert learner.overdue is ("does not become fit for a vote" in learner.what)


@pytest.mark.parametrize("size", [0, GIB])
def test_time_enough_is_what_the_database_takes_at_the_slowest_and_some_more(size: int) -> None:
    enough = PATIENCE + size / SLOWEST
    assert not Learner("c", 9999, True, True, enough, size).overdue
    assert Learner("c", 9999, True, True, enough + 1, size).overdue


@pytest.mark.parametrize(
    ("learner", "facts"),
    [
        (Learner("c", 12, True, True, 61.9), {"learner_behind_entries": 12, "learner_seconds": 61}),
        (Learner("c", 0, True, True, None), {"learner_behind_entries": 0}),
        (Learner("c", None, False, False, 5.0), {"learner_seconds": 5}),
        (Learner("c"), {}),
    ],
)
def test_facts(learner: Learner, facts: dict[str, int]) -> None:
    assert learner.facts() == facts


EXPECTED = tuple(ExpectedMember(name, f"https://{name}:2380", f"https://{name}:2379") for name in "abc")


def entry(name: str, *, learner: bool = False, started: bool = True) -> Member:
    return Member(ord(name), name, (f"https://{name}:2380",), (f"https://{name}:2379",) if started else (), learner)


def status(name: str, applied: int = 100, *, learner: bool = False, leader: int = ord("a")) -> EndpointStatus:
    size = 9 * 2**20 if name == "b" else 2**20
    return EndpointStatus(
        f"https://{name}:2379", ord(name), 9, "3.5.1", size, size, leader, 3, 100, applied, 7, learner=learner
    )


@pytest.mark.parametrize(
    ("listed", "statuses", "found"),
    [
        ((entry("a"), entry("b"), entry("c")), (status("a"), status("b"), status("c")), {}),
        # On the host of the learner itself there is no list: etcd gives none through it.
        (
            None,
            (status("a"), status("b"), status("c", 40, learner=True)),
            {"c": Learner("c", 60, True, True, 7.0, 9 * 2**20)},
        ),
        (
            (entry("a"), entry("b"), entry("c", learner=True)),
            (status("a"), status("c", 0, learner=True, leader=0)),
            {"c": Learner("c", 100, True, False, 7.0, 2**20)},
        ),
        (
            (entry("a"), entry("b"), entry("c", learner=True)),
            (status("a"),),
            {"c": Learner("c", size=2**20, seconds=7.0)},
        ),
        (
            (entry("c", learner=True),),
            (status("c", 0, learner=True),),
            {"c": Learner("c", None, True, True, 7.0, 2**20)},
        ),
        # It has its vote since the list was asked for.
        ((entry("a"), entry("b"), entry("c", learner=True)), (status("a"), status("c")), {}),
        # Added, and never started: that is said as such.
        ((entry("a"), entry("b"), entry("c", learner=True, started=False)), (status("a"),), {}),
    ],
)
def test_who_is_a_learner(
    listed: tuple[Member, ...] | None, statuses: tuple[EndpointStatus, ...], found: dict[str, Learner]
) -> None:
    cluster = Cluster(EXPECTED, MemberList(9, listed) if listed else None, statuses)
    assert learners(cluster, {"a": 9.0, "c": 7.0}) == found
