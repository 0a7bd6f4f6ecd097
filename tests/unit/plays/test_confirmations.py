"""Questions before what clients notice: when they are asked, and what happens where nobody answers."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from etcdfleet.etcd.interruption import interruption
from etcdfleet.host.lock import LockInfo
from tests.unit.support.paths import ROOT
from tests.unit.support.terminal import at_terminal

OTHER = LockInfo("alice", "deploy", "controller", 4711, "2026-06-01T12:00:00+00:00")


@pytest.mark.parametrize(
    ("members", "order", "schemes", "wanted", "said"),
    [
        (3, ["a", "b", "c"], {"a": "https", "b": "https", "c": "https"}, "https", []),
        (1, ["a"], {"a": "https"}, "https", ["while a restarts", "single member"]),
        (
            2,
            ["a", "b"],
            {"a": "https", "b": "https"},
            "https",
            ["while a and then b restarts", "both of two members are needed"],
        ),
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


ASKING = """
    import sys
    sys.path.insert(0, {root!r})
    from etcdfleet.program import main as cli
    from tests.unit.support.fake_run import NoOptions
    from tests.unit.support.fake_run import fleet_of, nornir_of, step

    def body(run):
        run.step("preflight", step())
        run.step("install", step(summary="agreed" if run.confirm("Go on?") else "declined"))
        run.step("verify", step(lambda task: __import__("time").sleep(0.6)))

    cli._open_fleet = lambda options: (nornir_of(threads=3), fleet_of())
    steps = [(name, name.title()) for name in ("preflight", "install", "verify")]
    argv = ["--report-dir", {reports!r}]
    sys.exit(cli.run_runbook("deploy", body, description="", own=NoOptions, steps=steps, argv=argv))
"""


@pytest.mark.parametrize(("typed", "word"), [(b"y\n", "agreed"), (b"\n", "declined"), (b"\x03", "")])
def test_the_display_goes_on_after_a_question(tmp_path: Path, typed: bytes, word: str) -> None:
    code = textwrap.dedent(ASKING).format(root=str(ROOT), reports=str(tmp_path))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "1"}
    status, shown = at_terminal([sys.executable, "-c", code], environment, typed=[("[y/N]", typed)])
    before, _, after = shown.partition("[y/N]")
    assert "Preflight ok" in before
    assert status == (0 if word else 130), after
    (report,) = tmp_path.glob("*/report.json")
    steps = json.loads(report.read_text())["hosts"]["az-1"]["steps"]
    assert steps[1]["summary"] == (word or "interrupted")
    assert "of 3 hosts done" in after, "the live lines are drawn again"
