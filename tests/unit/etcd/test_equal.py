"""Whether members hold the same data, from their status alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.overview.cluster import overview
from etcdfleet.checks.overview.data import Level, MemberView
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, ExpectedMember, HashKV, Member, MemberList
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.equal import divergence
from etcdfleet.etcd.gates import caught_up, may_restart

NAMES = "abcde"


def status(name: str, applied: int, revision: int) -> EndpointStatus:
    number = NAMES.index(name) + 1
    url = f"https://{name}:2379"
    return EndpointStatus(url, number, 9, "3.5.1", 1, 1, 1, 2, applied, applied, revision)


@pytest.mark.parametrize(
    ("positions", "differ", "odd"),
    [
        # (applied index, revision) of each member
        ([(11, 21)], "", ""),
        ([(30, 21), (30, 21), (30, 21)], "", ""),
        ([(30, 21), (31, 22), (40, 25)], "", ""),
        ([(30, 21), (40, 21), (40, 21)], "", ""),  # entries that change no key: leases, compactions, members
        ([(30, 21), (40, 31), (40, 31)], "", ""),
        # the silently empty member, as measured: index 11, revisions 21, 21, 1
        ([(11, 21), (11, 21), (11, 1)], "abc", "c"),
        # the same under load: no two have the same index
        ([(110, 121), (111, 122), (112, 103)], "abc", "c"),
        ([(112, 123), (111, 122), (110, 101)], "abc", "c"),
        ([(30, 21), (30, 22)], "ab", ""),
        ([(30, 21), (31, 23)], "ab", ""),  # one entry cannot make two revisions
        ([(30, 21), (31, 20)], "ab", ""),  # a revision never goes back
        ([(30, 21), (30, 22), (30, 23)], "abc", ""),  # nobody agrees with anybody
        ([(30, 21)] * 4 + [(30, 5)], "abcde", "e"),
        ([(30, 21)] * 3 + [(30, 5)] * 2, "abcde", "de"),
        ([(30, 21)] * 2 + [(30, 5)] * 2, "abcd", ""),
    ],
)
def test_divergence(positions: list[tuple[int, int]], differ: str, odd: str) -> None:
    statuses = [status(name, *pair) for name, pair in zip(NAMES, positions, strict=False)]
    difference = divergence(statuses)
    if not differ:
        assert difference is None
        return
    assert difference is not None
    assert "".join(NAMES[one.member_id - 1] for one in difference.differ) == differ
    assert "".join(NAMES[one.member_id - 1] for one in difference.odd) == odd
    told = difference.told(lambda one: NAMES[one.member_id - 1])
    assert f"a has revision {positions[0][1]} at raft index {positions[0][0]}" in told
    assert told.endswith("does not hold what the majority holds" if odd else "the data differ")


def test_members_of_different_clusters_are_not_compared() -> None:
    assert divergence([status("a", 30, 21), replace(status("b", 30, 5), cluster_id=8)]) is None


LISTED = MemberList(9, tuple(Member(n, name, (), (f"https://{name}:2379",)) for n, name in enumerate("abc", 1)))
HEALTHY = [EndpointHealth(f"https://{name}:2379", True, 0.01) for name in "abc"]
EMPTY_C = [status("a", 11, 21), status("b", 11, 21), status("c", 11, 1)]
SAME = [status(name, 11, 21) for name in "abc"]


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_no_gate_lets_a_member_go_down_while_data_differ(name: str) -> None:
    assert may_restart(Cluster((), LISTED, tuple(SAME), tuple(HEALTHY)), name) is None
    refused = may_restart(Cluster((), LISTED, tuple(EMPTY_C), tuple(HEALTHY)), name)
    assert refused is not None
    assert "c has revision 1 at raft index 11: c does not hold what the majority holds" in refused


def test_the_odd_member_is_not_back() -> None:
    assert {name: caught_up(Cluster((), LISTED, tuple(SAME), tuple(HEALTHY)), name) for name in "abc"} == dict.fromkeys(
        "abc"
    )
    reasons = {name: caught_up(Cluster((), LISTED, tuple(EMPTY_C), tuple(HEALTHY)), name) for name in "abc"}
    assert (reasons["a"], reasons["b"]) == (None, None)
    assert reasons["c"] is not None
    assert "does not hold the same data" in reasons["c"]
    two = EMPTY_C[1:]
    assert all(caught_up(Cluster((), LISTED, tuple(two), tuple(HEALTHY)), name) for name in "bc"), (
        "of two, either may be the wrong one"
    )


def test_equal_hashes_at_the_lowest_revision_prove_nothing() -> None:
    """What `hashkv` says of the silently empty member at the lowest common revision, 1: the same of all."""
    expected = [ExpectedMember(name, f"https://{name}:2380", f"https://{name}:2379") for name in "abc"]
    hashes = [HashKV(f"https://{name}:2379", 1084519789, 1, -1) for name in "abc"]
    findings = {
        f.check: f
        for f in cluster_checks(Cluster(tuple(expected), LISTED, tuple(EMPTY_C), tuple(HEALTHY), tuple(hashes)))
    }
    assert not findings["equal data"].ok
    assert "c does not hold what the majority holds" in findings["equal data"].evidence
    assert "python runbooks/repair.py" in findings["equal data"].remedy
    assert {
        f.check: f for f in cluster_checks(Cluster(tuple(expected), LISTED, tuple(SAME), tuple(HEALTHY), tuple(hashes)))
    }["equal data"].ok


def test_a_difference_is_looked_at_again() -> None:
    def settles(statuses: list[EndpointStatus]) -> str:
        return Cluster((), LISTED, tuple(statuses)).moving()

    assert settles(SAME) == ""
    assert settles(EMPTY_C) == "members did not hold the same data"


def test_status_says_it_as_broken() -> None:
    def concerns(statuses: list[EndpointStatus]) -> list[tuple[Level, tuple[str, ...]]]:
        views = [
            MemberView(f"host-{name}", ExpectedMember(name, f"https://{name}:2380", f"https://{name}:2379"), status=one)
            for name, one in zip("abc", statuses, strict=True)
        ]
        shown = overview("k", views, [view.member for view in views])
        return [(concern.level, concern.hosts) for concern in shown.concerns if "same data" in concern.what]

    assert concerns(SAME) == []
    assert concerns(EMPTY_C) == [(Level.BROKEN, ("host-c",))]
