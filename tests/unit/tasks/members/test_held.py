"""How far a member has come is read from its files, whoever runs or does not: real ones of etcd, and damaged ones."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from etcdfleet.etcd.restore_sources import Held
from etcdfleet.etcd.wal import DataIds, read_ids, read_position
from etcdfleet.host.facts import DataFacts
from tasks.members.held import read_held
from tests.unit.support.paths import ROOT
from tests.unit.support.site import LocalHost, settings
from tests.unit.support.snapshots import REAL, WHOLE
from tests.unit.support.stand_ins import STOPPED, Place, carry_out, seen

LOGS = {version: (ROOT / "tests/unit/fixtures" / f"etcd-{version}" / "rotated.wal").read_bytes() for version in REAL}


def data(folder: Path, database: bytes = WHOLE[:-32], log: bytes = LOGS["3.5"], empty: int = 1 << 20) -> None:
    """What a member leaves: the last segment is made longer before it is written."""
    (folder / "member" / "snap").mkdir(parents=True)
    (folder / "member" / "wal").mkdir()
    (folder / "member" / "snap" / "db").write_bytes(database)
    (folder / "member" / "wal" / "0000000000000000-0000000000000000.wal").write_bytes(b"an older one")
    (folder / "member" / "wal" / "0000000000000001-0000000000000003.wal").write_bytes(log + bytes(empty))
    (folder / "member" / "wal" / "0.tmp").write_bytes(bytes(64))


def read(folder: Path, *aside: str, own: bool = True) -> Mapping[str, Held | str]:
    found = DataFacts(exists=True, ids=DataIds(7, 9, 100), foreign=aside)
    of = settings()
    of = replace(of, member=of.member.model_copy(update={"data_dir": str(folder)}))
    result = carry_out(read_held, Place(LocalHost(), seen(STOPPED, data=found), of=of), own=own)
    assert not result.failed, result.exception
    answer: Mapping[str, Held | str] = result.result
    return answer


@pytest.mark.parametrize(("version", "applied"), [("3.4", 29), ("3.5", 38)])
def test_what_the_files_of_a_member_say(tmp_path: Path, version: str, applied: int) -> None:
    data(tmp_path, REAL[version][:-32], LOGS[version])
    ids, position = read_ids(LOGS[version], first=False), read_position(io.BytesIO(LOGS[version]))
    assert position.commit > 0
    (held,) = read(tmp_path).values()
    assert isinstance(held, Held)
    assert (held.cluster_id, held.member_id) == (ids.cluster_id, ids.member_id)
    assert (held.revision, held.applied, held.index) == (22, applied, max(applied, position.commit))


def test_what_was_moved_aside_is_read_as_well_the_newest_first(tmp_path: Path) -> None:
    names = [f"removed-2026112{day}T000000Z" for day in range(5)]
    for name in ("", *names):
        data(tmp_path / name)
    found = read(tmp_path, "other", *names)
    assert list(found) == [str(tmp_path), *(f"{tmp_path}/{name}" for name in reversed(names[2:]))]
    assert all(isinstance(held, Held) for held in found.values())
    assert list(read(tmp_path, names[0], own=False)) == [f"{tmp_path}/{names[0]}"]


def test_data_of_no_use_are_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    data(tmp_path / "empty", b"")
    data(tmp_path / "cut", WHOLE[: 3 * 4096])
    data(tmp_path / "noise", bytes(range(256)) * 400)
    data(tmp_path / "log", log=bytes(100))
    for name, what in {
        "gone": "reading the data failed",
        "empty": "its database is damaged",
        "cut": "its database is damaged",
        "noise": "its database is damaged (it does not begin as a database of etcd does)",
        "log": "its raft log cannot be read",
    }.items():
        (why,) = read(tmp_path / name).values()
        assert isinstance(why, str), name
        assert what in why
