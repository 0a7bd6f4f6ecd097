"""What 3.4 leaves in the data of a cluster, on its way up to 3.6: requests of the v2 API, and a last change of members
that no write followed.

3.5.33 and 3.6.14 are compiled for it, so it runs where ``ETCDFLEET_BUILD_ETCD`` names versions, as ``test_build.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import releases
from lab.releases import Release
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    deploy,
    etcdctl,
    inventory_variant,
    member_list,
    members,
    on_host,
    output,
    own_lab,
    unhealthy,
)
from tests.lab.outside import from_outside
from tests.lab.v2_entries import foreign_v2_entries

VERSIONS = [one for one in os.environ.get("ETCDFLEET_BUILD_ETCD", "").split(",") if one.startswith(("3.5.", "3.6."))]
ASKED, STILL = "cau-asked", "cau-still"
pytestmark = pytest.mark.skipif(len(VERSIONS) < 2, reason="ETCDFLEET_BUILD_ETCD does not name a 3.5 and a 3.6")


@pytest.fixture(scope="module", name="made")
def _made(lab_machine: None) -> Mapping[str, Release]:  # noqa: ARG001
    return {version: releases.built(version, ["amd64"])[0] for version in VERSIONS}


@pytest.fixture(scope="module", name="lab")
def _lab(made: Mapping[str, Release]) -> Iterator[LabHandle]:  # noqa: ARG001  first compiled, then brought up
    with own_lab("test-out34", TOPOLOGIES / "out34.yaml") as handle:
        first = deploy(handle, timeout=600)
        assert first.exit_code == 0, first.text
        yield handle


def bring(lab: LabHandle, folder: Path, cluster: str, release: Release, *args: str) -> Outcome:
    """Deploy another version to a cluster."""
    return deploy(lab, "--cluster", cluster, *args, config=installing(lab, folder, cluster, release), timeout=600)


def installing(lab: LabHandle, folder: Path, cluster: str, release: Release) -> Path:
    source = {release.architecture: {"file": str(release.file), "sha256": release.sha256}}

    def edit(files: dict[str, Any]) -> None:
        install = {"method": "archive", "version": release.version, "source": source}
        files["inventory/groups.yaml"][cluster]["data"]["install"] = install

    return inventory_variant(lab, folder, edit)


def tells(outcome: Outcome, host: str, what: str) -> bool:
    return what in json.dumps(outcome.host(host))


def all_run(lab: LabHandle, cluster: str, version: str) -> None:
    hosts = members(lab, cluster)
    assert [f"etcd Version: {version}\n" in output(lab, host, "etcd --version") for host in hosts] == [True] * 3
    assert unhealthy(lab, cluster) == ""
    assert sorted(one["name"] for one in member_list(lab, hosts[0])) == hosts


def test_requests_of_the_v2_api_are_left_behind(lab: LabHandle, made: Mapping[str, Release], tmp_path: Path) -> None:
    """And nothing was written by clients before 3.5: deploy sees to it that no member is taken for a removed one."""
    hosts = members(lab, ASKED)
    old, new = (made[version] for version in VERSIONS)
    with from_outside(lab, tmp_path) as client:
        assert client.health(hosts[1], lab.plan.host(hosts[1]).fqdn).returncode == 0
    assert {tuple(set(foreign_v2_entries(lab, host))) for host in hosts} != {()}
    up = bring(lab, tmp_path, ASKED, old)
    assert up.exit_code == 0, up.text
    assert [tells(up, host, "a key is written and deleted") for host in hosts] == [True] * 3, up.text
    etcdctl(lab, hosts[0], "put /kept here")
    check = bring(lab, tmp_path, ASKED, new, "--check")
    assert "holds requests of the old v2 API" in check.in_one_line
    up = bring(lab, tmp_path, ASKED, new)
    assert up.exit_code == 0, up.text
    assert [tells(up, host, "requests of the v2 API lie before it") for host in hosts] == [True] * 3, up.text
    all_run(lab, ASKED, new.version)
    assert etcdctl(lab, hosts[2], "get /kept --print-value-only").stdout.strip() == "here"
    assert {output(lab, host, "grep ^snapshot-count /etc/etcd/conf.yml") for host in hosts} == {
        "snapshot-count: 10000\n"
    }
    again = bring(lab, tmp_path, ASKED, new)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def test_back_to_3_5_and_up_again(lab: LabHandle, made: Mapping[str, Release], tmp_path: Path) -> None:
    hosts = members(lab, ASKED)
    old, new = (made[version] for version in VERSIONS)
    refused = bring(lab, tmp_path, ASKED, old)
    assert refused.exit_code == 3, refused.text
    assert "etcdctl downgrade validate 3.5, then etcdctl downgrade enable 3.5" in refused.in_one_line
    back = bring(lab, tmp_path, ASKED, old, "--yes")
    assert back.exit_code == 0, back.text
    assert tells(back, hosts[0], "the cluster gives up what etcd 3.5 cannot read")
    all_run(lab, ASKED, old.version)
    assert etcdctl(lab, hosts[1], "get /kept --print-value-only").stdout.strip() == "here"
    up = bring(lab, tmp_path, ASKED, new)
    assert up.exit_code == 0, up.text
    all_run(lab, ASKED, new.version)


def test_members_that_3_6_would_shut_out_come_anew(lab: LabHandle, made: Mapping[str, Release], tmp_path: Path) -> None:
    """They are brought to 3.5 while they stand still, with no key written: the two later ones are noted as removed."""
    hosts = members(lab, STILL)
    old, new = (made[version] for version in VERSIONS)
    for host in hosts:
        assert on_host(lab, host, "systemctl stop etcd").returncode == 0
    up = bring(lab, tmp_path, STILL, old)
    assert up.exit_code == 0, up.text
    etcdctl(lab, hosts[0], "put /kept here")
    refused = bring(lab, tmp_path, STILL, new)
    assert refused.exit_code == 3, refused.text
    all_run(lab, STILL, old.version)
    shut_out = [host for host in hosts if host in refused.in_one_line.partition("give ")[2].partition(" a new id")[0]]
    assert len(shut_out) == 2, refused.text
    config = installing(lab, tmp_path, STILL, old)
    for host in shut_out:
        for runbook in ("remove_member", "replace_member"):
            done = deploy(
                lab, host, "--yes", "--snapshot-dir", str(tmp_path), runbook=runbook, config=config, timeout=600
            )
            assert done.exit_code == 0, done.text
    up = bring(lab, tmp_path, STILL, new)
    assert up.exit_code == 0, up.text
    all_run(lab, STILL, new.version)
    assert etcdctl(lab, hosts[2], "get /kept --print-value-only").stdout.strip() == "here"
