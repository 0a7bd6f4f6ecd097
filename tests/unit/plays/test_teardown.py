"""A cluster is taken down in order: its name, a snapshot, every member stopped, and only then its data and files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.errors import RemoteError
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import lock, members, teardown
from plays.options import TeardownOptions
from tests.unit.etcd import test_replacement as table
from tests.unit.etcd.test_teardown import DOWN, RUNNING, STOPPED
from tests.unit.plays.test_replace_member import SAVED
from tests.unit.support.fake_run import Stage, program_of, raises, run_of

STEPS = ("snapshot", "stop", "data", "revoke", "remove")
ALL = ("h1", "h2", "h3")


def staged(
    monkeypatch: pytest.MonkeyPatch,
    cluster: Cluster = table.WELL,
    *,
    places: Any = RUNNING,
    own: TeardownOptions | None = None,
    revoke: tuple[str, ...] = (),
    does: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    """A cluster on three hosts."""
    stage = Stage(monkeypatch)
    usual: dict[str, Any] = {
        "see_cluster": cluster,
        "save_snapshot": SAVED,
        "noted": None,
        "read_place": lambda host: places.get(host) or RemoteError("it is gone"),
        "stop_host": StepOutcome("stopped for good", ("stopped",)),
        "put_host_away": StepOutcome("data are kept", ("moved",)),
        "revoke_replaced": None,
        "remove_files": StepOutcome("removed", ("removed",)),
    }
    for name, what in (usual | (does or {})).items():
        for module in (members, teardown):
            if hasattr(module, name):
                stage.put(module, name, what)
    monkeypatch.setattr(lock, "take", lambda _: None)
    program = program_of(
        own or TeardownOptions(confirm="home", snapshot_dir=Path("/s")),
        fleet=dict.fromkeys(ALL, "home"),
        member=lambda host: SimpleNamespace(
            name=host,
            member=SimpleNamespace(name=host.replace("h", "m")),
            pki=SimpleNamespace(revoke=host in revoke),
            backup=SimpleNamespace(folder=None),
        ),
        steps=STEPS,
        **options,
    )
    return stage, program


def done(stage: Stage) -> list[str]:
    """What was done, in order; without the looks, and once for all hosts."""
    names = [name for name, _ in stage.ran if name not in ("see_cluster", "noted", "read_place")]
    return [name for at, name in enumerate(names) if not at or names[at - 1] != name]


def test_the_order(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch)
    assert teardown.take_down(run_of(program)) == str(SAVED.path)
    assert done(stage) == ["save_snapshot", "stop_host", "put_host_away", "remove_files"]
    assert [name for name, _ in stage.ran].count("stop_host") == 3
    assert stage.given["put_host_away"] == {"delete": False, "revoke": False}
    assert program.record.finish().exit_code == ExitCode.OK


def test_certificates_are_revoked_before_their_files_go(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, revoke=ALL)
    teardown.take_down(run_of(program))
    assert done(stage) == ["save_snapshot", "stop_host", "put_host_away", "revoke_replaced", "remove_files"]
    assert stage.given["put_host_away"] == {"delete": False, "revoke": True}


def test_a_host_on_which_the_revocation_failed_keeps_its_files(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, revoke=ALL, does={"revoke_replaced": raises(RemoteError("Vault is sealed"))})
    teardown.take_down(run_of(program))
    assert "remove_files" not in done(stage)
    assert program.record.finish().exit_code == ExitCode.FAILED


@pytest.mark.parametrize(("typed", "goes_on"), [("home", True), ("hom", False), ("yes", False), ("", False)])
def test_the_name_is_typed_in_full_and_yes_is_no_answer(monkeypatch: Any, typed: str, goes_on: bool) -> None:
    stage, program = staged(monkeypatch, own=TeardownOptions(delete_data=True), yes=True)
    questions: list[str] = []

    def ask_name(question: str) -> str:
        questions.append(question)
        return typed

    monkeypatch.setattr(program.terminal, "ask_name", ask_name, raising=False)
    if goes_on:
        teardown.take_down(run_of(program))
    else:
        with pytest.raises(LeftError):
            teardown.take_down(run_of(program))
        assert program.record.finish().exit_code == ExitCode.PROTECTED
    assert bool(done(stage)) is goes_on
    assert "ALL DATA OF IT ARE DELETED" in questions[0]
    assert "h1, h2, h3" in questions[0]


def test_no_data_are_touched_while_a_member_may_run(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, does={"stop_host": raises(RemoteError("it hangs"))})
    with pytest.raises(LeftError):
        teardown.take_down(run_of(program))
    assert done(stage) == ["save_snapshot", "stop_host"]


def test_nothing_is_done_without_a_snapshot_of_a_cluster_that_answers(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, does={"save_snapshot": "h1: the disk is full"})
    with pytest.raises(LeftError):
        teardown.take_down(run_of(program))
    assert done(stage) == ["save_snapshot"]
    assert "the disk is full" in program.record.record.protections[0].what
    stage, program = staged(
        monkeypatch,
        does={"save_snapshot": "h1: the disk is full"},
        own=TeardownOptions(confirm="home", without_snapshot=True),
    )
    teardown.take_down(run_of(program))
    assert done(stage) == ["stop_host", "put_host_away", "remove_files"]


def test_a_run_that_was_ended_is_finished_without_a_snapshot_and_says_so(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, DOWN, places=STOPPED)
    teardown.take_down(run_of(program))
    assert done(stage) == ["stop_host", "put_host_away", "remove_files"]
    assert "no member answers" in str(program.record.record.warnings)


def test_with_check_nothing_is_asked_and_nothing_saved(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, own=TeardownOptions(), check=True, revoke=ALL)
    teardown.take_down(run_of(program))
    assert done(stage) == ["stop_host", "put_host_away", "remove_files"]


def test_a_host_that_cannot_be_read_keeps_the_cluster(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, places={"h1": RUNNING["h1"]})
    with pytest.raises(LeftError):
        teardown.take_down(run_of(program))
    assert done(stage) == []
    assert program.record.finish().exit_code == ExitCode.PROTECTED
