"""Whether a run would bring a cluster down by a minor version for which etcd has a job, and who is not ready yet."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.downgrades import downgrade_target, still_newer
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


@pytest.mark.parametrize(
    ("versions", "left"),
    [(["3.5.0", "3.5.0"], 0), (["3.6.0", "3.5.0"], 1), (["", "3.5.0"], 1), (["3.6.0", "weird"], 2), ([], 0)],
)
def test_who_is_not_ready(versions: list[str], left: int) -> None:
    assert still_newer(versions, "3.5") == left
