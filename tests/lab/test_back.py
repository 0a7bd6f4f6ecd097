"""Back to an older minor version of etcd by a snapshot that it has made: the only way where etcd itself has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import apkrepo, releases
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import TOPOLOGIES, deploy, etcdctl, inventory_variant, output, own_lab

HOST = "back-1"


@pytest.fixture(scope="module")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("back", TOPOLOGIES / "back.yaml") as handle:
        yield handle


@pytest.mark.thorough(
    "unit/etcd/test_upgrades.py::test_the_way_back_is_named_where_etcd_has_one",
    "lab/test_install.py::test_a_downgrade_by_the_inventory_is_refused",
    "lab/test_members.py::test_a_cluster_is_taken_down_and_deployed_anew_without_a_trace_of_its_data",
    "lab/test_restore.py::test_all_data_directories_are_lost",
)
def test_back_from_3_5_to_3_4_by_a_snapshot(lab: LabHandle, tmp_path: Path) -> None:
    """The steps of docs/upgrade.md: what 3.4 had is there again, and what came later is lost, as they say."""
    release = releases.find(apkrepo.content())
    source = {"url": release.url(apkrepo.base_url(lab.plan)), "sha256": release.sha256}

    def edit(files: dict[str, Any]) -> None:
        files["inventory/hosts.yaml"][HOST]["data"]["install"] = {
            "method": "archive",
            "version": release.version,
            "source": {release.architecture: source},
        }

    newer = inventory_variant(lab, tmp_path / "newer", edit)
    kept = ("--snapshot-dir", str(tmp_path / "snapshots"))
    assert deploy(lab).exit_code == 0
    assert etcdctl(lab, HOST, "put early 1").returncode == 0
    upgraded = deploy(lab, "--yes", *kept, config=newer)
    assert upgraded.exit_code == 0, upgraded.text
    assert etcdctl(lab, HOST, "put late 1").returncode == 0
    # A snapshot of 3.4 is there without anybody having asked for one.
    (snapshot,) = (tmp_path / "snapshots").glob("*/*.db")

    refused = deploy(lab)
    assert refused.exit_code == 3, refused.text
    assert "Back by a snapshot" in refused.report["protections"][0]["remedy"]
    assert json.loads(snapshot.with_suffix(".json").read_text())["etcd"].startswith("3.4.")
    # Whoever was refused has the older version in the inventory already.
    down = deploy(lab, "--confirm", "back", *kept, "--cluster", "back", runbook="teardown")
    assert down.exit_code == 0, down.text
    empty = deploy(lab)
    assert empty.exit_code == 0, empty.text
    back = deploy(lab, str(snapshot), "--cluster", "back", "--confirm", "back", *kept, runbook="restore")
    assert back.exit_code == 0, back.text
    assert "etcd Version: 3.4" in output(lab, HOST, "etcd --version")
    assert etcdctl(lab, HOST, "get '' --prefix --keys-only").stdout.split() == ["early"]
    again = deploy(lab)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text
