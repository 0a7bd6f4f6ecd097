"""Clusters are brought back from a snapshot by one command, whatever is left of them, and wherever a run is killed.

On both init systems, with etcd 3.4 (authentication on) and 3.5.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.state import PROJECT
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    Running,
    begin_deploy,
    deploy,
    etcd_processes,
    etcdctl,
    inventory_variant,
    member_list,
    members,
    on_host,
    output,
    own_lab,
    unhealthy,
    wait_for,
)
from tests.lab.fault_helpers import events_of, protection

CLUSTERS = ("rs-sd", "rs-rc")
KEYS = 20
DATA = "/var/lib/etcd"
MARKER = "/etc/etcd/cluster.json"


@pytest.fixture(scope="module")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("restore", TOPOLOGIES / "restore.yaml") as handle:
        yield handle


@pytest.fixture(scope="module")
def config(lab: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Authentication is on in the cluster of Debian hosts."""

    def edit(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"]["rs-sd"]["data"]["auth"] = {"enabled": True}

    return inventory_variant(lab, tmp_path_factory.mktemp("restore"), edit)


@pytest.fixture(scope="module")
def snapshots(lab: LabHandle, config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both clusters, deployed, with some keys, and a snapshot of each, as a person takes it; one key came after it."""
    outcome = deploy(lab, config=config, timeout=600)
    assert outcome.exit_code == 0, outcome.text
    found = {}
    for cluster in CLUSTERS:
        first = members(lab, cluster)[0]
        for number in range(KEYS):
            assert etcdctl(lab, first, f"put key-{number} value").returncode == 0
        assert etcdctl(lab, first, "snapshot save /root/snapshot.db").returncode == 0
        encoded = output(lab, first, "base64 /root/snapshot.db")
        path = tmp_path_factory.mktemp(cluster) / "by-hand.db"
        path.write_bytes(base64.b64decode(encoded))
        assert etcdctl(lab, first, "put later value").returncode == 0
        found[cluster] = path
    return found


def service(host: str, action: str) -> str:
    return f"systemctl {action} etcd" if host.startswith("rs-sd") else f"rc-service -q etcd {action}"


def restore(handle: LabHandle, config: Path, cluster: str, *args: str) -> Outcome:
    """The runbook, the cluster's name given in place of typed."""
    return begin(handle, config, cluster, *args).finish(600)


def begin(handle: LabHandle, config: Path, cluster: str, *args: str) -> Running:
    given = ("--cluster", cluster, "--confirm", cluster, "--snapshot-dir", str(config.parent / "snapshots"))
    return begin_deploy(handle, *args, *given, config=config, runbook="restore")


def marker(handle: LabHandle, host: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output(handle, host, f"cat {MARKER}"))
    return found


def keys_at(handle: LabHandle, host: str) -> set[str]:
    """The keys that a linearizable read through this host's member finds."""
    done = etcdctl(handle, host, "get '' --prefix --keys-only")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def assert_restored(handle: LabHandle, config: Path, cluster: str, restores: int, *more: str) -> None:
    """All keys of the snapshot on every member and no other but these, one identity, and nothing left to do."""
    wanted = {f"key-{number}" for number in range(KEYS)} | set(more)
    assert unhealthy(handle, cluster) == ""
    for host in members(handle, cluster):
        assert keys_at(handle, host) == wanted, host
    listed = member_list(handle, members(handle, cluster)[0])
    assert sorted(member["name"] for member in listed) == members(handle, cluster)
    assert not any(member.get("isLearner") for member in listed)
    notes = [marker(handle, host) for host in members(handle, cluster)]
    assert {note["restores"] for note in notes} == {restores}
    assert len({(note["token"], note["cluster_id"], note["restore"]["snapshot"]) for note in notes}) == 1
    assert all(note["restore"]["done"] for note in notes)
    for host in members(handle, cluster):
        assert on_host(handle, host, f"ls -d {DATA}/restoring-*").returncode != 0
        owners = output(handle, host, f"find {DATA}/member ! -user etcd").split()
        assert owners == []
    again = deploy(handle, "--cluster", cluster, config=config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
    status = deploy(handle, "--cluster", cluster, config=config, runbook="status")
    assert status.exit_code == 0, status.text


def test_all_data_directories_are_lost(lab: LabHandle, config: Path, snapshots: dict[str, Path]) -> None:
    """One host is as new, on the others the marker is left: deploy begins nothing anew, the restore brings all back."""
    cluster = "rs-sd"
    first, second, third = members(lab, cluster)
    before = marker(lab, first)["restores"]
    for host in (first, second, third):
        on_host(lab, host, service(host, "stop"))
        output(lab, host, f"rm -rf {DATA}/member")
    output(lab, first, f"rm {MARKER}")
    protection(deploy(lab, "--cluster", cluster, config=config), cluster)
    file = str(snapshots[cluster])
    check = restore(lab, config, cluster, file, "--check")
    assert check.exit_code == 0, check.text
    assert "20 keys" in check.in_one_line
    assert "no member answers" in check.in_one_line
    assert all(etcd_processes(lab, host) == [] for host in (first, second, third))
    outcome = restore(lab, config, cluster, file)
    assert outcome.exit_code == 0, outcome.text
    assert "20 keys, as in the snapshot" in outcome.step(first, "start")["summary"]
    assert_restored(lab, config, cluster, before + 1)
    same = restore(lab, config, cluster, file)
    assert (same.exit_code, set(same.changed.values())) == (0, {0}), same.text


MOMENTS = {
    "rs-sd": (("data", 2), ("start", 1)),
    "rs-rc": (("stop", 1), ("restore", 1), ("start", 1), ("member", 1)),
}
"""A run is killed at the end of these steps on so many hosts. What is done by then is not told again by the next.

That it goes on from everywhere is shown by tests/unit/etcd/test_restoration.py, which kills at each pair of moments.
"""


@pytest.mark.parametrize(
    "cluster",
    [
        "rs-rc",
        pytest.param(
            "rs-sd",
            marks=pytest.mark.thorough(
                "unit/etcd/test_restoration.py::test_a_run_that_is_killed_anywhere_is_completed_and_restores_once"
            ),
        ),
    ],
)
def test_a_run_that_is_killed_again_and_again_is_completed_by_the_same_command(
    lab: LabHandle, config: Path, snapshots: dict[str, Path], cluster: str
) -> None:
    """Of a cluster that works: it goes back in time, which is said, and a last snapshot is taken. What clients write
    as soon as the restored member serves is kept: nothing is restored twice."""
    names, file = members(lab, cluster), str(snapshots[cluster])
    before = marker(lab, names[0])["restores"]
    since: list[str] = []
    assert etcdctl(lab, names[0], "put lost value").returncode == 0
    begun_with = ("--anew",)
    for step, hosts in MOMENTS[cluster]:
        run = begin(lab, config, cluster, file, *begun_with)

        def reached(run: Running = run, step: str = step, hosts: int = hosts) -> bool:
            assert run.process.poll() is None, run.finish().text
            return len(set(events_of(run.events(), "step_finished", step))) >= hosts

        wait_for(f"{step} on {hosts}", reached, 120, every=0.005)
        run.kill()
        if step == "start":
            assert etcdctl(lab, names[0], "put since value").returncode == 0
            since = ["since"]
        if step in ("data", "restore"):
            refused = protection(deploy(lab, "--cluster", cluster, config=config), cluster)
            assert "a restore of this cluster is under way" in refused.what
            other = deploy(lab, "--cluster", cluster, config=config, runbook="status")
            assert other.exit_code != 0
    outcome = restore(lab, config, cluster, file)
    assert outcome.exit_code == 0, outcome.text
    assert_restored(lab, config, cluster, before + 1, *since)
    saved = list((config.parent / "snapshots" / cluster).glob("*.db"))
    assert any(b"lost" in path.read_bytes() for path in saved)


@pytest.mark.parametrize(
    "cluster",
    [
        "rs-rc",
        pytest.param(
            "rs-sd",
            marks=pytest.mark.thorough(
                "unit/plays/test_restore.py::test_the_snapshot_is_taken_of_what_a_lone_member_has_once_the_name_is_typed",
                "unit/etcd/test_restoration.py::test_a_lone_survivor",
            ),
        ),
    ],
)
def test_only_a_follower_is_left(lab: LabHandle, config: Path, snapshots: dict[str, Path], cluster: str) -> None:
    """A copy of its data gives the snapshot: nothing that was written is lost, and nothing of the copy stays there.

    On OpenRC the first run is killed once it has the snapshot.
    """
    before = marker(lab, members(lab, cluster)[0])["restores"]
    wanted = keys_at(lab, members(lab, cluster)[0]) | {"last"}
    assert etcdctl(lab, members(lab, cluster)[0], "put last value").returncode == 0
    leads = json.loads(etcdctl(lab, members(lab, cluster)[0], "endpoint status -w json").stdout)[0]["Status"]["leader"]
    names = {member["ID"]: member["name"] for member in member_list(lab, members(lab, cluster)[0])}
    lone = next(host for host in members(lab, cluster) if host != names[leads])
    for host in members(lab, cluster):
        if host != lone:
            on_host(lab, host, f"{service(host, 'stop')}; rm -rf {DATA}/member")
    if cluster == "rs-rc":
        said = restore(lab, config, cluster)
        assert f"1. what {lone} has, " in said.stdout, said.text
        assert f"python runbooks/restore.py --from-member {lone} --cluster {cluster}\n" in said.stdout
        run = begin(lab, config, cluster, "--from-member", lone)
        wait_for("the snapshot", lambda: events_of(run.events(), "step_finished", "snapshot") != [], 120, every=0.005)
        run.kill()
        assert on_host(lab, lone, f"test -e {DATA}/member/wal").returncode == 0
    outcome = restore(lab, config, cluster, "--from-member", lone)
    assert outcome.exit_code == 0, outcome.text
    assert all(keys_at(lab, host) == wanted for host in members(lab, cluster))
    assert {marker(lab, host)["restores"] for host in members(lab, cluster)} == {before + 1}
    assert "restoring-" not in output(lab, lone, f"ls {DATA}")
    assert len(etcd_processes(lab, lone)) == 1
    assert snapshots[cluster].exists()


@pytest.mark.thorough(
    "unit/plays/test_restore.py::test_hosts_that_are_left_out_are_not_touched_and_are_told_of",
    "unit/etcd/test_restoration.py::test_a_host_that_is_left_out_takes_no_part",
    "lab/test_restored.py::test_data_from_before_the_restore_are_refused_and_the_remedy_helps",
)
def test_a_member_that_was_left_out_comes_back_with_old_data(
    lab: LabHandle, config: Path, snapshots: dict[str, Path]
) -> None:
    """Etcd refuses it, status and verify say what it is, and it is brought in with its old data kept."""
    cluster, file = "rs-sd", str(snapshots["rs-sd"])
    first, second, third = members(lab, cluster)
    lab.stop(third)
    other = begin_deploy(
        lab, file, "--cluster", cluster, "--confirm", cluster, "--anew", config=config, runbook="restore"
    ).finish(300)
    refused = protection(other, cluster)
    assert f"{third} cannot be read" in refused.what
    assert f"--without {third}" in refused.remedy
    outcome = restore(lab, config, cluster, file, "--anew", "--without", third)
    assert outcome.exit_code == 0, outcome.text
    assert sorted(member["name"] for member in member_list(lab, first)) == [first, second]
    lab.start(third)
    wait_for("its etcd to run", lambda: etcd_processes(lab, third) != [], 90)
    assert len(keys_at(lab, second)) == KEYS
    status = deploy(lab, "--cluster", cluster, config=config, runbook="status")
    assert status.exit_code == 1, status.text
    assert f"python runbooks/replace_member.py {third}" in status.in_one_line
    replaced = deploy(lab, third, "--yes", config=config, runbook="replace_member")
    assert replaced.exit_code == 0, replaced.text
    assert unhealthy(lab, cluster) == ""
    assert len(keys_at(lab, third)) == KEYS
    again = deploy(lab, "--cluster", cluster, config=config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


@pytest.mark.thorough(
    "unit/plays/test_restore.py::test_a_folder_with_data_gives_the_snapshot_before_anything_is_asked",
    "unit/plays/test_restore.py::test_what_was_taken_of_a_folder_is_found_again",
    "unit/plays/test_sources.py::test_a_cluster_that_works",
    "lab/test_restore.py::test_only_a_follower_is_left",
)
def test_a_restore_that_went_too_far_back_is_undone_from_what_was_moved_aside(
    lab: LabHandle, config: Path, snapshots: dict[str, Path]
) -> None:
    """Without a source it says what there is, and changes nothing; the command that it gives is the one that is run."""
    cluster, first = "rs-rc", members(lab, "rs-rc")[0]
    wanted = keys_at(lab, first) | {"wanted"}
    assert etcdctl(lab, first, "put wanted value").returncode == 0
    too_far = restore(lab, config, cluster, str(snapshots[cluster]), "--anew")
    assert too_far.exit_code == 0, too_far.text
    assert "wanted" not in keys_at(lab, first)
    said = restore(lab, config, cluster)
    assert (said.exit_code, set(said.changed.values())) == (0, {0}), said.text
    assert "so nothing has to be restored" in said.in_one_line
    offered = re.findall(r"restore\.py --from-data (\S+) --cluster rs-rc\n", said.stdout)
    outcome = restore(lab, config, cluster, "--from-data", offered[0])
    assert outcome.exit_code == 0, outcome.text
    assert all(keys_at(lab, host) == wanted for host in members(lab, cluster))
    same = restore(lab, config, cluster, "--from-data", offered[0])
    assert (same.exit_code, set(same.changed.values())) == (0, {0}), same.text


@pytest.mark.usefixtures("snapshots")
def test_the_benchmark_of_a_way_back_works(lab: LabHandle) -> None:
    """In a short form; no time is asserted. It fails itself when a command fails, or a member serves no read then."""
    how = ["--lab", lab.name, "--cluster", "rs-cl", "--mib", "2", "--once"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.backup", *how], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rows = done.stdout.partition("rs-cl, 1 members")[2].splitlines()[2:]
    assert [row.partition(",")[0].split()[0] for row in rows] == ["by", *["backup.py"] * 2, *["restore.py"] * 2]
    assert "served after" in rows[4]


@pytest.mark.usefixtures("snapshots")
def test_a_cluster_that_lost_everything_does_not_begin_beside_its_backup(lab: LabHandle) -> None:
    """The host is as a new one: neither data nor anything else of ours. The backup is where it is by default."""
    cluster = "rs-cl"
    (host,) = members(lab, cluster)
    assert etcdctl(lab, host, "put precious pearls").returncode == 0
    taken = deploy(lab, "--cluster", cluster, runbook="backup")
    assert taken.exit_code == 0, taken.text
    output(lab, host, f"systemctl stop etcd; rm -rf {DATA}/* /etc/etcd")
    for args in (("--check",), (), ("--yes",)):
        block = protection(deploy(lab, "--cluster", cluster, *args), cluster)
        assert "its hosts have no data" in block.what
        assert f"--cluster {cluster} brings its data back" in block.remedy
        assert on_host(lab, host, "test -e /etc/etcd").returncode != 0, "nothing was placed"
    command = block.remedy.partition("runbooks/restore.py ")[2].split()[0]
    restored = deploy(lab, command, "--cluster", cluster, "--confirm", cluster, runbook="restore", timeout=300)
    assert restored.exit_code == 0, restored.text
    assert etcdctl(lab, host, "get precious").stdout == "precious\npearls\n"

    # The disk is lost once more, the system is not: its marker says that it was restored from this.
    output(lab, host, f"systemctl stop etcd; rm -rf {DATA}/member")
    block = protection(deploy(lab, "--cluster", cluster), cluster)
    assert "runbooks/restore.py" in block.remedy
    once_more = deploy(lab, command, "--cluster", cluster, "--confirm", cluster, runbook="restore", timeout=300)
    assert once_more.exit_code == 0, once_more.text
    assert etcdctl(lab, host, "get precious").stdout == "precious\npearls\n"

    output(lab, host, f"systemctl stop etcd; rm -rf {DATA}/* /etc/etcd")
    meant = deploy(lab, "--cluster", cluster, "--confirm", cluster)
    assert meant.exit_code == 0, meant.text
    assert keys_at(lab, host) == set()


def test_a_copy_of_another_cluster_comes_from_the_store_for_clients_that_watch(
    lab: LabHandle, snapshots: dict[str, Path], tmp_path: Path
) -> None:
    """With authentication, and of the minor version before: users and keys are those of the other cluster."""
    source, copy = "rs-sd", "rs-cl"
    (host,) = members(lab, copy)

    def edit(files: dict[str, Any]) -> None:
        for cluster in (source, copy):
            data = files["inventory/groups.yaml"][cluster]["data"]
            data["backup"] = {"folder": str(tmp_path / "here"), "url": f"file://{tmp_path}/store"}
            data.setdefault("cluster", {})["clients"] = "kubernetes"
        files["inventory/groups.yaml"][source]["data"]["auth"] = {"enabled": True}

    own = inventory_variant(lab, tmp_path / "own", edit)
    taken = deploy(lab, "--cluster", source, config=own, runbook="backup")
    assert taken.exit_code == 0, taken.text
    shutil.rmtree(tmp_path / "here")
    assert etcdctl(lab, host, "put own value").returncode == 0
    outcome = restore(lab, own, copy, "latest", "--clone", source)
    assert outcome.exit_code == 0, outcome.text
    assert f"was brought from file://{tmp_path}/store" in outcome.in_one_line
    assert keys_at(lab, host) == keys_at(lab, members(lab, source)[0])
    assert etcdctl(lab, host, "user list").stdout.split() == ["root"]
    found = json.loads(etcdctl(lab, host, "-w json get key-1").stdout)
    assert found["header"]["revision"] > 10**9
    watched = etcdctl(lab, host, "watch key-1 --rev=2", seconds=5)
    assert "compacted" in watched.stdout + watched.stderr
    assert snapshots[source].exists()
