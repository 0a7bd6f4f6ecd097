"""Which member holds other data than the rest, and when only a person may say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus, HashKV, Member
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.corruption import Verdict, hashes_differ, judge
from tests.unit.etcd.test_replacement import cluster, entry, status


def seen(
    *hashes: int | None,
    entries: tuple[Member, ...] = (),
    compacted: dict[int, int] | None = None,
    statuses: dict[int, EndpointStatus] | None = None,
) -> Cluster:
    """Members m1, m2, … with these hashes at one revision; None: it does not answer, 0: it gives no hash."""
    numbers = range(1, len(hashes) + 1)
    answering = tuple(
        (statuses or {}).get(number, status(number))
        for number, digest in zip(numbers, hashes, strict=True)
        if digest is not None
    )
    look = cluster(*(entries or tuple(map(entry, numbers))), answering=answering, size=len(hashes))
    digests = tuple(
        HashKV(f"https://h{number}:2379", digest, 50, (compacted or {}).get(number, 10))
        for number, digest in zip(numbers, hashes, strict=True)
        if digest
    )
    return replace(look, hashes=digests)


BEHIND = status(3, revision=20)
"""It has the raft index of the others, and another revision."""


@pytest.mark.parametrize(
    ("look", "agree", "bad", "silent"),
    [
        (seen(7, 7, 7), "123", "", False),
        (seen(9, 7, 7), "23", "m1", False),
        (seen(7, 9, 7), "13", "m2", False),  # which leads
        (seen(7, 7, 9), "12", "m3", False),
        # What the hash at the lowest revision cannot show.
        (seen(7, 7, 7, statuses={3: BEHIND}), "12", "m3", False),
        (seen(7, 7, 9, statuses={3: BEHIND}), "12", "m3", False),
        # One that does not answer, or gives nothing to compare.
        (seen(7, 7, None), "12", "m3", True),
        (seen(7, 7, 0), "12", "m3", False),
        (seen(7, 7, 7, compacted={3: 11}), "12", "m3", False),
        (seen(7, 7, 7, 9, 7), "1235", "m4", False),
        (seen(7, 7, 7, None, 7), "1235", "m4", True),
        (seen(7), "1", "", False),
        (seen(7, 7), "12", "", False),
    ],
)
def test_the_majority_decides(look: Cluster, agree: str, bad: str, silent: bool) -> None:
    verdict = judge(look)
    assert isinstance(verdict, Verdict)
    assert (verdict.agree, verdict.bad, verdict.silent) == (tuple(f"m{number}" for number in agree), bad, silent)
    assert (bad in verdict.why) if bad else verdict.why == ""


@pytest.mark.parametrize(
    ("look", "what", "remedy"),
    [
        (seen(7, 9), "no majority of the 2 members", "a person has to decide"),
        (seen(7, None), "no majority of the 2 members", "a person has to decide"),
        (seen(7, 8, 9), "no majority of the 3 members is known to hold the same data", "a person has to decide"),
        (seen(7, None, None), "no majority of the 3 members", "restore the cluster"),
        (seen(0, 0, 0), "no hash", "a person has to decide"),
        (seen(7, 7, 8, 8), "no majority of the 4 members", "a person has to decide"),
        (seen(7, 7, 7, 8, 9), "m4 and m5 do not hold what the majority holds", "one at a time"),
        (seen(7, 7, 7, 9, None), "m4 and m5 do not hold what the majority holds", "one at a time"),
        (Cluster(no_list="no quorum"), "no member gives the member list (no quorum)", "log"),
    ],
)
def test_without_a_majority_a_person_decides(look: Cluster, what: str, remedy: str) -> None:
    refusal = judge(look)
    assert isinstance(refusal, Refusal)
    assert what in refusal.what
    assert remedy in refusal.remedy


def test_learners_have_no_say() -> None:
    """Two of three that agree are no majority of four; a fourth that is a learner does not count."""
    entries = (entry(1), entry(2), entry(3), entry(4, learner=True))
    verdict: Any = judge(seen(7, 7, 9, 9, entries=entries))
    assert (verdict.agree, verdict.bad) == (("m1", "m2"), "m3")


@pytest.mark.parametrize(
    ("look", "differ"),
    [
        (seen(7, 7, 7), False),
        (seen(7, 7, 9), True),
        (seen(7, 7, 9, compacted={3: 11}), False),  # not comparable
        (seen(7, None, None), False),
    ],
)
def test_hashes_that_differ(look: Cluster, differ: bool) -> None:
    assert hashes_differ(look) is differ
