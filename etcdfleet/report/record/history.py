"""Earlier runs: which reports there are, how each run ended, and which touched a host last.

Reports may be whole, half-written or damaged, and of runs that were killed: nothing here fails because of one. A large
folder costs little, since reports are read newest first, and only as far as is asked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from etcdfleet.report.record.codec import read, read_value
from etcdfleet.report.record.model import SCHEMA_VERSION, Failure, RunStatus

REPORT = "report.json"
KILLED = "killed"
UNREADABLE = "unreadable"
_NAME = re.compile(r"(?P<time>\d{8}T\d{6}Z)-(?P<runbook>[A-Za-z][\w.-]*?)(?:-(?P<number>\d+))?")
_STATES = frozenset(RunStatus)
_PATIENCE = 500  # reports read in search of a host, before it counts as one that no run worked on


@dataclass(frozen=True)
class RunSummary:
    """An earlier run. ``id`` is the name of its folder.

    ``state`` is one of RunStatus's values, or ``killed`` (it says running, and nothing runs), or ``unreadable``, and
    then ``problem`` says why. ``started`` is in UTC; ``seconds`` of a run that has not ended says how far its report
    goes. ``error`` is the failure of the run itself.

    ``hosts`` (or clusters, of runs that touch no host) are in inventory order, and of them those on which a step was
    carried out, changed something (with ``check``: would have) and failed.
    """

    id: str
    folder: Path
    runbook: str
    started: datetime
    state: str
    seconds: float = 0.0
    exit_code: int | None = None
    check: bool = False
    hosts: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    error: str = ""
    problem: str = ""


class UnreadableError(Exception):
    """A report.json cannot be read, or is none; the text says why."""


def runs(report_dir: Path) -> Iterator[RunSummary]:
    """Yield the runs kept in a folder, newest first, each read when its turn comes; none where there is no folder."""
    return (summary_of(folder) for folder in folders(report_dir))


def last_runs(report_dir: Path, hosts: Collection[str], *, ignoring: Collection[str]) -> dict[str, RunSummary]:
    """By host the newest run that carried out a step on it. Hosts that no run touched are left out.

    ``ignoring`` names runbooks that do not count, such as those that only look. Nor do runs with ``--check``.
    """
    summaries: dict[str, RunSummary] = {}
    wanted = set(hosts)
    for folder in islice(folders(report_dir), _PATIENCE):
        if not wanted:
            break
        if _parts(folder.name)[2] in ignoring or (run := summary_of(folder)).check:
            continue
        touched = wanted.intersection(run.begun)
        summaries.update(dict.fromkeys(touched, run))
        wanted -= touched
    return summaries


def folders(report_dir: Path) -> list[Path]:
    """Return the folders that are a run's by their name, newest first. Links are not followed."""
    try:
        with os.scandir(report_dir) as entries:
            names = [one.name for one in entries if _parts(one.name)[2] and one.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [report_dir / name for name in sorted(names, key=_parts, reverse=True)]


def summary_of(folder: Path) -> RunSummary:
    """Return what one folder tells. Raises nothing: a report that cannot be read is a finding."""
    started, _, runbook = _parts(folder.name)
    try:
        return _summary(folder, load(folder), started, runbook)
    except UnreadableError as error:
        state = RunStatus.RUNNING.value if is_held(folder) else UNREADABLE
        return RunSummary(folder.name, folder, runbook, started, state, problem=str(error))


def load(folder: Path) -> dict[str, Any]:
    """Return the document of a run, of a schema that is known here. Raises UnreadableError."""
    try:
        document = json.loads((folder / REPORT).read_bytes())
    except FileNotFoundError:
        raise UnreadableError("it has no report: it was killed at its start") from None
    except OSError as error:
        raise UnreadableError(f"its report cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise UnreadableError("its report is damaged: no JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("hosts"), dict):
        raise UnreadableError("its report is damaged: not a run's")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UnreadableError(f"its report has schema version {version}; this program reads {SCHEMA_VERSION}")
    return document


def is_held(folder: Path) -> bool:
    """Return whether the run that writes here is still at work: it holds a lock on its folder while it lives."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)
    return False


def _summary(folder: Path, document: Mapping[str, Any], started: datetime, runbook: str) -> RunSummary:
    state = document.get("status")
    if not isinstance(state, str) or state not in _STATES:
        raise UnreadableError("its report is damaged: no status")
    if state == RunStatus.RUNNING and not is_held(folder):
        state = KILLED
    steps = {name: _steps(host) for name, host in document["hosts"].items()}
    return RunSummary(
        id=folder.name,
        folder=folder,
        runbook=str(document.get("runbook") or runbook),
        started=read_value(datetime, document.get("started"), started),
        state=state,
        seconds=read_value(float, document.get("seconds"), 0.0),
        exit_code=read_value(int, document.get("exit_code"), None),
        check=document.get("check") is True,
        hosts=tuple(steps),
        begun=tuple(name for name in steps if any(step.get("started_offset") is not None for step in steps[name])),
        changed=tuple(name for name in steps if any(step.get("status") == "changed" for step in steps[name])),
        failed=tuple(name for name in steps if any(step.get("status") == "failed" for step in steps[name])),
        error=read(Failure, document.get("error")).what,
    )


def _steps(host: object) -> list[dict[str, Any]]:
    steps = host.get("steps") if isinstance(host, dict) else None
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _parts(name: str) -> tuple[datetime, int, str]:
    """(when it started, number among those of the same second, runbook) by the name of a folder; no runbook: none."""
    with contextlib.suppress(ValueError):
        if matched := _NAME.fullmatch(name):
            started = datetime.strptime(matched["time"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return started, int(matched["number"] or 1), matched["runbook"]
    return datetime.fromtimestamp(0, UTC), 1, ""
