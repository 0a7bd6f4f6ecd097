"""Records a run as a Nornir processor, and tells the views about it while it happens."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ParamSpec

from nornir.core.exceptions import NornirSubTaskError
from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Result, Task

from etcdfleet import __version__
from etcdfleet.errors import ProtectionError
from etcdfleet.outcome import StepOutcome
from etcdfleet.report.record import model
from etcdfleet.report.record.model import Failure, HostRecord, Notice, Protection, RunRecord, Status, Step, StepRecord
from etcdfleet.report.record.secrets import Redactor, plain
from etcdfleet.report.record.view import View

log = logging.getLogger("etcdfleet.run")
P = ParamSpec("P")

_QUICK_SAVE, _SAVE_REST = 0.01, 10
"""A report that takes longer to be saved than this, in seconds, is not saved again for so many times as long."""

UNFINISHED = Failure(
    "Interrupted",
    "stopped while the step was running; how far it came is not known",
    remedy="run the same command again: it finishes what is missing",
)


class RunInterruptedError(Exception):
    """Raised between steps, and instead of steps not yet begun, once a stop was asked for."""


def _harmless(hook: Callable[P, None]) -> Callable[P, None]:
    """Log an exception in place of raising it: from a processor it would abort the run for every host."""

    @functools.wraps(hook)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(*args, **kwargs)
        except Exception:
            log.exception("the recorder failed in %s; the run goes on", hook.__name__)

    return wrapper


class RunRecorder:
    """The Nornir processor that knows what happened on which host.

    Add it with ``nornir.with_processors([recorder])``; it records top-level tasks whose names are those of ``steps``
    (and any other top-level task that fails). Safe to use from worker threads. Every text is redacted on its way in.
    """

    def __init__(
        self,
        runbook: str,
        steps: Sequence[Step],
        hosts: Iterable[HostRecord],
        *,
        check: bool = False,
        options: Mapping[str, Any] | None = None,
        by: str = "",
        redactor: Redactor | None = None,
        views: Sequence[View] = (),
        save: Callable[[Mapping[str, Any]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = model.utc_now,
    ) -> None:
        self._redactor = redactor or Redactor()
        self._views = tuple(views)
        self._save = save
        self._clock = clock
        self._now = now
        self._lock = threading.RLock()
        self._earlier: dict[tuple[str, str], StepRecord] = {}
        self.stopping = False
        """Whether a stop was asked for. Long steps that can end early at a safe point may look at it."""
        self.cut_short = False
        """Whether anything was left out because of that."""
        self._shown = False
        self._saving = threading.Lock()
        self._next_save = 0.0
        self._began = clock()
        self.record = RunRecord(
            runbook=runbook,
            tool_version=__version__,
            steps=tuple(steps),
            hosts={host.name: host for host in hosts},
            started=now(),
            check=check,
            options=self._redactor.tree(options or {}),
            by=self._clean(by),
        )
        for host in self.record.hosts.values():
            host.steps = {step.name: StepRecord(step.name) for step in steps}

    # What a runbook says about the run

    def skip(self, hosts: str | Iterable[str], steps: str | Iterable[str], why: str) -> None:
        """Mark steps that have not begun on these hosts as skipped, with the reason."""
        with self._lock:
            for host in _names(hosts):
                for name in _names(steps):
                    record = self.record.hosts[host]
                    step = record.steps.setdefault(name, StepRecord(name))
                    if step.status is None and step.started_offset is None:
                        step.status, step.seconds, step.summary = Status.SKIPPED, 0.0, self._clean(why)
                        self._tell("step_finished", record, step)

    def skip_rest(self, hosts: str | Iterable[str], why: str) -> None:
        """Mark all steps that have not begun on these hosts as skipped, with the reason."""
        self.skip(hosts, [step.name for step in self.record.steps], why)

    def warn(self, place: str, text: str) -> None:
        """Add a warning about a host, a cluster, or a place in a file. Said once, however often it is found."""
        notice = Notice(self._clean(place), self._clean(text))
        with self._lock:
            if notice not in self.record.warnings:
                self.record.warnings.append(notice)
                log.warning("%s: %s", notice.place, notice.text)

    def protect(self, cluster: str, what: str, remedy: str = "", *, where: str = "") -> None:
        """Note that the run stopped to protect ``cluster``; the exit code becomes 3."""
        protection = Protection(self._clean(cluster), self._clean(what), self._clean(where), self._clean(remedy))
        with self._lock:
            if protection not in self.record.protections:
                self.record.protections.append(protection)
                log.error("stopped to protect cluster %s: %s", protection.cluster, protection.what)

    def fail(self, error: BaseException, *, code: model.ExitCode = model.ExitCode.FAILED) -> None:
        """Note a failure of the run itself, outside of any host's step."""
        with self._lock:
            if isinstance(error, ProtectionError):
                self.protect(error.where or "the fleet", error.what, error.remedy)
            self.record.error = self._failure(error)
            self.record.error_code = code
        log.error("the run failed: %s", self._clean(str(error)), exc_info=error)

    # Stopping

    def request_stop(self) -> None:
        """Let running steps finish, and begin no other. Only sets a flag: safe in a signal handler."""
        self.stopping = True

    def go_on(self) -> None:
        """Raise RunInterruptedError once a stop was asked for: called before anything is begun."""
        if self.stopping:
            self.cut_short = True
            raise RunInterruptedError

    # Nornir's hooks

    def task_started(self, task: Task) -> None:  # noqa: ARG002
        """Begin no step once a stop was asked for. The one hook that may raise: in a play's thread, between steps."""
        self.go_on()
        self._start_views()

    def task_completed(self, task: Task, result: AggregatedResult) -> None:  # noqa: ARG002
        """Save what there is: should the controller die, the report tells how far the run came."""
        self._checkpoint()

    @_harmless
    def task_instance_started(self, task: Task, host: Host) -> None:
        """Note that a step begins on a host."""
        if self.stopping:
            # Hosts waiting for a free worker: their copy of the task is told to do nothing.
            task.task = _not_begun
            self.cut_short = True
            return
        with self._lock:
            record = self.record.hosts[host.name]
            if task.name not in record.steps:
                return
            before = record.steps[task.name]
            if before.status not in (None, Status.SKIPPED):
                self._earlier[host.name, task.name] = before
            step = StepRecord(task.name, started_offset=self._offset())
            record.steps[task.name] = step
            log.info("%s: %s begins", host.name, task.name)
            self._tell("step_started", record, step)

    @_harmless
    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Note how a step ended on a host."""
        cause = _cause(result) if result.failed else None
        if isinstance(cause, RunInterruptedError):
            return
        with self._lock:
            record = self.record.hosts[host.name]
            if task.name not in record.steps and not result.failed:
                return
            begun = record.steps.get(task.name)
            offset = begun.started_offset if begun and begun.started_offset is not None else self._offset()
            step = self._finished(StepRecord(task.name, started_offset=offset), result, cause, record)
            earlier = self._earlier.pop((host.name, task.name), None)
            record.steps[task.name] = step = model.merged(earlier, step) if earlier else step
            for text in step.warnings:
                self.warn(host.name, text)
            self._log_end(record, step, cause)
            self._tell("step_finished", record, step)

    @_harmless
    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """Show a subtask's name as what the host is doing."""
        self._activity(host, task)

    @_harmless
    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:  # noqa: ARG002
        """Back to the parent's name, or none at the top."""
        if task.parent_task:
            self._activity(host, task.parent_task)

    # The end

    def finish(self, *, interrupted: bool = False) -> RunRecord:
        """Close the record: settle what is open, say how it ended. Calling it again changes nothing."""
        with self._lock:
            if self.record.finished:
                return self.record
            self.record.interrupted = interrupted
            self._start_views()  # of a run that ended before its first step, too
            for host in self.record.hosts.values():
                self._settle(host)
            self.record.finished = self._now()
            self.record.seconds = self._offset()
            log.info("%s: %s, exit code %d", self.record.runbook, self.record.status, self.record.exit_code)
            self._tell("run_finished", self.record)
            return self.record

    def as_json(self) -> dict[str, Any]:
        """Return the record in the form of report.json, redacted once more with all that is now known to be secret."""
        with self._lock:
            if not self.record.finished:
                self.record.seconds = self._offset()
            document: dict[str, Any] = self._redactor.tree(self.record.as_json())
            return document

    def _settle(self, host: HostRecord) -> None:
        failed = host.failed_step
        if failed:
            reason = f"{failed.name} failed"
        elif self.record.interrupted:
            reason = "interrupted"
        elif any(protection.cluster == host.cluster for protection in self.record.protections):
            reason = f"stopped to protect cluster {host.cluster}"
        else:
            reason = "the run ended before it" if self.record.error else "not needed in this run"
        for step in host.steps.values():
            if step.status is not None:
                continue
            if step.started_offset is None:
                step.status, step.seconds, step.summary = Status.SKIPPED, 0.0, reason
            else:
                step.status, step.seconds = Status.FAILED, self._offset() - step.started_offset
                step.error = UNFINISHED
                step.summary = UNFINISHED.what
            self._tell("step_finished", host, step)

    def _finished(
        self, step: StepRecord, result: MultiResult, cause: BaseException | None, host: HostRecord
    ) -> StepRecord:
        flat = tuple(_flat(result))
        outcomes = tuple(item.result for item in flat if isinstance(item.result, StepOutcome))
        own = result[0].result if isinstance(result[0].result, StepOutcome) else None
        changes = own.changes if own and own.changes else [text for outcome in outcomes for text in outcome.changes]
        step.seconds = self._offset() - (step.started_offset or 0.0)
        step.changes = model.unique([self._clean(text) for text in changes])
        step.warnings = model.unique([self._clean(text) for outcome in outcomes for text in outcome.warnings])
        step.diff = "".join(self._diff(item) for item in flat if item.diff)
        step.summary = self._clean(own.summary) if own else ""
        for outcome in reversed(outcomes):
            _merge(host.facts, self._redactor.tree(outcome.facts))
        if result.failed:
            step.status = Status.FAILED
            step.error = self._failure(cause) if cause else self._said(result)
            step.summary = step.error.headline
            if isinstance(cause, ProtectionError):
                self.protect(host.cluster, cause.what, cause.remedy, where=cause.where)
        elif own and own.skipped:
            step.status = Status.SKIPPED
        else:
            step.status = Status.CHANGED if step.changes or any(item.changed for item in flat) else Status.OK
        return step

    def _said(self, result: MultiResult) -> Failure:
        worst = next((item for item in _flat(result) if item.failed and item.result), result[0])
        text = worst.result.summary if isinstance(worst.result, StepOutcome) else str(worst.result or "")
        return Failure("Failed", self._clean(text.strip()) or "the task failed without a reason")

    def _failure(self, error: BaseException) -> Failure:
        failure = model.failure_of(error)
        what, where, remedy = map(self._clean, (failure.what, failure.where, failure.remedy))
        return replace(failure, what=what, where=where, remedy=remedy)

    def _diff(self, result: Result) -> str:
        text = self._clean(str(result.diff))
        return text if text.endswith("\n") else text + "\n"

    def _log_end(self, host: HostRecord, step: StepRecord, cause: BaseException | None) -> None:
        if error := step.error:
            # Expected errors explain themselves; of the others the reader needs the way there.
            trace = cause if not error.expected or log.isEnabledFor(logging.DEBUG) else None
            text = f"{error.kind}: {error.what} (where: {error.where or '-'}; remedy: {error.remedy or '-'})"
            log.error("%s: %s failed: %s", host.name, step.name, text, exc_info=trace)
        else:
            log.info("%s: %s %s in %.3f s: %s", host.name, step.name, step.status, step.seconds or 0.0, step.summary)
        for change in step.changes:
            log.info("%s: %s: %s", host.name, "would change" if self.record.check else "changed", change)

    def _activity(self, host: Host, task: Task) -> None:
        name = task.name if task.parent_task else ""
        with self._lock:
            self._tell("activity", host.name, self._clean(name.replace("_", " ")))

    def _offset(self) -> float:
        return self._clock() - self._began

    def _clean(self, text: str) -> str:
        return self._redactor.text(plain(str(text)))

    def _start_views(self) -> None:
        with self._lock:
            if not self._shown:
                self._shown = True
                self._tell("run_started", self.record)
                self._checkpoint()

    @_harmless
    def _checkpoint(self) -> None:
        """Save what there is, for at most a small part of the time: many clusters end their steps at any moment."""
        if not self._save or time.monotonic() < self._next_save or not self._saving.acquire(blocking=False):
            return
        began = time.monotonic()
        try:
            self._save(self.as_json())
        finally:
            took = time.monotonic() - began
            self._next_save = time.monotonic() + (_SAVE_REST * took if took > _QUICK_SAVE else 0)
            self._saving.release()

    def _tell(self, event: str, *args: Any) -> None:
        for view in self._views:
            try:
                getattr(view, event)(*args)
            except Exception:
                # A closed pipe or a full disk must not stop the work on the hosts.
                log.exception("showing the run failed in %s.%s", type(view).__name__, event)


def _not_begun(_task: Task, **_: Any) -> Result:
    raise RunInterruptedError


def _names(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _merge(into: dict[str, Any], facts: Mapping[str, Any]) -> None:
    """Later facts win; mappings are merged, so that two steps can tell of different certificates."""
    for key, value in facts.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _flat(result: Result | MultiResult) -> Iterator[Result]:
    if isinstance(result, MultiResult):
        for item in result:
            yield from _flat(item)
    else:
        yield result


def _cause(result: MultiResult) -> BaseException | None:
    """Return the deepest cause of the first failure, the task's own before those of subtasks that it had caught.

    None if a task only said that it failed.
    """
    error = next((item.exception for item in _flat(result) if item.failed), None)
    while isinstance(error, NornirSubTaskError):
        below = error.result
        error = below[0].exception if isinstance(below, list) else below.exception
    return error
