"""A folder of the controller with snapshots: ``FOLDER/CLUSTER/CLUSTER-TIME-REVISION.db``, each with a note (JSON).

For others there is mostly one call: ``newest(folder, cluster)``, the newest snapshot whose bytes were just read and
found good. Whatever else lies in the folder is left alone; a file without a note of ours is listed as one that does not
count, and never used or removed. A snapshot is complete under its name, or not there.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from etcdfleet.backup.note import Note, Verified, read_note, time_text, write_note
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.snapshot_contents import read_contents
from etcdfleet.etcd.snapshot_file import check_snapshot
from etcdfleet.files import write_whole

_ENDING, _NOTE_ENDING, _PART_ENDING = ".db", ".json", ".part"
_LEFT_OVER_SECONDS = 24 * 3600
"""So old is a part of a snapshot that no run works on any more."""
HOW = ("hash", "pages")
"""What `check` looks at."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot with its note. That its bytes are good is known only of one that `check` or `newest` gave."""

    path: Path
    note: Note

    @property
    def note_path(self) -> Path:
        """The file of its note."""
        return self.path.with_suffix(_NOTE_ENDING)


@dataclass(frozen=True)
class Bad:
    """A file that is named as a snapshot and does not count, and why."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass(frozen=True)
class Newest:
    """The newest good snapshot, and those after it that were passed over, which a person should hear of."""

    snapshot: Snapshot
    passed: tuple[Bad, ...] = ()


def newest(folder: Path, cluster: str) -> Newest:
    """Return the newest snapshot of a cluster whose bytes are good, all of which are read for that.

    Raises `VerificationError` where there is none, with what was found in its place.
    """
    snapshots, bad = listed(folder, cluster)
    passed = list(bad)
    for snapshot in snapshots:
        try:
            return Newest(check(snapshot), tuple(passed))
        except VerificationError as error:
            passed.append(Bad(snapshot.path, error.what))
    found = "; ".join(str(one) for one in passed)
    raise VerificationError(
        f"there is no good snapshot of {cluster}{f' ({found})' if found else ''}",
        where=str(folder / cluster),
        remedy="name another folder, or the file of a snapshot that lies elsewhere",
    )


def listed(folder: Path, cluster: str) -> tuple[tuple[Snapshot, ...], tuple[Bad, ...]]:
    """Return a cluster's snapshots by their notes, the newest first, and files that should be some and are not.

    Only names and notes are read. A folder that is not there has none. Raises `VerificationError` for one that cannot
    be read.
    """
    try:
        paths = sorted((folder / cluster).iterdir())
    except FileNotFoundError:
        return (), ()
    except OSError as error:
        raise VerificationError(
            f"the folder of snapshots cannot be read: {error.strerror or error}",
            where=str(folder / cluster),
            remedy="make it readable for this user, or name another folder",
        ) from error
    pattern = re.compile(rf"{re.escape(cluster)}-\d{{8}}T\d{{6}}Z-\d+{re.escape(_ENDING)}")
    found = [_entry(path, cluster) for path in paths if pattern.fullmatch(path.name)]
    snapshots = [one for one in found if isinstance(one, Snapshot)]
    snapshots.sort(key=lambda one: (one.note.when, one.note.revision), reverse=True)
    return tuple(snapshots), tuple(one for one in found if isinstance(one, Bad))


def _entry(path: Path, cluster: str) -> Snapshot | Bad:
    try:
        note = read_note(path.with_suffix(_NOTE_ENDING).read_text())
        size = path.stat().st_size
    except FileNotFoundError as error:
        return Bad(path, f"it has no note {Path(error.filename).name}, or is gone")
    except OSError as error:
        return Bad(path, f"it or its note cannot be read: {error.strerror or error}")
    except ValueError as error:
        return Bad(path, f"its note cannot be read: {error}")
    if note.cluster != cluster:
        return Bad(path, f"its note is about cluster {note.cluster}")
    if size != note.size:
        return Bad(path, f"it has {size} bytes, and its note says {note.size}")
    return Snapshot(path, note)


def check(snapshot: Snapshot) -> Snapshot:
    """Read all of a snapshot, and return it with a note that says so. Raise `VerificationError` for one that is bad.

    Its hash must fit its contents and be the one that was noted; its pages must be sound, and give the revision and the
    number of keys that were noted.
    """
    checked, contents = check_snapshot(snapshot.path), read_contents(snapshot.path)
    note = snapshot.note
    found = {"size": checked.size, "SHA-256": checked.sha256}
    noted = {"size": note.size, "SHA-256": note.sha256}
    if note.keys is not None:  # the first notes had the revision at which the snapshot was begun, and no keys
        found |= {"revision": contents.revision, "keys": contents.keys}
        noted |= {"revision": note.revision, "keys": note.keys}
    if different := [name for name, value in found.items() if noted[name] != value]:
        name = different[0]
        raise VerificationError(
            f"this is another snapshot than the one that was noted: {name} {found[name]}, and not {noted[name]}",
            where=str(snapshot.path),
            remedy=f"find out who replaced it; without its note {snapshot.note_path.name} it does not count",
        )
    return replace(snapshot, note=replace(note, verified=Verified(time_text(datetime.now(UTC)), HOW), damaged=""))


def note_again(snapshot: Snapshot) -> None:
    """Write a snapshot's note anew, such as after a check or a drill. Raise OSError."""
    write_whole(snapshot.note_path, write_note(snapshot.note), 0o600)


@contextlib.contextmanager
def incoming(folder: Path, cluster: str) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield a new file in a cluster's folder for `keep`, open for no other user; what was not kept is gone afterwards.

    What earlier runs left that were killed goes as well. Raises OSError.
    """
    place = folder / cluster
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in place.glob(f".{glob.escape(cluster)}-*{_PART_ENDING}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_OVER_SECONDS:
                left.unlink()
    handle, name = tempfile.mkstemp(dir=place, prefix=f".{cluster}-", suffix=_PART_ENDING)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield part, file
    finally:
        part.unlink(missing_ok=True)


def keep(part: Path, note: Note) -> Snapshot:
    """Give a snapshot that is complete and was checked its name, with its note beside it. Raise OSError."""
    path = part.parent / f"{note.cluster}-{note.when.astimezone(UTC):%Y%m%dT%H%M%SZ}-{note.revision}{_ENDING}"
    snapshot = Snapshot(path, note)
    note_again(snapshot)  # first: a snapshot without a note does not count
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return snapshot
