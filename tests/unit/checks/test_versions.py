"""Whether all members run the same version of etcd."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from etcdfleet.checks.versions import mixed_minors, version_finding
from etcdfleet.etcd.answers import EndpointStatus, ExpectedMember
from etcdfleet.etcd.canary import Hold
from etcdfleet.etcd.cluster import Cluster

HOLD = Hold("h1", "3.5.33", "3.6.14", "today")


def seen(running: Mapping[str, str], job: str = "") -> Cluster:
    expected = tuple(ExpectedMember(name, f"https://{name}:2380", f"https://{name}:2379") for name in running)
    statuses = tuple(
        EndpointStatus(f"https://{name}:2379", number, 9, version, 1, 1, 1, 2, 20, 20, 7, going_back_to=job)
        for number, (name, version) in enumerate(running.items(), 1)
    )
    return Cluster(expected, None, statuses)


@pytest.mark.parametrize(
    ("running", "hold", "status", "evidence", "remedy"),
    [
        ({"m1": "3.6.14", "m2": "3.6.14"}, None, "ok", "etcd 3.6.14", ""),
        ({"m1": "3.6.14", "m2": "3.6.14"}, HOLD, "ok", "etcd 3.6.14", ""),
        ({"m1": "3.10.1", "m2": "3.9.2"}, None, "warning", "3.9.2 on m2; 3.10.1 on m1", "upgrade.py finishes"),
        (
            {"m1": "3.6.14", "m2": "3.5.33"},
            HOLD,
            "warning",
            "h1 runs etcd 3.6.14 as a canary",
            "install.version: 3.5.33",
        ),
        ({"m1": "3.5.33", "m2": "3.6.14"}, HOLD, "warning", "3.5.33 on m1; 3.6.14 on m2", "upgrade.py finishes"),
        ({"m1": ""}, None, "skipped", "no member says it", ""),
    ],
)
def test_version_finding(
    running: Mapping[str, str], hold: Hold | None, status: str, evidence: str, remedy: str
) -> None:
    found = version_finding(seen(running), hold, "h1", "m1")
    assert found.status == status
    assert evidence in found.evidence
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("running", "told"),
    [
        ({"m1": "3.4.23", "m2": "3.4.23", "m3": "3.5.16"}, "3.4.23 on m1, m2; 3.5.16 on m3"),
        ({"m1": "3.5.16", "m2": "3.5.33"}, ""),
        ({"m1": "3.5.16", "m2": ""}, ""),
        ({"m1": "", "m2": "what"}, ""),
    ],
)
def test_only_minor_versions_that_differ_are_told_by_deploy(running: Mapping[str, str], told: str) -> None:
    """As after the upgrade of a host's distribution; patch releases differ in the middle of any rolling upgrade."""
    said = mixed_minors(seen(running))
    assert (told in said, bool(said)) == (True, bool(told))
    assert ("upgrade.py finishes" in said) is bool(told)


@pytest.mark.parametrize(
    ("running", "told"),
    [
        ({"m1": "3.7.1", "m2": "3.7.1"}, "job to go back to 3.6 is under way, and a newer version runs on m1, m2"),
        ({"m1": "3.6.14", "m2": "3.7.1"}, "job to go back to 3.6 is under way, and a newer version runs on m2"),
        ({"m1": "3.6.14", "m2": "3.6.14"}, ""),
    ],
)
def test_a_way_back_that_was_not_completed_is_told_though_all_run_one_version(
    running: Mapping[str, str], told: str
) -> None:
    """The cluster version stays down until someone completes or ends it."""
    found = version_finding(seen(running, "3.6"), None, "h1", "m1")
    assert (found.status, told in found.evidence) == ("warning" if told else "ok", True)
    said = mixed_minors(seen(running, "3.6"))
    assert (told in said, bool(said)) == (True, bool(told))
    if told:
        assert "etcdctl downgrade cancel" in found.remedy
        assert "etcdctl downgrade cancel" in said
