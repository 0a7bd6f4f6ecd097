"""What a run writes for others at its end: its page and JUnit XML. Neither may change how the run ended."""

from __future__ import annotations

import stat
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from etcdfleet.errors import RemoteError
from etcdfleet.report.export import page
from tests.unit.program.test_main import SECRET, Runner, _runbook, all_steps  # noqa: F401  the fixture "runbook"
from tests.unit.support.fake_run import raises, step


def test_the_page_and_junit_of_a_failed_run(runbook: Runner, tmp_path: Path) -> None:
    lost = step({"az-2": raises(RemoteError(f"<b>cut off with {SECRET}</b>", remedy="plug it in"))})
    ran = runbook(all_steps(install=lost), "--junit", str(tmp_path / "junit.xml"))
    assert ran.code == 1
    (folder,) = ran.folders
    written = folder / "report.html"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    text = written.read_text()
    assert "&lt;b&gt;cut off with [secret]&lt;/b&gt;" in text
    assert f"report: {written}" in ran.out
    xml = (tmp_path / "junit.xml").read_text()
    assert SECRET not in text + xml
    root = ET.fromstring(xml)  # noqa: S314  our own
    assert root.attrib["failures"] == "1"
    assert root.attrib["tests"] == "9"


def test_a_page_that_cannot_be_made_is_a_complaint(runbook: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise KeyError("odd")

    monkeypatch.setattr(page, "render", broken)
    ran = runbook(all_steps())
    assert ran.code == 0
    assert "report.html: cannot be written: 'odd'" in ran.err
    assert "report.json" in ran.out
    assert "Traceback" in (ran.folders[0] / "deploy.log").read_text()


def test_junit_that_cannot_be_written_is_a_complaint(runbook: Runner, tmp_path: Path) -> None:
    ran = runbook(all_steps(), "--junit", str(tmp_path / "no" / "junit.xml"))
    assert ran.code == 0
    assert "No such file or directory; give --junit another path" in ran.err
