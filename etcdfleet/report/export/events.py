"""The run as JSON lines for other programs; docs/report.md describes each event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TextIO

from etcdfleet.errors import FleetError
from etcdfleet.report.record import model
from etcdfleet.report.record.codec import document, utc_text
from etcdfleet.report.record.model import HostRecord, RunRecord, StepRecord
from etcdfleet.report.record.secrets import RedactingStream, Redactor
from etcdfleet.report.record.view import View
from etcdfleet.settings.problems import Problem


class EventView(View):
    """Writes one event a line, each flushed at once."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream = RedactingStream(stream, redactor)
        self._redactor = redactor

    def run_started(self, record: RunRecord) -> None:
        """Say what is going to be done, to which hosts."""
        fields = record.as_json()
        keys = ("runbook", "tool_version", "check", "by", "options", "steps", "clusters")
        self._write("run_started", **{key: fields[key] for key in keys})

    def step_started(self, host: HostRecord, step: StepRecord) -> None:
        """Tell that a step began."""
        offset = round(step.started_offset or 0.0, 3)
        self._write("step_started", host=host.name, cluster=host.cluster, step=step.name, started_offset=offset)

    def step_finished(self, host: HostRecord, step: StepRecord) -> None:
        """Tell that a step ended; its fields are those of report.json."""
        fields = document(step)
        name = fields.pop("name")
        self._write("step_finished", host=host.name, cluster=host.cluster, step=name, **fields)

    def run_finished(self, record: RunRecord) -> None:
        """Sum up."""
        fields = record.as_json()
        keys = ("status", "exit_code", "seconds", "warnings", "protections", "error")
        totals = {name: host.totals() for name, host in record.hosts.items()}
        facts = {name: host.facts for name, host in record.hosts.items()}
        self._write("run_finished", **{key: fields[key] for key in keys}, totals=totals, facts=facts)

    def refused(self, runbook: str, problems: Sequence[Problem | FleetError]) -> None:
        """Tell that nothing was run, because of how it was asked for, or because of the settings."""
        entries = [{"where": problem.where, "what": problem.what, "remedy": problem.remedy} for problem in problems]
        self._write("run_refused", runbook=runbook, exit_code=int(model.ExitCode.USAGE), problems=entries)

    def _write(self, event: str, **fields: Any) -> None:
        line = {
            "event": event,
            "schema_version": model.SCHEMA_VERSION,
            "time": utc_text(model.utc_now()),
            **self._redactor.tree(fields),
        }
        self._stream.write(json.dumps(line, ensure_ascii=True) + "\n")
        self._stream.flush()
