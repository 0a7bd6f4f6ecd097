"""Who gets a cluster that another run works on, and when its lock may be broken."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from etcdfleet.host.lock import LeftAtWork, LockInfo
from etcdfleet.program.run import LeftError
from plays import lock
from plays.options import LockOptions
from tests.unit.support.fake_run import Stage, program_of, run_of, statuses

OTHER = LockInfo("alice", "deploy", "controller", 4711, "2026-06-01T12:00:00+00:00")


@pytest.mark.parametrize(
    ("answer", "flag", "asked", "broken"),
    [(True, True, 1, True), (False, True, 1, False), (None, True, 1, False), (True, False, 0, False)],
    ids=["yes", "no", "no terminal", "not wanted"],
)
def test_another_runs_lock_is_broken_after_a_yes(
    monkeypatch: pytest.MonkeyPatch, answer: bool | None, flag: bool, asked: int, broken: bool
) -> None:
    """Only on the host that has it: of a cluster on which part of the lock was free, that part is ours already."""
    stage = Stage(monkeypatch)
    stage.put(
        lock, "take_lock", lambda host: OTHER if host == "az-1" and stage.hosts("take_lock").count(host) < 2 else ""
    )
    program = program_of(LockOptions(break_lock=flag), answer=answer)
    try:
        lock.take(run_of(program))
        went_on = True
    except LeftError:
        went_on = False
    assert went_on is broken
    assert stage.hosts("take_lock").count("az-1") == (2 if broken else 1)
    assert stage.hosts("take_lock").count("az-2") == 1
    questions = program.terminal.asked  # type: ignore[attr-defined]
    assert len(questions) == asked
    assert all("alice" in question and "az-1" in question for question in questions)
    assert [found.cluster for found in program.record.record.protections] == ([] if broken else ["home"])


LEFT = LeftAtWork(123, "etcdutl", OTHER)


@pytest.mark.parametrize("broken", [True, False])
def test_what_an_earlier_run_has_left_at_work_is_ended_after_a_yes(
    monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    stage = Stage(monkeypatch)
    stage.put(lock, "take_lock", lambda host: LEFT if stage.hosts("take_lock").count(host) < 2 else "")
    program = program_of(LockOptions(break_lock=broken), answer=True)
    with nullcontext() if broken else pytest.raises(LeftError):
        lock.take(run_of(program))
    if not broken:
        protection = program.record.record.protections[0]
        assert "etcdutl (process 123 there, left at work by alice on controller (deploy" in protection.what
        assert "--break-lock ends it" in protection.remedy


def test_all_members_that_can_be_reached_are_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.put(lock, "take_lock", lambda host: "no flock" if host in ("az-1", "az-3") else "")
    program = program_of(LockOptions(), left_out={"az-3": "home"})
    lock.take(run_of(program))
    assert sorted(stage.hosts("take_lock")) == ["az-1", "az-2", "az-3"]
    assert [one.place for one in program.record.record.warnings] == ["az-1"], (
        "a host that is left out is not of this run"
    )


def test_check_takes_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.put(lock, "take_lock", OTHER)
    lock.take(run_of(program_of(LockOptions(), check=True)))
    assert stage.ran == []


def test_a_cluster_that_is_taken_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    Stage(monkeypatch).put(lock, "take_lock", lambda host: OTHER if host == "az-2" else "")
    program = program_of(LockOptions())
    with pytest.raises(LeftError):
        lock.take(run_of(program))
    assert statuses(program, "az-1") == {"preflight": "skipped", "install": "skipped", "verify": "skipped"}
    assert "alice on controller" in program.record.record.protections[0].what
    assert program.record.record.protections[0].where == "az-2"
