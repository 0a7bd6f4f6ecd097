"""Questions before what clients notice: when they are asked, and what happens where nobody answers."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nornir.core.task import AggregatedResult, MultiResult, Result, Task

from etcdfleet.errors import UsageError
from etcdfleet.etcd.interruption import interruption
from etcdfleet.host.lock import LockInfo
from etcdfleet.program.main import Run
from tasks import lock
from tasks.live import Live
from tasks.rollout import Seen, _agreed
from tests.unit.support.fake_run import recorder_of
from tests.unit.support.paths import ROOT
from tests.unit.support.terminal import take_terminal

OTHER = LockInfo("alice", "deploy", "controller", 4711, "2026-06-01T12:00:00+00:00")


@pytest.mark.parametrize(
    ("members", "order", "schemes", "wanted", "said"),
    [
        (3, ["a", "b", "c"], {"a": "https", "b": "https", "c": "https"}, "https", []),
        (1, ["a"], {"a": "https"}, "https", ["while a restarts", "single member"]),
        (2, ["a", "b"], {"a": "https", "b": "https"}, "https", ["while a and then b restarts", "none can be missing"]),
        (1, ["a"], {}, "https", []),
        (1, [], {"a": "https"}, "https", []),
        (3, ["a", "b", "c"], {"a": "http", "b": "http", "c": "http"}, "https", ["need https and a client certificate"]),
        (3, ["c"], {"a": "https", "b": "https", "c": "http"}, "https", ["need https"]),
        (3, ["c"], {"a": "https", "c": "https"}, "http", ["need plain http"]),
        (1, ["a"], {"a": "http"}, "https", ["single member", "need https"]),
    ],
)
def test_what_clients_notice_of_restarts(
    members: int, order: list[str], schemes: Mapping[str, str], wanted: str, said: list[str]
) -> None:
    found = interruption(members, order, schemes, wanted)
    assert bool(found) is bool(said)
    assert all(text in found for text in said), found


def run_of(answer: bool | None, *, check: bool = False, **extra: Any) -> Any:
    """A run of which only the parts are there that ask; ``answer`` None: there is nobody."""
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        if answer is None:
            raise UsageError("nobody is there")
        return answer

    host = SimpleNamespace(name="az-1", cluster=SimpleNamespace(client_tls=True))
    return SimpleNamespace(
        asked=asked,
        confirm=confirm,
        options=SimpleNamespace(check=check, extra=extra),
        record=recorder_of(),
        fleet=SimpleNamespace(clusters={"home": (host,)}),
        clusters={"home": ("az-1",)},
    )


def seen(endpoint: str) -> dict[str, Seen]:
    status: Any = SimpleNamespace(endpoint=endpoint)
    observed: Any = None
    return {"az-1": Seen(observed, Live(status, None))}


@pytest.mark.parametrize(("answer", "agreed"), [(True, True), (False, False), (None, False)])
def test_a_single_member_is_restarted_after_a_yes(answer: bool | None, agreed: bool) -> None:
    run = run_of(answer)
    assert _agreed(run, "home", ["az-1"], seen("https://127.0.0.1:2379")) is agreed
    assert len(run.asked) == 1
    assert "home: while az-1 restarts" in run.asked[0]
    protected = [found.remedy for found in run.record.record.protections]
    assert ["--yes" in text for text in protected] == ([] if agreed else [True])
    assert run.record.finish().exit_code == (0 if agreed else 3)


def test_check_says_that_it_would_be_asked() -> None:
    run = run_of(None, check=True)
    assert _agreed(run, "home", ["az-1"], seen("https://127.0.0.1:2379"))
    assert run.asked == []
    assert "this is asked for" in run.record.record.warnings[0].text


@pytest.mark.parametrize(
    ("answer", "flag", "asked", "broken"),
    [(True, True, 1, True), (False, True, 1, False), (None, True, 1, False), (True, False, 0, False)],
    ids=["yes", "no", "nobody", "not wanted"],
)
def test_another_runs_lock_is_broken_after_a_yes(answer: bool | None, flag: bool, asked: int, broken: bool) -> None:
    run = run_of(answer, break_lock=flag)
    assert lock._to_break(run, {"az-1": OTHER}) == (frozenset({"az-1"}) if broken else frozenset())
    assert len(run.asked) == asked
    assert all("alice" in question and "az-1" in question for question in run.asked)
    assert lock._to_break(run, {}) == frozenset()


def test_only_what_the_other_run_holds_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a cluster on which part of the lock was free, that part is ours already."""
    attempts: list[tuple[tuple[str, ...], bool]] = []

    class Everything:
        def __init__(self, names: tuple[str, ...]) -> None:
            self.names = names

        def filter(self, filter_func: Callable[[Any], bool]) -> Everything:
            return Everything(tuple(name for name in self.names if filter_func(SimpleNamespace(name=name))))

        def run(self, _task: Task, *, break_lock: bool = False, **_: Any) -> AggregatedResult:
            attempts.append((self.names, break_lock))
            found = AggregatedResult("lock")
            for name in self.names:
                multi = MultiResult("lock")
                multi.append(Result(None, result=OTHER if name == "az-1" and not break_lock else None))
                found[name] = multi
            return found

    run = run_of(True, break_lock=True)
    run.everything = Everything(("az-1", "az-2", "edge-1"))
    run.fleet.clusters["home"] = (SimpleNamespace(name="az-1"), SimpleNamespace(name="az-2"))
    run.good_hosts = ("az-1", "az-2")
    monkeypatch.setattr(lock, "_keep", lambda *_: None)
    assert lock.take_locks(run, {"home": ("az-1", "az-2")}) == {"home": ("az-1", "az-2")}
    assert attempts == [(("az-1", "az-2"), False), (("az-1",), True)]


ASKING = """
    import sys
    sys.path.insert(0, {root!r})
    from etcdfleet.program import main as cli
    from tests.unit.support.fake_run import fleet_of, nornir_of, step

    def body(run):
        run.step("preflight", step())
        run.step("install", step(summary="agreed" if run.confirm("Go on?") else "declined"))
        run.step("verify", step(lambda task: __import__("time").sleep(0.6)))

    cli._open_fleet = lambda options: (nornir_of(threads=3), fleet_of())
    steps = [(name, name.title()) for name in ("preflight", "install", "verify")]
    sys.exit(cli.run_runbook("deploy", body, description="", steps=steps, argv=["--report-dir", {reports!r}]))
"""


@pytest.mark.parametrize(("typed", "word"), [(b"y\n", "agreed"), (b"\n", "declined"), (b"\x03", "")])
def test_the_display_goes_on_after_a_question(tmp_path: Path, typed: bytes, word: str) -> None:
    code = textwrap.dedent(ASKING).format(root=str(ROOT), reports=str(tmp_path))
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "1"}
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
        start_new_session=True,
        preexec_fn=take_terminal,
    ) as process:
        os.close(follower)
        answered = False
        try:
            while chunk := os.read(leader, 65536):
                shown += chunk
                if b"[y/N]" in shown and not answered:
                    answered = True
                    os.write(leader, typed)
        except OSError:  # the way Linux says that the other end is closed
            pass
    os.close(leader)
    before, _, after = shown.decode().partition("[y/N]")
    assert "Preflight ok" in before
    assert process.returncode == (0 if word else 130), after
    (report,) = tmp_path.glob("*/report.json")
    steps = json.loads(report.read_text())["hosts"]["az-1"]["steps"]
    assert steps[1]["summary"] == (word or "interrupted")
    assert "of 3 hosts done" in after, "the live lines are drawn again"


def test_run_has_what_the_stand_ins_have() -> None:
    assert set(vars(run_of(True))) - {"asked"} <= {*Run.__dataclass_fields__, "clusters", "confirm"}
