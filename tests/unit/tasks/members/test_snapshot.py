"""A snapshot is on the controller, whole and noted, or there is nothing and a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from etcdfleet.errors import RemoteError
from tasks.members.snapshot import SavedSnapshot, save_snapshot, told
from tests.unit.etcd.test_snapshot_file import DIGEST, WHOLE
from tests.unit.support.stand_ins import RUNNING, Place, Scripted, carry_out, member_list, seen, statuses


class Giving(Scripted):
    """Its member runs; asked for a snapshot it gives these bytes, or fails."""

    def __init__(self, content: bytes | Exception, status: str = "") -> None:
        super().__init__({"endpoint status": status or statuses(1), "member list": member_list()})
        self.content = content
        self.scripts: list[str] = []

    def fetch(self, script: str, into: BinaryIO, **how: Any) -> None:
        self.scripts.append(script)
        assert how["timeout"] > 60
        if isinstance(self.content, Exception):
            into.write(b"a part")
            raise self.content
        into.write(self.content)


def save(host: Giving, folder: Path, least: int = 0) -> Any:
    return carry_out(save_snapshot, Place(host, seen(RUNNING)), folder=folder, least=least).result


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_good_snapshot_is_kept_with_a_note_and_open_to_nobody_else(tmp_path: Path) -> None:
    host = Giving(WHOLE)
    saved = save(host, tmp_path / "snapshots", least=50)
    assert isinstance(saved, SavedSnapshot)
    path = Path(saved.file)
    assert path.read_bytes() == WHOLE
    assert path.parent.name == saved.cluster
    assert json.loads(path.with_suffix(".json").read_text())["sha256"] == DIGEST.hexdigest()
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "revision 21, its hash is right" in told(saved)
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


def test_a_member_that_is_behind_or_silent_gives_none(tmp_path: Path) -> None:
    host = Giving(WHOLE)
    assert "10 entries behind" in save(host, tmp_path, least=60)
    assert "does not answer" in save(Giving(WHOLE, status="[]"), tmp_path)
    assert host.scripts == []
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--snapshot-dir" in save(Giving(WHOLE), tmp_path / "file")
