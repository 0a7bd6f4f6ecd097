"""Backups that are not wanted any more are removed, once those that stay in their place were read and found good."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etcdfleet.backup.retention import Counts, surplus
from etcdfleet.backup.store import Bad, Snapshot, check, listed, note_again
from etcdfleet.errors import VerificationError


@dataclass(frozen=True)
class Read:
    """Snapshots whose bytes were read: the good ones, newest first, and what does not count."""

    good: tuple[Snapshot, ...] = ()
    bad: tuple[Bad, ...] = ()


@dataclass(frozen=True)
class Thinned:
    """What was removed, or would be; what was read for that; and what could not be removed."""

    removed: tuple[Snapshot, ...] = ()
    read: Read = Read()
    stuck: tuple[Bad, ...] = ()


def read_all(snapshots: Sequence[Snapshot], *, note: bool = True) -> Read:
    """Read snapshots; with ``note``, note of each when it was found good, or what is wrong with it."""
    good, bad = [], []
    for snapshot in snapshots:
        try:
            checked = check(snapshot)
        except VerificationError as error:
            bad.append(Bad(snapshot.path, error.what))
            checked = replace(snapshot, note=replace(snapshot.note, damaged=error.what))
        else:
            good.append(checked)
        if note:
            with contextlib.suppress(OSError):  # a folder that cannot be written to can be read all the same
                note_again(checked)
    return Read(tuple(good), tuple(bad))


def thin(folder: Path, cluster: str, counts: Counts, *, check_only: bool = False) -> Thinned:
    """Remove a cluster's backups that are not wanted any more. Raise `VerificationError` for a folder of no use.

    Only backups are, by their notes, and no snapshots from before a change. One is removed only when those that are
    kept were all read and found good in this very call: one that is bad then neither counts nor is removed. With
    ``check_only`` nothing is written, and nothing removed.
    """
    snapshots, _ = listed(folder, cluster)
    left = {one.path: one for one in snapshots if one.note.purpose == "backup"}
    good: dict[Path, Snapshot] = {}
    bad: list[Bad] = []
    while True:
        gone = surplus({path: one.note.when for path, one in left.items()}, counts) - proven(left.values())
        unread = [one for path, one in left.items() if path not in gone and path not in good]
        if not gone or not unread:
            break
        read = read_all(unread, note=not check_only)
        good |= {one.path: one for one in read.good}
        bad += read.bad
        for one in read.bad:
            del left[one.path]
    removed, stuck = [], []
    for path in sorted(gone):
        try:
            if not check_only:
                remove(left[path])
            removed.append(left[path])
        except OSError as error:
            stuck.append(Bad(path, f"it cannot be removed: {error.strerror or error}"))
    return Thinned(tuple(removed), Read(tuple(good.values()), tuple(bad)), tuple(stuck))


def proven(snapshots: Iterable[Snapshot]) -> frozenset[Path]:
    """Return the one whose trial restore was the last to go well, if there is one: it is what is known to give back."""
    drilled = [one for one in snapshots if one.note.drill and one.note.drill.good and not one.note.damaged]
    last = max(drilled, key=lambda one: one.note.drill.when if one.note.drill else "", default=None)
    return frozenset([last.path] if last else [])


def remove(snapshot: Snapshot) -> None:
    """Remove a snapshot, and its note after it: a note alone is nothing. Raise OSError."""
    snapshot.path.unlink(missing_ok=True)
    snapshot.note_path.unlink(missing_ok=True)
