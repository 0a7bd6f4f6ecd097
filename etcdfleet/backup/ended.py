"""A cluster that was taken down for good: what was saved of it before is not missed when its name begins anew."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from etcdfleet.backup.note import parse_time, time_text
from etcdfleet.backup.store import Snapshot
from etcdfleet.errors import VerificationError
from etcdfleet.files import write_whole

_FILE = "taken-down.json"


def note_end(folder: Path, cluster: str, when: datetime) -> None:
    """Note beside the cluster's snapshots, if there are any, that it was taken down then. Raise `VerificationError`."""
    path = folder / cluster / _FILE
    if not path.parent.exists():
        return
    try:
        write_whole(path, json.dumps({"taken_down": time_text(when)}) + "\n", 0o600)
    except OSError as error:
        raise VerificationError(
            f"it cannot be noted that the cluster was taken down: {error.strerror or error}",
            where=str(path),
            remedy=f"make the folder writable; until then, a deploy of {cluster} anew asks for --confirm {cluster}",
        ) from error


def ended(folder: Path, cluster: str) -> datetime | None:
    """Return when a cluster was last taken down; None where that is not known."""
    try:
        noted = json.loads((folder / cluster / _FILE).read_text())
        return parse_time(str(noted["taken_down"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def missed(snapshots: Iterable[Snapshot], ends: Iterable[datetime | None]) -> Snapshot | None:
    """Return the newest snapshot with keys that was taken after the cluster was last taken down; None for none."""
    last = max((end for end in ends if end), default=None)
    kept = (one for one in snapshots if one.note.keys != 0 and not one.note.damaged)
    return max(
        (one for one in kept if last is None or one.note.when > last), key=lambda one: one.note.when, default=None
    )
