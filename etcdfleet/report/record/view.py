"""What a view of a run is told. Views are called under the recorder's lock, from any thread, one event at a time."""

from __future__ import annotations

from etcdfleet.report.record.model import HostRecord, RunRecord, StepRecord


class View:
    """Base of every view; each method may be left out. What is said to a view is redacted already."""

    def run_started(self, record: RunRecord) -> None:
        """Learn that the first step is about to begin."""

    def step_started(self, host: HostRecord, step: StepRecord) -> None:
        """Learn that a step begins on a host."""

    def activity(self, host: str, text: str) -> None:
        """Learn what a host does within its step; empty: nothing in particular."""

    def step_finished(self, host: HostRecord, step: StepRecord) -> None:
        """Learn that a step ended on a host, or was skipped."""

    def run_finished(self, record: RunRecord) -> None:
        """Learn that the run is over."""
