"""What is done to every cluster, on etcd 3.6 and 3.7: deploy, rotation of leaves and of the CA, authentication, verify.

``test_versions.py`` has the same for what distributions ship. These are compiled, so this runs where
``ETCDFLEET_BUILD_ETCD`` names versions, as ``test_build.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab import releases
from tests.lab.ca_changes import new_issuing_ca
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    deploy,
    etcdctl,
    inventory_variant,
    members,
    output,
    own_lab,
    start_times,
    unhealthy,
)
from tests.lab.load import client_pair, etcdctl_outside, missing, under_load, unseen
from tests.lab.rotate_helpers import rotate, serials
from tests.lab.test_preflight import project_with

VERSIONS = {
    f"on-{minor.replace('.', '')}": version
    for version in os.environ.get("ETCDFLEET_BUILD_ETCD", "").split(",")
    if (minor := version.rpartition(".")[0]) in ("3.6", "3.7")
}
pytestmark = pytest.mark.skipif(len(VERSIONS) < 2, reason="ETCDFLEET_BUILD_ETCD does not name a 3.6 and a 3.7")
AUTH = {
    "enabled": True,
    "roles": {"app": [{"prefix": "/app/", "access": "readwrite"}]},
    "users": {"service": {"roles": ["app"]}},
}


@pytest.fixture(scope="module", name="lab")
def _lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    for version in VERSIONS.values():
        releases.built(version, ["amd64"])
    with own_lab("test-minors", TOPOLOGIES / "minors.yaml") as handle:
        yield handle


@pytest.fixture(scope="module", name="config")
def _config(lab: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each cluster with its version, and deployed so."""
    config = installing(lab, tmp_path_factory.mktemp("minors"))
    first = deploy(lab, config=config, timeout=600)
    assert first.exit_code == 0, first.text
    return config


def installing(handle: LabHandle, folder: Path, **more: Any) -> Path:
    """The configuration that installs the compiled versions; ``more`` are sections of both clusters."""

    def edit(files: dict[str, Any]) -> None:
        for cluster, version in VERSIONS.items():
            (built,) = releases.built(version, ["amd64"])
            archive = {"amd64": {"file": str(built.file), "sha256": built.sha256}}
            data = files["inventory/groups.yaml"][cluster]["data"]
            data["install"] = {"method": "archive", "version": version, "releases": {version: archive}}
            data.update(more)

    return inventory_variant(handle, folder, edit)


def all_is_well(handle: LabHandle, config: Path) -> None:
    """Verify and status find nothing, and deploy has nothing to do."""
    for runbook in ("verify", "status"):
        looked = deploy(handle, config=config, runbook=runbook)
        assert looked.exit_code == 0, looked.text
    again = deploy(handle, config=config, timeout=600)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def test_deploy_verify_and_status(lab: LabHandle, config: Path) -> None:
    for cluster, version in VERSIONS.items():
        for host in members(lab, cluster):
            assert f"etcd Version: {version}\n" in output(lab, host, "etcd --version")
        assert unhealthy(lab, cluster) == ""
    all_is_well(lab, config)


def test_a_key_that_3_7_ignores_is_named_before_anything_is_changed(
    lab: LabHandle, config: Path, tmp_path: Path
) -> None:
    """3.6 still reads it. etcd itself starts with it, and says nothing."""
    key = "experimental-compaction-batch-limit"
    project, running = project_with(tmp_path / "own", f"{key}: 500\n"), start_times(lab)
    outcome = deploy(lab, runbook="preflight", timeout=120, config=config, project=project, env={"PYTHONPATH": None})
    assert outcome.exit_code == 0, outcome.text
    ignored = f"etcd {VERSIONS['on-37']} ignores {key} without a word: 3.6 was the last one that read it"
    told = [warning for warning in outcome.report["warnings"] if ignored in warning["text"]]
    assert told, outcome.text
    places = " ".join(warning["place"] for warning in told)
    assert [host in places for cluster in VERSIONS for host in members(lab, cluster)] == [False] * 3 + [True] * 3
    assert all("write compaction-batch-limit in its place" in warning["text"] for warning in told), told
    assert start_times(lab) == running


def test_leaves_are_renewed_without_a_restart(lab: LabHandle, config: Path, tmp_path: Path) -> None:
    running, before = start_times(lab), {cluster: serials(lab, cluster) for cluster in VERSIONS}
    pairs = {cluster: client_pair(lab, tmp_path, cluster, "leaf") for cluster in VERSIONS}
    with ExitStack() as stack:
        loads = {name: stack.enter_context(under_load(lab, name, pair, "leaf")) for name, pair in pairs.items()}
        done = rotate(lab, "--force", config=config)
    assert done.exit_code == 0, done.text
    assert start_times(lab) == running
    for cluster, load in loads.items():
        assert (load.lost, load.wrong, unseen(load)) == ([], [], []), load.said
        assert load.most_retries <= 1, load.said
        assert missing(lab, cluster, pairs[cluster], "leaf", load) == []
        after = serials(lab, cluster)
        assert all(old != new for host in after for old, new in zip(before[cluster][host], after[host], strict=True))


def test_another_ca(lab: LabHandle, config: Path, tmp_path: Path) -> None:
    old = {cluster: client_pair(lab, tmp_path, cluster, "old") for cluster in VERSIONS}
    for cluster in VERSIONS:
        new_issuing_ca(lab, cluster)
    with ExitStack() as stack:
        loads = {name: stack.enter_context(under_load(lab, name, pair, "ca")) for name, pair in old.items()}
        done = rotate(lab, "--ca", "--clients-ready", config=config)
    assert done.exit_code == 0, done.text
    for load in loads.values():
        assert (load.lost, load.wrong, unseen(load)) == ([], [], []), load.said
        assert load.most_retries <= 1, load.said
    last = rotate(lab, "--ca", "--yes", config=config)
    assert last.exit_code == 0, last.text
    for cluster, pair in old.items():
        assert etcdctl_outside(lab, cluster, pair, "get", "ca/1", seconds=2).returncode != 0
        new = client_pair(lab, tmp_path, cluster, "new")
        assert etcdctl_outside(lab, cluster, new, "get", "ca/1").returncode == 0
    all_is_well(lab, config)


def test_authentication(lab: LabHandle, config: Path, tmp_path: Path) -> None:  # noqa: ARG001  it is deployed
    wanted = installing(lab, tmp_path, auth=AUTH)
    on = deploy(lab, config=wanted, timeout=600)
    assert on.exit_code == 0, on.text
    for cluster in VERSIONS:
        service, stranger = (client_pair(lab, tmp_path, cluster, name) for name in ("service", "stranger"))
        assert etcdctl_outside(lab, cluster, service, "put", "/app/x", "1").returncode == 0
        assert "permission denied" in etcdctl_outside(lab, cluster, service, "put", "/other", "1").stderr
        assert etcdctl_outside(lab, cluster, stranger, "get", "/app/x").returncode != 0
        assert etcdctl(lab, members(lab, cluster)[0], "get /app/x --print-value-only").stdout.strip() == "1"
    all_is_well(lab, wanted)
