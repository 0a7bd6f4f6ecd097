"""What backup.py does on this machine: a look, the copies read again, old ones gone, and what the report is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nornir.core.task import Result

from etcdfleet.backup.note import Drill, time_text
from etcdfleet.backup.offhost import OffHost
from etcdfleet.backup.retention import Counts
from etcdfleet.outcome import StepOutcome
from tasks.backup import list_away, list_copies, look, none_taken, send_away, thin_out, verify_copies
from tests.unit.backup.test_store import damage, files
from tests.unit.support.fake_run import nornir_of
from tests.unit.support.snapshots import WHOLE, put

NOW = datetime.now(UTC)


def run(task: Callable[..., Any], *, check: bool = False, **given: Any) -> Result:
    return nornir_of({"home": "home"}, check=check).run(task, **given)["home"][0]


def outcome(task: Callable[..., Any], **given: Any) -> StepOutcome:
    result = run(task, **given)
    assert not result.failed, result.exception
    found: StepOutcome = result.result
    return found


def failure(task: Callable[..., Any], **given: Any) -> str:
    result = run(task, **given)
    assert result.failed
    return str(result.exception)


def test_the_look_says_how_old_the_last_good_one_is(tmp_path: Path) -> None:
    assert outcome(look, folder=tmp_path / "new" / "deeper").summary == "no backup before this one"
    good = put(tmp_path, NOW - timedelta(hours=30))
    put(tmp_path, NOW, damaged="its hash does not fit")
    damage(put(tmp_path, NOW - timedelta(hours=1)).path, "no note")
    seen = outcome(look, folder=tmp_path)
    assert seen.summary == "the last one is of 30 h ago, 100 KiB"
    (warning,) = seen.warnings
    assert "it has no note" in warning
    assert seen.facts["backup"] == {
        "good": 1,
        "damaged": 1,
        "file": str(good.path),
        "taken": good.note.taken,
        "size_bytes": len(WHOLE),
        "revision": 22,
    }


def test_a_folder_in_which_nothing_can_be_kept_is_said_before_a_member_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "nothing can be kept in this folder" in failure(look, folder=tmp_path / "new")


def test_why_there_is_none() -> None:
    said = failure(none_taken, why="it has no leader", remedy="bring members back")
    assert "home: no backup was taken: it has no leader" in said
    assert "bring members back" in said


def test_old_ones_go(tmp_path: Path) -> None:
    for ago in range(4):
        put(tmp_path, NOW - timedelta(days=ago))
    would = outcome(thin_out, folder=tmp_path, counts=Counts(2, 0, 0), check=True)
    assert (would.summary, len(would.changes)) == ("2 snapshots kept, 2 read", 2)
    assert len(files(tmp_path)) == 8
    found = outcome(thin_out, folder=tmp_path, counts=Counts(2, 0, 0))
    assert (found.summary, found.changes) == (would.summary, would.changes)
    assert found.facts["backup"]["good"] == 2
    assert len(files(tmp_path)) == 4
    assert outcome(thin_out, folder=tmp_path, counts=Counts(2, 0, 0)).changes == ()


def test_a_bad_one_that_was_found_on_the_way_is_a_warning(tmp_path: Path) -> None:
    for ago in range(3):
        last = put(tmp_path, NOW - timedelta(days=ago))
    damage(put(tmp_path, NOW + timedelta(hours=1)).path, "flipped")
    found = outcome(thin_out, folder=tmp_path, counts=Counts(1, 0, 0))
    (warning,) = found.warnings
    assert "its hash does not fit" in warning
    assert "move it away" in warning
    assert found.facts["backup"]["damaged"] == 1
    assert not last.path.exists()


def test_all_copies_are_read_again(tmp_path: Path) -> None:
    assert f"there is no good backup in {tmp_path}/home" in failure(verify_copies, folder=tmp_path)
    first, second = (put(tmp_path, NOW - timedelta(days=ago)) for ago in (0, 1))
    assert outcome(verify_copies, folder=tmp_path).summary == "2 good ones, 0.2 MiB read"
    damage(first.path, "flipped")
    said = failure(verify_copies, folder=tmp_path)
    assert f"{first.path}: this is no good snapshot: its hash does not fit" in said
    assert said.splitlines()[0].endswith("; 1 good one")
    assert run(verify_copies, folder=tmp_path).result.facts["backup"]["damaged"] == 1, "for the metrics, too"
    damage(second.path, "truncated")
    said = failure(verify_copies, folder=tmp_path)
    assert "; 0 good ones\n  remedy: look at it" in said
    assert said.endswith("take a backup now: runbooks/backup.py")


def test_the_list_has_what_counts_and_what_does_not(tmp_path: Path) -> None:
    one = put(tmp_path, NOW, drill=Drill(time_text(NOW), "here", "3.5.1", good=True, says="412 keys"))
    damage(put(tmp_path, NOW - timedelta(days=1)).path, "no note")
    read = run(list_copies, folder=tmp_path).result
    assert [each.path for each in read.good] == [one.path]
    assert len(read.bad) == 1
    assert outcome(look, folder=tmp_path).facts["backup"]["drilled"] == time_text(NOW)


def away(folder: Path) -> OffHost:
    return OffHost(f"file://{folder}/away")


def test_copies_go_off_this_machine_and_old_ones_there_go(tmp_path: Path) -> None:
    here, store = tmp_path / "here", away(tmp_path)
    for ago in range(3):
        put(here, NOW - timedelta(days=ago))
    would = outcome(send_away, folder=here, store=store, counts=Counts(2, 0, 0), check=True)
    assert (would.summary, len(would.changes)) == ("2 copies there, 2 new", 2)
    assert store.listed("home").good == ()
    first = outcome(send_away, folder=here, store=store, counts=Counts(2, 0, 0))
    assert (first.summary, first.changes) == (would.summary, would.changes)
    put(here, NOW + timedelta(days=1))
    would = outcome(send_away, folder=here, store=store, counts=Counts(2, 0, 0), check=True)
    second = outcome(send_away, folder=here, store=store, counts=Counts(2, 0, 0))
    assert (second.summary, second.changes) == ("2 copies there, 1 new", would.changes)
    assert [change.partition(" is ")[2].partition(" ")[0] for change in second.changes] == ["copied", "removed"]
    assert outcome(send_away, folder=here, store=store, counts=Counts(2, 0, 0)).changes == ()
    assert len(run(list_away, store=store).result.good) == 2


def test_copies_off_this_machine_are_read_again_too(tmp_path: Path) -> None:
    here, store = tmp_path / "here", away(tmp_path)
    one = put(here, NOW)
    assert "there is no good copy in file://" in failure(verify_copies, folder=here, store=store)
    outcome(send_away, folder=here, store=store, counts=Counts(2, 0, 0))
    assert outcome(verify_copies, folder=here, store=store).summary == "1 good one here, 1 there, 0.2 MiB read"
    damage(tmp_path / "away/home" / one.path.name, "flipped")
    said = failure(verify_copies, folder=here, store=store)
    assert f"{store.url}/home/{one.path.name}: the copy there is not what was put there" in said
    assert "1 good one here, 0 there" in said
    again = outcome(send_away, folder=here, store=store, counts=Counts(2, 0, 0))
    assert again.summary == "1 copy there, 1 new", "in the place of the bad one"
    assert outcome(verify_copies, folder=here, store=store).summary.startswith("1 good one here, 1 there")


def test_a_store_that_cannot_be_reached_hides_nothing_of_this_machine(tmp_path: Path) -> None:
    damage(put(tmp_path / "here", NOW).path, "flipped")
    (tmp_path / "away").write_text("")
    said = failure(verify_copies, folder=tmp_path / "here", store=away(tmp_path))
    assert "its hash does not fit" in said
    assert f"file://{tmp_path}/away: it cannot be used" in said
