"""Who is defragmented, in which order, and why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.defragmentation import (
    Defragmentation,
    Limits,
    Room,
    defragmentation,
    defragmented,
    known_faults,
    lacks_room,
    not_due,
    patience,
    read_room,
)
from tests.unit.etcd.test_replacement import cluster, entry, status

MIB = 1 << 20
LIMITS = Limits(50, 64 * MIB, 1024 * MIB)
WIDE = Room(1024 * MIB)
ALL = ("m1", "m2", "m3")


def sized(number: int, size: int, used: int, **how: Any) -> EndpointStatus:
    return status(number, db_size=size * MIB, db_size_in_use=used * MIB, **how)


def three(*answering: EndpointStatus, **how: Any) -> Cluster:
    return cluster(entry(1), entry(2), entry(3), answering=answering, **how)


FREE = tuple(sized(number, 200, 50) for number in (1, 2, 3))
"""m2 leads."""


def decided(seen: Cluster, *names: str, rooms: dict[str, Room] | None = None, every: bool = False) -> Any:
    chosen = names or ALL
    return defragmentation(
        seen, dict.fromkeys(chosen, LIMITS), dict.fromkeys(chosen, WIDE) | (rooms or {}), every=every
    )


@pytest.mark.parametrize(
    ("size", "used", "limits", "why"),
    [
        (200, 50, LIMITS, ""),
        (128, 64, LIMITS, ""),
        (127, 64, LIMITS, "63 MiB of 127 MiB are free (49 %), less than 64 MiB"),
        (200, 101, LIMITS, "99 MiB of 200 MiB are free (49 %), less than 50 %"),
        (20, 0, LIMITS, "20 MiB of 20 MiB are free (100 %), less than 64 MiB"),
        (0, 0, LIMITS, "less than 64 MiB"),
        # What counts for the quota is the file.
        (820, 700, LIMITS, ""),
        (819, 700, LIMITS, "less than 50 %"),
        (1000, 950, LIMITS, "less than 64 MiB"),
        (20, 15, Limits(10, 4 * MIB, 1024 * MIB), ""),
    ],
)
def test_when_it_is_worth_while(size: int, used: int, limits: Limits, why: str) -> None:
    found = not_due(sized(1, size, used), limits)
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("seen", "names", "order"),
    [
        (three(*FREE), ALL, ("m1", "m3", "m2")),
        (three(*(replace(one, leader_id=1) for one in FREE)), ALL, ("m2", "m3", "m1")),
        (three(*FREE), ("m2",), ("m2",)),
        (three(*FREE), ("m3", "m2", "m1"), ("m3", "m1", "m2")),
        (three(FREE[0], sized(2, 60, 50), FREE[2]), ALL, ("m1", "m3")),
        (cluster(entry(1), answering=(sized(1, 200, 50, leader=1),), size=1), ("m1",), ("m1",)),
    ],
)
def test_the_order_is_followers_first(seen: Cluster, names: tuple[str, ...], order: tuple[str, ...]) -> None:
    plan = decided(seen, *names)
    assert plan.order == order
    assert plan.frees == dict.fromkeys(order, 150 * MIB)


ALARM = ("memberID:3 alarm:CORRUPT",)
UNFIT: list[tuple[Cluster, str]] = [
    (three(FREE[0], FREE[1]), "m3 does not answer"),
    (three(*FREE, sick=(3,)), "m3 is not healthy: too slow"),
    (three(FREE[0], FREE[1], replace(FREE[2], raft_index=9100, raft_applied=9100, revision=9050)), "entries behind"),
    (three(FREE[0], FREE[1], replace(FREE[2], term=4)), "do not agree on leader and term"),
    (three(*(replace(one, leader_id=0) for one in FREE)), "knows of no leader"),
    (three(FREE[0], FREE[1], replace(FREE[2], errors=ALARM)), "the alarm CORRUPT is raised"),
    (three(FREE[0], FREE[1], replace(FREE[2], revision=20)), "do not hold the same data"),
    (cluster(entry(1), entry(2), entry(3), entry(4, learner=True), answering=FREE), "m4 is a learner"),
    (cluster(entry(1), entry(2), entry(3, client_urls=()), answering=FREE), "m3 has never started"),
]


@pytest.mark.parametrize(("seen", "why"), UNFIT, ids=[why for _, why in UNFIT])
def test_all_must_be_well_or_nobody_is_touched(seen: Cluster, why: str) -> None:
    """Those that are not chosen, too."""
    for names in (ALL, ("m1",)):
        refusal = decided(seen, *names)
        assert isinstance(refusal, Refusal)
        assert why in refusal.what
        assert "m1" in refusal.what
        assert refusal.remedy


@pytest.mark.parametrize(("seen", "why"), UNFIT, ids=[why for _, why in UNFIT])
def test_where_nobody_is_due_it_is_said_and_no_more(seen: Cluster, why: str) -> None:
    small = replace(seen, statuses=tuple(replace(one, db_size=20 * MIB, db_size_in_use=MIB) for one in seen.statuses))
    plan = decided(small)
    assert isinstance(plan, Defragmentation)
    assert (plan.order, sorted(plan.idle)) == ((), list(ALL))
    assert why in plan.warning
    assert isinstance(decided(small, every=True), Refusal)


def test_a_cluster_of_which_nothing_is_known() -> None:
    refusal = decided(Cluster(no_list="its member does not answer"))
    assert isinstance(refusal, Refusal)
    assert "no member gives the member list (its member does not answer)" in refusal.what


def test_a_full_database_is_no_hindrance() -> None:
    full = three(*(replace(one, errors=("memberID:1 alarm:NOSPACE",)) for one in FREE))
    assert decided(full).order == ("m1", "m3", "m2")


def test_without_room_it_is_said_and_the_others_have_their_turn() -> None:
    plan = decided(three(*FREE), rooms={"m3": Room(100 * MIB), "m2": Room()})
    assert plan.order == ("m1",)
    assert sorted(plan.no_room) == ["m2", "m3"]
    assert "its disk has 100 MiB free, and 119 MiB are needed" in plan.no_room["m3"]


@pytest.mark.parametrize(
    ("room", "fits"),
    [
        (Room(119 * MIB), True),
        (Room(118 * MIB), False),
        (Room(100 * MIB, left=("/x",), left_bytes=19 * MIB), True),  # it is removed before
        (Room(), False),
    ],
)
def test_the_room_for_the_copy(room: Room, fits: bool) -> None:
    assert (lacks_room(FREE[0], room) == "") is fits


def test_every_one_that_has_anything_free() -> None:
    seen = three(sized(1, 10, 2), sized(2, 10, 10), sized(3, 10, 1))
    assert decided(seen).order == ()
    plan = decided(seen, every=True)
    assert plan.order == ("m1", "m3")
    assert plan.idle == {"m2": "nothing is free in its 10 MiB"}


@pytest.mark.parametrize(
    ("version", "cut_off", "behind"),
    [
        ("3.4.23", False, True),
        ("3.4.38", False, False),
        ("3.5.1", True, True),
        ("3.5.6", False, True),
        ("3.5.16", False, True),
        ("3.5.23", False, False),
        ("3.6.4", False, True),
        ("3.6.5", False, False),
        ("3.7.1", False, False),
        ("", False, False),
    ],
)
def test_what_is_known_of_versions(version: str, cut_off: bool, behind: bool) -> None:
    told = known_faults([version])
    assert ("may come back with other data" in told, "may be damaged" in told) == (cut_off, behind)
    assert not told or version in told


def test_known_faults_are_said_of_those_that_are_defragmented() -> None:
    mixed = three(replace(FREE[0], version="3.5.1"), sized(2, 20, 10), sized(3, 20, 10))
    assert "3.5.1" in decided(mixed).warning
    assert decided(mixed, "m2", "m3").warning == ""


def test_patience_grows_with_what_is_in_use() -> None:
    assert patience(sized(1, 5000, 0)) == 60
    assert patience(sized(1, 1000, 1000)) == 2060


def test_the_proof() -> None:
    before = sized(1, 200, 50)
    assert defragmented(before, sized(1, 51, 51)) == ""
    assert defragmented(before, sized(1, 60, 58)) == "", "clients write meanwhile"
    assert "still has 200 MiB" in defragmented(before, sized(1, 200, 50))
    assert "another member" in defragmented(before, sized(2, 50, 50))


def test_what_the_disk_has() -> None:
    text = "free 2048\ncopying 4096\nleft 512 /var/lib/etcd/member/snap/db.tmp.1 2\nleft 512 /b\n"
    assert read_room(text) == Room(2 * MIB, 4096, ("/var/lib/etcd/member/snap/db.tmp.1 2", "/b"), 1024)
    assert read_room("") == Room()
