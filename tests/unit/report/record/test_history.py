from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.report.record import history
from etcdfleet.report.record.files import ReportFolder
from tests.unit.support.fake_run import nornir_of, raises, recorder_of, step

NIGHT = datetime(2026, 11, 23, 1, 0, 0, tzinfo=UTC)


def kept(base: Path, name: str, **changed: Any) -> Path:
    """A folder with the report of a run that failed on edge-1 and changed the others."""
    recorder = recorder_of()
    nornir = nornir_of().with_processors([recorder])
    nornir.run(step(), name="preflight")
    nornir.run(step({"edge-1": raises(RuntimeError("no"))}, changes=["etcd 3.5"]), name="install")
    recorder.finish()
    folder = base / name
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({**recorder.as_json(), **changed}))
    return folder


def test_newest_first_whatever_the_names_sort_like(tmp_path: Path) -> None:
    names = [
        "20261123T010000Z-rotate_certs",
        "20261123T010001Z-deploy",
        "20261123T010001Z-deploy-2",
        "20261123T010001Z-deploy-10",
        "20261124T000000Z-client_cert",
    ]
    for name in names:
        kept(tmp_path, name)
    assert [run.id for run in history.runs(tmp_path)] == names[::-1]
    assert [run.id for run in islice(history.runs(tmp_path), 1)] == names[-1:]


def test_what_a_run_was(tmp_path: Path) -> None:
    kept(tmp_path, "20261123T010000Z-deploy", seconds=12.5)
    (run,) = history.runs(tmp_path)
    assert (run.runbook, run.state, run.exit_code, run.seconds, run.check) == ("deploy", "failed", 1, 12.5, False)
    assert run.changed == ("az-1", "az-2")
    assert run.failed == ("edge-1",)
    assert run.hosts == run.begun == ("az-1", "az-2", "edge-1")


def test_other_things_in_the_folder_are_no_runs(tmp_path: Path) -> None:
    kept(tmp_path, "20261123T010000Z-deploy")
    for name in (
        "notes",
        "20261123T010000Z",
        "20269923T010000Z-deploy",
        "20261123T010000Z-../x",
        ".20261123T010000Z-a",
    ):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "20261123T010002Z-deploy").write_text("a file")
    (tmp_path / "20261123T010003Z-deploy").symlink_to(tmp_path / "20261123T010000Z-deploy")
    assert [run.id for run in history.runs(tmp_path)] == ["20261123T010000Z-deploy"]
    assert [*history.runs(tmp_path / "missing")] == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "killed at its start"),
        (b"", "no JSON"),
        (b'{"hosts": {"a": {"ste', "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "not a run's"),
        (b'{"hosts": 1}', "not a run's"),
        (b'{"hosts": {}, "schema_version": 2}', "schema version 2"),
        (b'{"hosts": {}, "schema_version": 1, "status": ["ok"]}', "no status"),
        (b'{"hosts": {}, "schema_version": 1}', "no status"),
    ],
)
def test_a_damaged_report_is_said_to_be_one(tmp_path: Path, content: bytes | None, says: str) -> None:
    folder = tmp_path / "20261123T010000Z-rotate_certs"
    folder.mkdir()
    if content is not None:
        (folder / "report.json").write_bytes(content)
    (run,) = history.runs(tmp_path)
    assert (run.state, run.runbook, run.started) == ("unreadable", "rotate_certs", NIGHT)
    assert says in run.problem


@pytest.mark.parametrize(
    "hosts", [{"a": None}, {"a": {}}, {"a": {"steps": 3}}, {"a": {"steps": [None, 1, {"status": {}}]}}]
)
def test_of_a_report_with_holes_the_rest_is_told(tmp_path: Path, hosts: Mapping[str, Any]) -> None:
    kept(tmp_path, "20261123T010000Z-deploy", hosts=hosts, started="yesterday", seconds="long", exit_code="1", error=[])
    (run,) = history.runs(tmp_path)
    assert (run.state, run.started, run.seconds, run.exit_code) == ("failed", NIGHT, 0.0, None)
    assert (run.hosts, run.begun, run.changed, run.failed) == (("a",), (), (), ())


def test_a_run_at_work_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    at_work = ReportFolder(tmp_path, "deploy", NIGHT)
    (run,) = history.runs(tmp_path)
    assert run.state == "running"
    assert run.problem
    at_work.write({"schema_version": 1, "status": "running", "hosts": {}})
    (run,) = history.runs(tmp_path)
    assert run.state == "running"
    del at_work
    (run,) = history.runs(tmp_path)
    assert run.state == "killed"


def test_the_last_run_that_touched_a_host(tmp_path: Path) -> None:
    only_edge = {"edge-1": {"cluster": "edge", "steps": [{"status": "ok", "started_offset": 0.0}]}}
    begun_nowhere = {name: {"steps": [{"status": "skipped", "started_offset": None}]} for name in ("az-1", "edge-1")}
    kept(tmp_path, "20261123T010000Z-deploy")
    kept(tmp_path, "20261123T020000Z-rotate_certs", hosts=only_edge)
    kept(tmp_path, "20261123T030000Z-deploy", check=True)
    kept(tmp_path, "20261123T040000Z-deploy", hosts=begun_nowhere)
    kept(tmp_path, "20261123T050000Z-status")
    (tmp_path / "20261123T060000Z-deploy").mkdir()

    found = history.last_runs(tmp_path, ["az-1", "edge-1", "new"], ignoring=["status"])
    assert {host: run.id for host, run in found.items()} == {
        "az-1": "20261123T010000Z-deploy",
        "edge-1": "20261123T020000Z-rotate_certs",
    }
    assert history.last_runs(tmp_path / "missing", ["az-1"], ignoring=()) == {}


def test_only_as_many_reports_are_read_as_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (kept(tmp_path, "20261124T000000Z-deploy") / "report.json").read_text()
    for minute in range(30):
        folder = tmp_path / f"20261123T00{minute:02d}00Z-deploy"
        folder.mkdir()
        (folder / "report.json").write_text(text)
    read: list[str] = []
    load = history.load

    def counted(folder: Path) -> dict[str, Any]:
        read.append(folder.name)
        return load(folder)

    monkeypatch.setattr(history, "load", counted)
    assert set(history.last_runs(tmp_path, ["az-1", "edge-1"], ignoring=())) == {"az-1", "edge-1"}
    assert read == ["20261124T000000Z-deploy"], "the newest one touched both"
    read.clear()
    assert len([*islice(history.runs(tmp_path), 10)]) == len(read) == 10
    read.clear()
    assert len([*history.runs(tmp_path)]) == len(read) == 31


def test_a_report_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "20261123T010000Z-deploy" / "report.json").mkdir(parents=True)
    (run,) = history.runs(tmp_path)
    assert "Is a directory" in run.problem
