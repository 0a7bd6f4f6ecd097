"""A report.json back into the record it was made from, so that old runs are shown by the same code as new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from etcdfleet.report.record.model import (
    ExitCode,
    Failure,
    HostInfo,
    HostRecord,
    Notice,
    Protection,
    RunRecord,
    RunStatus,
    Status,
    Step,
    StepRecord,
)


def record_of(document: Mapping[str, Any]) -> RunRecord:
    """The record of a document (`history.load`). What it lacks, or has in another form, is left out: raises nothing.

    Of a whole document, ``record_of(document).as_json()`` is the same again.
    """
    status = document.get("status")
    finished = _time(document.get("finished")) if status != RunStatus.RUNNING else None
    return RunRecord(
        runbook=_text(document, "runbook"),
        tool_version=_text(document, "tool_version"),
        steps=tuple(Step(_text(step, "name"), _text(step, "title")) for step in _maps(document.get("steps"))),
        hosts={str(name): _host(str(name), host) for name, host in _map(document.get("hosts")).items()},
        started=_time(document.get("started")) or datetime.fromtimestamp(0, UTC),
        check=document.get("check") is True,
        options=_map(document.get("options")),
        by=_text(document, "by"),
        finished=finished,
        seconds=_number(document.get("seconds")) or 0.0,
        interrupted=status == RunStatus.INTERRUPTED,
        error=_failure(document.get("error")),
        error_code=ExitCode.USAGE if document.get("exit_code") == ExitCode.USAGE else ExitCode.FAILED,
        warnings=[Notice(_text(one, "place"), _text(one, "text")) for one in _maps(document.get("warnings"))],
        protections=[
            Protection(_text(one, "cluster"), _text(one, "what"), _text(one, "where"), _text(one, "remedy"))
            for one in _maps(document.get("protections"))
        ],
    )


def _host(name: str, document: object) -> HostRecord:
    host = _map(document)
    steps = [_step(step) for step in _maps(host.get("steps"))]
    return HostRecord(
        HostInfo(name, _text(host, "cluster"), _text(host, "address")),
        {step.name: step for step in steps},
        _map(host.get("facts")),
    )


def _step(document: Mapping[str, Any]) -> StepRecord:
    return StepRecord(
        _text(document, "name"),
        next((status for status in Status if status == document.get("status")), None),
        _number(document.get("started_offset")),
        _number(document.get("seconds")),
        _text(document, "summary"),
        _texts(document.get("changes")),
        _texts(document.get("warnings")),
        _text(document, "diff"),
        _failure(document.get("error")),
    )


def _failure(document: object) -> Failure | None:
    if not isinstance(document, Mapping):
        return None
    return Failure(
        _text(document, "kind"),
        _text(document, "what"),
        _text(document, "where"),
        _text(document, "remedy"),
        document.get("expected") is not False,
    )


def _map(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _maps(value: object) -> Iterable[dict[str, Any]]:
    return [dict(item) for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None
