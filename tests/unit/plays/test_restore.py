"""A restore carries out what was decided, step by step, after the cluster's name was typed; and asks before it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.backup.offhost import OffHost
from etcdfleet.errors import RemoteError
from etcdfleet.etcd import restoration as steps
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.restore_model import Sight
from etcdfleet.etcd.restore_record import begun, completed
from etcdfleet.etcd.restore_tool import RestoreTool
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import lock, members, sources, survivor
from plays import restore as play
from plays.options import RestoreOptions
from tests.unit.etcd import test_restoration as table
from tests.unit.etcd.test_replacement import CLUSTER_ID, WELL
from tests.unit.plays.test_replace_member import SAVED
from tests.unit.support.fake_run import Stage, program_of, run_of
from tests.unit.support.snapshots import NOTE, WHOLE, put

STEPS = ("sources", *play.STEPS, "finish", "verify")
LOOKS = ("see_cluster", "noted", "read_ground", "find_tool", "forget_record")


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "snapshot.db"
    path.write_bytes(WHOLE)
    return path


def staged(
    monkeypatch: pytest.MonkeyPatch,
    file: Path | str,
    *sights: Sight,
    own: dict[str, Any] | None = None,
    does: dict[str, Any] | None = None,
    auth: bool | None = None,
    backups: Path = Path("/nowhere"),
    url: str | None = None,
    clients: str = "any",
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    """Hosts that are seen as these say, one look after the other; the last one for ever."""
    stage, coming = Stage(monkeypatch), list(sights)
    looked: list[str] = []

    def read_ground(host: str) -> Any:
        if host in looked:
            looked.clear()
            if len(coming) > 1:
                coming.pop(0)
        looked.append(host)
        return coming[0].grounds.get(host) or RemoteError("it is gone")

    usual: dict[str, Any] = {
        "see_cluster": lambda _: coming[0].cluster,
        "save_snapshot": SAVED,
        "noted": None,
        "read_ground": read_ground,
        "preflight": None,
        "install": None,
        "configure": None,
        "find_tool": RestoreTool("etcdctl"),
        "forget_record": None,
        "verify": None,
        **{
            name: StepOutcome(name, (name,))
            for name in (
                "stop_host",
                "note_restore",
                "move_old_data",
                "restore_data",
                "start_restored",
                "finish_restore",
            )
        },
    }
    for name, what in (usual | (does or {})).items():
        for module in (members, play, survivor, sources):
            if hasattr(module, name):
                stage.put(module, name, what)
    monkeypatch.setattr(lock, "take", lambda _: None)
    for name in ("prepare", "bring_in"):
        monkeypatch.setattr(play, name, lambda run, *_, told=name, **__: stage.ran.append((told, run.hosts[0])))
    program = program_of(
        RestoreOptions(**{"snapshot": str(file), "confirm": "home", "snapshot_dir": Path("/s"), **(own or {})}),
        fleet=dict.fromkeys(table.HOSTS, "home"),
        member=lambda host: SimpleNamespace(
            name=host,
            member=SimpleNamespace(name=host.replace("h", "m")),
            cluster=SimpleNamespace(token="home", name="home", quota_bytes=64 << 20, clients=clients, client_tls=True),
            auth=SimpleNamespace(enabled=auth),
            pki=SimpleNamespace(client_common_name="root"),
            backup=SimpleNamespace(folder=str(backups), url=url, recipients=()),
        ),
        steps=STEPS,
        **options,
    )
    return stage, program


def done(stage: Stage) -> list[str]:
    """What was done, in order; without the looks, and once for all hosts."""
    names = [name for name, _ in stage.ran if name not in LOOKS]
    return [name for at, name in enumerate(names) if not at or names[at - 1] != name]


def test_the_order(monkeypatch: Any, file: Path) -> None:
    """Stand-ins of the decision, so that what is carried out is seen alone."""
    stage, program = staged(monkeypatch, file, table.WORKING)
    coming = [
        steps.StopAll(table.HOSTS),
        steps.NoteRestore(table.HOSTS),
        steps.MoveAside(table.HOSTS),
        steps.RestoreData("h1"),
        steps.StartRestored("h1"),
        steps.BringIn("h2"),
        steps.BringIn("h3"),
        steps.Finish(("h2", "h3")),
        steps.Finish(("h1",)),
        None,
    ]
    monkeypatch.setattr(play, "next_step", lambda *_: coming.pop(0))
    assert play.restore(run_of(program)).startswith("revision 22, 412 keys, token home-2")
    assert done(stage) == [
        *("preflight", "install", "save_snapshot", "stop_host", "note_restore", "move_old_data", "restore_data"),
        *(
            "prepare",
            "start_restored",
            "bring_in",
            "configure",
            "finish_restore",
            "configure",
            "finish_restore",
            "verify",
        ),
    ]
    assert stage.hosts("bring_in") == ["h2", "h3"]
    assert stage.hosts("finish_restore") == ["h2", "h3", "h1"]
    assert stage.given["restore_data"]["size"] == len(WHOLE)
    assert program.record.finish().exit_code == ExitCode.OK


@pytest.mark.parametrize(("typed", "goes_on"), [("home", True), ("hom", False), ("", False)])
def test_the_name_is_typed_in_full(monkeypatch: Any, file: Path, typed: str, goes_on: bool) -> None:
    stage, program = staged(monkeypatch, file, table.WORKING, own={"confirm": ""}, yes=True)
    questions: list[str] = []

    def ask_name(question: str) -> str:
        questions.append(question)
        return typed

    monkeypatch.setattr(program.terminal, "ask_name", ask_name, raising=False)
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    if goes_on:
        play.restore(run_of(program))
    else:
        with pytest.raises(LeftError):
            play.restore(run_of(program))
        assert program.record.finish().exit_code == ExitCode.PROTECTED
    assert bool(done(stage)) is goes_on
    for words in ("revision 22, 412 keys, etcd 3.5", "the cluster works, and is at revision 50", "28 changes since"):
        assert words in questions[0]


def test_with_check_what_would_be_done_is_said(monkeypatch: Any, file: Path) -> None:
    stage, program = staged(monkeypatch, file, table.WORKING, own={"confirm": ""}, check=True)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == []
    assert "28 changes since are lost" in str(program.record.record.warnings)
    assert program.record.finish().exit_code == ExitCode.OK


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "it is empty"), (WHOLE[:-32], "it has no hash"), (WHOLE[:-1] + b"x", "a part of it is damaged")],
)
def test_a_file_that_is_no_good_snapshot(monkeypatch: Any, file: Path, content: bytes, what: str) -> None:
    file.write_bytes(content)
    stage, program = staged(monkeypatch, file, table.STOPPED)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == []
    assert what in program.record.record.protections[0].what


def test_the_latest_is_the_newest_good_one_and_those_passed_over_are_told(monkeypatch: Any, tmp_path: Path) -> None:
    put(tmp_path, NOTE.when)
    put(tmp_path, NOTE.when.replace(day=27), WHOLE[:-1] + b"x")
    put(tmp_path / "other", NOTE.when.replace(day=20))
    how: dict[str, Any] = {"own": {"snapshot_dir": tmp_path / "other"}, "backups": tmp_path}
    stage, program = staged(monkeypatch, "latest", table.STOPPED, **how)
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    play.restore(run_of(program))
    assert "passed over" in str(program.record.record.warnings)
    assert stage.given["verify"] == {"without": [], "may_end_alarm": False}
    assert done(stage) == ["preflight", "install", "verify"]


def test_latest_is_the_one_under_way_whatever_came_after_it(monkeypatch: Any, tmp_path: Path) -> None:
    put(tmp_path, NOTE.when.replace(day=27), revision=22, raft_index=99)
    stage, program = staged(monkeypatch, "latest", table.MOVED, own={"snapshot_dir": tmp_path})
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert "a restore is under way with the snapshot whose SHA-256 begins" in program.record.record.protections[0].what
    assert done(stage) == []


@pytest.mark.parametrize(
    ("clients", "asked", "etcd", "bump", "told"),
    [
        ("kubernetes", None, "3.5.16", 1_000_000_000, "(cluster.clients is kubernetes)"),
        ("kubernetes", False, "3.5.16", 0, ""),
        ("any", None, "3.5.16", 0, ""),
        ("any", True, "3.5.16", 1_000_000_000, "revisions are raised by 1000000000,"),
        ("kubernetes", None, "3.5.1", None, "--no-bump-revision"),
    ],
)
def test_revisions_are_raised_for_clients_that_watch(
    monkeypatch: Any, file: Path, clients: str, asked: bool | None, etcd: str, bump: int | None, told: str
) -> None:
    seen = replace(table.STOPPED, grounds={h: replace(one, etcd=etcd) for h, one in table.STOPPED.grounds.items()})
    how: dict[str, Any] = {"own": {"confirm": "", "bump_revision": asked}, "clients": clients, "check": True}
    stage, program = staged(monkeypatch, file, seen, **how)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    record = program.record.record
    said = f"{record.warnings} {record.protections}"
    assert told in said
    if bump is not None:
        assert ("revisions are raised" in said) is bool(bump)
        assert f"revision {22 + bump}, 412 keys" in stage.given["noted"]["change"]


def test_a_restore_that_was_begun_without_raising_revisions_is_completed_so(monkeypatch: Any, file: Path) -> None:
    record = replace(table.RECORD, snapshot=WHOLE[-32:].hex())
    noted = begun(table.OLD_MARKER, record)
    bare = table.sight(*(table.ground(number, 0, noted) for number in (1, 2, 3)))
    stage, program = staged(monkeypatch, file, bare, clients="kubernetes", does={"restore_data": RemoteError("no")})
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert stage.given["restore_data"]["record"] == record


def away(folder: Path) -> str:
    """A store with one copy that is not on this machine, and an older one."""
    url = f"file://{folder}/away"
    for day in (26, 20):
        OffHost(url).send(put(folder / "then", NOTE.when.replace(day=day)))
    return url


@pytest.mark.parametrize("wanted", ["latest", "the older one"])
def test_a_copy_is_brought_from_the_store_where_there_is_none_here(
    monkeypatch: Any, tmp_path: Path, wanted: str
) -> None:
    name = f"home-{NOTE.when.replace(day=20):%Y%m%dT%H%M%SZ}-22.db"
    how: dict[str, Any] = {"url": away(tmp_path), "backups": tmp_path / "here", "own": {"snapshot_dir": tmp_path}}
    wish = name if wanted != "latest" else wanted
    stage, program = staged(monkeypatch, wish, table.STOPPED, check=True, **how)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert "a copy is brought from file://" in str(program.record.record.warnings)
    assert not (tmp_path / "here").exists()
    stage, program = staged(monkeypatch, wish, table.STOPPED, **how)
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    play.restore(run_of(program))
    (there,) = (tmp_path / "here/home").glob("*.db")
    assert ("20261120T" in there.name) is (wanted != "latest")
    assert f"{there} was brought from file://" in str(program.record.record.warnings)
    assert done(stage) == ["preflight", "install", "verify"]


def test_a_good_one_here_is_enough_and_a_bad_one_is_not(monkeypatch: Any, tmp_path: Path) -> None:
    url = away(tmp_path)
    put(tmp_path / "here", NOTE.when.replace(day=21))
    how: dict[str, Any] = {"url": url, "backups": tmp_path / "here", "own": {"snapshot_dir": tmp_path}}
    _, program = staged(monkeypatch, "latest", table.STOPPED, **how)
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    play.restore(run_of(program))
    assert "was brought from" not in str(program.record.record.warnings)
    (here,) = (tmp_path / "here/home").glob("*.db")
    here.write_bytes(WHOLE[:-1] + b"x")
    _, program = staged(monkeypatch, "latest", table.STOPPED, **how)
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    play.restore(run_of(program))
    assert "passed over, since it is no good snapshot" in str(program.record.record.warnings)
    assert "was brought from" in str(program.record.record.warnings)


def test_a_copy_of_another_cluster_is_made_where_both_are_named(monkeypatch: Any, tmp_path: Path) -> None:
    put(tmp_path, NOTE.when, cluster="other")
    how: dict[str, Any] = {"backups": tmp_path}
    _, program = staged(monkeypatch, "latest", table.STOPPED, own={"clone": "other"}, **how)
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    assert play.restore(run_of(program)).startswith("revision 22")
    (file,) = (tmp_path / "other").glob("*.db")
    _, program = staged(monkeypatch, file, table.STOPPED, **how)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert "--clone other" in program.record.record.protections[0].remedy
    _, program = staged(monkeypatch, file, table.STOPPED, own={"clone": "other", "confirm": ""}, check=True, **how)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert "HOME BECOMES A COPY OF ANOTHER CLUSTER, other" in str(program.record.record.warnings)


def test_no_last_snapshot_of_a_cluster_that_works(monkeypatch: Any, file: Path) -> None:
    full = {"save_snapshot": "h1: the disk is full"}
    stage, program = staged(monkeypatch, file, table.WORKING, does=full)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert "stop_host" not in done(stage)
    assert "the disk is full" in program.record.record.protections[0].what
    stage, program = staged(monkeypatch, file, table.WORKING, does=full, own={"without_snapshot": True})
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    play.restore(run_of(program))
    assert "save_snapshot" not in done(stage)


def test_nothing_is_stopped_without_a_program_that_restores(monkeypatch: Any, file: Path) -> None:
    stage, program = staged(monkeypatch, file, table.STOPPED, does={"find_tool": "etcdutl is not there"})
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == ["preflight", "install"]
    assert "etcdutl is not there" in program.record.record.protections[0].what


def test_a_step_that_fails_ends_it(monkeypatch: Any, file: Path) -> None:
    stage, program = staged(monkeypatch, file, table.STOPPED, does={"note_restore": RemoteError("no room")})
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == ["preflight", "install", "note_restore"]
    assert program.record.finish().exit_code == ExitCode.FAILED


def test_a_restore_that_something_works_against_ends(monkeypatch: Any, file: Path) -> None:
    stage, program = staged(monkeypatch, file, table.STOPPED)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert stage.hosts("note_restore").count("h1") > 3
    assert "something else works on the hosts" in program.record.record.protections[0].what


def test_one_that_is_complete_is_only_verified(monkeypatch: Any, file: Path) -> None:
    record = replace(table.RECORD, snapshot=WHOLE[-32:].hex())
    ended = completed(table.NEW_MARKER, record, "then")
    seen = table.sight(
        *(table.ground(number, table.NEW_ID, ended, running=True) for number in (1, 2, 3)),
        seen=table.restored(1, 2, 3),
    )
    stage, program = staged(monkeypatch, file, seen)
    assert play.restore(run_of(program)) == ""
    assert done(stage) == ["verify"]


def test_one_that_was_ended_goes_on_without_another_snapshot(monkeypatch: Any, file: Path) -> None:
    record = replace(table.RECORD, snapshot=WHOLE[-32:].hex())
    noted = begun(table.OLD_MARKER, record)
    bare = table.sight(*(table.ground(number, 0, noted) for number in (1, 2, 3)))
    stage, program = staged(monkeypatch, file, bare, does={"restore_data": RemoteError("no room")})
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == ["preflight", "install", "restore_data"]
    assert stage.given["restore_data"]["record"] == record


def test_hosts_that_are_left_out_are_not_touched_and_are_told_of(monkeypatch: Any, file: Path) -> None:
    two = Sight(table.HOSTS, {host: table.STOPPED.grounds[host] for host in ("h1", "h2")}, Cluster())
    stage, program = staged(monkeypatch, file, two, own={"without": ["h3"]})
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    play.restore(run_of(program))
    assert {host for _, host in stage.ran} == {"h1", "h2"}
    assert stage.given["verify"]["without"] == ["m3"]
    assert "replace_member.py HOST brings it in" in str(program.record.record.warnings)


def test_other_authentication_in_the_snapshot_is_told(monkeypatch: Any, file: Path) -> None:
    for enabled, told in ((True, False), (None, False), (False, True)):
        _, program = staged(monkeypatch, file, table.STOPPED, auth=enabled)
        monkeypatch.setattr(play, "next_step", lambda *_: None)
        play.restore(run_of(program))
        assert ("run deploy, which brings it to that" in str(program.record.record.warnings)) is told


LONE = table.sight(*(table.ground(n, CLUSTER_ID if n == 2 else 0, table.OLD_MARKER) for n in (1, 2, 3)))


def from_member(monkeypatch: Any, folder: Path, *seen: Sight, **how: Any) -> tuple[Stage, Program[Any]]:
    saved = put(folder, NOTE.when)
    own = {"from_member": "h2", "snapshot_dir": folder, **how.pop("own", {})}
    does = {"extract_snapshot": saved, **how.pop("does", {})}
    stage, program = staged(monkeypatch, "", *(seen or (LONE,)), own=own, does=does, **how)
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    return stage, program


def test_the_snapshot_is_taken_of_what_a_lone_member_has_once_the_name_is_typed(
    monkeypatch: Any, tmp_path: Path
) -> None:
    stage, program = from_member(monkeypatch, tmp_path)
    assert play.restore(run_of(program)).startswith("revision 22, 412 keys")
    assert done(stage) == ["extract_snapshot", "preflight", "install", "verify"]
    assert stage.hosts("extract_snapshot") == ["h2"]
    asked: list[str] = []
    stage, program = from_member(monkeypatch, tmp_path, own={"confirm": ""})
    monkeypatch.setattr(program.terminal, "ask_name", asked.append, raising=False)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == []
    assert "restored from what h2 still has" in asked[0]


def test_of_a_lone_member_that_gives_no_snapshot_nothing_is_moved(monkeypatch: Any, tmp_path: Path) -> None:
    stage, program = from_member(monkeypatch, tmp_path, does={"extract_snapshot": "h2: no room"})
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == ["extract_snapshot"]
    assert "etcd on h2 is stopped, and no snapshot of its data could be taken" in (
        program.record.record.protections[0].what
    )
    stage, program = from_member(monkeypatch, tmp_path, table.WORKING)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == []
    stage, program = from_member(monkeypatch, tmp_path, check=True)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == []


def test_what_was_taken_of_it_is_found_again_once_its_data_are_aside(monkeypatch: Any, tmp_path: Path) -> None:
    record = replace(table.RECORD, snapshot=WHOLE[-32:].hex(), survivor="h2")
    moved = table.sight(*(table.ground(n, 0, begun(table.OLD_MARKER, record)) for n in (1, 2, 3)))
    stage, program = from_member(monkeypatch, tmp_path, moved)
    play.restore(run_of(program))
    assert done(stage) == ["preflight", "install", "verify"]


def test_a_completed_one_from_a_lone_member_is_only_verified(monkeypatch: Any, tmp_path: Path) -> None:
    ended = completed(table.NEW_MARKER, replace(table.RECORD, survivor="h2"), "then")
    seen = table.sight(
        *(table.ground(number, table.NEW_ID, ended, running=True) for number in (1, 2, 3)),
        seen=table.restored(1, 2, 3),
    )
    stage, program = from_member(monkeypatch, tmp_path, seen)
    assert play.restore(run_of(program)) == ""
    assert done(stage) == ["verify"]


FOLDER = "h2:/var/lib/etcd/removed-1"


def test_a_folder_with_data_gives_the_snapshot_before_anything_is_asked(monkeypatch: Any, tmp_path: Path) -> None:
    """Nothing is stopped for that, so the question can say what would be lost; the cluster may work."""
    asked: list[str] = []
    how: dict[str, Any] = {"own": {"from_member": "", "from_data": FOLDER, "confirm": ""}}
    stage, program = from_member(monkeypatch, tmp_path, table.WORKING, **how)
    monkeypatch.setattr(program.terminal, "ask_name", asked.append, raising=False)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == ["extract_snapshot"]
    assert stage.hosts("extract_snapshot") == ["h2"]
    assert stage.given["extract_snapshot"] == {"folder": tmp_path / "from-data", "place": FOLDER[3:]}
    assert "28 changes since are lost" in asked[0]
    how["own"]["confirm"] = "home"
    stage, program = from_member(monkeypatch, tmp_path, table.WORKING, **how)
    assert play.restore(run_of(program)).startswith("revision 22, 412 keys")
    assert done(stage) == ["extract_snapshot", "preflight", "install", "save_snapshot", "verify"]
    stage, program = from_member(monkeypatch, tmp_path, table.WORKING, check=True, **how)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert done(stage) == []
    stage, program = from_member(monkeypatch, tmp_path, does={"extract_snapshot": "h2: an etcd uses the data"}, **how)
    with pytest.raises(LeftError):
        play.restore(run_of(program))
    assert "an etcd uses the data" in program.record.record.protections[0].what
    assert done(stage) == ["extract_snapshot"]


def test_what_was_taken_of_a_folder_is_found_again(monkeypatch: Any, tmp_path: Path) -> None:
    record = replace(table.RECORD, snapshot=WHOLE[-32:].hex(), survivor=FOLDER)
    moved = table.sight(*(table.ground(n, 0, begun(table.OLD_MARKER, record)) for n in (1, 2, 3)))
    put(tmp_path / "from-data", NOTE.when)
    own = {"from_member": "", "from_data": FOLDER}
    stage, program = from_member(monkeypatch, tmp_path / "other", moved, own={**own, "snapshot_dir": tmp_path})
    play.restore(run_of(program))
    assert done(stage) == ["preflight", "install", "verify"]


@pytest.mark.parametrize(
    ("yes", "size", "ends", "said"), [(True, 1, True, False), (False, 1, False, True), (True, 90, False, False)]
)
def test_an_alarm_of_the_snapshot_is_ended_with_a_yes_once_there_is_room(
    monkeypatch: Any, file: Path, yes: bool, size: int, ends: bool, said: bool
) -> None:
    raised = ("memberID:99 alarm:NOSPACE ",)
    full = [replace(one, db_size=size << 20, errors=raised) for one in WELL.statuses]
    seen = replace(table.STOPPED, cluster=replace(WELL, statuses=tuple(full), healths=()))
    stage, program = staged(monkeypatch, file, seen, yes=yes, does={"see_cluster": seen.cluster})
    monkeypatch.setattr(play, "next_step", lambda *_: None)
    monkeypatch.setattr(play, "client_url", lambda member, _: f"https://{member.name.replace('m', 'h')}:2379")
    play.restore(run_of(program))
    assert stage.given["verify"]["may_end_alarm"] is ends
    assert ("with --yes ends it" in str(program.record.record.warnings)) is said
