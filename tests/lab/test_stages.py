"""Two stages of a live cluster, from plain http to TLS for clients; and etcd from a release archive."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import apkrepo, releases
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    cluster_variant,
    deploy,
    etcd_processes,
    etcdctl,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    unhealthy,
)
from tests.lab.watch import leader, stored, watching

CLUSTER = "stages"
KEYS = 200


@pytest.fixture(scope="module")
def stages(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-stages", TOPOLOGIES / "stages.yaml") as handle:
        yield handle


def in_plain_http(handle: LabHandle, host: str) -> bool:
    done = etcdctl(handle, host, "get stage/1", tls=False, seconds=2)
    return done.returncode == 0


@pytest.fixture(scope="module")
def first_stage(stages: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> LabHandle:
    """The cluster in stage one, with data: peers talk TLS, clients plain http."""
    config = cluster_variant(stages, tmp_path_factory.mktemp("plain"), CLUSTER, client_tls=False)
    outcome = deploy(stages, "--cluster", CLUSTER, config=config)
    assert outcome.exit_code == 0, outcome.text
    first, *others = members(stages, CLUSTER)
    assert unhealthy(stages, CLUSTER, tls=False) == ""
    put = "ETCDCTL_API=3 etcdctl --endpoints=http://127.0.0.1:2379 put"
    output(stages, first, f"for i in $(seq {KEYS}); do {put} stage/$i $i >/dev/null || exit 1; done")
    assert all(in_plain_http(stages, name) for name in others)
    again = deploy(stages, "--cluster", CLUSTER, config=config)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text
    return stages


def test_first_stage_has_tls_between_members_only(first_stage: LabHandle) -> None:
    for name in members(first_stage, CLUSTER):
        assert in_plain_http(first_stage, name)
        target = first_stage.plan.host(name)
        argv = ["openssl", "s_client", "-connect", f"{target.address}:2380"]
        seen = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        assert re.search(rf"subject=.*CN ?= ?{re.escape(target.fqdn)}\n", seen.stdout), seen.stdout + seen.stderr
        assert (
            etcdctl(
                first_stage, name, "get stage/1", tls=False, seconds=1, endpoints="http://127.0.0.1:2380"
            ).returncode
            != 0
        )


def test_switch_to_client_tls_keeps_data_and_quorum(first_stage: LabHandle) -> None:
    names = members(first_stage, CLUSTER)
    led = leader(first_stage, names, tls=False)
    asked = deploy(first_stage, "--cluster", CLUSTER)
    assert asked.exit_code == 3, asked.text
    assert "clients need https and a client certificate" in asked.report["protections"][0]["what"]
    assert all(in_plain_http(first_stage, name) for name in names), "nobody said yes"
    with watching(first_stage, names) as watch:
        outcome = deploy(first_stage, "--cluster", CLUSTER, "--yes")
    assert outcome.exit_code == 0, outcome.text
    assert watch.samples > 10
    assert watch.most_down <= 1, f"down at the same time: {watch.down}"
    assert {name: len(seen) for name, seen in watch.processes.items()} == dict.fromkeys(names, 2)
    assert watch.order()[-1] == led, f"leader {led} comes last: {watch.order()}"
    assert unhealthy(first_stage, CLUSTER) == ""
    for name in names:
        assert stored(first_stage, name, "stage") == {number: str(number) for number in range(1, KEYS + 1)}
        assert not in_plain_http(first_stage, name)
        assert etcdctl(first_stage, name, "get stage/1", pair=None, seconds=2).returncode != 0, "no certificate"
    again = deploy(first_stage, "--cluster", CLUSTER)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text


# Release archives, on hosts that have no etcd yet.

ARCHIVE_HOSTS = ("arc-alpine", "arc-debian")
TRACES = (
    "ls -d /etc/etcd /var/lib/etcd /opt/etcd* /usr/local/bin/etcd* /etc/systemd/system/etcd* /etc/init.d/etcd; id etcd"
)


def archive_variant(handle: LabHandle, tmp_path: Path, sha256: str | None = None) -> Path:
    """The inventory with release archives: one host downloads it, the other gets the controller's file."""
    release = releases.find(apkrepo.content())
    places: dict[str, dict[str, str]] = {
        "arc-alpine": {"url": release.url(apkrepo.base_url(handle.plan))},
        "arc-debian": {"file": str(release.file)},
    }

    def edit(files: dict[str, Any]) -> None:
        for name, place in places.items():
            files["inventory/hosts.yaml"][name]["data"]["install"] = {
                "method": "archive",
                "version": release.version,
                "source": {release.architecture: {**place, "sha256": sha256 or release.sha256}},
            }

    return inventory_variant(handle, tmp_path, edit)


def traces(handle: LabHandle) -> dict[str, str]:
    return {name: on_host(handle, name, f"({TRACES}) 2>/dev/null").stdout for name in ARCHIVE_HOSTS}


def test_archive_with_a_wrong_checksum_changes_nothing(stages: LabHandle, tmp_path: Path) -> None:
    before = traces(stages)
    wrong = "0" * 64
    outcome = deploy(stages, "--cluster", "arc-rc,arc-sd", config=archive_variant(stages, tmp_path, wrong))
    assert outcome.exit_code == 1, outcome.text
    right = releases.find(apkrepo.content()).sha256
    for name in ARCHIVE_HOSTS:
        said = outcome.error(name)
        assert said.startswith(("preflight", "install")), said
        assert "SHA-256" in said, said
        assert wrong[:12] in said, said
        assert right[:12] in said, said
        assert name in outcome.stdout
    assert traces(stages) == before, "the hosts were changed"


@pytest.mark.thorough(
    "lab/test_install.py::test_an_upgrade_takes_place_when_it_is_a_members_turn",
    "lab/test_install.py::test_the_same_version_another_way",
    "lab/test_versions.py::test_the_first_deploy_ends_well",
    "unit/tasks/test_programs.py::test_releases_lie_side_by_side_until_one_takes_the_others_place",
)
def test_archive_is_installed_and_kept(stages: LabHandle, tmp_path: Path) -> None:
    config = archive_variant(stages, tmp_path)
    outcome = deploy(stages, "--cluster", "arc-rc,arc-sd", config=config)
    assert outcome.exit_code == 0, outcome.text
    version = releases.find(apkrepo.content()).version
    for name in ARCHIVE_HOSTS:
        assert f"etcd Version: {version}" in output(stages, name, "etcd --version")
        assert f"etcdctl version: {version}" in output(stages, name, "etcdctl version")
        # Owner and mode are the host's business, not those of whoever packed the archive.
        assert output(stages, name, "stat -Lc '%a %U %G' $(command -v etcd)").split() == ["755", "root", "root"]
        assert etcdctl(stages, name, "endpoint health").returncode == 0
        (process,) = etcd_processes(stages, name)
        assert any(word.endswith("/etcd") for word in process.argv[:1])
    again = deploy(stages, "--cluster", "arc-rc,arc-sd", config=config)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text
