"""A report.json back into the record it was made from, so that old runs are shown by the same code as new ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from etcdfleet.report.record.codec import read, read_value
from etcdfleet.report.record.model import ExitCode, HostRecord, RunRecord, RunStatus, StepRecord


def record_of(document: Mapping[str, Any]) -> RunRecord:
    """The record of a document (`history.load`). What it lacks, or has in another form, is left out: raises nothing.

    Of a whole document, ``record_of(document).as_json()`` is the same again.
    """
    status = document.get("status")
    return read(
        RunRecord,
        document,
        hosts={name: _host(name, host) for name, host in read_value(dict, document.get("hosts"), {}).items()},
        started=read_value(datetime, document.get("started"), datetime.fromtimestamp(0, UTC)),
        finished=read_value(datetime, document.get("finished"), None) if status != RunStatus.RUNNING else None,
        interrupted=status == RunStatus.INTERRUPTED,
        error_code=ExitCode.USAGE if document.get("exit_code") == ExitCode.USAGE else ExitCode.FAILED,
    )


def _host(name: str, document: object) -> HostRecord:
    steps = read_value(list[StepRecord], document.get("steps") if isinstance(document, Mapping) else None, [])
    return read(HostRecord, document, name=name, also=(), steps={step.name: step for step in steps})
