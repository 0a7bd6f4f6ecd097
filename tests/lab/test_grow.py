"""A cluster grows from one member to five and shrinks to three, on Debian, Alpine and 32-bit ARM, while clients work.

One version of etcd on all of them is one from ``build_etcd.py``, so this is tried where versions are named, as in
``test_build.py``. That members join and leave on each init system is shown by ``test_members.py`` at each run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import releases, vault
from lab.releases import Release
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    begin_deploy,
    deploy,
    etcd_processes,
    inventory_variant,
    member_list,
    members,
    own_lab,
    start_times,
    wait_for,
)
from tests.lab.fault_helpers import events_of
from tests.lab.load import client_pair
from tests.lab.register.workload import clients_at_work

VERSION = os.environ.get("ETCDFLEET_BUILD_ETCD", "").rpartition(",")[2]
CLUSTER = "mv-five"
pytestmark = pytest.mark.skipif(not VERSION, reason="ETCDFLEET_BUILD_ETCD names no version to compile")


@pytest.fixture(scope="module", name="made")
def _made(lab_machine: None) -> dict[str, Release]:  # noqa: ARG001
    return {one.architecture: one for one in releases.built(VERSION, ["amd64", "arm"])}


@pytest.fixture(scope="module", name="lab")
def _lab(made: dict[str, Release]) -> Iterator[LabHandle]:  # noqa: ARG001  first compiled, then brought up
    with own_lab("test-grow", TOPOLOGIES / "grow.yaml") as handle:
        yield handle


def with_members(handle: LabHandle, folder: Path, made: dict[str, Release], *numbers: int) -> Path:
    """The configuration of a cluster of these hosts, installed from what was compiled."""
    source = {name: {"file": str(one.file), "sha256": one.sha256} for name, one in made.items()}

    def edit(files: dict[str, Any]) -> None:
        install = {"method": "archive", "version": VERSION, "source": source}
        files["inventory/groups.yaml"][CLUSTER]["data"]["install"] = install
        for host in members(handle, CLUSTER):
            if int(host.rpartition("-")[2]) not in numbers:
                del files["inventory/hosts.yaml"][host]

    return inventory_variant(handle, folder, edit)


def test_from_one_to_five_and_back_to_three(lab: LabHandle, made: dict[str, Release], tmp_path: Path) -> None:
    hosts = members(lab, CLUSTER)
    one, three, five = (with_members(lab, tmp_path, made, *range(1, count + 1)) for count in (1, 3, 5))
    begun = deploy(lab, config=one, timeout=900)
    assert begun.exit_code == 0, begun.text
    started, snapshots = start_times(lab)[hosts[0]], ("--snapshot-dir", str(tmp_path / "snapshots"))
    with clients_at_work(lab, client_pair(lab, tmp_path, CLUSTER, "root"), "five", hosts[:1]) as work:
        grown = deploy(lab, *snapshots, config=three, timeout=1800)
        assert grown.exit_code == 0, grown.text
        assert {entry["name"] for entry in member_list(lab, hosts[0])} == set(hosts[:3])
        work.use(*hosts[:3])

        # The fourth loses its network while it joins: a learner has no vote, and the same command goes on.
        joining = begin_deploy(lab, *snapshots, config=five)
        wait_for("the fourth joins", lambda: hosts[3] in events_of(joining.events(), "step_started", "start"), 600)
        lab.cut(hosts[3])
        cut = joining.finish(1800)
        lab.heal(hosts[3])
        assert cut.exit_code != 0, cut.text
        # And Vault is sealed before the fifth has its certificates. The lock that the run before had on the host that
        # was cut off would end by itself within a minute.
        joining = begin_deploy(lab, *snapshots, "--break-lock", "--yes", config=five)
        wait_for("the fifth", lambda: hosts[4] in events_of(joining.events(), "step_started", "install"), 600)
        vault.seal(lab.plan)
        sealed = joining.finish(1800)
        vault.unseal(lab.plan)
        assert sealed.exit_code == 1, sealed.text
        assert "seal" in sealed.text
        grown = deploy(lab, *snapshots, config=five, timeout=1800)
        assert grown.exit_code == 0, grown.text
        assert {entry["name"] for entry in member_list(lab, hosts[0])} == set(hosts)
        work.use(*hosts)
        for runbook in ("verify", "status"):
            looked = deploy(lab, runbook=runbook, config=five)
            assert looked.exit_code == 0, looked.text

        work.use(*hosts[:3])
        for gone in hosts[:2:-1]:
            left = deploy(lab, gone, "--yes", *snapshots, runbook="remove_member", config=five)
            assert left.exit_code == 0, left.text
            assert etcd_processes(lab, gone) == []
        last = deploy(lab, config=three, timeout=900)
        assert last.exit_code == 0, last.text
    print(work.story())
    assert work.violations == [], work.story()
    assert work.gaps.most_retries <= 1, work.story()
    assert {entry["name"] for entry in member_list(lab, hosts[0])} == set(hosts[:3])
    assert start_times(lab)[hosts[0]] == started, "the first member was never restarted"
    again = deploy(lab, config=three, timeout=900)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
