"""A full database: what makes room, when the alarm may go, and what must be raised where nothing makes room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.defragmentation import Defragmentation, Room
from etcdfleet.etcd.space import MakeRoom, Means, cannot_bear, enough_quota, freed_by, make_room, still_full
from tests.unit.etcd.test_defragmentation import MIB, WIDE, sized, three
from tests.unit.etcd.test_replacement import cluster, entry

FULL = ("memberID:1 alarm:NOSPACE",)
MEANS = Means(WIDE, 64 * MIB, 64 * MIB)
ALL = dict.fromkeys(("m1", "m2", "m3"), MEANS)


def full(*sizes: tuple[int, int], errors: tuple[str, ...] = FULL, **how: Any) -> Cluster:
    return three(*(sized(number, *size, errors=errors) for number, size in enumerate(sizes, 1)), **how)


@pytest.mark.parametrize(
    ("seen", "means", "wanted"),
    [
        # What is in use is history, most likely; where enough is free already, it is left alone.
        (full((64, 60), (64, 60), (64, 60)), ALL, MakeRoom(True, 50, True)),
        (full((64, 52), (64, 20), (64, 20)), ALL, MakeRoom(True, 50, True)),
        (full((64, 51), (64, 20), (64, 20)), ALL, MakeRoom(False, 50, True)),
        # One alone is full.
        (full((64, 60), (20, 20), (20, 20)), ALL, MakeRoom(True, 50, True)),
        (
            full((20, 20), (20, 20), (20, 20)),
            ALL | {"m2": replace(MEANS, quota_bytes=21 * MIB)},
            MakeRoom(True, 50, True),
        ),
        # All have room by now: the alarm alone is left, whatever is in use.
        (full((20, 20), (20, 20), (20, 20)), ALL, MakeRoom(False, 50, False)),
        (full((61, 60), (61, 60), (61, 60)), ALL, MakeRoom(False, 50, False)),
    ],
)
def test_what_makes_room(seen: Cluster, means: dict[str, Means], wanted: MakeRoom) -> None:
    assert make_room(seen, means) == wanted


SIZES = ((64, 60), (64, 60), (64, 60))
STRANGER = cluster(
    entry(1), entry(2), entry(3), entry(4), answering=tuple(sized(number, 64, 60) for number in (1, 2, 3, 4))
)


@pytest.mark.parametrize(
    ("seen", "means", "why"),
    [
        (
            full(*SIZES, errors=(*FULL, "memberID:2 alarm:CORRUPT")),
            ALL,
            "another alarm is raised beside NOSPACE: CORRUPT",
        ),
        (full(*SIZES, errors=(*FULL, "memberID:2 alarm:OTHER")), ALL, "another alarm is raised beside NOSPACE: OTHER"),
        (full(*SIZES, sick=(3,)), ALL, "the database is full, and m3 is not healthy"),
        (full(*SIZES[:2]), ALL, "m3 does not answer"),
        (full(*SIZES), dict.fromkeys(("m1", "m3"), MEANS), "m2 takes no part in this run"),
        (STRANGER, ALL, "m4 is in the member list and not in the inventory"),
    ],
)
def test_what_stands_against_it(seen: Cluster, means: dict[str, Means], why: str) -> None:
    refusal = make_room(replace(seen, expected=seen.expected[:3]), means)
    assert isinstance(refusal, Refusal)
    assert why in refusal.what
    assert refusal.remedy


def test_the_words_say_what_is_lost() -> None:
    assert "before revision 7 is taken away" in MakeRoom(True, 7, True).words
    assert "taken away" not in MakeRoom(False, 7, True).words


def test_all_with_something_free_are_defragmented_the_leader_last() -> None:
    plan = freed_by(full((64, 20), (64, 20), (40, 39)), ALL)
    assert isinstance(plan, Defragmentation)
    assert plan.order == ("m1", "m2")
    assert "1.0 MiB of 40 MiB are free" in plan.idle["m3"]
    # What was compacted counts as free after the next write only, and there is none.
    plan = freed_by(full((64, 63), (64, 64), (40, 39)), ALL)
    assert isinstance(plan, Defragmentation)
    assert plan.order == ("m1", "m2")
    # As before, and one has room for a write or two by the size of its file.
    plan = freed_by(full((64, 64), (61, 60), (40, 39)), ALL)
    assert isinstance(plan, Defragmentation)
    assert plan.order == ("m1", "m2")
    plan = freed_by(full((64, 20), (64, 20), (64, 20)), ALL | {"m1": replace(MEANS, room=Room())})
    assert isinstance(plan, Defragmentation)
    assert (plan.order, sorted(plan.no_room)) == (("m3", "m2"), ["m1"])


def sizes(*all_of: int) -> Cluster:
    return full(*((size, size) for size in all_of))


def test_with_room_on_all_nothing_stands_against_it() -> None:
    assert still_full(sizes(20, 62, 61), ALL) is None


@pytest.mark.parametrize(
    ("seen", "means", "what", "remedy"),
    [
        (
            sizes(20, 20, 63),
            ALL,
            "m3 has 63 MiB of 64 MiB",
            "raise cluster.quota_bytes to 128MiB or more and run deploy: all",
        ),
        (sizes(20, 20, 63), ALL, "does not fit the quota", "delete keys"),
        (
            sizes(63, 63, 63),
            {n: replace(MEANS, wanted_bytes=128 * MIB) for n in ALL},
            "m1 has",
            "run deploy for the whole",
        ),
        (
            sizes(63, 63, 63),
            ALL | {"m2": replace(MEANS, room=Room(100 * MIB))},
            "m2 has",
            "which these hosts do not bear (m2: its disk lacks 29 MiB)",
        ),
        (sizes(20, 20), ALL, "m3 does not answer", "status.py"),
    ],
)
def test_where_it_does_not_fit_the_next_command_is_said(
    seen: Cluster, means: dict[str, Means], what: str, remedy: str
) -> None:
    refusal = still_full(seen, means)
    assert refusal is not None
    assert what in refusal.what
    assert remedy in refusal.remedy


@pytest.mark.parametrize(("size", "quota"), [(63, 128), (51, 64), (52, 128), (1024, 1280), (1, 64)])
def test_a_fifth_is_left(size: int, quota: int) -> None:
    assert enough_quota(size * MIB) == quota * MIB


@pytest.mark.parametrize(
    ("quota", "means", "why"),
    [
        (128, MEANS, ""),
        (128, replace(MEANS, room=Room(129 * MIB)), ""),
        (128, replace(MEANS, room=Room(128 * MIB)), "its disk lacks 1.0 MiB"),
        (1024, replace(MEANS, on_32_bits=True, room=Room(9000 * MIB)), ""),
        (1088, replace(MEANS, on_32_bits=True, room=Room(9000 * MIB)), "1GiB is the most that is safe on 32 bits"),
        (8192, replace(MEANS, room=Room(9000 * MIB)), ""),
        (8256, replace(MEANS, room=Room(9000 * MIB)), "8GiB is the most"),
        (1024, replace(MEANS, room=Room(9000 * MIB, memory_bytes=900 * MIB)), "it has 900 MiB of memory"),
    ],
)
def test_what_a_host_bears(quota: int, means: Means, why: str) -> None:
    told = cannot_bear(quota * MIB, 63 * MIB, means)
    assert why in told
    assert bool(told) == bool(why)
