from __future__ import annotations

import json
from typing import Any

import pytest

from etcdfleet.errors import ProtectionError, RemoteError, UsageError
from etcdfleet.report.record.model import ExitCode, record_of
from etcdfleet.report.record.recorder import RunRecorder
from tests.unit.support.fake_run import nornir_of, raises, recorder_of, step, validated


def a_run(**options: Any) -> RunRecorder:
    recorder = recorder_of(by="pi@desk", options={"limit": ["home"]}, **options)
    nornir = nornir_of().with_processors([recorder])
    nornir.run(step(summary="fine", facts={"version": "3.5.1"}, warnings=["slow card"]), name="preflight")
    lost = {"edge-1": raises(RemoteError("cut off", where="edge-1", remedy="plug it in"))}
    nornir.run(step(lost, changes=["etcd 3.5"]), name="install")
    return recorder


@pytest.mark.parametrize("ending", ["failed", "check", "protected", "interrupted", "usage", "fault", "running"])
def test_a_document_comes_back_as_it_was(ending: str) -> None:
    recorder = a_run(check=ending == "check")
    if ending == "protected":
        nornir_of().with_processors([recorder]).run(step(raises(ProtectionError("no quorum"))), name="verify")
    elif ending == "usage":
        recorder.fail(UsageError("no"), code=ExitCode.USAGE)
    elif ending == "fault":
        recorder.fail(ValueError("no"))
    if ending != "running":
        recorder.finish(interrupted=ending == "interrupted")
    document = validated(recorder.as_json())
    assert document["by"] == "pi@desk"
    assert record_of(document).as_json() == document


@pytest.mark.parametrize("wrong", [None, 3, "text", [], {}, [1, None], {"x": 1}, True])
def test_what_is_of_another_form_is_left_out(wrong: Any) -> None:
    recorder = a_run()
    recorder.finish()
    document = recorder.as_json()
    for key in document:
        assert record_of({**document, key: wrong}).runbook in ("deploy", "text", "")
    host = document["hosts"]["az-1"]
    for key in host:
        assert list(record_of({**document, "hosts": {"az-1": {**host, key: wrong}}}).hosts) == ["az-1"]
    first = host["steps"][0]
    for key in first:
        damaged = {**host, "steps": [{**first, key: wrong}]}
        json.dumps(record_of({**document, "hosts": {"az-1": damaged}}).as_json())


def test_reports_from_before_who_ran_it_was_noted() -> None:
    recorder = a_run()
    recorder.finish()
    document = recorder.as_json()
    del document["by"]
    assert record_of(validated(document)).by == ""
