from __future__ import annotations

import copy
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.errors import UsageError
from etcdfleet.report.record import history
from etcdfleet.report.record.files import ReportFolder
from etcdfleet.report.record.model import record_of
from etcdfleet.report.record.prune import old_runs
from etcdfleet.report.record.select import chosen
from etcdfleet.report.show.compare import differences
from etcdfleet.text import age_text
from plays.report import main
from tests import report_samples as samples
from tests.unit.support.paths import ROOT

FAILED, CHECKED, ROTATED = "20261123T170355Z-deploy", "20261122T100000Z-deploy", "20261121T100000Z-rotate_certs"
EMPTY = "20261120T100000Z-deploy"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    documents = {FAILED: samples.failed_deploy(), CHECKED: samples.check_run(), ROTATED: samples.rotation()}
    for name, document in documents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(document))
    (tmp_path / EMPTY).mkdir()
    return tmp_path


def report(reports: Path, *words: str) -> int:
    return main("about", "  python runbooks/report.py", ["--report-dir", str(reports), *words])


@pytest.mark.parametrize(
    ("word", "found"),
    [
        (FAILED, FAILED),
        ("20261123", FAILED),
        ("20261121T10", ROTATED),
        ("latest", FAILED),
        ("latest~0", FAILED),
        ("latest~2", ROTATED),
        (f"{{reports}}/{CHECKED}", CHECKED),
        (f"{{reports}}/{CHECKED}/report.json", CHECKED),
    ],
)
def test_runs_are_named(reports: Path, word: str, found: str) -> None:
    assert chosen(reports, word.format(reports=reports)).id == found


@pytest.mark.parametrize(
    ("word", "what", "remedy"),
    [
        ("2026112", "4 runs begin like this", FAILED),
        ("rotate", "there is no such run", f"near it, of 4 (all: python3 runbooks/report.py --all):\n  {ROTATED}"),
        ("20261123T170355Z-deplyo", "there is no such run", FAILED),
        ("x", "there is no such run", "the newest ones"),
        ("latest~9", "there are not 10 such runs", FAILED),
        ("./nowhere", "there is no report.json", "folder of a run"),
    ],
)
def test_of_unknown_ones_those_near_are_told(
    reports: Path, word: str, what: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(reports, word)
    assert caught.value.what == what
    assert remedy in caught.value.remedy
    assert report(reports, word) == 2
    assert what in capsys.readouterr().err


def test_no_runs_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(tmp_path / "none") == 0
    assert "no runs are kept" in capsys.readouterr().out
    assert report(tmp_path / "none", "latest") == 2
    assert "--report-dir" in capsys.readouterr().err


def test_the_list(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(reports) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [FAILED, CHECKED, ROTATED, EMPTY]
    assert "1m11s protected 3 6 5 etcd-az-3, k3s-m-2" in " ".join(lines[1].split())
    assert "ok (check)" in lines[2]
    assert "killed at its start" in lines[4]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--failed"], [FAILED, EMPTY]),
        (["--runbook", "rotate_certs"], [ROTATED]),
        (["--host", "k3s-m-1"], [FAILED, ROTATED]),
        (["--host", "k3s-m-1", "--failed"], [FAILED]),
        (["--host", "nobody"], []),
    ],
)
def test_the_list_for_programs(
    reports: Path, words: list[str], found: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(reports, "--json", "-", *words) == 0
    assert [run["id"] for run in json.loads(capsys.readouterr().out)] == found


def test_one_run_as_at_its_end(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(reports, "latest", "--diff", "--verbose") == 0
    shown = capsys.readouterr().out
    for text in ("by ana@desk", "no answer to SSH", "etcd would lose its quorum", "+heartbeat-interval: 500"):
        assert text in shown
    assert "  etcd is enabled at boot" in shown
    assert "deploy: stopped to protect k3s-edge after 1m11s, exit code 3" in shown
    assert report(reports, "latest", "--host", "etcd-az-1") == 0
    of_one = capsys.readouterr().out
    assert "no answer to SSH" not in of_one
    assert "exit code 3" in of_one, "the run ended as it did"
    assert report(reports, "20261122", "--host", "k3s-m-1") == 2
    assert "its hosts: etcd-az-1, etcd-az-2, etcd-az-3" in " ".join(capsys.readouterr().err.split())
    assert report(reports, "latest", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == samples.failed_deploy()


def test_latest_is_of_those_that_are_meant(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(reports, "latest", "--runbook", "rotate_certs") == 0
    assert "rotate_certs: all well" in capsys.readouterr().out


def test_a_run_without_a_report_cannot_be_shown(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(reports, EMPTY) == 2
    assert "killed at its start" in capsys.readouterr().err


def test_pages_of_earlier_runs(reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(reports, "--html", "20261121") == 0
    page = reports / ROTATED / "report.html"
    assert capsys.readouterr().out == f"{page}\n"
    assert "rotate_certs: all well on 6 hosts" in page.read_text()
    assert report(reports, "--html", str(tmp_path / "page.html")) == 0
    assert "stopped to protect" in (tmp_path / "page.html").read_text()
    assert report(reports, CHECKED, "--html", "-") == 0
    assert "</html>" in capsys.readouterr().out
    assert report(reports, "latest", "--html", str(tmp_path / "no" / "page.html")) == 2


def changed(document: dict[str, Any], **facts: Any) -> dict[str, Any]:
    other = copy.deepcopy(document)
    for host in other["hosts"].values():
        host["facts"] |= facts
    return other


def test_equal_runs_have_no_differences() -> None:
    document = samples.failed_deploy()
    assert differences(record_of(document), record_of(document)) == ()


def test_what_differs() -> None:
    before = samples.check_run()
    after = changed(before, version="3.5.1", revision=999, leader=None)
    del after["hosts"]["etcd-az-3"]
    after["hosts"]["etcd-az-1"]["facts"]["certificates"]["peer"]["serial"] = "00:01"
    after["hosts"]["etcd-az-1"]["facts"]["checks"][1] |= {"ok": False, "status": "failed", "evidence": "two hashes"}
    steps = {step["name"]: step for step in after["hosts"]["etcd-az-1"]["steps"]}
    steps["preflight"]["seconds"] = 9.0
    steps["install"]["seconds"] += 0.5  # on another day that is nothing
    steps["configure"]["status"] = "ok"
    found = {(one.place, one.what): (one.before, one.after) for one in differences(record_of(before), record_of(after))}
    assert found[("etcd-az-1", "version")] == ("3.4.23", "3.5.1")
    assert found[("etcd-az-1", "revision")] == ("118", "999")
    assert found[("etcd-az-1", "preflight took")] == ("0.3s", "9.0s")
    assert found[("etcd-az-1", "configure")] == ("would change", "ok")
    assert found[("etcd-az-1", "peer certificate")][1].startswith("00:01, until ")
    assert found[("etcd-az-1", "equal data")] == ("well", "failed: two hashes")
    assert found[("etcd-az-3", "takes part")] == ("yes", "no")
    assert ("etcd-az-1", "install took") not in found
    assert ("", "result") not in found


def test_two_runs_are_compared(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(reports, "--compare", "20261122", "latest") == 0
    shown = capsys.readouterr().out
    assert "runbook: deploy --check → deploy" in shown
    assert "start: ok → failed: etcd runs, but is not healthy" in shown.replace("\n    - ok\n    + ", " ok → ")
    assert report(reports, "--compare", "latest", "latest") == 0
    assert "no differences" in capsys.readouterr().out
    assert report(reports, "--compare", "20261122", "latest", "--json", "-", "--host", "k3s-m-1") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == [{"place": "k3s-m-1", "what": "takes part", "before": "no", "after": "yes"}]
    assert report(reports, "latest", "--compare", "latest", "latest") == 2


@pytest.mark.parametrize(
    ("days", "keep", "old"),
    [
        (None, None, []),
        (0, None, [FAILED, CHECKED, ROTATED, EMPTY]),
        (2, None, [ROTATED, EMPTY]),
        (2, 3, [EMPTY]),
        (None, 2, [ROTATED, EMPTY]),
        (None, 0, [FAILED, CHECKED, ROTATED, EMPTY]),
        (100, None, []),
        (None, 9, []),
    ],
)
def test_which_runs_are_old(reports: Path, days: float | None, keep: int | None, old: list[str]) -> None:
    # By their own reports all began at the same moment: what counts here is the names of their folders.
    runs = [
        history.RunSummary(path.name, path, "deploy", history._parts(path.name)[0], "ok")
        for path in history.folders(reports)
    ]
    assert [run.id for run in old_runs(runs, NOW, days=days, keep=keep)] == old


def test_only_what_runs_have_written_is_removed(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (reports / ROTATED / "rotate_certs.log").write_text("a log")
    (reports / CHECKED / "notes.txt").write_text("mine")
    (reports / "20261101T000000Z-old").symlink_to(reports / FAILED)
    (reports / "keepsakes").mkdir()
    at_work = ReportFolder(reports, "deploy", NOW - timedelta(days=300))
    assert report(reports, "--keep", "1", "--yes") == 1
    out, err = capsys.readouterr()
    assert out == "removed 2, kept 3\n"
    assert f"{CHECKED}: not removed: it holds what no run has written: notes.txt" in err
    left = {path.name for path in reports.iterdir()}
    assert left == {FAILED, CHECKED, "20261101T000000Z-old", "keepsakes", at_work.path.name}
    assert (reports / CHECKED / "report.json").is_file()


def test_nothing_is_removed_without_a_yes(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(reports, "--keep", "0") == 2
    assert "--yes" in capsys.readouterr().err
    assert report(reports, "--keep", "1", "--check") == 0
    assert "would remove 3 of 4 runs" in capsys.readouterr().out
    assert report(reports, "--prune", "99999", "--yes") == 0
    assert "none of 4 runs" in capsys.readouterr().out
    assert len([*history.runs(reports)]) == 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s ago"), (40, "40 s ago"), (300, "5 min ago"), (7200, "2 h ago"), (900_000, "10 d ago")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(timedelta(seconds=seconds)) == text


def test_it_needs_no_inventory_and_works_from_anywhere(reports: Path) -> None:
    command = [sys.executable, str(ROOT / "runbooks" / "report.py"), "--report-dir", str(reports)]
    done = subprocess.run(
        command, cwd=reports, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert FAILED in done.stdout
    assert "\x1b" not in done.stdout
    wrong = subprocess.run([*command, "--faild"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "did you mean --failed?" in wrong.stderr
