"""What a person sees when a runbook cannot be run: one block that says where, what and what to do, and no traceback."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from etcdfleet.errors import FleetError, UsageError
from etcdfleet.program import main as cli
from etcdfleet.program.arguments import build_parser, near_option
from etcdfleet.session import Session
from tests.unit.support.fake_run import STEPS, NoOptions, fleet_of, nornir_of, step
from tests.unit.support.paths import ROOT
from tests.unit.support.settings_files import write_inventory

KNOWN = tuple(build_parser("deploy", "d")._option_string_actions)


def deploy(*argv: str, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "runbooks" / "deploy.py"), *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=before,
        env={name: value for name, value in os.environ.items() if name not in ("VAULT_ADDR", "COLUMNS")},
    )


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--limti", "--limit"),
        ("--che", "--check"),
        ("--dry-run", "--check"),
        ("-l", "--limit"),
        ("--report_dir", "--report-dir"),
        ("-", ""),
        ("--zzzz", ""),
    ],
)
def test_what_was_meant_by_an_unknown_option(word: str, meant: str) -> None:
    assert near_option(word, KNOWN) == meant


def test_no_option_is_suggested_that_a_program_has_not() -> None:
    assert near_option("--dry-run", ("--json",)) == ""


@pytest.mark.parametrize(
    ("argv", "texts"),
    [
        (["--limti", "x"], ["there is no option --limti (did you mean --limit?)", "--help"]),
        (["k8s-home"], ["unexpected argument 'k8s-home'; --limit k8s-home chooses hosts"]),
        (["--timeout", "0"], ["where   --timeout", "what    '0' is not a number of seconds above 0"]),
        (["--forks"], ["where   --forks", "expected one argument"]),
        (["--config", "{tmp}"], ["where   {tmp}", "is a folder, not a configuration file", "--config FILE"]),
        (["--config", "{tmp}/no.yaml"], ["where   {tmp}/no.yaml", "no such configuration file"]),
        (["--config", "{tmp}/broken.yaml"], ["where   {tmp}/broken.yaml:1", "is not valid YAML", "indentation"]),
        (
            ["--config", "{tmp}/config.yaml", "--limit", "az"],
            ["no host, group or cluster matches 'az'", "hosts: a, b, c"],
        ),
        (["--config", "{tmp}/config.yaml", "--cluster", "hom"], ["(did you mean 'home'?)", "clusters: home"]),
        (
            ["--config", "{tmp}/config.yaml", "--report-dir", "{tmp}/config.yaml"],
            ["where   {tmp}/config.yaml", "cannot keep reports here", "--report-dir"],
        ),
        (["--config", "{tmp}/config.yaml", "--json", "{tmp}"], ["cannot write events", "Is a directory"]),
    ],
)
def test_nothing_was_run(argv: list[str], texts: list[str], tmp_path: Path) -> None:
    write_inventory(tmp_path)
    (tmp_path / "broken.yaml").write_text("inventory: [\n")
    given = [word.replace("{tmp}", str(tmp_path)) for word in argv]
    reports = [] if "--report-dir" in given else ["--report-dir", str(tmp_path / "reports")]
    done = deploy(*given, *reports)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("deploy: ")
    assert "remedy  " in done.stderr
    assert "Traceback" not in done.stderr
    flat = " ".join(done.stderr.split())
    for text in texts:
        assert " ".join(text.replace("{tmp}", str(tmp_path)).split()) in flat
    assert not (tmp_path / "reports").exists() or not list((tmp_path / "reports").glob("*/report.json"))


def test_programs_are_told_too() -> None:
    done = deploy("--json", "-", "--limti", "x")
    (event,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (event["event"], event["exit_code"]) == ("run_refused", 2)
    assert "--limit?" in event["problems"][0]["what"]


def test_a_traceback_is_shown_with_debug_alone(tmp_path: Path) -> None:
    runs = [deploy("--config", str(tmp_path), *more) for more in ([], ["--debug"])]
    assert ["Traceback" in one.stderr for one in runs] == [False, True]


@pytest.mark.parametrize(
    ("error", "code", "what", "remedy"),
    [
        (ZeroDivisionError("by zero"), 1, "unexpected: ZeroDivisionError: by zero", "--debug"),
        (FleetError("no answer", remedy="turn it on"), 1, "no answer", "turn it on"),
        (UsageError("wrong", remedy="do it right"), 2, "wrong", "do it right"),
    ],
)
def test_what_fails_outside_of_a_step(
    error: Exception,
    code: int,
    what: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def opened(_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_open_fleet", opened)
    for argv in ([], ["--debug"]):
        assert cli.run_runbook("deploy", lambda _: None, description="", own=NoOptions, steps=[], argv=argv) == code
        stderr = capsys.readouterr().err
        assert f"  what    {what}\n" in stderr
        assert remedy in stderr
        assert ("Traceback" in stderr) is bool(argv)


def test_a_full_disk_costs_the_report_and_nothing_else(tmp_path: Path) -> None:
    config = write_inventory(
        tmp_path, {"defaults/connection_options": {"netmiko": {"extras": {"key_file": "/no/key"}}}}
    )

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    arguments = ["--config", str(config), "--report-dir", str(tmp_path / "reports")]
    done = deploy(*arguments, before=no_room)
    assert done.returncode == 1
    assert re.search(r"^FAILED  .*  preflight$", done.stdout, re.MULTILINE)
    assert "\nreport: " not in done.stdout
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
        "the log is incomplete: File too large",
        "cannot be written: File too large; make room, or choose another folder with --report-dir",
    ]
    (folder,) = (tmp_path / "reports").iterdir()
    assert [path.name for path in folder.iterdir()] == ["deploy.log"]
    assert "\nreport: " in deploy(*arguments).stdout


def test_a_fault_while_stopping_is_said_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("torn")

    monkeypatch.setattr(cli, "_open_fleet", lambda _: (nornir_of(), fleet_of()))
    monkeypatch.setattr(Session, "finish", broken)
    steps = [(one.name, one.title) for one in STEPS]
    argv = ["--report-dir", str(tmp_path)]

    def body(run: cli.Program[NoOptions]) -> None:
        run.step("verify", step())

    code = cli.run_runbook("deploy", body, description="", own=NoOptions, steps=steps, argv=argv)
    printed = capsys.readouterr()
    assert code == 1
    assert "all well on 3 hosts" in printed.out
    assert "unexpected: RuntimeError: torn" in printed.err
