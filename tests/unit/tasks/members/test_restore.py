"""What a restore does on one host: never to data of its own, never under an etcd that runs, and compared at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.etcd.restore_record import RestoreRecord, begun
from etcdfleet.etcd.wal import DataIds
from etcdfleet.host.facts import DataFacts, FileFacts
from etcdfleet.host.paths import CONFIG, ESTABLISHED
from etcdfleet.remote import CommandResult, RemoteFile
from tasks import start
from tasks.members.restore import (
    find_tool,
    finish_restore,
    forget_record,
    move_old_data,
    note_restore,
    read_ground,
    restore_data,
    start_restored,
)
from tests.unit.support.stand_ins import (
    RUNNING,
    STOPPED,
    Clock,
    Place,
    Scripted,
    carry_out,
    error_of,
    healths,
    member_list,
    seen,
    statuses,
)

RECORD = RestoreRecord("ab" * 32, "home-2", 9, "az-1", 21, 7, 1, "then")
OLD = {"cluster_id": 5, "members": {"az-1": 1}, "version": 2, "token": "home", "restores": 0, "etcd": "3.5"}
NOTED = begun(OLD, RECORD)
READABLE = {CONFIG: FileFacts(b"initial-cluster-state: existing\n", 0o644, "root", "root")}


def data(cluster_id: int) -> DataFacts:
    return DataFacts(exists=True, ids=DataIds(1, cluster_id, 100))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "time", Clock())
    monkeypatch.setattr(start, "desired_files", lambda *_, **__: [RemoteFile(CONFIG, b"conf")])


def test_what_is_read_of_a_host() -> None:
    place = Place(Scripted(), seen(STOPPED, data=data(5), established=OLD, free_bytes={"/var/lib/etcd": 77}))
    ground = carry_out(read_ground, place, versions=True).result
    assert (ground.free, ground.noted, ground.enabled, ground.etcd) == (77, OLD, True, "3.5.16")
    assert ground.place.data == data(5).ids
    assert carry_out(read_ground, place).result.etcd == ""


@pytest.mark.parametrize(("there", "program"), [(True, "etcdutl"), (False, "etcdctl")])
def test_the_tool(there: bool, program: str) -> None:
    host = Scripted({"command -v etcdutl": "" if there else CommandResult(1, "", "")})
    assert carry_out(find_tool, Place(host)).result.program == program


def test_the_record_takes_the_place_of_the_marker_and_keeps_it() -> None:
    host = Scripted()
    assert not carry_out(note_restore, Place(host, seen(STOPPED, established=OLD)), record=RECORD).failed
    assert json.loads(host.placed[ESTABLISHED]) == NOTED
    assert NOTED["before"] == OLD
    assert "cluster_id" not in NOTED
    running = Scripted()
    assert "etcd runs again" in error_of(carry_out(note_restore, Place(running, seen(RUNNING)), record=RECORD))
    assert running.placed == {}


def test_old_data_are_moved_and_those_of_this_restore_never() -> None:
    host = Scripted()
    moved = carry_out(move_old_data, Place(host, seen(STOPPED, data=data(5), established=NOTED)), record=RECORD)
    assert "moved to /var/lib/etcd/removed-2" in moved.result.changes[0]
    assert "keep_marker=yes" in host.sent[0]
    for state, facts, why in ((STOPPED, data(9), "restored data are there"), (RUNNING, data(5), "etcd runs again")):
        untouched = Scripted()
        place = Place(untouched, seen(state, data=facts, established=NOTED))
        assert why in error_of(carry_out(move_old_data, place, record=RECORD))
        assert untouched.sent == []


class Receiving(Scripted):
    """Is sent a file, too."""

    def send(self, script: str, source: Any, **_: Any) -> CommandResult:
        self.received = source.read()
        return self._answer(script)


def test_a_snapshot_is_sent_restored_and_placed(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    file.write_bytes(b"snapshot")
    host = Receiving({"command -v etcdutl": CommandResult(1, "", "")})
    result = carry_out(restore_data, Place(host), record=RECORD, file=file, size=8)
    assert not result.failed, result.exception
    assert host.received == b"snapshot"
    _, receive, make, take = host.sent
    assert "work=/var/lib/etcd/restoring-9\n" in receive
    assert "size=8\n" in receive
    assert (
        "program=etcdctl\nsnapshot=/var/lib/etcd/restoring-9/snapshot.db\ninto=/var/lib/etcd/restoring-9/data" in make
    )
    assert "set -- --name=az-1 --initial-cluster=az-1=https://etcd.az1.k8s.home:2380" in make
    assert "--initial-cluster-token=home-2" in make
    assert "data_dir=/var/lib/etcd\n" in take
    running = Receiving({"command -v etcdutl": CommandResult(1, "", "")})
    refused = carry_out(restore_data, Place(running, seen(RUNNING)), record=RECORD, file=file, size=8)
    assert "etcd runs again" in error_of(refused)
    assert len(running.sent) == 1
    assert "cannot be read" in error_of(
        carry_out(restore_data, Place(host), record=RECORD, file=tmp_path / "gone", size=8)
    )


def restored_host(count: Any = '{"count":7}', **more: Any) -> Scripted:
    return Scripted(
        {
            "--keys-only": count,
            "/proc/uptime": "",
            "member list": member_list(ids=(1,)),
            "endpoint status": statuses(1, leader=1),
            "endpoint health": healths(1),
            **more,
        }
    )


BEFORE = seen(STOPPED, established=NOTED, files=READABLE)
AFTER = seen(RUNNING, established=NOTED, files=READABLE)


def test_the_restored_member_starts_is_compared_and_notes_its_cluster() -> None:
    host = restored_host()
    result = carry_out(start_restored, Place(host, BEFORE, AFTER), record=RECORD)
    assert not result.failed, result.exception
    assert result.result.summary == "revision 21 and 7 keys, as in the snapshot"
    assert result.result.changes == ("etcd is started", f"{ESTABLISHED} notes the restored cluster")
    assert host.was_sent("get '' --prefix --keys-only --limit=1 --rev=21")
    noted = json.loads(host.placed[ESTABLISHED])
    assert (noted["token"], noted["restores"], noted["cluster_id"]) == ("home-2", 1, 9)
    assert noted["restore"]["done"] == ""
    assert "before" not in noted


@pytest.mark.parametrize(
    ("host", "record", "why"),
    [
        (restored_host('{"count":6}'), {}, "6 keys at revision 21, and the snapshot 7"),
        (restored_host(), {"revision": 22}, "at revision 21, and the snapshot gives 22"),
        (restored_host(), {"cluster_id": 8}, "it is in cluster 9, and not in the restored one, 8"),
    ],
)
def test_what_is_not_the_snapshot_is_not_noted(host: Scripted, record: Any, why: str) -> None:
    assert why in error_of(carry_out(start_restored, Place(host, BEFORE, AFTER), record=replace(RECORD, **record)))
    assert ESTABLISHED not in host.placed


def test_keys_that_must_not_be_counted_are_told() -> None:
    host = restored_host(CommandResult(1, "", "Error: etcdserver: permission denied"))
    result = carry_out(start_restored, Place(host, BEFORE, AFTER), record=RECORD)
    assert "permission denied" in result.result.warnings[0]


def test_one_that_was_compared_is_only_started() -> None:
    noted = {"cluster_id": 9, "restore": NOTED["restore"], "members": {}}
    host = restored_host()
    place = Place(host, seen(STOPPED, established=noted, files=READABLE), seen(RUNNING, established=noted))
    assert carry_out(start_restored, place, record=RECORD).result.changes == ("etcd is started",)
    assert not host.was_sent("--keys-only")


def test_the_record_makes_way_only_where_it_is_all_there_is() -> None:
    for facts, gone in (({"established": NOTED}, True), ({"established": OLD}, False)):
        host = Scripted()
        carry_out(forget_record, Place(host, seen(STOPPED, **facts)))
        assert host.was_sent(f"rm -f {ESTABLISHED}") is gone
    host = Scripted()
    carry_out(forget_record, Place(host, seen(STOPPED, established=NOTED, data=data(9))))
    assert host.sent == []


def test_the_end_is_noted_with_token_and_count() -> None:
    plain = {**OLD, "cluster_id": 9}
    host = Scripted({"member list": member_list(ids=(1,)), "endpoint status": statuses(1, leader=1)})
    assert not carry_out(finish_restore, Place(host, seen(RUNNING, established=plain)), record=RECORD).failed
    noted = json.loads(host.placed[ESTABLISHED])
    assert (noted["token"], noted["restores"]) == ("home-2", 1)
    assert noted["restore"]["done"]
    assert host.was_sent("rm -rf /var/lib/etcd/restoring-*")
    silent = Scripted()
    assert "does not answer as one of the restored cluster" in error_of(
        carry_out(finish_restore, Place(silent, seen(RUNNING, established=plain)), record=RECORD)
    )
