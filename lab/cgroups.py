"""Control groups: every process of a lab is in one from its first instruction, in every hierarchy of the machine.

Without that, all containers would share one ``payload`` group, and systemd in one would kill processes of another. It
is also how a lab finds its own processes again after a crash: what is in its group is the lab's, nothing else is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

from lab.errors import LabError

ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"'
"""A shell that moves itself into the groups given before ``--`` and becomes the command after it."""


@cache
def hierarchies() -> tuple[Path, ...]:
    """Mount points of all control group hierarchies. Raises LabError if there is none."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in ("cgroup", "cgroup2"):
            points.append(Path(before.split()[4]))
    if not points:
        raise LabError("no control groups are mounted", where="/sys/fs/cgroup", remedy="mount them (systemd does)")
    return tuple(points)


def create(group: str, *, memory: int | None = None) -> tuple[Path, ...]:
    """Create ``group`` (a relative path) everywhere, with a memory limit in bytes if given; returns its folders."""
    folders = []
    for base in hierarchies():
        folder = base
        for part in Path(group).parts:
            _hand_down_controllers(folder, memory is not None)
            folder = folder / part
            folder.mkdir(exist_ok=True)
            _inherit_cpuset(folder)
        if memory is not None:
            for limit in ("memory.limit_in_bytes", "memory.max"):
                if (folder / limit).exists():
                    (folder / limit).write_text(str(memory))
        folders.append(folder)
    return tuple(folders)


def _hand_down_controllers(folder: Path, wanted: bool) -> None:
    # Version 2 only: a group's children have the memory controller only if the parent says so.
    control = folder / "cgroup.subtree_control"
    if wanted and control.exists() and "memory" in (folder / "cgroup.controllers").read_text().split():
        control.write_text("+memory")


def _inherit_cpuset(folder: Path) -> None:
    # Version 1 only: a new cpuset is empty, and no process may enter an empty one.
    if folder.parent in hierarchies() and not (folder / "cpuset.cpus").exists():
        return
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = folder / name
        if path.exists() and (folder.parent / name).exists() and not path.read_text().strip():
            path.write_text((folder.parent / name).read_text())


def enter(group_folders: Iterable[Path], argv: Sequence[str]) -> list[str]:
    """Command line that runs ``argv`` in these groups (as ``create`` returned them) from its first instruction on."""
    return ["/bin/sh", "-c", ENTER, "sh", *map(str, group_folders), "--", *argv]


def folders(group: str) -> Iterator[Path]:
    """Yield the folders of ``group`` that exist."""
    for base in hierarchies():
        folder = base / group
        if folder.is_dir():
            yield folder


def _below(folder: Path) -> list[Path]:
    """``folder`` and all folders below it; those that vanish during the walk are left out (rglob would raise)."""
    return [Path(path) for path, _, _ in os.walk(folder)]


def processes(group: str, *, settled: bool = False) -> set[int]:
    """Process ids in ``group`` and all groups below it, in any hierarchy.

    With ``settled`` in the first hierarchy alone: many times faster, and it misses only those that are just being
    started or killed.
    """
    pids: set[int] = set()
    for folder in islice(folders(group), 1 if settled else None):
        for below in _below(folder):
            with contextlib.suppress(OSError):  # a group may vanish while it is looked at
                pids.update(int(line) for line in (below / "cgroup.procs").read_text().split())
    pids.discard(0)
    return {pid for pid in pids if not _is_zombie(pid)}


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


def kill(group: str, *, timeout: float = 10) -> None:
    """End every process in ``group`` (SIGKILL) and wait; raises LabError if some live on after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while left := processes(group):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            numbers = ", ".join(map(str, sorted(left)))
            raise LabError(f"processes do not end: {numbers}", where=f"control group {group}", remedy="try again")
        time.sleep(0.02)


def remove(group: str) -> None:
    """Remove ``group`` and everything below it; its processes must be gone."""
    deadline = time.monotonic() + 5
    while existing := list(folders(group)):
        for folder in existing:
            for path in sorted(_below(folder), reverse=True):
                with contextlib.suppress(OSError):  # busy for a moment after its last process ended
                    path.rmdir()
        if not any(True for _ in folders(group)):
            return
        if time.monotonic() > deadline:
            raise LabError("control group cannot be removed", where=group, remedy="python -m lab down, once more")
        time.sleep(0.05)
