from __future__ import annotations

import json
import logging
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdfleet.errors import UsageError
from etcdfleet.files import write_whole
from etcdfleet.report.export.page import render
from etcdfleet.report.record.files import ReportFolder, logging_to
from etcdfleet.report.record.secrets import Redactor
from tests.report_samples import failed_deploy

MOMENT = datetime(2026, 11, 23, 17, 3, 55, tzinfo=UTC)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_named_by_time_private_and_unique(tmp_path: Path) -> None:
    first, second = (ReportFolder(tmp_path / "new" / "reports", "deploy", MOMENT) for _ in range(2))
    assert first.path.name == "20261123T170355Z-deploy"
    assert second.path.name == "20261123T170355Z-deploy-2"
    assert mode(first.path) == mode(first.path.parent) == 0o700


def test_the_report_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = ReportFolder(tmp_path, "deploy", MOMENT)
    folder.write({"status": "running"})
    folder.write({"status": "ok", "text": "ключ"}, durable=True)
    assert json.loads(folder.report.read_text(encoding="utf-8")) == {"status": "ok", "text": "ключ"}
    assert mode(folder.report) == 0o600
    assert [path.name for path in folder.path.iterdir()] == ["report.json"]


def test_a_base_that_is_a_file_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        ReportFolder(tmp_path / "file" / "reports", "deploy", MOMENT)
    assert "--report-dir" in caught.value.remedy


def test_the_log_has_times_tracebacks_and_no_secrets(tmp_path: Path) -> None:
    path = tmp_path / "deploy.log"
    with logging_to(path, Redactor("hush-hush")):
        logging.getLogger("etcdfleet.run").info("token is %s", "hush-hush")
        logging.getLogger("tasks.install").debug("left out")
        try:
            int("hush-hush")
        except ValueError:
            logging.getLogger("etcdfleet.run").exception("failed")
    text = path.read_text()
    assert mode(path) == 0o600
    assert "hush" not in text
    assert "Traceback" in text
    assert "left out" not in text
    assert text.split()[0].endswith("Z")
    assert "ValueError: invalid literal for int() with base 10: '[secret]'" in text


def test_libraries_are_logged_from_warning_only(tmp_path: Path) -> None:
    path = tmp_path / "deploy.log"
    with logging_to(path, Redactor(), debug=True):
        for name in ("paramiko.transport", "netmiko", "urllib3.connectionpool", "hvac", "something.else"):
            logging.getLogger(name).info("%s sends its password", name)
            logging.getLogger(name).warning("%s has a warning", name)
        logging.getLogger("nornir.core").info("Running task 'x' with args {'secret': 1}")
        logging.getLogger("nornir.core.task").error("Traceback of Nornir's own")
        logging.getLogger("etcdfleet.remote").debug("a detail")
    text = path.read_text()
    assert "password" not in text
    assert "args" not in text
    assert "Nornir's own" not in text
    assert text.count("has a warning") == 5
    assert "a detail" in text


def test_logging_is_as_before_afterwards(tmp_path: Path) -> None:
    before = (logging.getLogger().handlers[:], logging.getLogger("etcdfleet").level, logging.getLogger().level)
    with logging_to(tmp_path / "log", Redactor()):
        pass
    assert (logging.getLogger().handlers[:], logging.getLogger("etcdfleet").level, logging.getLogger().level) == before


def test_debug_shows_errors_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path / "log", Redactor("hush-hush"), debug=True):
        logging.getLogger("etcdfleet.run").error("hush-hush failed")
    assert "[secret] failed" in capsys.readouterr().err


def test_the_page_is_written_beside_the_report(tmp_path: Path) -> None:
    folder = ReportFolder(tmp_path, "deploy", MOMENT)
    write_whole(folder.page, render({**failed_deploy(), "by": "broken \udcff name"}), 0o600)
    assert mode(folder.page) == 0o600
    text = folder.page.read_text(encoding="utf-8")
    assert "broken ? name" in text
    assert "stopped to protect k3s-edge" in text
    assert [path.name for path in folder.path.iterdir()] == ["report.html"]
