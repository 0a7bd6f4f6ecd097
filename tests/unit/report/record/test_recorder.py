from __future__ import annotations

import contextlib
import logging
from typing import Any

import pytest
from nornir.core.exceptions import NornirSubTaskError
from nornir.core.task import Result, Task

from etcdfleet.errors import ProtectionError, RemoteError
from etcdfleet.outcome import StepOutcome
from etcdfleet.report.record.model import ExitCode, Status
from etcdfleet.report.record.recorder import RunInterruptedError
from etcdfleet.report.record.view import View
from tests.unit.support.fake_run import STEPS, nornir_of, raises, recorder_of, step, validated

RUNNERS = pytest.mark.parametrize("threads", [0, 8], ids=["serial", "threaded"])


def statuses(recorder: Any, host: str) -> list[str | None]:
    return [one.status and one.status.value for one in recorder.record.hosts[host].steps.values()]


@RUNNERS
def test_ok_and_changed(threads: int) -> None:
    recorder = recorder_of()
    nornir = nornir_of(threads=threads).with_processors([recorder])
    nornir.run(step(summary="all well"), name="preflight")
    nornir.run(step({"az-1": lambda task: Result(task.host, result=StepOutcome(changes=("a", "b")))}), name="install")
    nornir.run(step(facts={"leader": True}), name="verify")
    record = recorder.finish()
    assert statuses(recorder, "az-1") == ["ok", "changed", "ok"]
    assert statuses(recorder, "edge-1") == ["ok", "ok", "ok"]
    assert record.exit_code is ExitCode.OK
    document = validated(recorder.as_json())
    assert document["status"] == "ok"
    assert document["hosts"]["az-1"]["totals"] == {"ok": 2, "changed": 1, "failed": 0, "skipped": 0}
    assert document["hosts"]["az-1"]["steps"][1]["changes"] == ["a", "b"]
    assert document["hosts"]["az-2"]["facts"] == {"leader": True}
    assert document["clusters"] == {"home": ["az-1", "az-2"], "edge": ["edge-1"]}


@RUNNERS
def test_a_failed_host_does_not_vanish(threads: int) -> None:
    recorder = recorder_of()
    nornir = nornir_of(threads=threads).with_processors([recorder])
    nornir.run(
        step({"az-2": raises(RemoteError("no answer", where="192.0.2.1:22", remedy="turn it on"))}), name="preflight"
    )
    nornir.run(step(), name="install")
    nornir.run(step(), name="verify")
    record = recorder.finish()
    assert record.exit_code is ExitCode.FAILED
    assert statuses(recorder, "az-1") == ["ok", "ok", "ok"]
    assert statuses(recorder, "az-2") == ["failed", "skipped", "skipped"]
    steps = validated(recorder.as_json())["hosts"]["az-2"]["steps"]
    assert steps[0]["error"] == {
        "kind": "RemoteError",
        "what": "no answer",
        "where": "192.0.2.1:22",
        "remedy": "turn it on",
        "expected": True,
    }
    assert steps[1]["summary"] == "preflight failed"
    assert steps[1]["started_offset"] is None


def test_the_deepest_cause_is_shown() -> None:
    def inner(task: Task) -> None:
        task.run(raises(RemoteError("disk full")), name="write_file")

    def outer(task: Task) -> None:
        task.run(step(changes=("folder made",)), name="make_folder")
        task.run(inner, name="inner")

    recorder = recorder_of({"az-1": "home"})
    nornir_of({"az-1": "home"}).with_processors([recorder]).run(outer, name="install")
    record = recorder.finish().hosts["az-1"].steps["install"]
    assert record.error is not None
    assert (record.error.kind, record.error.what) == ("RemoteError", "disk full")
    assert record.changes == ("folder made",), "what was changed before the failure is still said"


def test_a_failure_that_the_parent_caught_counts_as_nornir_counts_it() -> None:
    def outer(task: Task) -> Result:
        with contextlib.suppress(NornirSubTaskError):
            task.run(raises(RemoteError("first try")), name="try")
        return Result(task.host, result=StepOutcome(summary="fine"))

    recorder = recorder_of({"az-1": "home"})
    nornir = nornir_of({"az-1": "home"}).with_processors([recorder])
    nornir.run(outer, name="preflight")
    assert nornir.data.failed_hosts == {"az-1"}
    assert statuses(recorder, "az-1")[0] == "failed"


def test_unexpected_errors_are_called_so_and_logged_with_traceback(caplog: pytest.LogCaptureFixture) -> None:
    recorder = recorder_of({"az-1": "home"})
    with caplog.at_level(logging.INFO):
        nornir_of({"az-1": "home"}).with_processors([recorder]).run(raises(TypeError("no")), name="preflight")
    error = recorder.record.hosts["az-1"].steps["preflight"].error
    assert error is not None
    assert error.what == "unexpected: TypeError: no"
    assert not error.expected
    assert any(entry.exc_info and entry.name == "etcdfleet.run" for entry in caplog.records)


def test_failed_without_an_exception() -> None:
    recorder = recorder_of({"az-1": "home"})
    task = step(lambda task: Result(task.host, result="said so", failed=True))
    nornir_of({"az-1": "home"}).with_processors([recorder]).run(task, name="preflight")
    error = recorder.record.hosts["az-1"].steps["preflight"].error
    assert error is not None
    assert error.what == "said so"
    assert recorder.finish().exit_code is ExitCode.FAILED


def test_an_undeclared_task_is_recorded_only_if_it_fails() -> None:
    recorder = recorder_of({"az-1": "home"})
    nornir = nornir_of({"az-1": "home"}).with_processors([recorder])
    nornir.run(step(), name="aside")
    assert "aside" not in recorder.record.hosts["az-1"].steps
    nornir.run(raises(RemoteError("x")), name="aside")
    assert recorder.finish().hosts["az-1"].steps["aside"].status is Status.FAILED
    validated(recorder.as_json())


def test_protection_by_a_task_and_by_the_runbook() -> None:
    recorder = recorder_of()
    nornir = nornir_of().with_processors([recorder])
    nornir.run(step({"az-1": raises(ProtectionError("two members are down", remedy="start them"))}), name="preflight")
    recorder.protect("edge", "data of another cluster", "look at it")
    record = recorder.finish()
    assert record.exit_code is ExitCode.PROTECTED
    document = validated(recorder.as_json())
    assert document["status"] == "protected"
    assert [(found["cluster"], found["what"]) for found in document["protections"]] == [
        ("home", "two members are down"),
        ("edge", "data of another cluster"),
    ]
    assert record.hosts["edge-1"].steps["install"].summary == "stopped to protect cluster edge"


def test_skips_have_reasons_and_do_not_overwrite_results() -> None:
    recorder = recorder_of()
    nornir = nornir_of().with_processors([recorder])
    nornir.run(
        step({"az-2": lambda task: Result(task.host, result=StepOutcome("no TLS", skipped=True))}), name="preflight"
    )
    recorder.skip("az-1", "preflight", "too late")
    recorder.skip_rest(["az-1"], "its cluster is not whole")
    record = recorder.finish()
    assert statuses(recorder, "az-1") == ["ok", "skipped", "skipped"]
    assert record.hosts["az-1"].steps["verify"].summary == "its cluster is not whole"
    assert record.hosts["az-2"].steps["preflight"].status is Status.SKIPPED
    assert record.hosts["edge-1"].steps["verify"].summary == "not needed in this run"


def test_a_step_in_two_parts_is_one_step() -> None:
    recorder = recorder_of({"az-1": "home"})
    nornir = nornir_of({"az-1": "home"}).with_processors([recorder])
    nornir.run(step(changes=("started",)), name="install")
    nornir.run(step(summary="again"), name="install")
    record = recorder.record.hosts["az-1"].steps["install"]
    assert record.status is Status.CHANGED
    assert record.changes == ("started",)


def test_changed_and_warnings_of_subtasks_reach_the_step() -> None:
    def outer(task: Task) -> Result:
        task.run(step(lambda task: Result(task.host, changed=True, diff="+x")), name="one")
        task.run(step(warnings=("slow disk",)), name="two")
        return Result(task.host, result=StepOutcome(summary="done"))

    recorder = recorder_of()
    nornir_of().with_processors([recorder]).run(outer, name="install")
    record = recorder.finish()
    found = record.hosts["az-1"].steps["install"]
    assert (found.status, found.diff, found.warnings) == (Status.CHANGED, "+x\n", ("slow disk",))
    assert [(notice.place, notice.text) for notice in record.warnings] == [
        ("az-1", "slow disk"),
        ("az-2", "slow disk"),
        ("edge-1", "slow disk"),
    ]


def test_facts_of_several_steps_are_merged() -> None:
    recorder = recorder_of({"az-1": "home"})
    nornir = nornir_of({"az-1": "home"}).with_processors([recorder])
    nornir.run(step(facts={"certificates": {"peer": {"serial": "1"}}, "version": "3.4"}), name="install")
    nornir.run(step(facts={"certificates": {"client": {"serial": "2"}}, "version": "3.5"}), name="verify")
    assert recorder.record.hosts["az-1"].facts == {
        "certificates": {"peer": {"serial": "1"}, "client": {"serial": "2"}},
        "version": "3.5",
    }


def test_times_are_of_the_monotonic_clock() -> None:
    moments = iter([100.0, 101.5, 104.0, 110.0])
    recorder = recorder_of({"az-1": "home"}, clock=lambda: next(moments))
    nornir_of({"az-1": "home"}).with_processors([recorder]).run(step(), name="preflight")
    record = recorder.record.hosts["az-1"].steps["preflight"]
    assert (record.started_offset, record.seconds) == (1.5, 2.5)
    assert recorder.finish().seconds == 10.0


def test_activity_follows_subtasks() -> None:
    seen: list[str] = []

    class Watching(View):
        def activity(self, host: str, text: str) -> None:
            seen.append(f"{host}: {text}")

    def outer(task: Task) -> None:
        task.run(step(), name="fetch_packages")

    recorder = recorder_of({"az-1": "home"}, views=[Watching()])
    nornir_of({"az-1": "home"}).with_processors([recorder]).run(outer, name="install")
    assert seen == ["az-1: fetch packages", "az-1: "]


@RUNNERS
def test_a_broken_view_or_file_does_not_abort_the_run(threads: int) -> None:
    class Broken(View):
        def step_started(self, host: Any, step: Any) -> None:
            raise BrokenPipeError(host.name, step.name)

        def step_finished(self, host: Any, step: Any) -> None:
            raise KeyError(host.name, step.name)

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    recorder = recorder_of(views=[Broken()], save=full)
    nornir_of(threads=threads).with_processors([recorder]).run(step(), name="preflight")
    assert [statuses(recorder, host)[0] for host in recorder.record.hosts] == ["ok"] * 3


def test_saved_at_the_start_and_after_each_step() -> None:
    saved: list[Any] = []
    recorder = recorder_of(save=saved.append)
    nornir_of().with_processors([recorder]).run(step(), name="preflight")
    assert [validated(document)["status"] for document in saved] == ["running", "running"]
    assert saved[0]["hosts"]["az-1"]["steps"][0]["status"] is None
    assert saved[1]["hosts"]["az-1"]["steps"][0]["status"] == "ok"


def test_stop_between_steps() -> None:
    recorder = recorder_of()
    nornir = nornir_of().with_processors([recorder])
    nornir.run(step(), name="preflight")
    recorder.request_stop()
    with pytest.raises(RunInterruptedError):
        nornir.run(step(), name="install")
    record = recorder.finish(interrupted=recorder.cut_short)
    assert record.exit_code is ExitCode.INTERRUPTED
    assert statuses(recorder, "az-1") == ["ok", "skipped", "skipped"]
    assert validated(recorder.as_json())["status"] == "interrupted"


@pytest.mark.parametrize("threads", [0, 1])
def test_stop_spares_hosts_that_wait_for_a_worker(threads: int) -> None:
    recorder = recorder_of()

    def first(task: Task) -> None:
        assert task.host.name == "az-1", "no other host may begin"
        recorder.request_stop()

    nornir_of(threads=threads).with_processors([recorder]).run(step(first), name="preflight")
    assert recorder.cut_short
    recorder.finish(interrupted=True)
    assert [statuses(recorder, host)[0] for host in recorder.record.hosts] == ["ok", "skipped", "skipped"]


def test_a_step_still_running_at_the_end_has_not_succeeded() -> None:
    recorder = recorder_of({"az-1": "home"})

    with pytest.raises(SystemExit):
        nornir_of({"az-1": "home"}).with_processors([recorder]).run(raises(SystemExit(0)), name="preflight")
    record = recorder.finish()
    assert statuses(recorder, "az-1") == ["failed", "skipped", "skipped"]
    assert record.exit_code is ExitCode.FAILED
    validated(recorder.as_json())


def test_zero_hosts() -> None:
    recorder = recorder_of({})
    nornir_of({}).with_processors([recorder]).run(step(), name="preflight")
    assert recorder.finish().exit_code is ExitCode.OK
    assert validated(recorder.as_json())["hosts"] == {}


def test_many_hosts_in_threads() -> None:
    fleet = {f"h{number:03}": f"c{number % 40}" for number in range(200)}
    recorder = recorder_of(fleet)
    nornir = nornir_of(fleet, threads=32).with_processors([recorder])
    for one in STEPS:
        nornir.run(step(changes=("x",)), name=one.name)
    record = recorder.finish()
    assert all(host.totals()["changed"] == 3 for host in record.hosts.values())
    assert len(record.clusters) == 40
    validated(recorder.as_json())
