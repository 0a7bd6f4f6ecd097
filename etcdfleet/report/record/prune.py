"""Removes the reports of old runs: which ones is decided first, and only files that a run writes are ever removed."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from etcdfleet.report.record.history import RunSummary

_OURS = re.compile(r"report\.json|report\.html|\.report\.(json|html)\.\w+|[\w.-]+\.log")


def old_runs(
    runs: Sequence[RunSummary], now: datetime, *, days: float | None = None, keep: int | None = None
) -> tuple[RunSummary, ...]:
    """Of runs, newest first, those that began more than ``days`` ago and are not among the newest ``keep``.

    One that is still at work is never old. Without ``days`` and ``keep`` none is.
    """
    if days is None and keep is None:
        return ()
    limit = now - timedelta(days=days) if days is not None else None
    return tuple(
        run
        for number, run in enumerate(runs)
        if run.state != "running" and number >= (keep or 0) and (limit is None or run.started < limit)
    )


def remove(folders: Iterable[Path]) -> dict[Path, str]:
    """Remove folders of runs; those that stay, each as it was, and why."""
    kept = {}
    for folder in folders:
        try:
            why = _remove(folder)
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            kept[folder] = why
    return kept


def _remove(folder: Path) -> str:
    """Remove one folder; why not, if it stays. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "a run is at work in it"
        except OSError:
            pass  # a file system without locks
        with os.scandir(folder) as scan:
            entries = list(scan)
        foreign = [
            one.name for one in entries if not _OURS.fullmatch(one.name) or not one.is_file(follow_symlinks=False)
        ]
        if foreign:
            return f"it holds what no run has written: {', '.join(sorted(foreign))}"
        for one in entries:
            os.unlink(one.name, dir_fd=descriptor)
        folder.rmdir()
    finally:
        os.close(descriptor)
    return ""
