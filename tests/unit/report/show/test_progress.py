from __future__ import annotations

import io
import os
import re
import sys
import textwrap
from pathlib import Path

import pytest
from nornir.core.task import Result, Task
from rich.cells import cell_len
from rich.console import Console

from etcdfleet.errors import RemoteError
from etcdfleet.outcome import StepOutcome
from etcdfleet.report.record.model import StepRecord
from etcdfleet.report.show.format import ASCII, PRETTY
from etcdfleet.report.show.progress import LiveView, PlainView
from tests.unit.support.fake_run import FLEET, nornir_of, raises, recorder_of, step
from tests.unit.support.paths import ROOT
from tests.unit.support.terminal import at_terminal


def live(recorder_fleet: dict[str, str] = FLEET, *, ascii_only: bool = False) -> tuple[LiveView, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=25, color_system=None)
    moments = iter(range(0, 10_000, 2))
    view = LiveView(console, ASCII if ascii_only else PRETTY, clock=lambda: float(next(moments)))
    recorder = recorder_of(recorder_fleet)
    view.run_started(recorder.record)
    view.close()
    return view, file


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 140, 250])
def test_lines_are_no_wider_than_the_terminal(width: int) -> None:
    view, _ = live()
    record = recorder_of().record.hosts["az-1"]
    view.step_started(record, StepRecord("preflight"))
    view.activity("az-1", "measuring how long the disk takes to sync, again and again")
    lines = view.draw(width, 25)
    assert max(line.cell_len for line in lines) <= min(width, 120)
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


def test_rows_that_are_clusters_are_counted_as_such() -> None:
    assert "0 of 2 clusters done" in live({"home": "home", "edge": "edge"})[0].draw(80, 25)[-1].plain
    assert "0 of 2 hosts done" in live({"a": "home", "b": "edge"})[0].draw(80, 25)[-1].plain


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


def test_steps_that_are_skipped_for_one_reason_are_one_line() -> None:
    file = io.StringIO()
    recorder = recorder_of(views=[PlainView(Console(file=file, width=80))])
    nornir = nornir_of().with_processors([recorder])
    recorder.skip("az-1", "preflight", "done before")
    nornir.run(step({"az-2": raises(RemoteError("no answer"))}), name="install")
    recorder.skip(list(FLEET), "verify", "nothing is due")
    recorder.finish()
    lines = [line.split("  ")[0] + " " + " ".join(line.split()[-3:]) for line in file.getvalue().splitlines()]
    assert lines[0].startswith("az-1 ")
    assert lines[0].endswith("skipped done before")
    assert [line for line in lines if line.endswith("nothing is due")] == ["az-1, edge-1 nothing is due"]
    assert not any("az-2" in line and "nothing is due" in line for line in lines), "its failure was said"


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        (("install",), "install"),
        (("install", "verify"), "install, verify"),
        (("install", "certificates", "verify"), "install to verify"),
    ],
)
def test_what_is_skipped_everywhere_names_no_host_and_steps_share_a_line(steps: tuple[str, ...], names: str) -> None:
    file = io.StringIO()
    recorder = recorder_of(views=[PlainView(Console(file=file, width=80))])
    nornir = nornir_of().with_processors([recorder])
    nornir.run(step(), name="preflight")
    recorder.skip(list(FLEET), steps, "nothing is due")
    recorder.finish()
    (line,) = (line for line in file.getvalue().splitlines() if line.endswith("nothing is due"))
    assert line.split() == ["all", "hosts", *names.split(), "skipped", "nothing", "is", "due"]


def _with_diff(task: Task) -> Result:
    return Result(task.host, result=StepOutcome(changes=("configuration written",)), diff="-old\n+new")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_whole_run_fits_a_terminal_of_any_width(columns: int, tmp_path: Path) -> None:
    """What a real terminal gets: no drawn line is wider, whatever has to be cut; the end wraps between words."""
    code = textwrap.dedent(RUN).format(root=str(ROOT), reports=str(tmp_path))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "NO_COLOR": "1", "LANG": "C.UTF-8"}
    status, written = at_terminal([sys.executable, "-c", code], environment, columns=columns)
    assert status == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r", "\n")
    drawn, _, end = text.rpartition(" hosts done")
    lines = drawn.splitlines()
    assert any("a-host-with-a-" in line for line in lines)
    assert max(cell_len(line) for line in lines) <= columns
    wide = [line for line in end.splitlines() if cell_len(line) > columns]
    # Left whole, to be searched and copied: names, totals, and the lines with paths.
    assert [line for line in wide if not re.match(r"( *\S+$|\S+ ok=\d|deploy: |report: |log: )", line)] == []
    block = " ".join(end.split())
    assert "what no answer from 192.0.2.1 in 10 seconds, and nothing else is known" in block


RUN = """
    import sys, time
    sys.path.insert(0, {root!r})
    from etcdfleet.program import main as cli
    from etcdfleet.errors import RemoteError
    from tests.unit.support.fake_run import NoOptions
    from tests.unit.support.fake_run import fleet_of, nornir_of, raises, step

    FLEET = {{"a-host-with-a-name-that-is-long.example.net": "a-cluster", "b": "a-cluster", "c": "other"}}
    failing = raises(RemoteError("no answer from 192.0.2.1 in 10 seconds, and nothing else is known"))

    def body(run):
        run.step("preflight", step(lambda task: time.sleep(0.4), summary="a summary of many words, to be cut " * 3))
        run.step("install", step({{"c": failing}}, summary="etcd 3.5.16 by apt", changes=("etcd is installed",)))
        run.step("verify", step(lambda task: time.sleep(0.3), facts={{"version": "3.5.16", "member_id": 2**63}}))

    cli._open_fleet = lambda options: (nornir_of(FLEET, threads=3), fleet_of(FLEET))
    steps = [(name, name.title()) for name in ("preflight", "install", "verify")]
    argv = ["--report-dir", {reports!r}]
    sys.exit(cli.run_runbook("deploy", body, description="", own=NoOptions, steps=steps, argv=argv))
"""
