"""Whether a run would bring a cluster down by a minor version for which etcd has a job, and who is not ready yet."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.answers import EndpointStatus, ExpectedMember
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.downgrades import downgrade_target, follows_job, not_ready, refuse_turning, unfinished
from etcdfleet.etcd.upgrades import MemberVersion


def members(*pairs: tuple[str, str | None]) -> list[MemberVersion]:
    return [MemberVersion(f"h{n}", runs, runs, brings, "archive", data=True) for n, (runs, brings) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("all_members", "cluster", "target"),
    [
        (members(("3.6.14", "3.5.33"), ("3.6.14", "3.5.33")), "3.6.0", "3.5"),
        (members(("3.7.1", "3.6.14"), ("3.7.0", "3.6.11")), "3.7.0", "3.6"),
        (members(("3.6.14", "3.5.33")), "3.6.0", "3.5"),
        # Below what etcd has a job for, or by more than one version.
        (members(("3.5.33", "3.4.23")), "3.5.0", ""),
        (members(("3.7.1", "3.5.33")), "3.7.0", ""),
        # Not all of them: one is left out, does not run, or runs something else; or nobody says what all agree on.
        (members(("3.6.14", "3.5.33"), ("3.6.14", None)), "3.6.0", ""),
        (members(("3.6.14", "3.5.33"), ("", "3.5.33")), "3.6.0", ""),
        (members(("3.6.14", "3.5.33"), ("3.5.33", "3.5.33")), "3.6.0", ""),
        (members(("3.6.14", "3.5.33"), ("3.6.14", "3.6.14")), "3.6.0", ""),
        (members(("3.6.14", "3.5.33")), "", ""),
        # The job is on: nothing is refused then.
        (members(("3.6.14", "3.5.33")), "3.5.0", ""),
        ([], "3.6.0", ""),
    ],
)
def test_where_the_job_leads(all_members: list[MemberVersion], cluster: str, target: str) -> None:
    assert downgrade_target(all_members, cluster) == target


def statuses(*pairs: tuple[str, str], job: str = "") -> tuple[EndpointStatus, ...]:
    return tuple(
        EndpointStatus(f"https://h{n}:2379", n, 9, runs, 1, 1, 1, 2, 5, 5, 3, storage=storage, going_back_to=job)
        for n, (runs, storage) in enumerate(pairs)
    )


@pytest.mark.parametrize(
    ("pairs", "left"),
    [
        ([("3.6.14", "3.5.0"), ("3.6.14", "3.5.0")], 0),
        ([("3.6.14", "3.6.0"), ("3.6.14", "3.5.0")], 1),
        ([("3.6.14", ""), ("3.6.14", "weird")], 2),
        # 3.5 does not say what its data are, and need not.
        ([("3.5.33", ""), ("3.6.14", "3.6.0")], 1),
        ([("3.5.33", ""), ("3.6.14", "3.5.0")], 0),
        ([], 0),
    ],
)
def test_who_is_not_ready(pairs: list[tuple[str, str]], left: int) -> None:
    assert not_ready(statuses(*pairs), "3.5") == left


@pytest.mark.parametrize(
    ("all_members", "job", "on", "turning"),
    [
        # A run was ended between the order to etcd and the first member, and after it.
        (members(("3.7.1", "3.6.14"), ("3.7.1", "3.6.14")), "3.6", True, []),
        (members(("3.6.14", None), ("3.7.1", "3.6.14")), "3.6", True, []),
        # All are there: etcd has not ended its job yet, or nothing is under way.
        (members(("3.6.14", "3.6.15")), "3.6", False, []),
        (members(("3.7.1", "3.6.14")), "", False, []),
        (members(("3.6.14", "3.7.1")), "", False, []),
        # Someone thinks better of it.
        (members(("3.6.14", "3.7.1"), ("3.7.1", None)), "3.6", False, ["h0"]),
        (members(("3.7.1", "3.7.2"), ("3.7.1", "3.6.14")), "3.6", True, ["h0"]),
        # All are there, and etcd has not seen it yet: one that got 3.7 now would keep the job going for ever.
        (members(("3.6.14", "3.7.1"), ("3.6.14", "3.7.1")), "3.6", False, ["h0", "h1"]),
        (members(("", "weird")), "3.6", False, []),
    ],
)
def test_a_job_that_is_under_way(all_members: list[MemberVersion], job: str, on: bool, turning: list[str]) -> None:
    assert follows_job(all_members, job) is on
    refusal = refuse_turning(all_members, job)
    assert list(refusal.hosts if refusal else ()) == turning
    if refusal:
        assert "etcdctl downgrade cancel" in refusal.remedy
        ending = not any(one.running.startswith("3.7") for one in all_members)
        assert ("run again" in refusal.remedy) is ending


@pytest.mark.parametrize(
    ("pairs", "job", "told"),
    [
        ([("3.7.1", "3.6.0"), ("3.7.1", "3.6.0")], "3.6", "a newer version runs on h0, h1"),
        ([("3.6.14", "3.6.0"), ("3.7.1", "3.6.0")], "3.6", "a newer version runs on h1"),
        ([("3.6.14", "3.6.0"), ("3.6.14", "3.6.0")], "3.6", ""),
        ([("3.7.1", "3.7.0"), ("3.7.1", "3.7.0")], "", ""),
        ([], "3.6", ""),
    ],
)
def test_a_job_that_was_not_completed_is_told(pairs: list[tuple[str, str]], job: str, told: str) -> None:
    expected = tuple(ExpectedMember(f"h{n}", f"https://h{n}:2380", f"https://h{n}:2379") for n in range(len(pairs)))
    what, remedy = unfinished(Cluster(expected, None, statuses(*pairs, job=job)))
    assert (told in what, bool(what), bool(remedy)) == (True, bool(told), bool(told))
