"""The record of one run as plain data, what follows from it (status, exit code), and its JSON form, there and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from etcdfleet.errors import FleetError
from etcdfleet.report.record.codec import document, read, read_value

SCHEMA_VERSION = 1
_DOCUMENT = (
    "schema_version", "runbook", "tool_version", "status", "exit_code", "started", "finished", "seconds", "check", "by",
    "options", "steps", "clusters", "hosts", "warnings", "protections", "error",
)  # fmt: skip


class Status(StrEnum):
    """How a step ended on a host. With ``--check``, ``changed`` means "would change"."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    SKIPPED = "skipped"


class RunStatus(StrEnum):
    """How the whole run stands. ``running`` in a report on disk means that the run was killed."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    PROTECTED = "protected"
    INTERRUPTED = "interrupted"


class ExitCode(IntEnum):
    """What a runbook's exit code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PROTECTED = 3
    INTERRUPTED = 130


@dataclass(frozen=True)
class Step:
    """A step of a runbook: the name of its top-level Nornir task, and its title for people."""

    name: str
    title: str


@dataclass(frozen=True)
class Failure:
    """Why a step failed. ``kind`` is the exception's class; of one not ``expected`` the log has the traceback."""

    kind: str
    what: str
    where: str = ""
    remedy: str = ""
    expected: bool = True

    @property
    def headline(self) -> str:
        """The first line of what is said; never empty."""
        return self.what.partition("\n")[0] or self.kind


@dataclass(frozen=True)
class Notice:
    """A warning: where, and what."""

    place: str
    text: str


@dataclass(frozen=True)
class Protection:
    """The run stopped on purpose, because going on could have hurt ``cluster``."""

    cluster: str
    what: str
    where: str = ""
    remedy: str = ""


@dataclass
class StepRecord:
    """One step on one host. ``started_offset`` and ``seconds`` are seconds, on a clock that never jumps.

    ``status`` is None until the step has ended; ``started_offset`` counts from the start of the run and is None for a
    step that never began. ``summary`` of a skipped step is the reason.
    """

    name: str
    status: Status | None = None
    started_offset: float | None = None
    seconds: float | None = None
    summary: str = ""
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    diff: str = ""
    error: Failure | None = None


@dataclass
class HostRecord:
    """Everything known about one host in this run. ``steps`` keeps the runbook's order.

    ``also`` are further names of it, by which equal failures are told; they are not in the report.
    """

    name: str
    cluster: str
    address: str
    also: tuple[str, ...] = ()
    steps: dict[str, StepRecord] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All that it is called in texts."""
        return (self.name, self.address, *self.also)

    @property
    def failed_step(self) -> StepRecord | None:
        """The first step that failed, if one did."""
        return next((step for step in self.steps.values() if step.status is Status.FAILED), None)

    def totals(self) -> dict[str, int]:
        """Return how many steps ended in which status; each finished step is counted once."""
        return {status.value: sum(step.status is status for step in self.steps.values()) for status in Status}

    def as_json(self) -> dict[str, Any]:
        """Return this host as in report.json."""
        return document(
            self,
            ("cluster", "address", "steps", "totals", "facts"),
            steps=[document(step) for step in self.steps.values()],
            totals=self.totals(),
        )


@dataclass
class RunRecord:
    """Everything known about one run; the source of the table, of report.json and of the exit code.

    ``by`` is who ran it, and on which machine: ``user@machine``.
    """

    runbook: str
    tool_version: str
    steps: tuple[Step, ...]
    hosts: dict[str, HostRecord]
    started: datetime
    check: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    finished: datetime | None = None
    seconds: float = 0.0
    interrupted: bool = False
    error: Failure | None = None
    error_code: ExitCode = ExitCode.FAILED
    warnings: list[Notice] = field(default_factory=list)
    protections: list[Protection] = field(default_factory=list)

    @property
    def noun(self) -> str:
        """What a row is: a host, or for work that touches no host, a cluster."""
        one_each = self.hosts and all(host.name == host.cluster for host in self.hosts.values())
        return "cluster" if one_each else "host"

    @property
    def clusters(self) -> dict[str, tuple[HostRecord, ...]]:
        """The hosts of this run by cluster, both in inventory order."""
        clusters: dict[str, list[HostRecord]] = {}
        for host in self.hosts.values():
            clusters.setdefault(host.cluster, []).append(host)
        return {name: tuple(hosts) for name, hosts in clusters.items()}

    @property
    def failed_hosts(self) -> tuple[HostRecord, ...]:
        """Hosts on which a step failed."""
        return tuple(host for host in self.hosts.values() if host.failed_step)

    @property
    def changed(self) -> int:
        """How many hosts were changed, or with ``check`` would have been."""
        return sum(host.totals()["changed"] > 0 for host in self.hosts.values())

    @property
    def title(self) -> str:
        """The runbook, and whether it only checked."""
        return f"{self.runbook} --check" if self.check else self.runbook

    @property
    def exit_code(self) -> ExitCode:
        """The exit code this record amounts to: an interruption before protection before failures."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.protections:
            return ExitCode.PROTECTED
        if self.error:
            return self.error_code
        return ExitCode.FAILED if self.failed_hosts else ExitCode.OK

    @property
    def status(self) -> RunStatus:
        """How the run stands, or ended."""
        if self.finished is None:
            return RunStatus.RUNNING
        return RunStatus.__members__.get(self.exit_code.name, RunStatus.FAILED)

    def as_json(self) -> dict[str, Any]:
        """Return the whole record in the form of docs/report.schema.json (not yet redacted)."""
        return document(
            self,
            _DOCUMENT,
            schema_version=SCHEMA_VERSION,
            status=self.status.value,
            exit_code=None if self.finished is None else int(self.exit_code),
            clusters={name: [host.name for host in hosts] for name, hosts in self.clusters.items()},
            hosts={name: host.as_json() for name, host in self.hosts.items()},
        )


def record_of(raw: Mapping[str, Any]) -> RunRecord:
    """Return the record of a document (`history.load`). Raises nothing: what it lacks or has malformed is left out.

    Of a whole document, ``record_of(document).as_json()`` is the same again.
    """
    status = raw.get("status")
    return read(
        RunRecord,
        raw,
        hosts={name: _host(name, host) for name, host in read_value(dict, raw.get("hosts"), {}).items()},
        started=read_value(datetime, raw.get("started"), datetime.fromtimestamp(0, UTC)),
        finished=read_value(datetime, raw.get("finished"), None) if status != RunStatus.RUNNING else None,
        interrupted=status == RunStatus.INTERRUPTED,
        error_code=ExitCode.USAGE if raw.get("exit_code") == ExitCode.USAGE else ExitCode.FAILED,
    )


def _host(name: str, raw: object) -> HostRecord:
    steps = read_value(list[StepRecord], raw.get("steps") if isinstance(raw, Mapping) else None, [])
    return read(HostRecord, raw, name=name, also=(), steps={step.name: step for step in steps})


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(UTC)


def failure_of(error: BaseException) -> Failure:
    """Put an exception into words: ours as they are, anything else as the fault it is."""
    kind = type(error).__name__
    if isinstance(error, FleetError):
        return Failure(kind, error.what, error.where, error.remedy)
    text = str(error).strip()
    return Failure(
        kind,
        f"unexpected: {kind}: {text}" if text else f"unexpected: {kind}",
        remedy="a fault of this program, or a case it does not know: the traceback is in the log",
        expected=False,
    )


def merged(earlier: StepRecord, later: StepRecord) -> StepRecord:
    """Return one record of a step that ran twice on a host: the worse status, both changes, the sum of the seconds."""
    order = (Status.SKIPPED, Status.OK, Status.CHANGED, Status.FAILED)
    worst = max((earlier, later), key=lambda step: order.index(step.status) if step.status else -1)
    return StepRecord(
        later.name,
        worst.status,
        earlier.started_offset,
        (earlier.seconds or 0.0) + (later.seconds or 0.0),
        later.summary or earlier.summary,
        unique([*earlier.changes, *later.changes]),
        unique([*earlier.warnings, *later.warnings]),
        earlier.diff + later.diff,
        later.error or earlier.error,
    )


def unique(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the texts in their order, each once."""
    return tuple(dict.fromkeys(texts))
