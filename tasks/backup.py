"""What backup.py does on this machine for a cluster; its rows are clusters, not hosts.

A snapshot itself is taken by ``tasks/members/snapshot.py``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet.backup.retention import Counts
from etcdfleet.backup.store import Bad, Snapshot, listed, newest
from etcdfleet.backup.thin import Read, read_all, thin
from etcdfleet.errors import VerificationError
from etcdfleet.outcome import done
from etcdfleet.text import age_text, counted, mib, size_text

_REMEDY = "look at it, and move it away; as long as it is there it is told, and neither counted nor removed"


def look(task: Task, folder: Path) -> Result:
    """See what there is, and that more can be kept there. Raise `VerificationError`."""
    snapshots, bad = listed(folder, task.host.name)
    here = next(place for place in (folder / task.host.name, folder, *folder.parents) if place.exists())
    if not os.access(here, os.W_OK | os.X_OK):
        raise VerificationError(
            "nothing can be kept in this folder", where=str(here), remedy="let this user write there, or name another"
        )
    return done(task, newest_told(snapshots), warnings=[_told(one) for one in bad], facts=facts_of(snapshots))


def none_taken(task: Task, why: str, remedy: str = "") -> Result:
    """Say that there is no backup of this night, and why."""
    raise VerificationError(f"no backup was taken: {why}", where=task.host.name, remedy=remedy)


def find_newest(task: Task, folder: Path) -> Result:
    """Return the `Newest` good snapshot, all of which was read. Raise `VerificationError` where there is none."""
    return Result(task.host, result=newest(folder, task.host.name))


def none_drilled(task: Task, why: str) -> Result:
    """Say that no backup was restored for a trial, and why."""
    raise VerificationError(
        f"no backup was restored for a trial: {why}",
        where=task.host.name,
        remedy="etcd's programs of the version of the snapshot are needed, here or on a host, and room for the data",
    )


def thin_out(task: Task, folder: Path, counts: Counts) -> Result:
    """Remove backups that are not wanted any more, once those that stay were read. Raise `VerificationError`."""
    cluster, check_only = task.host.name, task.is_dry_run()
    thinned = thin(folder, cluster, counts, check_only=check_only)
    warnings = [_told(one) for one in thinned.read.bad] + [str(one) for one in thinned.stuck]
    changes = [f"{one.path.name} is removed: others stand for its time" for one in thinned.removed]
    snapshots, _ = listed(folder, cluster)
    kept = counted(len(snapshots) - (len(thinned.removed) if check_only else 0), "snapshot")
    read = f", {len(thinned.read.good)} read" if thinned.read.good else ""
    return done(task, f"{kept} kept{read}", changes, warnings, facts_of(snapshots))


def verify_copies(task: Task, folder: Path) -> Result:
    """Read all copies of a cluster's snapshots again. Raise `VerificationError` where one is bad, or none is good."""
    cluster = task.host.name
    snapshots, bad = listed(folder, cluster)
    read = read_all(snapshots, note=not task.is_dry_run())
    bad = (*read.bad, *bad)
    if bad:
        remedy = _REMEDY if read.good else "take a backup now: runbooks/backup.py"
        good = f"{counted(len(read.good), 'good one')} besides" if read.good else "and there is no good one"
        raise VerificationError(f"{'; '.join(str(one) for one in bad)}; {good}", where=cluster, remedy=remedy)
    if not read.good:
        raise VerificationError("there is no backup", where=str(folder / cluster), remedy="run runbooks/backup.py")
    size = sum(one.note.size for one in read.good)
    return done(task, f"{counted(len(read.good), 'good one')}, {mib(size)} read", facts=facts_of(read.good))


def list_copies(task: Task, folder: Path) -> Result:
    """Return what there is of a cluster: a `Read` in whose ``good`` are those whose notes say nothing else."""
    snapshots, bad = listed(folder, task.host.name)
    return Result(task.host, result=Read(snapshots, bad))


def facts_of(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Return what the report and the metrics say of a cluster's snapshots, by their notes."""
    good = [one for one in snapshots if not one.note.damaged]
    facts: dict[str, Any] = {"good": len(good), "damaged": len(snapshots) - len(good)}
    if good:
        newest = good[0]
        facts |= {
            "file": str(newest.path),
            "taken": newest.note.taken,
            "size_bytes": newest.note.size,
            "revision": newest.note.revision,
        }
    if drills := [one.note.drill.when for one in snapshots if one.note.drill and one.note.drill.good]:
        facts["drilled"] = max(drills)
    return {"backup": facts}


def newest_told(snapshots: Sequence[Snapshot]) -> str:
    """Return the age of the newest good one, in words."""
    newest = next((one for one in snapshots if not one.note.damaged), None)
    if newest is None:
        return "no backup before this one"
    age = age_text(datetime.now(UTC) - newest.note.when)
    return f"the last one is of {age}, {size_text(newest.note.size)}"


def _told(bad: Bad) -> str:
    return f"{bad}; {_REMEDY}"
