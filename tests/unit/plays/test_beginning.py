"""A cluster whose hosts lost everything begins without data only where no backup is kept, or a person says so."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
import pytest

from etcdfleet.backup.offhost import OffHost
from etcdfleet.errors import UsageError
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays.beginning import confirm_beginning, note_end_of
from plays.options import DeployOptions
from tests.unit.support.fake_run import program_of, run_of
from tests.unit.support.snapshots import put

RECIPIENT = str(pyrage.x25519.Identity.generate().to_public())
NIGHT = datetime(2026, 11, 26, 2, tzinfo=UTC)


def program(folder: Path, *, url: str | None = None, own: Path | None = None, **options: Any) -> Program[Any]:
    def member(host: str) -> Any:
        return SimpleNamespace(
            name=host,
            cluster=SimpleNamespace(name="home"),
            backup=SimpleNamespace(folder=str(folder), url=url, recipients=()),
        )

    made = program_of(DeployOptions(snapshot_dir=own), fleet={"h1": "home"}, member=member, **options)
    made.terminal.ask_name = lambda _: ""  # type: ignore[method-assign, assignment]
    return made


def refused(one: Program[Any], typed: str = "") -> Any:
    with pytest.raises(LeftError):
        confirm_beginning(run_of(one), typed)
    record = one.record.finish()
    assert record.exit_code == ExitCode.PROTECTED
    (block,) = record.protections
    return block


def test_without_a_backup_a_cluster_begins(tmp_path: Path) -> None:
    confirm_beginning(run_of(program(tmp_path)), "")
    put(tmp_path, NIGHT, keys=0)
    confirm_beginning(run_of(program(tmp_path)), "")


def test_what_is_kept_is_said_with_the_command_that_brings_it_back(tmp_path: Path) -> None:
    kept = put(tmp_path / "my backups", NIGHT)
    block = refused(program(tmp_path / "my backups", yes=True))
    assert "a backup of it is kept: of 2026-11-26 02:00 UTC, revision 22, 412 keys" in block.what
    assert f"python runbooks/restore.py '{kept.path}' --cluster home brings its data back" in block.remedy
    assert "add --confirm home" in block.remedy


def test_a_snapshot_where_this_run_keeps_them_counts(tmp_path: Path) -> None:
    put(tmp_path / "own", NIGHT)
    refused(program(tmp_path, own=tmp_path / "own"))


def test_so_it_is_with_check_and_without_a_terminal(tmp_path: Path) -> None:
    put(tmp_path, NIGHT)
    refused(program(tmp_path, check=True))
    silent = program(tmp_path)

    def without(_: str) -> str:
        raise UsageError("no terminal", where="here", remedy="none")

    silent.terminal.ask_name = without  # type: ignore[method-assign, assignment]
    refused(silent)


def test_a_person_types_the_name(tmp_path: Path) -> None:
    put(tmp_path, NIGHT)
    asked = list[str]()
    one = program(tmp_path)

    def ask(question: str) -> str:
        asked.append(question)
        return "home"

    one.terminal.ask_name = ask  # type: ignore[method-assign]
    confirm_beginning(run_of(one), "")
    assert "home: its hosts have no data" in asked[0]
    confirm_beginning(run_of(program(tmp_path)), "home")
    refused(program(tmp_path), "another")


def test_after_a_teardown_it_begins_anew(tmp_path: Path) -> None:
    put(tmp_path, NIGHT)
    note_end_of(run_of(program(tmp_path)))
    confirm_beginning(run_of(program(tmp_path)), "")


@pytest.mark.parametrize(("recipients", "how"), [((), "latest"), ((RECIPIENT,), "latest --identity KEYFILE")])
def test_copies_in_the_store_count_where_this_machine_has_none(
    tmp_path: Path, recipients: tuple[str, ...], how: str
) -> None:
    url = f"file://{tmp_path}/store"
    OffHost(url, recipients).send(put(tmp_path / "old controller", NIGHT))
    block = refused(program(tmp_path / "here", url=url))
    assert block.where.startswith(f"{url}/home/")
    assert f"python runbooks/restore.py {how} --cluster home brings its data back; if" in block.remedy


@pytest.mark.parametrize("unseen", ["folder", "store"])
def test_where_it_cannot_be_seen_a_person_decides(tmp_path: Path, unseen: str) -> None:
    (tmp_path / "home").write_text("no folder")
    where = {"folder": tmp_path, "store": tmp_path / "none"}[unseen]
    url = f"file://{tmp_path}/home/store" if unseen == "store" else None
    block = refused(program(where, url=url))
    assert "whether a backup of it is kept cannot be seen: " in block.what
    assert block.remedy.endswith("; if it is to begin without data, add --confirm home")
    confirm_beginning(run_of(program(where, url=url)), "home")


def test_a_backup_whose_note_cannot_be_read_may_be_missed(tmp_path: Path) -> None:
    put(tmp_path, NIGHT).note_path.write_text("cut off")
    assert "a file is named as a backup of it, and its note" in refused(program(tmp_path)).what
    note_end_of(run_of(program(tmp_path)))
    confirm_beginning(run_of(program(tmp_path)), "")
