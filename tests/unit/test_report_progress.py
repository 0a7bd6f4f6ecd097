from __future__ import annotations

import io

import pytest
from nornir.core.task import Result, Task
from rich.console import Console

from etcdfleet.errors import RemoteError
from etcdfleet.report.model import StepRecord
from etcdfleet.report.progress import LiveView, PlainView
from etcdfleet.report.words import ASCII, PRETTY
from etcdfleet.step import StepOutcome
from tests.unit.fake_run import FLEET, nornir_of, raises, recorder_of, step


def live(recorder_fleet: dict[str, str] = FLEET, *, ascii_only: bool = False) -> tuple[LiveView, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=25, color_system=None)
    moments = iter(range(0, 10_000, 2))
    view = LiveView(console, ASCII if ascii_only else PRETTY, clock=lambda: float(next(moments)))
    recorder = recorder_of(recorder_fleet)
    view.run_started(recorder.record)
    view.close()
    return view, file


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 140])
def test_lines_are_no_wider_than_the_terminal(width: int) -> None:
    view, _ = live()
    record = recorder_of().record.hosts["az-1"]
    view.step_started(record, StepRecord("preflight"))
    view.activity("az-1", "measuring how long the disk takes to sync, again and again")
    lines = view.draw(width, 25)
    assert max(line.cell_len for line in lines) <= width
    assert [line.plain.split()[0] for line in lines if not line.plain.startswith(" ")] == ["home", "edge", "0"]
    assert any("az-1" in line.plain and "Prefl" in line.plain for line in lines)
    assert (width < 60) != any("measuring" in line.plain for line in lines)


def test_a_failure_stays_and_skips_do_not_hide_it() -> None:
    view, _ = live(ascii_only=True)
    recorder = recorder_of(views=[])
    nornir = nornir_of().with_processors([recorder])
    nornir.run(step({"az-2": raises(RemoteError("no answer"))}), name="preflight")
    host = recorder.finish().hosts["az-2"]
    for one in host.steps.values():
        view.step_finished(host, one)
    line = next(line.plain for line in view.draw(80, 25) if "az-2" in line.plain)
    assert line.split()[:5] == ["x", "az-2", "3/3", "Preflight", "failed"]
    assert line.isascii()


def test_more_hosts_than_lines() -> None:
    fleet = {f"h{number:03}": f"c{number % 50}" for number in range(150)}
    view, _ = live(fleet)
    recorder = recorder_of(fleet)
    for name in ("h007", "h107", "h149"):
        view.step_started(recorder.record.hosts[name], StepRecord("preflight"))
    lines = [line.plain for line in view.draw(80, 24)]
    assert len(lines) <= 24
    assert [name for name in ("h007", "h107", "h149") if any(name in line for line in lines)] == [
        "h007",
        "h107",
        "h149",
    ]
    assert "147 not shown" in lines[-1]


def test_all_hosts_busy_on_a_small_terminal() -> None:
    fleet = {f"h{number:03}": "one" for number in range(150)}
    view, _ = live(fleet)
    recorder = recorder_of(fleet)
    for name in fleet:
        view.step_started(recorder.record.hosts[name], StepRecord("preflight"))
    assert len(view.draw(40, 10)) <= 10


def test_the_notice_of_a_stop_is_shown() -> None:
    view, _ = live()
    view.notice = "stopping"
    assert view.draw(80, 25)[-1].plain == "stopping"


def test_a_live_run_draws_and_clears_itself() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=25)
    recorder = recorder_of(views=[LiveView(console, PRETTY)])
    nornir_of(threads=3).with_processors([recorder]).run(step(), name="preflight")
    recorder.finish()
    text = file.getvalue()
    assert "az-1" in text
    assert text.endswith("\x1b[2K")


def test_plain_lines_changes_and_diffs() -> None:
    file = io.StringIO()
    view = PlainView(Console(file=file, width=30), changes=True, diffs=True)
    recorder = recorder_of(views=[view])
    nornir = nornir_of().with_processors([recorder])
    nornir.run(
        step({"az-2": raises(RemoteError("no answer"))}, summary="as the inventory says, in every respect"),
        name="preflight",
    )
    nornir.run(step(_with_diff), name="install")
    lines = file.getvalue().splitlines()
    assert lines[0] == "az-1    preflight  ok        0.00s  as the inventory says, in every respect"
    assert lines[1].split()[:3] == ["az-2", "preflight", "failed"]
    assert lines[1].endswith("no answer")
    assert lines[3:8] == [
        "az-1    install    changed   0.00s",
        "    az-1: configuration written",
        "az-1: install:",
        "-old",
        "+new",
    ]
    assert "\x1b" not in file.getvalue()


def _with_diff(task: Task) -> Result:
    return Result(task.host, result=StepOutcome(changes=("configuration written",)), diff="-old\n+new")
