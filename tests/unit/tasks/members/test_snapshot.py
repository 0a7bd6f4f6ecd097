"""A snapshot is on the controller, whole and noted, or there is nothing and a reason."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from etcdfleet.backup.note import read_note
from etcdfleet.backup.store import Snapshot, newest
from etcdfleet.errors import RemoteError
from tasks.members.snapshot import save_snapshot, told
from tests.unit.support.snapshots import WHOLE
from tests.unit.support.stand_ins import RUNNING, Place, Scripted, carry_out, member_list, seen, statuses


class Giving(Scripted):
    """Its member runs; asked for a snapshot it gives these bytes, or fails."""

    def __init__(self, content: bytes | Exception, status: str = "") -> None:
        hashed = json.dumps([{"HashKV": {"hash": 77, "compact_revision": 9}}])
        answers = {"endpoint status": status or statuses(1), "member list": member_list(), "hashkv --rev=22": hashed}
        super().__init__(answers)
        self.content = content
        self.scripts: list[str] = []

    def fetch(self, script: str, into: BinaryIO, **how: Any) -> None:
        self.scripts.append(script)
        assert how["timeout"] > 60
        if isinstance(self.content, Exception):
            into.write(b"a part")
            raise self.content
        into.write(self.content)


def save(host: Giving, folder: Path, least: int = 0, purpose: str = "change", **marker: Any) -> Any:
    place = Place(host, seen(RUNNING, established=marker or None))
    return carry_out(save_snapshot, place, folder=folder, least=least, purpose=purpose).result


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_good_snapshot_is_kept_with_a_note_and_open_to_nobody_else(tmp_path: Path) -> None:
    host = Giving(WHOLE)
    saved = save(host, tmp_path / "snapshots", least=50)
    assert isinstance(saved, Snapshot)
    path = saved.path
    assert path.read_bytes() == WHOLE
    assert path.parent.name == saved.note.cluster
    assert read_note(path.with_suffix(".json").read_text()) == saved.note
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "revision 22, its hash is right" in told(saved)
    (script,) = host.scripts
    assert "--endpoints=https://127.0.0.1:2379" in script, "of this very member"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (WHOLE[:-1], "no good snapshot: it is cut off"),
        (WHOLE[:-5] + b"abcde", "its hash does not fit"),
        (b"", "it is empty"),
        (RemoteError("no room", where="az-1", remedy="make room"), "az-1: no room; make room"),
    ],
)
def test_of_a_bad_one_nothing_is_left(tmp_path: Path, content: Any, why: str) -> None:
    assert why in save(Giving(content), tmp_path)
    assert files(tmp_path) == []


def test_the_note_has_what_a_restore_must_know(tmp_path: Path) -> None:
    saved = save(Giving(WHOLE), tmp_path, purpose="backup", cluster_id=9, members={}, token="second", restores=1)
    note = saved.note
    assert (note.cluster, note.member, note.member_id, note.cluster_id) == ("k8s-home", "az-1", "1", "9")
    assert (note.etcd, note.minor, note.token, note.restores, note.purpose) == ("3.5.16", "3.5", "second", 1, "backup")
    assert (note.revision, note.keys, note.auth, note.key_hash) == (22, 412, True, 77)
    assert [member.name for member in note.members] == ["one"]
    assert note.size == len(WHOLE)
    assert newest(tmp_path, "k8s-home").snapshot.path == saved.path


@pytest.mark.parametrize("marker", [{}, {"cluster_id": 8, "token": "of another cluster", "restores": 5}])
def test_without_a_marker_of_this_cluster_the_token_is_that_of_the_inventory(tmp_path: Path, marker: Any) -> None:
    note = save(Giving(WHOLE), tmp_path, **marker).note
    assert (note.token, note.restores) == ("k8s-home", 0)


def test_before_a_change_the_member_is_not_asked_for_a_hash_of_all_its_keys(tmp_path: Path) -> None:
    host = Giving(WHOLE)
    assert save(host, tmp_path).note.key_hash is None
    assert not host.was_sent("hashkv")


@pytest.mark.parametrize(
    "answer", ["", "[]", json.dumps([{"HashKV": {"hash": 77, "compact_revision": 12}}])], ids=("none", "empty", "later")
)
def test_a_hash_at_another_compaction_is_none(tmp_path: Path, answer: str) -> None:
    host = Giving(WHOLE)
    host.answers["hashkv --rev=22"] = answer
    assert save(host, tmp_path, purpose="backup").note.key_hash is None


def test_a_learner_and_a_member_that_gives_less_than_it_has_give_none(tmp_path: Path) -> None:
    learner = json.loads(statuses(1))
    learner[0]["Status"]["isLearner"] = True
    assert "its member is a learner" in save(Giving(WHOLE, status=json.dumps(learner)), tmp_path)
    ahead = json.loads(statuses(1))
    ahead[0]["Status"]["header"]["revision"] = 23
    assert "gave a snapshot of revision 22, and has 23" in save(Giving(WHOLE, status=json.dumps(ahead)), tmp_path)
    assert files(tmp_path) == []


def test_a_member_that_is_behind_or_silent_gives_none(tmp_path: Path) -> None:
    host = Giving(WHOLE)
    assert "10 entries behind" in save(host, tmp_path, least=60)
    assert "does not answer" in save(Giving(WHOLE, status="[]"), tmp_path)
    assert host.scripts == []
    assert files(tmp_path) == []


def test_where_it_cannot_fit_the_member_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=20479))
    host = Giving(WHOLE)
    assert "az-1: the snapshot cannot be kept: it takes 0.0 MiB" in save(host, tmp_path)
    assert host.scripts == []
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "name another folder" in save(Giving(WHOLE), tmp_path / "file")
