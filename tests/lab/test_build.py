"""etcd compiled by build_etcd.py, on hosts: a cluster with 32-bit ARM. The way up is in ``test_upgrade.py``.

To compile etcd takes minutes, so this is for whoever changes how it is built, or tries a version that is new here:
``ETCDFLEET_BUILD_ETCD=3.5.33,3.6.14,3.7.1`` names versions, of which the last is tried, and nothing without it.
Everything but the compiler is tried at each run by ``tests/unit/plays/test_build_etcd.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.etcd.snapshot_file import check_snapshot
from lab import images, releases
from lab.releases import Release
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    deploy,
    etcdctl,
    inventory_variant,
    member_list,
    members,
    output,
    own_lab,
    unhealthy,
)
from tests.lab.rotate_helpers import rotate
from tests.lab.watch import leader

VERSIONS = os.environ.get("ETCDFLEET_BUILD_ETCD", "").split(",")
MIXED, ARM = "bd-arm", "bd-arm-3"
pytestmark = pytest.mark.skipif(VERSIONS == [""], reason="ETCDFLEET_BUILD_ETCD names no versions to compile")
Made = Mapping[str, Mapping[str, Release]]
"""Archives by version and architecture."""


@pytest.fixture(scope="module", name="made")
def _made(lab_machine: None) -> Made:  # noqa: ARG001
    """For all kinds of hosts, of the last version that is named."""
    newest = VERSIONS[-1]
    return {newest: {one.architecture: one for one in releases.built(newest, ["amd64", "arm"])}}


@pytest.fixture(scope="module", name="lab")
def _lab(made: Made) -> Iterator[LabHandle]:  # noqa: ARG001  first compiled, then brought up
    with own_lab("test-build", TOPOLOGIES / "build.yaml") as handle:
        yield handle


def installing(handle: LabHandle, folder: Path, cluster: str, made: Mapping[str, Release]) -> Path:
    """The configuration that installs a cluster from these archives."""
    source = {name: {"file": str(one.file), "sha256": one.sha256} for name, one in made.items()}
    (version,) = {one.version for one in made.values()}

    def edit(files: dict[str, Any]) -> None:
        install = {"method": "archive", "version": version, "source": source}
        files["inventory/groups.yaml"][cluster]["data"]["install"] = install

    return inventory_variant(handle, folder, edit)


def says(handle: LabHandle, host: str) -> str:
    """What its etcd says it is."""
    return output(handle, host, "ETCD_UNSUPPORTED_ARCH=arm etcd --version")


def all_is_well(handle: LabHandle, cluster: str, config: Path) -> None:
    """Verify and status find nothing, certificates are renewed, and deploy would change nothing."""
    for runbook in ("verify", "status"):
        looked = deploy(handle, "--cluster", cluster, runbook=runbook, config=config)
        assert looked.exit_code == 0, looked.text
    renewed = rotate(handle, "--force", "--cluster", cluster, config=config)
    assert renewed.exit_code == 0, renewed.text
    again = deploy(handle, "--cluster", cluster, config=config, timeout=900)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def test_the_newest_on_all_kinds_of_hosts(lab: LabHandle, made: Made, tmp_path: Path) -> None:
    newest = VERSIONS[-1]
    config = installing(lab, tmp_path, MIXED, made[newest])
    deployed = deploy(lab, "--cluster", MIXED, config=config, timeout=900)
    assert deployed.exit_code == 0, deployed.text
    hosts = members(lab, MIXED)
    for host in hosts:
        assert f"etcd Version: {newest}\n" in says(lab, host)
        assert f"Go OS/Arch: linux/{'arm' if host == ARM else 'amd64'}" in says(lab, host)
    assert sorted(one["name"] for one in member_list(lab, ARM)) == hosts
    etcdctl(lab, hosts[0], "put /built here")
    assert etcdctl(lab, ARM, "get /built --print-value-only").stdout.strip() == "here"
    assert unhealthy(lab, MIXED) == ""
    all_is_well(lab, MIXED, config)

    # A backup is taken of the leader.
    led = leader(lab, hosts)
    ids = {one["name"]: one["ID"] for one in member_list(lab, ARM)}
    if led != ARM:
        assert etcdctl(lab, led, f"move-leader {ids[ARM]:x}").returncode == 0
    kept = ("--cluster", MIXED, "--folder", str(tmp_path / "snapshots"))
    saved = deploy(lab, *kept, runbook="backup", config=config, timeout=600)
    assert saved.exit_code == 0, saved.text
    (note,) = (tmp_path / "snapshots" / MIXED).glob("*.json")
    told = json.loads(note.read_text())
    assert int(told["member_id"], 16) == ids[ARM], told
    (snapshot,) = (tmp_path / "snapshots" / MIXED).glob("*.db")
    check_snapshot(snapshot)


def test_the_same_bytes_again(made: Made) -> None:
    archives = made[VERSIONS[-1]]
    before = {name: (one.file.stat().st_mtime_ns, one.sha256) for name, one in archives.items()}
    after = releases.built(VERSIONS[-1], list(archives), again=True)
    assert {one.architecture: (one.file.stat().st_mtime_ns, one.sha256) for one in after} == before
    assert all(one.file.parent == images.cache_folder() / "builds" for one in after)
