"""Old backups go once those that stay were read; a bad one pushes out nothing, and what is not ours stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etcdfleet.backup import thin as module
from etcdfleet.backup.note import Drill, read_note
from etcdfleet.backup.retention import Counts
from etcdfleet.backup.store import Snapshot, newest
from etcdfleet.backup.thin import read_all, thin
from etcdfleet.errors import VerificationError
from tests.unit.backup.test_store import damage, files
from tests.unit.support.snapshots import put

NIGHT = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)


def nights(folder: Path, count: int) -> list[Snapshot]:
    """That many nights of backups, the newest first."""
    return [put(folder, NIGHT - timedelta(days=ago)) for ago in range(count)]


def names(snapshots: list[Snapshot]) -> list[str]:
    return sorted(one.path.name for one in snapshots)


def left(folder: Path) -> list[str]:
    return [name for name in files(folder) if name.endswith(".db")]


def test_those_that_stay_are_read_before_others_go(tmp_path: Path) -> None:
    made = nights(tmp_path, 5)
    thinned = thin(tmp_path, "home", Counts(3, 0, 0))
    assert names(list(thinned.removed)) == names(made[3:])
    assert names(list(thinned.read.good)) == names(made[:3])
    assert (thinned.read.bad, thinned.stuck) == ((), ())
    assert left(tmp_path) == names(made[:3])
    assert len(files(tmp_path)) == 6, "notes go with their snapshots"


def test_nothing_is_read_where_nothing_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nights(tmp_path, 3)
    monkeypatch.setattr(module, "check", lambda _: pytest.fail("it was read"))
    assert thin(tmp_path, "home", Counts(3, 0, 0)) == module.Thinned()


@pytest.mark.parametrize("how", ["flipped", "truncated", "no note"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_bad_one_pushes_out_nothing_and_stays(tmp_path: Path, how: str, which: int) -> None:
    """Of five nights three are to stay: with one of these bad, the next good one stays in its place."""
    made = nights(tmp_path, 5)
    damage(made[which].path, how)
    thinned = thin(tmp_path, "home", Counts(3, 0, 0))
    assert names(list(thinned.removed)) == names(made[4:])
    assert left(tmp_path) == names(made[:4])
    assert newest(tmp_path, "home").snapshot.path == made[1 if which == 0 else 0].path
    if how == "flipped":
        (bad,) = thinned.read.bad
        assert bad.path == made[which].path
        assert "its hash does not fit" in read_note(made[which].note_path.read_text()).damaged


def test_the_one_that_was_last_restored_for_a_trial_stays(tmp_path: Path) -> None:
    good = Drill("2026-11-20T06:00:00+00:00", "az-1", "3.5.1", good=True, says="412 keys")
    made = nights(tmp_path, 6)
    put(tmp_path, NIGHT - timedelta(days=3), drill=good)
    put(tmp_path, NIGHT - timedelta(days=4), drill=replace(good, when="2026-11-19T06:00:00+00:00"))
    put(tmp_path, NIGHT - timedelta(days=5), drill=replace(good, when="2026-11-25T06:00:00+00:00", good=False))
    thinned = thin(tmp_path, "home", Counts(2, 0, 0))
    assert left(tmp_path) == names([*made[:2], made[3]])
    assert names(list(thinned.read.good)) == left(tmp_path), "it was read as well"


def test_the_last_good_one_stays_whatever_the_counts_say(tmp_path: Path) -> None:
    made = nights(tmp_path, 4)
    for one in made[:3]:
        damage(one.path, "flipped")
    thinned = thin(tmp_path, "home", Counts(0, 0, 0))
    assert thinned.removed == ()
    assert len(thinned.read.bad) == 3
    assert left(tmp_path) == names(made)
    assert newest(tmp_path, "home").snapshot.path == made[3].path


def test_all_of_them_bad(tmp_path: Path) -> None:
    made = nights(tmp_path, 3)
    for one in made:
        damage(one.path, "flipped")
    assert thin(tmp_path, "home", Counts(1, 0, 0)).removed == ()
    assert left(tmp_path) == names(made)


def test_snapshots_from_before_a_change_and_foreign_files_neither_count_nor_go(tmp_path: Path) -> None:
    made = nights(tmp_path, 3)
    before = put(tmp_path, NIGHT + timedelta(hours=1), purpose="change")
    first = put(tmp_path, NIGHT - timedelta(days=9), purpose="change", keys=None)
    foreign = tmp_path / "home" / "home-20201126T020000Z-9.db"
    foreign.write_text("mine")
    other = put(tmp_path, NIGHT - timedelta(days=30), cluster="edge")
    thinned = thin(tmp_path, "home", Counts(1, 0, 0))
    assert names(list(thinned.removed)) == names(made[1:])
    assert left(tmp_path) == sorted(path.name for path in (made[0].path, before.path, first.path, foreign, other.path))


def test_with_check_nothing_is_removed_or_written(tmp_path: Path) -> None:
    made = nights(tmp_path, 3)
    damage(made[0].path, "flipped")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    thinned = thin(tmp_path, "home", Counts(1, 0, 0), check_only=True)
    assert names(list(thinned.removed)) == names(made[2:])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_cannot_be_removed_is_told_and_the_others_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = nights(tmp_path, 3)
    remove = module.remove

    def stuck(snapshot: Snapshot) -> None:
        if snapshot.path == made[2].path:
            raise OSError(30, "Read-only file system")
        remove(snapshot)

    monkeypatch.setattr(module, "remove", stuck)
    thinned = thin(tmp_path, "home", Counts(1, 0, 0))
    assert names(list(thinned.removed)) == names(made[1:2])
    assert [str(one) for one in thinned.stuck] == [f"{made[2].path}: it cannot be removed: Read-only file system"]


def test_what_was_read_is_noted_and_a_copy_that_is_good_again_counts(tmp_path: Path) -> None:
    (one,) = nights(tmp_path, 1)
    content = one.path.read_bytes()
    damage(one.path, "flipped")
    assert len(read_all([one]).bad) == 1
    assert read_note(one.note_path.read_text()).damaged
    one.path.write_bytes(content)
    assert len(read_all([one]).good) == 1
    note = read_note(one.note_path.read_text())
    assert (note.damaged, note.verified and note.verified.how) == ("", ("hash", "pages"))


def test_a_folder_of_no_use_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(VerificationError, match="cannot be read"):
        thin(tmp_path, "home", Counts(1, 0, 0))
