"""The snapshot that a restore is asked for: a file of any origin, or the newest good one of a cluster, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etcdfleet.backup.note import Note, read_note
from etcdfleet.backup.store import Newest, listed, newest
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.restore_model import Source
from etcdfleet.etcd.snapshot_contents import read_contents
from etcdfleet.etcd.snapshot_file import check_snapshot

LATEST = "latest"


def source_of(path: Path) -> Source:
    """Return a snapshot whose hash is right and whose pages are sound, of any origin. Raise `VerificationError`."""
    checked, contents = check_snapshot(path), read_contents(path)
    note = _note_beside(path)
    if note and note.sha256 != checked.sha256:
        note = None  # of a file that had this name before
    return Source(
        file=str(path),
        sha256=checked.sha256,
        size=checked.size,
        revision=contents.revision,
        keys=contents.keys,
        minor=contents.minor or (note.minor if note else ""),
        auth=contents.auth,
        alarms=contents.alarms,
        peer_urls=tuple(url for member in contents.members for url in member.peer_urls),
        cluster=note.cluster if note else "",
        taken=note.taken if note else "",
        cluster_id=_number(note.cluster_id) if note else 0,
        users=contents.users,
        roots=contents.roots,
    )


def latest_of(folders: Sequence[Path], cluster: str, wanted: str = "") -> tuple[Source, tuple[str, ...]]:
    """Return the newest good snapshot of a cluster in these folders, and what was passed over for it.

    ``wanted`` is the SHA-256 of the one that a restore is under way with: that one then. Raises `VerificationError`.
    """
    if wanted:
        for folder in folders:
            for snapshot in listed(folder, cluster)[0]:
                if snapshot.note.sha256 == wanted:
                    return source_of(snapshot.path), ()
        raise VerificationError(
            f"a restore is under way with the snapshot whose SHA-256 begins with {wanted[:12]}, and it is not among"
            f" those of {cluster}",
            where=", ".join(str(folder / cluster) for folder in folders),
            remedy="name its file; or name another one, and add --anew",
        )
    found, errors = list[Newest](), list[VerificationError]()
    for folder in folders:
        try:
            found.append(newest(folder, cluster))
        except VerificationError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    best = max(found, key=lambda one: one.snapshot.note.when)
    return source_of(best.snapshot.path), tuple(str(bad) for one in found for bad in one.passed)


def _number(hexadecimal: str) -> int:
    try:
        return int(hexadecimal, 16)
    except ValueError:
        return 0


def _note_beside(path: Path) -> Note | None:
    try:
        return read_note(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
