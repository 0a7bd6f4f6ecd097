"""A backup is taken of a cluster that is well, and old ones go only when there is a new one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from etcdfleet.backup.note import Drill
from etcdfleet.backup.offhost import OffHost
from etcdfleet.backup.retention import Counts
from etcdfleet.backup.store import Bad, Newest, Snapshot
from etcdfleet.backup.thin import Read
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.program.run import LeftError, Program
from plays import backup, members
from plays.options import SNAPSHOTS, BackupOptions
from tests.unit.etcd import test_replacement as table
from tests.unit.support.fake_run import Stage, program_of, run_of, statuses
from tests.unit.support.snapshots import NOTE

STEPS = ("look", "snapshot", "retention", "copies", "drill")
HOSTS = ("h1", "h2", "h3")
SAVED = Snapshot(Path("/s/home.db"), NOTE)
DRILL = Drill("2026-11-26T03:00:00+00:00", "h1", "3.5.1", good=True, says="412 keys as noted")


def staged(
    monkeypatch: pytest.MonkeyPatch,
    seen: Cluster = table.WELL,
    *,
    own: BackupOptions | None = None,
    folder: str | None = "/s",
    url: str | None = None,
    does: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    stage = Stage(monkeypatch)
    usual: dict[str, Any] = {"see_cluster": seen, "save_snapshot": SAVED, "noted": None, "look": None}
    usual |= {"thin_out": None, "verify_copies": None, "list_copies": Read(), "send_away": None, "list_away": Read()}
    usual |= {"find_newest": Newest(SAVED), "drill_here": "no etcd here", "drill_on_host": DRILL, "note_drill": None}
    for name, what in (usual | (does or {})).items():
        for module in (members, backup):
            if hasattr(module, name):
                stage.put(module, name, what)
    settings = SimpleNamespace(folder=folder, daily=7, weekly=4, monthly=6, url=url, recipients=("age1x",))
    fleet = {
        host: SimpleNamespace(name=host, member=SimpleNamespace(name=host.replace("h", "m")), backup=settings)
        for host in HOSTS
    }
    program = program_of(
        own or BackupOptions(), fleet={"home": "home"}, left_out=dict.fromkeys(HOSTS, "home"), steps=STEPS, **options
    )
    program = replace(program, fleet=cast(Any, SimpleNamespace(clusters={"home": tuple(fleet.values())})))
    return stage, program


def test_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch)
    backup.back_up(run_of(program))
    assert stage.names == ["look", "see_cluster", "save_snapshot", "noted", "thin_out"]
    assert stage.hosts("save_snapshot") == ["h2"], "the leader's"
    assert stage.given["save_snapshot"] == {"folder": Path("/s"), "least": 100, "purpose": "backup"}
    assert stage.given["thin_out"] == {"folder": Path("/s"), "counts": Counts(7, 4, 6)}
    assert statuses(program, "home") == {
        "look": "ok",
        "snapshot": "ok",
        "retention": "ok",
        "copies": "skipped",
        "drill": "",
    }


def test_another_member_gives_it_where_the_leader_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, does={"save_snapshot": lambda host: "no room" if host == "h2" else SAVED})
    backup.back_up(run_of(program))
    assert stage.hosts("save_snapshot") == ["h2", "h1"]
    assert statuses(program, "home")["retention"] == "ok"


@pytest.mark.parametrize(
    ("seen", "does", "why"),
    [
        (Cluster(no_list="its member does not answer"), {}, "its member does not answer"),
        (table.WELL, {"save_snapshot": "no room"}, "no room; no room; no room"),
        (table.WELL, {"save_snapshot": VerificationError("x")}, "h2 could not be reached; h1 could not be reached"),
        (table.cluster(table.entry(1), answering=(table.status(1, leader=0),), size=1), {}, "it has no leader"),
    ],
)
def test_without_a_new_one_no_old_one_goes(
    monkeypatch: pytest.MonkeyPatch, seen: Cluster, does: dict[str, Any], why: str
) -> None:
    stage, program = staged(monkeypatch, seen, does=does)
    with pytest.raises(LeftError):
        backup.back_up(run_of(program))
    assert "thin_out" not in stage.names
    step = program.record.record.hosts["home"].steps["snapshot"]
    assert step.error is not None
    assert why in step.error.what
    assert program.record.finish().exit_code == 1


def test_where_nothing_can_be_kept_no_member_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, does={"look": VerificationError("no")})
    with pytest.raises(LeftError):
        backup.back_up(run_of(program))
    assert stage.names == ["look"]


def test_with_check_none_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, check=True)
    backup.back_up(run_of(program))
    assert stage.names == ["look", "see_cluster", "thin_out"]
    assert "m2 leads and would give it" in program.record.record.hosts["home"].steps["snapshot"].summary


def test_an_alarm_in_it_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = replace(SAVED, note=replace(NOTE, alarms=("NOSPACE",)))
    _, program = staged(monkeypatch, does={"save_snapshot": saved})
    backup.back_up(run_of(program))
    (warning,) = program.record.record.warnings
    assert "the alarm NOSPACE is in its backup" in warning.text


@pytest.mark.parametrize(
    ("own", "folder", "used"),
    [
        (BackupOptions(), None, SNAPSHOTS),
        (BackupOptions(), "/srv/b", Path("/srv/b")),
        (BackupOptions(folder=Path("/other")), "/srv/b", Path("/other")),
    ],
)
def test_where_they_lie(monkeypatch: pytest.MonkeyPatch, own: BackupOptions, folder: str | None, used: Path) -> None:
    stage, program = staged(monkeypatch, own=own, folder=folder)
    backup.read_again(run_of(program))
    assert stage.given["verify_copies"] == {"folder": used, "store": None}
    assert backup.list_them(run_of(program)) == [(f"{used}/home", Read())]


def test_a_drill_is_on_a_host_that_does_not_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, does={"drill_on_host": lambda host: "no room" if host == "h1" else DRILL})
    backup.drill(run_of(program))
    assert stage.names == ["look", "find_newest", "drill_here", "see_cluster", "drill_on_host", "note_drill"]
    assert stage.hosts("drill_on_host") == ["h1", "h3"], "h2 leads"
    assert stage.given["note_drill"] == {"snapshot": SAVED, "drill": DRILL}
    assert statuses(program, "home")["drill"] == "ok"


def test_a_drill_is_here_where_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = replace(DRILL, good=False)
    stage, program = staged(monkeypatch, does={"drill_here": failed})
    backup.drill(run_of(program))
    assert stage.names == ["look", "find_newest", "drill_here", "note_drill"]
    assert stage.given["note_drill"]["drill"] == failed, "one that went wrong is no reason for another try"


def test_a_drill_works_without_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, Cluster(no_list="its member does not answer"))
    backup.drill(run_of(program))
    assert stage.hosts("drill_on_host") == ["h1"]


def test_where_no_drill_can_be_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    _, program = staged(monkeypatch, does={"drill_on_host": VerificationError("x")})
    backup.drill(run_of(program))
    step = program.record.record.hosts["home"].steps["drill"]
    assert step.error is not None
    assert "no etcd here; h1 could not be reached; h3 could not" in step.error.what
    assert program.record.finish().exit_code == 1


def test_a_bad_newer_one_is_passed_over_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = Newest(SAVED, (Bad(Path("/s/newer.db"), "its hash does not fit"),))
    _, program = staged(monkeypatch, does={"find_newest": newest})
    backup.drill(run_of(program))
    (warning,) = program.record.record.warnings
    assert "/s/newer.db: its hash does not fit" in warning.text


def test_without_a_good_one_there_is_no_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, does={"find_newest": VerificationError("there is none")})
    with pytest.raises(LeftError):
        backup.drill(run_of(program))
    assert stage.names == ["look", "find_newest"]
    assert program.record.finish().exit_code == 1


def test_with_check_nothing_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, check=True)
    backup.drill(run_of(program))
    assert stage.names == ["look", "find_newest"]


STORE = OffHost("s3://bucket/etcd", ("age1x",))


def test_copies_go_off_this_machine_last(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, url="s3://bucket/etcd")
    backup.back_up(run_of(program))
    assert stage.names[-2:] == ["thin_out", "send_away"]
    assert stage.given["send_away"] == {"folder": Path("/s"), "store": STORE, "counts": Counts(7, 4, 6)}
    backup.read_again(run_of(program))
    assert stage.given["verify_copies"] == {"folder": Path("/s"), "store": STORE}
    assert [place for place, _ in backup.list_them(run_of(program))] == ["/s/home", "s3://bucket/etcd/home"]


def test_another_folder_has_nothing_to_do_with_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, url="s3://bucket/etcd", own=BackupOptions(folder=Path("/other")))
    backup.back_up(run_of(program))
    assert "send_away" not in stage.names


def test_a_store_that_cannot_be_listed_hides_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    _, program = staged(monkeypatch, url="s3://bucket/etcd", does={"list_away": VerificationError("unreachable")})
    assert backup.list_them(run_of(program)) == [("/s/home", Read())]
    assert program.record.finish().exit_code == 1
