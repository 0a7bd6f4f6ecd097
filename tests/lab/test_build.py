"""etcd compiled by build_etcd.py, on hosts: a cluster of two kinds of 64-bit hosts and one of 32-bit ARM.

To compile it takes minutes, so this is for whoever changes how it is built, or a version of etcd that is new here:
``ETCDFLEET_BUILD_ETCD=3.6.14`` names the version, and the module is left out without it. Everything but the compiler is
tried at each run by ``tests/unit/plays/test_build_etcd.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import images, releases
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

VERSION = os.environ.get("ETCDFLEET_BUILD_ETCD", "")
CLUSTER, ARM = "bd-arm", "bd-arm-3"
pytestmark = pytest.mark.skipif(not VERSION, reason="ETCDFLEET_BUILD_ETCD names no version to compile")


@pytest.fixture(scope="module", name="made")
def _made(lab_machine: None) -> dict[str, releases.Release]:  # noqa: ARG001
    return {release.architecture: release for release in releases.built(VERSION, ["amd64", "arm"])}


@pytest.fixture(scope="module", name="lab")
def _lab(made: dict[str, releases.Release]) -> Iterator[LabHandle]:  # noqa: ARG001  first compiled, then brought up
    with own_lab("test-build", TOPOLOGIES / "build.yaml") as handle:
        yield handle


def test_it_is_installed_verified_and_its_certificates_are_renewed(
    lab: LabHandle, made: dict[str, releases.Release], tmp_path: Path
) -> None:
    sources = {name: {"file": str(one.file), "sha256": one.sha256} for name, one in made.items()}

    def edit(files: dict[str, Any]) -> None:
        install = {"method": "archive", "version": VERSION, "source": sources}
        files["inventory/groups.yaml"][CLUSTER]["data"]["install"] = install

    config = inventory_variant(lab, tmp_path, edit)
    deployed = deploy(lab, config=config, timeout=900)
    assert deployed.exit_code == 0, deployed.text
    hosts = members(lab, CLUSTER)
    for host in hosts:
        assert f"etcd Version: {VERSION}" in output(lab, host, "ETCD_UNSUPPORTED_ARCH=arm etcd --version"), host
        kind = "arm" if host == ARM else "amd64"
        assert f"Go OS/Arch: linux/{kind}" in output(lab, host, "ETCD_UNSUPPORTED_ARCH=arm etcd --version"), host
    assert sorted(one["name"] for one in member_list(lab, ARM)) == hosts
    etcdctl(lab, hosts[0], "put /built here")
    assert etcdctl(lab, ARM, "get /built --print-value-only").stdout.strip() == "here"
    assert unhealthy(lab, CLUSTER) == ""
    for runbook in ("verify", "status"):
        looked = deploy(lab, config=config, runbook=runbook)
        assert looked.exit_code == 0, looked.text
    renewed = rotate(lab, "--force", config=config)
    assert renewed.exit_code == 0, renewed.text
    again = deploy(lab, config=config, timeout=900)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def test_the_same_bytes_again(made: dict[str, releases.Release]) -> None:
    before = {name: (one.file.stat().st_mtime_ns, one.sha256) for name, one in made.items()}
    after = releases.built(VERSION, list(made), again=True)
    assert {one.architecture: (one.file.stat().st_mtime_ns, one.sha256) for one in after} == before
    assert all(one.file.parent == images.cache_folder() / "builds" for one in after)
