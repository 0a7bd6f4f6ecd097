"""How plays of several clusters go side by side, and what ends one of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from nornir.core.task import Result, Task

from etcdfleet.errors import FleetError, RemoteError, UsageError
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import Run, restart_due
from etcdfleet.report.record.model import ExitCode
from etcdfleet.report.record.recorder import RunInterruptedError
from etcdfleet.settings.load import settings_of
from tests.unit.support.fake_run import Person, program_of, raises, run_of, statuses, step
from tests.unit.support.site import settings


def test_clusters_do_not_wait_for_each_other() -> None:
    """edge is through all of its steps while home is still at its first."""
    done = threading.Event()

    def play(run: Run[Any]) -> str:
        slow = step(lambda _: None if done.wait(10) else Result(_.host, failed=True))
        run.step("preflight", slow if run.cluster == "home" else step())
        run.step("verify", step())
        if run.cluster == "edge":
            done.set()
        return f"{run.cluster} is done"

    program = program_of()
    assert program.play(play) == {"home": "home is done", "edge": "edge is done"}
    assert program.record.finish().exit_code == ExitCode.OK


def test_no_more_hosts_are_worked_on_at_once_than_there_are_workers() -> None:
    fleet = {f"{cluster}{number}": cluster for cluster in "abcdef" for number in range(3)}
    program = program_of(fleet=fleet)
    program.everything.runner.num_workers = 7  # type: ignore[attr-defined]
    busy, most, lock = 0, 0, threading.Lock()

    def work(task: Task) -> Result:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        threading.Event().wait(0.02)
        with lock:
            busy -= 1
        return Result(task.host)

    program.play(lambda run: run.step("preflight", work))
    assert most == 6, "two clusters of three hosts"


def test_a_dead_host_stops_its_own_cluster_alone() -> None:
    def play(run: Run[Any]) -> tuple[str, ...]:
        run.step("preflight", step({"az-1": raises(RemoteError("cannot be reached"))}))
        if run.failed:
            run.leave(f"nothing was changed, since {', '.join(run.failed)} failed")
        run.step("install", step())
        return run.good

    program = program_of()
    assert program.play(play) == {"edge": ("edge-1",)}
    assert statuses(program, "az-2") == {"preflight": "ok", "install": "skipped", "verify": "skipped"}
    assert statuses(program, "edge-1")["install"] == "ok"


def test_a_cluster_that_is_protected_stops_no_other() -> None:
    def play(run: Run[Any]) -> str:
        if run.cluster == "home":
            run.protect("two members say different things", "python runbooks/x.py --cluster NAME")
        return "went on"

    program = program_of()
    assert program.play(play) == {"edge": "went on"}
    record = program.record.finish()
    assert (record.protections[0].cluster, record.exit_code) == ("home", ExitCode.PROTECTED)
    assert record.protections[0].remedy == "python runbooks/x.py --cluster home"
    assert statuses(program, "az-1")["verify"] == "skipped"


def test_an_error_of_one_play_is_raised_when_the_others_have_ended() -> None:
    def play(run: Run[Any]) -> None:
        if run.cluster == "home":
            raise FleetError("wrong use")
        run.step("verify", step())

    program = program_of()
    with pytest.raises(FleetError, match="wrong use"):
        program.play(play)
    assert statuses(program, "edge-1")["verify"] == "ok"


def test_of_two_errors_none_is_lost() -> None:
    def play(run: Run[Any]) -> None:
        raise KeyError(run.cluster)

    program = program_of()
    with pytest.raises(KeyError, match="home"):
        program.play(play)
    assert [one.place for one in program.record.record.warnings] == ["edge"]


def test_no_step_is_begun_once_a_stop_was_asked_for() -> None:
    begun: list[str] = []

    def play(run: Run[Any]) -> None:
        run.step("preflight", step(lambda _: run.program.record.request_stop()))
        run.ask_members(step(), on=run.hosts)
        begun.append(run.cluster)

    program = program_of()
    with pytest.raises(RunInterruptedError):
        program.play(play)
    assert begun == []
    assert program.record.cut_short


def test_questions_are_asked_one_at_a_time() -> None:
    class Slow(Person):
        inside = 0

        def ask(self, question: str) -> bool:
            Slow.inside += 1
            assert Slow.inside == 1
            threading.Event().wait(0.05)
            Slow.inside -= 1
            return super().ask(question)

    program = program_of()
    object.__setattr__(program, "terminal", Slow(True))
    assert program.play(lambda run: run.agreed("Go on?")) == {"home": True, "edge": True}
    assert sorted(program.terminal.asked) == ["edge: Go on?", "home: Go on?"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "answer", "agreed"),
    [
        ({}, True, True),
        ({}, False, False),
        ({}, None, False),
        ({"yes": True}, None, True),
        ({"check": True}, None, True),
    ],
)
def test_without_a_terminal_the_answer_is_no(options: dict[str, bool], answer: bool | None, agreed: bool) -> None:
    program = program_of(answer=answer, **options)  # type: ignore[arg-type]
    assert run_of(program).agreed("Go on?") is agreed
    if answer is None and not options:
        with pytest.raises(UsageError):
            program.confirm("Go on?")


def test_a_run_knows_who_goes_on_and_what_was_done() -> None:
    program = program_of(left_out={"az-3": "home"})
    run = run_of(program)
    assert (run.hosts, run.left_out) == (("az-1", "az-2"), ("az-3",))
    found = run.step("install", step({"az-1": raises(RemoteError("lost"))}, changes=("etcd",), restart=True))
    assert set(found) == {"az-2"}
    assert (run.good, run.failed) == (("az-2",), ("az-1",))
    assert restart_due(found) == {"az-2"}
    assert run.changed() == run.changed("install") == {"az-2"}
    assert run.changed("verify") == frozenset()
    assert run.pending("verify") == ("az-2",)
    run.skip("verify", "not wanted")
    assert run.pending("verify") == run.pending("install") == ()
    assert run.step("verify", step(), on=["az-1"]) == {}, "a host that failed takes part in nothing that follows"


def test_what_subtasks_change_counts() -> None:
    def outer(task: Task) -> Result:
        task.run(lambda task: Result(task.host, result=StepOutcome(changes=("a file",))), name="inner")
        return Result(task.host)

    run = run_of(program_of())
    run.step("install", outer)
    assert run.changed() == {"az-1", "az-2"}


def test_what_is_asked_is_no_step_unless_it_fails() -> None:
    def read_member(task: Task) -> Result:
        if task.host.name == "az-2":
            raise RemoteError("lost")
        return Result(task.host, result=7)

    program = program_of()
    run = run_of(program)
    assert run.ask(read_member) == {"az-1": 7}
    assert "read member" not in statuses(program, "az-1")
    assert statuses(program, "az-2")["read member"] == "failed"
    assert run.ask_members(read_member, on=["az-1", "az-2"]) == {"az-1": 7}


def test_a_run_may_want_other_settings_of_its_hosts() -> None:
    program = program_of(member=lambda name: replace(settings(), name=name))
    run = run_of(program)
    host = program.nornir.inventory.hosts["az-1"]
    other = replace(settings(), name="az-1", hostname="other")
    later = run.wanting({"az-1": other})
    assert settings_of(host) is other
    assert settings_of(program.everything.inventory.hosts["az-1"]) is other
    assert [one.hostname for one in later.program.fleet.hosts.values()].count("other") == 1
    assert "other" not in [one.hostname for one in program.fleet.hosts.values()]
    run.skip("install", "done before")
    assert (run.pending("install"), later.pending("install")) == ((), later.hosts)
