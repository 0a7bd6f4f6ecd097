"""What is done next for a host that is to hold a member anew, in every state between the first step and the last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, ExpectedMember, Member, MemberList
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.replacement import AddLearner, JoinCluster, Place, RemoveEntry, SetAside, course, next_step
from etcdfleet.etcd.wal import DataIds

CLUSTER_ID = 0xC
EXPECTED = tuple(
    ExpectedMember(f"m{number}", f"https://h{number}:2380", f"https://h{number}:2379") for number in range(1, 6)
)


def entry(number: int, **how: Any) -> Member:
    """The entry of m1, m2, …, with the id 1, 2, …; started, with a vote."""
    wanted = EXPECTED[number - 1]
    return replace(Member(number, wanted.name, (wanted.peer_url,), (wanted.client_url,)), **how)


def status(number: int, *, index: int = 100, revision: int = 50, leader: int = 2, **how: Any) -> EndpointStatus:
    """What m1, m2, … says of itself."""
    fields: dict[str, Any] = {
        "version": "3.5.16",
        "db_size": 1 << 20,
        "db_size_in_use": 1 << 20,
        "term": 3,
        "raft_index": index,
    }
    fields |= {"raft_applied": index, "revision": revision, "cluster_id": CLUSTER_ID, "leader_id": leader} | how
    return EndpointStatus(endpoint=f"https://h{number}:2379", member_id=number, **fields)


def cluster(
    *entries: Member, answering: tuple[EndpointStatus, ...], sick: tuple[int, ...] = (), size: int = 3
) -> Cluster:
    """A cluster of this list, of which these answer, and these of them serve no read."""
    healths = tuple(
        EndpointHealth(
            each.endpoint, each.member_id not in sick, 0.01, "" if each.member_id not in sick else "too slow"
        )
        for each in answering
        if not each.learner
    )
    return Cluster(EXPECTED[:size], MemberList(CLUSTER_ID, entries), answering, healths)


OTHERS = (status(2), status(3))
LOST = cluster(entry(1), entry(2), entry(3), answering=OTHERS)
REMOVED = cluster(entry(2), entry(3), answering=OTHERS)
ADDED = cluster(Member(9, "", ("https://h1:2380",), (), learner=True), entry(2), entry(3), answering=OTHERS)
LEARNING = cluster(
    entry(1, id=9, learner=True), entry(2), entry(3), answering=(*OTHERS, replace(status(1, learner=True), member_id=9))
)
JOINED = cluster(entry(1, id=9), entry(2), entry(3), answering=(*OTHERS, replace(status(1), member_id=9)))
WELL = cluster(entry(1), entry(2), entry(3), answering=(status(1), *OTHERS))
EMPTY = Place("h1", EXPECTED[0])
MARKED = replace(EMPTY, marked=True)
OLD = replace(MARKED, data=DataIds(1, CLUSTER_ID))
NEW = replace(EMPTY, data=DataIds(9, CLUSTER_ID), running=True)
BROKEN = replace(MARKED, data_unreadable="damaged WAL segment")
REMOVE, ADD, ASIDE = RemoveEntry(entry(1)), AddLearner(), SetAside()


@pytest.mark.parametrize(
    ("place", "cluster", "step"),
    [
        # Its entry is there, its data are not: removed first, whatever is left on the host.
        (EMPTY, LOST, REMOVE),
        (MARKED, LOST, REMOVE),
        (BROKEN, LOST, REMOVE),
        (replace(MARKED, data=DataIds(7, CLUSTER_ID)), LOST, REMOVE),  # another member's disk
        (OLD, LOST, REMOVE),  # they are there, and etcd does not come up: asked for before
        # Removed: what is left goes aside before anything is added.
        (OLD, REMOVED, ASIDE),
        (MARKED, REMOVED, ASIDE),
        (BROKEN, REMOVED, ASIDE),
        (EMPTY, REMOVED, ADD),
        # Added: it starts, unless old data lie there.
        (EMPTY, ADDED, JoinCluster(ADDED.entries[0])),
        (OLD, ADDED, ASIDE),
        (MARKED, ADDED, ASIDE),
        (NEW, ADDED, JoinCluster(ADDED.entries[0])),  # begun, and not published yet
        (replace(NEW, running=False), ADDED, JoinCluster(ADDED.entries[0])),
        # A learner that has begun is finished; one that lost its data again is removed again.
        (NEW, LEARNING, JoinCluster(LEARNING.entries[0])),
        (EMPTY, LEARNING, RemoveEntry(LEARNING.entries[0])),
        # A member with a vote, and its data: nothing is to be done.
        (NEW, JOINED, None),
        (replace(OLD, running=True), WELL, None),
    ],
)
def test_the_next_step(place: Place, cluster: Cluster, step: Any) -> None:
    assert next_step(place, cluster) == step


@pytest.mark.parametrize(
    ("place", "cluster", "steps"),
    [
        (EMPTY, LOST, [RemoveEntry, AddLearner, JoinCluster]),
        (OLD, LOST, [RemoveEntry, SetAside, AddLearner, JoinCluster]),
        (MARKED, REMOVED, [SetAside, AddLearner, JoinCluster]),
        (EMPTY, REMOVED, [AddLearner, JoinCluster]),
        (OLD, ADDED, [SetAside, JoinCluster]),
        (NEW, LEARNING, [JoinCluster]),
        (NEW, JOINED, []),
    ],
)
def test_the_course_says_all_steps_that_are_left(place: Place, cluster: Cluster, steps: list[type]) -> None:
    ahead = course(place, cluster)
    assert not isinstance(ahead, Refusal)
    assert [type(step) for step in ahead] == steps


def test_a_member_with_other_data_is_replaced_and_leads_no_more() -> None:
    running = replace(OLD, running=True)
    odd = cluster(entry(1), entry(2), entry(3), answering=(status(1, revision=20), *OTHERS))
    assert next_step(running, odd) == REMOVE
    leads = cluster(entry(1), entry(2), entry(3), answering=tuple(replace(each, leader_id=1) for each in odd.statuses))
    assert next_step(running, leads) == RemoveEntry(entry(1), leads=True)
    corrupt = cluster(
        entry(1), entry(2), entry(3), answering=(status(1), status(2, errors=("memberID:1 alarm:CORRUPT",)), status(3))
    )
    assert next_step(running, corrupt) == REMOVE
    sick = cluster(entry(1), entry(2), entry(3), answering=(status(1), *OTHERS), sick=(1,))
    assert next_step(running, sick) == REMOVE


def test_a_host_at_another_address_takes_the_place_of_its_own_entry() -> None:
    moved = replace(EMPTY, member=replace(EXPECTED[0], peer_url="https://new:2380", client_url="https://new:2379"))
    lost = replace(LOST, expected=(moved.member, *EXPECTED[1:3]))
    assert next_step(moved, lost) == REMOVE, "the entry has the old address"
    added = replace(ADDED, expected=lost.expected)
    left = next_step(moved, added)
    assert isinstance(left, Refusal), "added under the old address, and never started: it has no name yet"
    assert "--instead-of 9" in left.remedy
    assert next_step(replace(moved, gone="9"), added) == RemoveEntry(added.entries[0])


def test_a_spare_takes_the_place_of_a_member_with_another_name() -> None:
    spare = Place("h4", EXPECTED[3])
    lost = replace(LOST, expected=(*EXPECTED[1:3], EXPECTED[3]))
    refused = next_step(spare, lost)
    assert isinstance(refused, Refusal)
    assert "--instead-of m1" in refused.remedy
    for name in ("m1", "1"):
        assert next_step(replace(spare, gone=name), lost) == REMOVE
    after = replace(REMOVED, expected=lost.expected)
    assert next_step(replace(spare, gone="m1"), after) == ADD, "goes on once the entry is gone"
    well = cluster(entry(2), entry(3), entry(4), answering=(*OTHERS, status(4)), size=4)
    well = replace(well, expected=EXPECTED[1:4])
    here = replace(spare, data=DataIds(4, CLUSTER_ID), running=True)
    assert next_step(replace(here, gone="m1"), well) is None
    twice = next_step(replace(here, gone="m2"), well)
    assert isinstance(twice, Refusal), "a member takes no other's place"


FIVE = tuple(entry(number) for number in range(1, 6))


@pytest.mark.parametrize(
    ("place", "cluster", "what"),
    [
        (EMPTY, Cluster(EXPECTED[:3], no_list="its member does not answer"), "no other member gives the member list"),
        # The others must carry the cluster.
        (EMPTY, cluster(entry(1), entry(2), entry(3), answering=(status(2),)), "1 of the 2 other members are healthy"),
        (EMPTY, cluster(entry(1), entry(2), entry(3), answering=OTHERS, sick=(3,)), "m3: too slow"),
        (EMPTY, cluster(entry(1), entry(2), entry(3), answering=OTHERS, sick=(2, 3)), "0 of the 2 other members"),
        (EMPTY, cluster(entry(1), entry(2), answering=(status(2),), sick=(2,), size=2), "0 of the 1 other members"),
        (EMPTY, cluster(entry(1), answering=(), size=1), "the only member of its cluster"),
        (
            EMPTY,
            cluster(*FIVE, answering=(status(2), status(3)), size=5),
            "2 of the 4 other members are healthy, and 3 must be",
        ),
        (MARKED, cluster(entry(2), entry(3), answering=(status(2),)), "1 of the 2 other members are healthy"),
        # One change at a time, in a cluster at rest.
        (
            EMPTY,
            cluster(*FIVE[:3], entry(4, learner=True), answering=(*OTHERS, status(4, learner=True)), size=4),
            "m4 is a learner already",
        ),
        (
            EMPTY,
            cluster(*FIVE[:3], entry(4, client_urls=()), answering=OTHERS, size=4),
            "m4 was added and has never started",
        ),
        (EMPTY, cluster(*FIVE[:3], answering=(status(2), status(3, version="3.4.23"))), "different versions of etcd"),
        (EMPTY, cluster(*FIVE[:3], answering=(status(2), status(3, term=4))), "an election is under way"),
        (EMPTY, cluster(*FIVE[:3], answering=(status(2, leader=0), status(3, leader=0))), "an election is under way"),
        # Whose data would it get?
        (
            EMPTY,
            cluster(*FIVE[:3], answering=(status(2, errors=("memberID:3 alarm:CORRUPT",)), status(3))),
            "m3 reports corrupt data",
        ),
        (EMPTY, cluster(*FIVE[:3], answering=(status(2), status(3, revision=20))), "the others do not hold the same"),
        (NEW, replace(LEARNING, statuses=(*LEARNING.statuses[:1], LEARNING.statuses[2])), "1 of the 2 other members"),
    ],
)
def test_what_is_refused(place: Place, cluster: Cluster, what: str) -> None:
    refusal = next_step(place, cluster)
    assert isinstance(refusal, Refusal), refusal
    assert what in refusal.what
    assert refusal.hosts == ("h1",)
    assert refusal.remedy


def test_one_sick_member_of_five_does_not_stand_in_the_way_of_another() -> None:
    lost = cluster(*FIVE, answering=(status(2), status(3), status(4)), size=5)
    assert next_step(EMPTY, lost) == REMOVE


def test_a_healthy_member_is_left_alone_whatever_the_others_do() -> None:
    silent = cluster(entry(1), entry(2), entry(3), answering=(status(1), status(2)))
    assert next_step(replace(OLD, running=True), silent) is None
