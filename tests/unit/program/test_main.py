from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nornir.core.task import Result, Task

from etcdfleet.errors import FleetError, ProtectionError, RemoteError, UsageError
from etcdfleet.outcome import StepOutcome
from etcdfleet.program import main as cli
from etcdfleet.program.arguments import build_parser, parse_options
from etcdfleet.program.options import Options
from etcdfleet.report.record.secrets import Redactor
from etcdfleet.settings.load import settings_of
from etcdfleet.settings.problems import Problem, SettingsError
from tests.unit.support.fake_run import FLEET, STEPS, NoOptions, fleet_of, nornir_of, raises, step, validated
from tests.unit.support.paths import ROOT
from tests.unit.support.settings_files import write_inventory
from tests.unit.support.terminal import at_terminal

SECRET = "correct-horse-battery"
KEY = "-----BEGIN PRIVATE " + "KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE " + "KEY-----"
TOKEN = "hvs." + "CAESIJ2xyzAbCdEfGhIjKlMnOpQrStUvWx"


@dataclass
class Ran:
    code: int
    out: str
    err: str
    folders: list[Path]

    @property
    def report(self) -> dict[str, Any]:
        (folder,) = self.folders
        return validated(json.loads((folder / "report.json").read_text()))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Runner = Callable[..., Ran]


@pytest.fixture(name="runbook")
def _runbook(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(cli, "REDACTOR", Redactor(SECRET))
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(
        body: cli.Body[NoOptions],
        *argv: str,
        fleet: Mapping[str, str] = FLEET,
        warnings: Sequence[object] = (),
        refuse: UsageError | None = None,
    ) -> Ran:
        def opened(options: Options) -> Any:
            if refuse:
                raise refuse
            return nornir_of(fleet, threads=4, check=options.check), fleet_of(fleet, warnings)

        monkeypatch.setattr(cli, "_open_fleet", opened)
        code = cli.run_runbook(
            "deploy",
            body,
            description="Deploys.",
            own=NoOptions,
            steps=[(one.name, one.title) for one in STEPS],
            argv=["--report-dir", str(tmp_path / "reports"), *argv],
        )
        printed = capsys.readouterr()
        base = tmp_path / "reports"
        return Ran(code, printed.out, printed.err, sorted(base.iterdir()) if base.exists() else [])

    return run


def all_steps(**tasks: Any) -> cli.Body[NoOptions]:
    def body(run: cli.Program[NoOptions]) -> None:
        for one in STEPS:
            run.step(one.name, tasks.get(one.name, step(summary="all well")))

    return body


def test_all_well(runbook: Runner) -> None:
    ran = runbook(all_steps())
    assert ran.code == 0
    assert "az-1 ok=3 changed=0 failed=0 skipped=0\n" in ran.out
    assert "all well on 3 hosts" in ran.out
    assert "\x1b" not in ran.out
    assert ran.err == ""
    assert ran.report["status"] == "ok"
    assert ran.report["options"]["limit"] == []
    assert (ran.folders[0] / "deploy.log").read_text().count("begins") == 9


def test_a_failure_is_exit_1_and_said_with_its_remedy(runbook: Runner) -> None:
    bad = step({"az-2": raises(RemoteError("no answer", where="192.0.2.1:22", remedy="turn it on"))})
    ran = runbook(all_steps(preflight=bad))
    assert ran.code == 1
    assert "FAILED  az-2  preflight\n  what    no answer\n  where   192.0.2.1:22\n  remedy  turn it on\n" in ran.out
    assert "az-1 ok=3 changed=0 failed=0 skipped=0\n" in ran.out
    assert ran.report["exit_code"] == 1


def test_protection_is_exit_3(runbook: Runner) -> None:
    ran = runbook(all_steps(install=step({"az-1": raises(ProtectionError("quorum would be lost"))})))
    assert (ran.code, ran.report["status"]) == (3, "protected")
    assert "STOPPED to protect  home" in ran.out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FleetError("whole run"), 1),
        (UsageError("wrong"), 2),
        (ProtectionError("no", where="home"), 3),
        (KeyError("fault"), 1),
        (SystemExit(0), 1),
    ],
)
def test_errors_of_the_body_are_reported_too(runbook: Runner, error: BaseException, code: int) -> None:
    def body(run: cli.Program[NoOptions]) -> None:
        run.step("preflight", step())
        raise error

    ran = runbook(body)
    assert ran.code == code
    assert ran.report["exit_code"] == code
    assert ran.report["error"]["kind"] == type(error).__name__
    assert ran.report["hosts"]["az-1"]["steps"][0]["status"] == "ok"


def test_exit_of_a_task_does_not_pass_for_success(runbook: Runner) -> None:
    ran = runbook(all_steps(install=step({"az-1": raises(SystemExit(0))})))
    assert ran.code == 1
    assert "unexpected: SystemExit" in ran.out


def test_check_says_would_change(runbook: Runner) -> None:
    def look(task: Task) -> Result:
        assert task.is_dry_run()
        return Result(task.host, result=StepOutcome(changes=("install etcd",)))

    ran = runbook(all_steps(install=step(look)), "--check", "--verbose")
    assert ran.code == 0
    assert "would change" in ran.out
    assert "az-1: install etcd" in ran.out
    assert "3 of them would change" in ran.out
    assert ran.report["check"] is True


def test_diffs_are_shown_on_demand_and_kept_always(runbook: Runner) -> None:
    def change(task: Task) -> Result:
        return Result(task.host, result=StepOutcome(changes=("conf.yml",)), diff="-a\n+b\n")

    assert "+b" not in runbook(all_steps(install=step(change)), "--cluster", "edge").out
    shown = runbook(all_steps(install=step(change)), "--diff", "--limit", "az-1")
    assert "az-1: install:\n-a\n+b\n" in shown.out
    document = json.loads((shown.folders[-1] / "report.json").read_text())
    assert document["hosts"]["az-1"]["steps"][1]["diff"] == "-a\n+b\n"


def test_limit_and_cluster_choose_hosts(runbook: Runner) -> None:
    chosen: list[tuple[str, ...]] = []

    def body(run: cli.Program[NoOptions]) -> None:
        chosen.append(run.hosts)
        assert set(run.fleet.hosts) == set(FLEET)
        assert run.step("preflight", step(), only=["az-1"]).keys() <= {"az-1"}

    runbook(body, "--limit", "az-*", "--limit", "!az-2")
    runbook(body, "--cluster", "edge")
    assert chosen == [("az-1",), ("edge-1",)]


@pytest.mark.parametrize(
    "argv", [("--limit", "nothing"), ("--limit", "az-1", "--cluster", "edge"), ("--cluster", "hom")]
)
def test_nothing_chosen_is_exit_2_with_what_exists(runbook: Runner, argv: tuple[str, ...]) -> None:
    ran = runbook(all_steps(), *argv)
    assert (ran.code, ran.out, ran.folders) == (2, "", [])
    assert "edge" in ran.err
    assert "home" in ran.err


def test_an_empty_inventory_is_exit_2(runbook: Runner) -> None:
    assert runbook(all_steps(), fleet={}).code == 2


def test_every_settings_mistake_is_shown(runbook: Runner) -> None:
    problems = [
        Problem("inventory/hosts.yaml:3", "host az-1", "member.address", "is not an IP address", "write 10.0.0.1"),
        Problem("inventory/groups.yaml", "group home", "cluster.token", "is missing", "choose one"),
    ]
    ran = runbook(all_steps(), refuse=SettingsError(problems))
    assert ran.code == 2
    for text in ("2 mistakes", "hosts.yaml:3, host az-1, member.address", "is not an IP address", "choose one"):
        assert text in ran.err
    assert ran.folders == []
    refused = runbook(all_steps(), "--json", "-", refuse=SettingsError(problems)).events
    assert [event["event"] for event in refused] == ["run_refused"]
    assert [problem["remedy"] for problem in refused[0]["problems"]] == ["write 10.0.0.1", "choose one"]


def test_warnings_of_the_settings_reach_the_end(runbook: Runner) -> None:
    even = Problem("", "group home", "", "two members tolerate no failure", "add a third")
    ran = runbook(all_steps(), "--quiet", warnings=[even])
    assert ran.out == "warning  group home: two members tolerate no failure; add a third\n"


def test_quiet_says_nothing_when_all_is_well_and_all_about_failures(runbook: Runner) -> None:
    assert runbook(all_steps(), "--quiet").out == ""
    ran = runbook(all_steps(install=raises(RemoteError("no answer"))), "--quiet")
    assert "FAILED  az-1, az-2, edge-1  install" in ran.out, "the same on all hosts is said once"
    assert "ok=" not in ran.out


def test_events_on_standard_output_and_nothing_else(runbook: Runner) -> None:
    ran = runbook(all_steps(install=step({"az-2": raises(RemoteError("no answer"))})), "--json", "-", "--diff")
    assert ran.code == 1
    names = [event["event"] for event in ran.events]
    assert (names[0], names[-1]) == ("run_started", "run_finished")
    assert names.count("step_started") == 8
    assert names.count("step_finished") == 9
    assert {event["schema_version"] for event in ran.events} == {1}
    failed = next(
        event for event in ran.events if event.get("status") == "failed" and event["event"] == "step_finished"
    )
    assert (failed["host"], failed["cluster"], failed["step"]) == ("az-2", "home", "install")
    assert failed["error"]["what"] == "no answer"
    assert {"seconds", "summary", "changes"} <= failed.keys()
    assert ran.events[-1]["totals"]["az-2"] == {"ok": 1, "changed": 0, "failed": 1, "skipped": 1}
    assert "FAILED  az-2  install" in ran.err


def test_events_in_a_file(runbook: Runner, tmp_path: Path) -> None:
    ran = runbook(all_steps(), "--json", str(tmp_path / "events"))
    assert "ok=3" in ran.out
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert events[-1]["status"] == "ok"
    assert runbook(all_steps(), "--json", str(tmp_path / "no" / "such")).code == 2


def test_secrets_are_nowhere(runbook: Runner, tmp_path: Path) -> None:
    leak = f"{SECRET} {TOKEN} {KEY}"

    def leaky(task: Task) -> Result:
        task.run(step(), name=f"send {SECRET}")
        facts = {"version": leak, "nested": {leak: [leak]}}
        return Result(
            task.host,
            result=StepOutcome(leak, (leak,), (leak,), facts),
            diff=f"+{leak}".replace("\n", "\n+"),
        )

    def body(run: cli.Program[NoOptions]) -> None:
        logging.getLogger("etcdfleet").info("in the log: %s", leak)
        run.say(leak)
        run.record.warn("place", leak)
        run.record.protect("home", leak, leak)
        run.record.skip(["edge-1"], "verify", leak)
        run.step("preflight", leaky)
        run.step("install", step({"az-1": raises(RemoteError(leak, where=leak, remedy=leak))}))
        run.step("verify", step({"az-2": raises(ValueError(leak))}))
        raise FleetError(leak)

    for argv in (["--diff", "--verbose", "--debug"], ["--json", "-", "--debug"], ["--json", str(tmp_path / "events")]):
        ran = runbook(body, *argv)
        assert ran.code == 3
        texts = [ran.out, ran.err, *(path.read_text() for path in tmp_path.rglob("*") if path.is_file())]
        for text in texts:
            for secret in (SECRET, TOKEN, "MIIEvQIBADANBgkq"):
                assert secret not in text
    assert all("[secret]" in (folder / "report.json").read_text() for folder in ran.folders)
    assert all("[secret]" in (folder / "deploy.log").read_text() for folder in ran.folders)


def test_confirm_needs_attention_to_ask(runbook: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bool] = []

    def body(run: cli.Program[NoOptions]) -> None:
        answers.append(run.confirm("really?"))

    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert runbook(body).code == 2
    assert runbook(body, "--yes").code == 0
    assert runbook(body, "--check").code == 0
    assert answers == [True, True]


def _add_days(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int)


def test_options_are_typed() -> None:
    parser = build_parser("x", "d", "", _add_days)
    options = parse_options(parser, ["--limit", "a,b", "--limit=!c", "--days", "3", "--forks", "5", "--timeout", "2.5"])
    assert options.limit == ("a", "b", "!c")
    assert (options.forks, options.timeout, options.extra) == (5, 2.5, {"days": 3})
    assert options.config.name == "config.yaml"
    assert options.as_json()["days"] == 3


@pytest.mark.parametrize(
    "argv",
    [
        ["--forks", "0"],
        ["--timeout", "-1"],
        ["--timeout", "nan"],
        ["--limit", ","],
        ["--quiet", "--verbose"],
        ["--nonsense"],
        ["--che"],
    ],
)
def test_wrong_use_is_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(build_parser("deploy", "d"), argv)
    assert caught.value.code == 2
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_is_as_wide_as_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = build_parser("deploy", "Word after word. " * 30 + "\n\nA second.", "python x.py   much").format_help()
    prose = text.split("\n\n")[1].splitlines()
    assert columns - 10 < max(map(len, prose)) < columns
    assert "\n\nA second.\n" in text
    assert "examples:\n  python x.py   much\n\nexit codes:\n  0    all is well" in text


def test_help_tells_what_is_needed() -> None:
    text = build_parser("deploy", "Deploys.", "python runbooks/deploy.py --check").format_help()
    for word in (
        "examples:",
        "exit codes:",
        "VAULT_TOKEN",
        "ETCDFLEET_SUDO_PASSWORD",
        "NO_COLOR",
        "130",
        "--report-dir",
    ):
        assert word in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom etcdfleet.program import main, arguments\n"
        "arguments.build_parser('deploy', 'd').format_help()\n"
        "print([name for name in ('nornir', 'rich', 'pydantic', 'netmiko', 'hvac') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


SLOW = """
    import sys, time
    sys.path.insert(0, {root!r})
    from etcdfleet.program import main as cli
    from tests.unit.support.fake_run import NoOptions
    from tests.unit.support.fake_run import fleet_of, nornir_of, step

    def body(run):
        run.step("preflight", step())
        run.step("install", step(lambda task: print("began", flush=True) or time.sleep({seconds})))
        run.step("verify", step())

    cli._open_fleet = lambda options: (nornir_of(threads=3), fleet_of())
    steps = [(name, name) for name in ("preflight", "install", "verify")]
    argv = ["--report-dir", {reports!r}]
    sys.exit(cli.run_runbook("deploy", body, description="", own=NoOptions, steps=steps, argv=argv))
"""


@pytest.mark.parametrize(
    ("stop", "times", "seconds", "installed"),
    [(signal.SIGINT, 1, 1, "ok"), (signal.SIGTERM, 1, 1, "ok"), (signal.SIGINT, 2, 60, "failed")],
)
def test_interrupted(tmp_path: Path, stop: signal.Signals, times: int, seconds: int, installed: str) -> None:
    code = textwrap.dedent(SLOW).format(root=str(ROOT), reports=str(tmp_path), seconds=seconds)
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test runner in the background of a shell ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout
        assert any("began" in line for line in process.stdout)
        for _ in range(times):
            time.sleep(0.3)
            process.send_signal(stop)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - begun < 20
    assert "stopping after the running steps" in err
    assert "interrupted" in out
    (folder,) = tmp_path.iterdir()
    report = validated(json.loads((folder / "report.json").read_text()))
    assert (report["status"], report["exit_code"]) == ("interrupted", 130)
    assert [one["status"] for one in report["hosts"]["az-1"]["steps"]] == ["ok", installed, "skipped"]


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_live_lines(tmp_path: Path, variables: dict[str, str], coloured: bool) -> None:
    code = textwrap.dedent(SLOW).format(root=str(ROOT), reports=str(tmp_path), seconds=0.3)
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "70", **variables}
    status, text = at_terminal([sys.executable, "-c", code], environment)
    assert status == 0
    assert "3 of 3 hosts done" in text
    assert ("\x1b[32m" in text) is coloured


@pytest.mark.parametrize("events", [[], ["--json", "-"]], ids=["lines", "events"])
def test_a_reader_that_goes_away_does_not_stop_the_work(tmp_path: Path, events: list[str]) -> None:
    code = textwrap.dedent(SLOW).format(root=str(ROOT), reports=str(tmp_path), seconds=0.3)
    code = code.replace('print("began", flush=True) or ', "").replace("argv=[", f"argv=[*{events!r}, ")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "report.json").read_text())["status"] == "ok"
    assert (folder / "deploy.log").read_text().count("output is lost") == 1


# Rows that are clusters.


def test_a_row_for_each_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_inventory(tmp_path)
    names: dict[str, Any] = {}

    def look(task: Task) -> Result:
        names[task.host.name] = settings_of(task.host).name
        return Result(task.host, result=StepOutcome("looked", ("something",)), changed=True, diff="+something\n")

    def body(run: cli.Program[NoOptions]) -> None:
        assert run.hosts == ("home",)
        assert dict(run.clusters) == {"home": ("home",)}
        assert [host.name for host in run.fleet.clusters["home"]] == ["a", "b", "c"]
        run.step("look", look)

    def ran(*argv: str) -> int:
        more = ["--config", str(config), "--report-dir", str(tmp_path / "reports"), *argv]
        return cli.run_runbook(
            "look", body, description="", own=NoOptions, steps=[("look", "Look")], rows="clusters", argv=more
        )

    assert ran("--diff", "--limit", "b") == 0
    assert names == {"home": "a"}
    (folder,) = (tmp_path / "reports").iterdir()
    report = validated(json.loads((folder / "report.json").read_text()))
    assert list(report["hosts"]) == ["home"]
    assert report["hosts"]["home"]["steps"][0]["changes"] == ["something"]
    out = capsys.readouterr().out
    assert "+something" in out
    assert "1 cluster" in out
    assert ran("--json", "-", "--cluster", "home") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event.get("host") for event in events} >= {"home"}
    assert ran("--cluster", "elsewhere") == 2


def test_defaults_are_in_the_projects_own_folder() -> None:
    assert (Options.config, Options.report_dir) == (ROOT / "config.yaml", ROOT / "reports")
    assert Options.config.is_file()
