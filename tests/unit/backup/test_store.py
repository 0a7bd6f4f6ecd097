"""A folder of snapshots: only whole and good ones count, and what is not ours is never touched."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etcdfleet.backup.store import Bad, check, incoming, keep, listed, newest
from etcdfleet.errors import VerificationError
from tests.unit.support.snapshots import NOTE, PAGE, REAL, WHOLE, put, with_bytes

NIGHT = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)


def nights(count: int) -> datetime:
    return NIGHT - timedelta(days=count)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_newest_is_found_and_read(tmp_path: Path) -> None:
    put(tmp_path, nights(1))
    latest = put(tmp_path, nights(0))
    put(tmp_path, nights(2))
    assert latest.path == tmp_path / "home" / "home-20261126T020000Z-22.db"
    assert latest.path.stat().st_mode & 0o777 == latest.note_path.stat().st_mode & 0o777 == 0o600
    assert latest.path.parent.stat().st_mode & 0o777 == 0o700

    found = newest(tmp_path, "home")
    assert found.snapshot.path == latest.path
    assert found.snapshot.note.verified is not None
    assert found.snapshot.note.verified.how == ("hash", "pages")
    assert found.passed == ()
    assert [one.note.when for one in listed(tmp_path, "home")[0]] == [nights(0), nights(1), nights(2)]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "flipped":
            path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
        case "truncated":
            path.write_bytes(content[:-PAGE])
        case "another":
            path.write_bytes(REAL["3.4"])
        case "another of this size":
            path.write_bytes(with_bytes(3 * PAGE - 8, b"\x7f"))
        case "gone":
            path.unlink()
        case "no note":
            path.with_suffix(".json").unlink()
        case "note of another cluster":
            note = json.loads(path.with_suffix(".json").read_text())
            path.with_suffix(".json").write_text(json.dumps(note | {"cluster": "edge"}))
        case "note that is cut off":
            path.with_suffix(".json").write_text('{"cluster": ')


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("flipped", "its hash does not fit"),
        ("truncated", "and its note says"),
        ("another", "and its note says"),
        ("another of this size", "another snapshot than the one that was noted: SHA-256"),
        ("no note", "it has no note home-20261126T020000Z-22.json"),
        ("note of another cluster", "its note is about cluster edge"),
        ("note that is cut off", "its note cannot be read: it is no JSON"),
    ],
)
def test_a_bad_one_never_counts_and_is_told(tmp_path: Path, how: str, why: str) -> None:
    older, latest = put(tmp_path, nights(1)), put(tmp_path, nights(0))
    damage(latest.path, how)
    before = files(tmp_path)

    found = newest(tmp_path, "home")
    assert found.snapshot.path == older.path
    (passed,) = found.passed
    assert passed.path == latest.path
    assert why in str(passed)
    assert files(tmp_path) == before


def test_one_whose_pages_give_something_else_than_was_noted_is_bad(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="another snapshot than the one that was noted: keys 412, and not 400"):
        check(put(tmp_path, nights(0), keys=400))


def test_without_a_good_one_it_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as none:
        newest(tmp_path, "home")
    assert none.value.what == "there is no good snapshot of home"
    for count in (0, 1):
        damage(put(tmp_path, nights(count)).path, "flipped")
    with pytest.raises(
        VerificationError, match=r"no good snapshot of home \(.*its hash does not fit.*; .*its hash"
    ) as caught:
        newest(tmp_path, "home")
    assert caught.value.where == str(tmp_path / "home")


def test_the_first_notes_count(tmp_path: Path) -> None:
    """They noted the revision at which the snapshot was begun, which is less than what is in it."""
    first = put(tmp_path, nights(0), keys=None, revision=20, compacted=None)
    assert newest(tmp_path, "home").snapshot.path == first.path


def test_other_files_and_clusters_are_no_snapshots(tmp_path: Path) -> None:
    put(tmp_path, nights(0), cluster="home-2")
    mine = tmp_path / "home"
    mine.mkdir()
    for name in ("notes.txt", "before-upgrade.db", "home-20261126T020000Z-22.db.age", "home-2-20261126T020000Z-22.db"):
        (mine / name).write_text("mine")
    assert listed(tmp_path, "home") == ((), ())
    assert newest(tmp_path, "home-2").snapshot.note.cluster == "home-2"


def test_a_file_that_is_gone_is_not_listed(tmp_path: Path) -> None:
    damage(put(tmp_path, nights(0)).path, "gone")
    assert listed(tmp_path, "home") == ((), ())


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(VerificationError, match="folder of snapshots cannot be read"):
        listed(tmp_path, "home")


def test_what_is_not_kept_is_gone(tmp_path: Path) -> None:
    with incoming(tmp_path, "home") as (part, file):
        file.write(WHOLE)
        assert part.exists()
    assert files(tmp_path) == []


def test_what_a_killed_run_left_goes_after_a_day_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "ho[me]"
    folder.mkdir()
    names = (".ho[me]-old.part", ".ho[me]-new.part", "other.part", ".home-old.part")
    for name in names:
        (folder / name).write_text("a part")
        if "new" not in name:
            os.utime(folder / name, (1, 1))
    with incoming(tmp_path, "ho[me]") as (part, file):
        file.write(WHOLE)
        file.flush()
        keep(part, replace(NOTE, cluster="ho[me]"))
    assert [name for name in files(tmp_path) if "part" in name] == sorted(set(names) - {names[0]})


def test_a_bad_file_says_where_and_why() -> None:
    assert str(Bad(Path("/s/x.db"), "it is cut off")) == "/s/x.db: it is cut off"
