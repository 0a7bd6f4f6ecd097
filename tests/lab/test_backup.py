"""Backups of two clusters while clients write, looked at from outside by etcdutl; and whatever can go wrong with them.

One cluster of each init system; the second with authentication on.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from lab import hosts, releases
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    deploy,
    etcdctl,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.load import client_pair
from tests.lab.register.workload import clients_at_work
from tests.s3 import s3_server

SD, RC = CLUSTERS = ("bk-sd", "bk-rc")
each = pytest.mark.parametrize("cluster", CLUSTERS)
systemd, openrc = (pytest.mark.parametrize("cluster", [name]) for name in CLUSTERS)  # what is the same on both


@pytest.fixture(scope="module")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-backup", TOPOLOGIES / "backup.yaml") as handle:
        yield handle


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of backups of all tests."""
    return tmp_path_factory.mktemp("backups") / "all of them"


@pytest.fixture(scope="module")
def config(lab: LabHandle, snapshots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of both clusters, which are deployed with it."""

    def edit(files: dict[str, Any]) -> None:
        for cluster in CLUSTERS:
            data = files["inventory/groups.yaml"][cluster]["data"]
            data["backup"] = {"folder": str(snapshots), "daily": 2, "weekly": 0, "monthly": 0, "max_age": "36h"}
        data["auth"] = {"enabled": True}
        data.setdefault("pki", {})["client_common_name"] = "root"

    config = inventory_variant(lab, tmp_path_factory.mktemp("config"), edit)
    outcome = deploy(lab, config=config, timeout=600)
    assert outcome.exit_code == 0, outcome.text
    return config


def backup(handle: LabHandle, config: Path, *args: str) -> Outcome:
    return deploy(handle, *args, config=config, runbook="backup")


def copies(folder: Path, cluster: str) -> list[Path]:
    """All files of snapshots of a cluster, by their names: the oldest first."""
    return sorted((folder / cluster).glob(f"{cluster}-*.db"))


def note(copy: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(copy.with_suffix(".json").read_text())
    return found


def etcdutl(*args: str) -> str:
    """Etcd's own tool, on the controller."""
    argv = [str(releases.binary("etcdutl")), *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def restores(copy: Path, folder: Path) -> None:
    """Etcdutl checks its hash, and makes data of it."""
    into = folder / copy.stem
    etcdutl("snapshot", "restore", str(copy), "--data-dir", str(into))
    shutil.rmtree(into)


def aged(copy: Path, days: int) -> Path:
    """The same backup once more, as if it had been taken so many days before."""
    said = note(copy)
    when = datetime.fromisoformat(said["taken"]) - timedelta(days=days)
    older = copy.with_name(f"{said['cluster']}-{when.astimezone(UTC):%Y%m%dT%H%M%SZ}-{said['revision']}.db")
    shutil.copy(copy, older)
    said["taken"] = when.isoformat(timespec="seconds")
    older.with_suffix(".json").write_text(json.dumps(said))
    return older


def flip(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)


def leader(handle: LabHandle, cluster: str) -> str:
    """The host of the leader."""
    for host in members(handle, cluster):
        done = etcdctl(handle, host, "-w json endpoint status")
        status = json.loads(done.stdout)[0]["Status"] if done.returncode == 0 else {}
        if status and status.get("leader") == status["header"]["member_id"]:
            return host
    raise AssertionError(f"{cluster} has no leader")


def test_both_clusters_while_clients_write(lab: LabHandle, config: Path, snapshots: Path, tmp_path: Path) -> None:
    running, metrics = start_times(lab), tmp_path / "backup.prom"
    none = deploy(lab, config=config, runbook="status")
    assert none.exit_code == 1, none.text
    assert "there is no good backup of it on this machine" in none.in_one_line

    sd, rc = (client_pair(lab, tmp_path, cluster, "root") for cluster in CLUSTERS)
    with (
        clients_at_work(lab, sd, "during", members(lab, SD)) as first,
        clients_at_work(lab, rc, "during", members(lab, RC)) as second,
    ):
        time.sleep(2)
        told = {cluster: len(work.calls) for cluster, work in ((SD, first), (RC, second))}
        outcome = backup(lab, config, "--textfile", str(metrics))
    assert outcome.exit_code == 0, outcome.text
    for work in (first, second):
        print(work.story())
        assert work.violations == [], work.story()
    assert min(told.values()) > 20

    for cluster in CLUSTERS:
        (copy,) = copies(snapshots, cluster)
        said, seen = note(copy), json.loads(etcdutl("-w", "json", "snapshot", "status", str(copy)))
        assert (said["revision"], said["size"]) == (seen["revision"], copy.stat().st_size)
        assert said["revision"] > 1
        assert said["auth"] is (cluster == RC)
        assert said["member"] in members(lab, cluster)
        assert {one["name"] for one in said["members"]} == set(members(lab, cluster))
        assert isinstance(said["key_hash"], int)
        assert copy.stat().st_mode & 0o777 == copy.with_suffix(".json").stat().st_mode & 0o777 == 0o600
        restores(copy, tmp_path)
        for host in members(lab, cluster):
            left = on_host(lab, host, "ls -d /var/lib/etcdfleet-snapshot.* /var/tmp/etcdfleet-snapshot.* 2>/dev/null")
            assert left.stdout == ""
        assert f'etcdfleet_backup_last_good_seconds{{cluster="{cluster}"}}' in metrics.read_text()
    assert start_times(lab) == running

    shown = deploy(lab, config=config, runbook="status")
    assert shown.exit_code == 0, shown.text
    assert re.search(r"backup \d+ s ago", shown.in_one_line), shown.text
    listed = backup(lab, config, "--list")
    assert listed.exit_code == 0, listed.text
    for cluster in CLUSTERS:
        assert copies(snapshots, cluster)[0].name in listed.stdout
    assert backup(lab, config, "--verify").exit_code == 0


@pytest.mark.thorough(
    "unit/backup/test_thin.py::test_a_bad_one_pushes_out_nothing_and_stays",
    "unit/backup/test_thin.py::test_the_last_good_one_stays_whatever_the_counts_say",
    "unit/backup/test_thin.py::test_snapshots_from_before_a_change_and_foreign_files_neither_count_nor_go",
    "unit/backup/test_store.py::test_a_bad_one_never_counts_and_is_told",
    "unit/tasks/test_backup.py::test_all_copies_are_read_again",
    "unit/tasks/test_backup.py::test_the_list_has_what_counts_and_what_does_not",
)
@systemd
def test_a_damaged_copy_neither_counts_nor_pushes_out_a_good_one(
    lab: LabHandle, config: Path, snapshots: Path, cluster: str
) -> None:
    good = copies(snapshots, cluster)[-1]
    older = [aged(good, days) for days in (1, 2, 3, 4)]
    flip(older[0])
    mine = snapshots / cluster / "mine.db"
    mine.write_text("not of this project")
    foreign = snapshots / cluster / f"{cluster}-20200101T000000Z-5.db"
    foreign.write_text("not of this project")

    found = backup(lab, config, "--verify", "--cluster", cluster)
    assert found.exit_code == 1, found.text
    assert f"{older[0]}: this is no good snapshot: its hash does not fit its contents" in found.in_one_line
    assert "it has no note" in found.in_one_line

    outcome = backup(lab, config, "--cluster", cluster)
    assert outcome.exit_code == 0, outcome.text
    assert "its hash does not fit its contents" in outcome.in_one_line
    # Two days are kept: that of today, and in place of the damaged one of yesterday that of the day before.
    taken = copies(snapshots, cluster)
    assert not older[2].exists(), outcome.text
    assert not older[3].exists(), outcome.text
    assert {older[0], older[1], foreign} <= set(taken)
    assert mine.exists()

    # The newest is cut off: the one before it is the newest that counts, and nothing goes.
    newest = [copy for copy in taken if copy.with_suffix(".json").exists()][-1]
    newest.write_bytes(newest.read_bytes()[:-4096])
    listed = backup(lab, config, "--list", "--cluster", cluster)
    assert f"does not count: {newest.name}: it has" in listed.in_one_line, listed.text
    assert backup(lab, config, "--verify", "--cluster", cluster).exit_code == 1
    again = backup(lab, config, "--cluster", cluster)
    assert again.exit_code == 0, again.text
    assert older[1].exists()
    for copy in (older[0], newest, foreign):
        copy.unlink()
    assert backup(lab, config, "--verify", "--cluster", cluster).exit_code == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of this size under a folder of the controller."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "backup", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.thorough(
    "unit/tasks/members/test_snapshot.py::test_where_it_cannot_fit_the_member_is_not_asked",
    "unit/tasks/test_backup.py::test_a_folder_in_which_nothing_can_be_kept_is_said_before_a_member_is_asked",
    "unit/plays/test_backup.py::test_where_nothing_can_be_kept_no_member_is_asked",
    "unit/plays/test_backup.py::test_without_a_new_one_no_old_one_goes",
)
def test_a_disk_that_is_full_is_said_and_nothing_of_it_stays(
    lab: LabHandle, config: Path, snapshots: Path, tmp_path: Path
) -> None:
    host = members(lab, SD)[0]
    for number in range(20):
        done = etcdctl(lab, host, f"put /large/{number} \"$(head -c 100000 /dev/zero | tr '\\0' x)\" >/dev/null")
        assert done.returncode == 0, done.stderr
    place = tmp_path / "small"
    with small_disk(place, "1m"):
        good = copies(snapshots, SD)[0]
        (place / SD).mkdir()
        outcome = backup(lab, config, "--cluster", SD, "--folder", str(place))
        assert outcome.exit_code == 1, outcome.text
        assert "the snapshot cannot be kept: it takes" in outcome.in_one_line
        assert "make room on this machine" in outcome.in_one_line
        assert list((place / SD).iterdir()) == []
    assert good.exists()
    after = backup(lab, config, "--cluster", SD)
    assert after.exit_code == 0, after.text
    assert copies(snapshots, SD)[-1].stat().st_size > 2_000_000


@pytest.mark.thorough(
    "unit/plays/test_backup.py::test_another_member_gives_it_where_the_leader_does_not",
    "unit/plays/test_backup.py::test_without_a_new_one_no_old_one_goes",
)
@openrc
def test_hosts_that_are_dead(lab: LabHandle, config: Path, snapshots: Path, cluster: str) -> None:
    before = copies(snapshots, cluster)
    first = leader(lab, cluster)
    others = [host for host in members(lab, cluster) if host != first]
    lab.stop(first)
    try:
        wait_for("a new leader", lambda: serves(lab, others[0]), timeout=60)
        outcome = backup(lab, config, "--cluster", cluster)
        assert outcome.exit_code == 0, outcome.text
        copy = copies(snapshots, cluster)[-1]
        assert copy not in before
        assert note(copy)["member"] != first

        kept = copies(snapshots, cluster)
        lab.stop(others[0])
        wait_for("no leader", lambda: not serves(lab, others[1]), timeout=60)
        refused = backup(lab, config, "--cluster", cluster)
        assert refused.exit_code == 1, refused.text
        assert "no backup was taken" in refused.in_one_line
        assert copies(snapshots, cluster) == kept
    finally:
        lab.run("up")
    wait_for("all members are back", lambda: unhealthy(lab, cluster) == "", timeout=120)


def serves(handle: LabHandle, host: str) -> bool:
    """Whether a linearizable read through the member of this host works."""
    return etcdctl(handle, host, "get x", seconds=3).returncode == 0


PROOF = """
cd /var/tmp/proof || exit
ask() { ETCDCTL_API=3 etcdctl --endpoints=http://127.0.0.1:12379 "$@"; }
ETCDCTL_API=3 etcdctl snapshot restore snapshot.db --data-dir data >log 2>&1 || exit
etcd --data-dir data --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls http://127.0.0.1:12379 \
  --listen-peer-urls http://127.0.0.1:12380 >>log 2>&1 &
for _ in $(seq 50); do ask get /proof >/dev/null 2>&1 && break; sleep 0.2; done
ask get /proof --print-value-only
ask get '' --from-key --keys-only | grep -c .
ask -w json endpoint hashkv --rev=REVISION
kill $!; wait $!; rm -rf /var/tmp/proof"""


def test_a_backup_gives_back_what_was_written(lab: LabHandle, config: Path, snapshots: Path) -> None:
    """From outside: etcd is started from the copy, and has the keys of the note and the value that was written."""
    host = members(lab, SD)[0]
    assert etcdctl(lab, host, "put /proof written").returncode == 0
    outcome = backup(lab, config, "--cluster", SD)
    assert outcome.exit_code == 0, outcome.text
    copy = copies(snapshots, SD)[-1]
    output(lab, host, "rm -rf /var/tmp/proof && mkdir /var/tmp/proof")
    argv = hosts.enter_command(lab.plan, lab.plan.host(host), ["cat >/var/tmp/proof/snapshot.db"])
    subprocess.run(argv, input=copy.read_bytes(), check=True, capture_output=True, timeout=60)
    value, keys, hashed = output(lab, host, PROOF.replace("REVISION", str(note(copy)["revision"]))).splitlines()
    assert value == "written"
    assert int(keys) == note(copy)["keys"]
    assert json.loads(hashed)[0]["HashKV"]["hash"] == note(copy)["key_hash"]


@each
def test_the_newest_is_restored_for_a_trial_and_nothing_of_that_stays(
    lab: LabHandle, config: Path, snapshots: Path, tmp_path: Path, cluster: str
) -> None:
    metrics, running = tmp_path / "drill.prom", start_times(lab)
    assert backup(lab, config, "--cluster", cluster).exit_code == 0
    copy = copies(snapshots, cluster)[-1]
    outcome = backup(lab, config, "--cluster", cluster, "--drill", "--textfile", str(metrics))
    assert outcome.exit_code == 0, outcome.text
    said = note(copy)
    assert (said["drill"]["good"], said["drill"]["etcd"]) == (True, said["etcd"])
    assert said["drill"]["where"] in members(lab, cluster)
    assert f"{said['keys']} keys, hash {said['key_hash']} as noted" in said["drill"]["says"]
    assert f'etcdfleet_backup_last_drill_seconds{{cluster="{cluster}"}}' in metrics.read_text()

    # A note that says something else, as if the database had been damaged since it was asked for its hash.
    copy.with_suffix(".json").write_text(json.dumps({**said, "key_hash": 1}))
    failed = backup(lab, config, "--cluster", cluster, "--drill")
    assert failed.exit_code == 1, failed.text
    assert f"hash of its keys {said['key_hash']}, and 1 noted" in failed.in_one_line
    assert note(copy)["drill"]["good"] is False
    copy.with_suffix(".json").write_text(json.dumps(said))

    assert start_times(lab) == running
    assert unhealthy(lab, cluster) == ""
    for host in members(lab, cluster):
        left = on_host(lab, host, "ls -d /var/tmp/etcdfleet-drill.* /var/lib/etcdfleet-drill.* 2>/dev/null")
        assert left.stdout == ""
    shown = deploy(lab, "--cluster", cluster, config=config, runbook="status")
    assert re.search(r"restored for a trial \d+ s ago", shown.in_one_line), shown.text


@pytest.mark.thorough(
    "unit/backup/test_offhost.py::test_with_a_real_server",
    "unit/backup/test_offhost.py::test_another_key_decrypts_nothing",
    "unit/backup/test_offhost.py::test_old_copies_go_with_their_notes_and_nothing_else",
    "unit/tasks/test_backup.py::test_copies_go_off_this_machine_and_old_ones_there_go",
    "unit/tasks/test_backup.py::test_a_store_that_cannot_be_reached_hides_nothing_of_this_machine",
    "unit/plays/test_backup.py::test_copies_go_off_this_machine_last",
    "lab/test_restore.py::test_a_copy_of_another_cluster_comes_from_the_store_for_clients_that_watch",
)
@pytest.mark.usefixtures("config")
def test_copies_in_a_real_s3_server(lab: LabHandle, snapshots: Path, tmp_path: Path) -> None:
    """Encrypted, among objects of others; a byte that is flipped there, the wrong key, and a server that is gone."""
    identity = pyrage.x25519.Identity.generate()

    def edit(files: dict[str, Any]) -> None:
        for cluster in CLUSTERS:
            own = {"folder": str(snapshots), "daily": 2, "weekly": 0, "monthly": 0}
            own |= {"url": "s3://bucket/etcd", "recipients": [str(identity.to_public())]}
            files["inventory/groups.yaml"][cluster]["data"]["backup"] = own
        files["inventory/groups.yaml"][RC]["data"]["auth"] = {"enabled": True}

    away, place = inventory_variant(lab, tmp_path, edit), tmp_path / "s3" / "bucket" / "etcd"
    foreign = place / SD / "of-somebody-else.db.age"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    with s3_server(tmp_path / "s3") as there:
        outcome = deploy(lab, config=away, runbook="backup", env=there)
        assert outcome.exit_code == 0, outcome.text
        for cluster in CLUSTERS:
            copy = copies(snapshots, cluster)[-1]
            sent = place / cluster / f"{copy.name}.age"
            assert pyrage.decrypt(sent.read_bytes(), [identity]) == copy.read_bytes()
            with pytest.raises(pyrage.DecryptError):
                pyrage.decrypt(sent.read_bytes(), [pyrage.x25519.Identity.generate()])
        time.sleep(1.1)  # the server knows files by their time
        flip(sent)
        found = deploy(lab, "--verify", config=away, runbook="backup", env=there)
        assert found.exit_code == 1, found.text
        assert f"{sent.name}: the copy there is not what was put there" in found.in_one_line
        listed = deploy(lab, "--list", config=away, runbook="backup", env=there)
        assert f"does not count: {sent.name}" in listed.in_one_line, listed.text
        # The next backup of this day takes its place here; what is bad there stays until a person has looked at it.
        again = deploy(lab, config=away, runbook="backup", env=there)
        assert again.exit_code == 0, again.text
        assert sent.exists()
        assert (place / RC / f"{copies(snapshots, RC)[-1].name}.age").exists()
        sent.unlink()
        sound = deploy(lab, "--verify", config=away, runbook="backup", env=there)
        assert sound.exit_code == 0, sound.text
        assert foreign.read_text() == "mine"
        _comes_back(lab, away, there, copies(snapshots, SD)[-1], identity)
        kept = sorted(path.name for path in place.rglob("*.age"))
    before = copies(snapshots, SD)
    gone = deploy(lab, "--cluster", SD, config=away, runbook="backup", env=there)
    assert gone.exit_code == 1, gone.text
    assert "the store cannot be listed" in gone.in_one_line
    assert copies(snapshots, SD)[-1] not in before, "what is on this machine is good"
    assert sorted(path.name for path in place.rglob("*.age")) == kept
    assert "secret" not in outcome.log + gone.log


def _comes_back(
    lab: LabHandle, config: Path, there: Mapping[str, str], copy: Path, identity: pyrage.x25519.Identity
) -> None:
    """Gone from this machine, a copy is fetched and decrypted by whoever has the secret key, and only then."""
    whole, keys = copy.read_bytes(), [config.parent / name for name in ("wrong.txt", "right.txt")]
    for file, key in zip(keys, (pyrage.x25519.Identity.generate(), identity), strict=True):
        file.write_text(f"{key}\n")
    copy.unlink()
    for given in ((), ("--identity", str(keys[0]))):
        refused = deploy(lab, "--fetch", *given, "--cluster", SD, config=config, runbook="backup", env=there)
        assert refused.exit_code == 1, refused.text
        assert not copy.exists()
    fetched = deploy(
        lab, "--fetch", "--identity", str(keys[1]), "--cluster", SD, config=config, runbook="backup", env=there
    )
    assert fetched.exit_code == 0, fetched.text
    assert copy.read_bytes() == whole
