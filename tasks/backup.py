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

from etcdfleet.backup.offhost import OffHost
from etcdfleet.backup.retention import Counts
from etcdfleet.backup.store import Bad, Snapshot, listed, newest
from etcdfleet.backup.thin import Read, read_all, thin
from etcdfleet.errors import VerificationError
from etcdfleet.outcome import StepOutcome, done
from etcdfleet.text import age_text, counted, mib, size_text

_REMEDY = "look at it, and move it away; as long as it is there it is told, and neither counted nor removed"
_TAKE_ONE = "take a backup now: runbooks/backup.py"
_SENT_AGAIN = "run runbooks/backup.py, which sends again what is on this machine; move away what is not"


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


def none_fetched(task: Task) -> Result:
    """Say that there is no store to fetch a copy from."""
    raise VerificationError(
        "there is no store off this machine", where=task.host.name, remedy="set backup.url, the store of its copies"
    )


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


def send_away(task: Task, folder: Path, store: OffHost, counts: Counts) -> Result:
    """Copy the backups that are wanted and not in a store off this machine to it, then thin it out.

    Raise `FleetError`; copies that were made by then stay.
    """
    cluster, check_only = task.host.name, task.is_dry_run()
    here, _ = listed(folder, cluster)
    there = store.listed(cluster)
    lacking = store.missing(here, there, counts)
    for one in () if check_only else lacking:
        store.send(one)
    changes = [f"{one.path.name} is copied to {store.url}" for one in lacking]
    now = there if check_only else store.listed(cluster)
    coming = lacking if check_only else ()
    thinned = store.thin(now, counts, coming, check_only=check_only)
    changes += [f"{one.path.name} is removed there: others stand for its time" for one in thinned.removed]
    kept = sum(not one.note.damaged for one in now.good) + len(coming) - len(thinned.removed)
    warnings = [_told_there(store, one) for one in (*now.bad, *thinned.stuck)]
    return done(task, f"{counted(kept, 'copy', 'copies')} there, {len(lacking)} new", changes, warnings)


def fetch_copy(task: Task, folder: Path, store: OffHost, wanted: str = "", identity: Path | None = None) -> Result:
    """Bring the newest copy in a store off this machine, or the one of this name, into a folder here, proven.

    Raises `FleetError`.
    """
    cluster = task.host.name
    copies = store.offered(cluster, wanted)
    here = {one.path.name for one in listed(folder, cluster)[0] if not one.note.damaged}
    if copies and (there := copies[0].path.name.removesuffix(".age")) in here:
        return done(task, f"{there} is here already")
    if copies and task.is_dry_run():
        return done(task, "not fetched with --check", [f"{copies[0].path.name} is fetched from {store.url}"])
    snapshot, passed = store.fetch(cluster, folder, name=wanted, identity=identity)
    told = f"{mib(snapshot.note.size)}, revision {snapshot.note.revision}"
    warnings = [_told_there(store, one) for one in passed]
    return done(task, told, [f"{snapshot.path} is fetched from {store.url}"], warnings)


def list_away(task: Task, store: OffHost) -> Result:
    """Return the copies in a store off this machine: a `Read`. Raise `FleetError`."""
    return Result(task.host, result=store.listed(task.host.name))


def _told_there(store: OffHost, bad: Bad) -> str:
    return f"{store.url}/{bad}"


def verify_copies(task: Task, folder: Path, store: OffHost | None = None) -> Result:
    """Read all copies of a cluster's snapshots again, those in a store as well.

    It has failed, with a `VerificationError`, where one is bad or none is good in one of the places; all were read.
    """
    cluster, note = task.host.name, not task.is_dry_run()
    snapshots, unnoted = listed(folder, cluster)
    here = read_all(snapshots, note=note)
    wrong = [(str(one), _REMEDY) for one in (*here.bad, *unnoted)]
    size, told = sum(one.note.size for one in here.good), counted(len(here.good), "good one")
    if not here.good:
        wrong.append((f"there is no good backup in {folder / cluster}", _TAKE_ONE))
    if store:
        try:
            there = store.verify(cluster, note=note)
        except VerificationError as error:
            wrong.append((f"{store.url}: {error.what}", error.remedy))
        else:
            wrong += [(_told_there(store, one), _SENT_AGAIN) for one in there.bad]
            wrong += [] if there.good else [(f"there is no good copy in {store.url}/{cluster}", _SENT_AGAIN)]
            size += sum(one.note.stored.size for one in there.good if one.note.stored)
            told = f"{told} here, {len(there.good)} there"
    outcome = StepOutcome(f"{told}, {mib(size)} read", facts=facts_of(listed(folder, cluster)[0]))
    if not wrong:
        return Result(task.host, result=outcome)
    what, remedies = zip(*wrong, strict=True)
    remedy = "; ".join(dict.fromkeys(remedies))
    found = VerificationError(f"{'; '.join(what)}; {told}", where=cluster, remedy=remedy)
    return Result(task.host, result=outcome, failed=True, exception=found)


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
