"""A snapshot of a cluster on the controller, checked there, before anything risky."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from nornir.core.task import Result, Task

from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.snapshot_file import check_snapshot
from etcdfleet.remote.scripts import script
from etcdfleet.text import mib
from tasks.member import ask_member
from tasks.observe import Site, site_of

_NO_ROOM = 28
_SLOWEST = 1 << 20  # bytes a second that a card and a link make together
_ROOM = 1.1
"""A snapshot is as large as the database, which may grow while it is taken."""
NO_ROOM_REMEDY = (
    "make room on a disk of this host (in the folder above the data, or in /var/tmp) for a copy of the database; or let"
    " the database become smaller: etcdctl compact, then etcdctl defrag of one member after the other"
)


@dataclass(frozen=True)
class SavedSnapshot:
    """A snapshot on the controller whose hash is right, and what it is of.

    ``revision`` and ``raft_index`` were reached when it was begun: it holds at least these.
    """

    file: str
    size: int
    sha256: str
    cluster: str
    cluster_id: str
    member: str
    etcd: str
    revision: int
    raft_index: int
    taken: str


def save_snapshot(task: Task, folder: Path, least: int = 0) -> Result:
    """Save a snapshot of the member on this host in a folder of the controller: a `SavedSnapshot`, or why not, as text.

    ``least`` is the raft index that the member must have applied: one that is behind would give old data. The file is
    complete under its name, or not there; beside it is a note (JSON). Nothing stays on the host.
    """
    try:
        site = site_of(task)
        status = ask_member(site).status
        if status is None:
            raise VerificationError("its member does not answer", where=site.settings.name)
        if status.raft_applied < least:
            raise VerificationError(f"it is {least - status.raft_applied} entries behind", where=site.settings.name)
        result: SavedSnapshot | str = _save(site, status, folder)
    except FleetError as error:
        result = "; ".join(filter(None, (f"{task.host.name}: {error.what}", error.remedy)))
    return Result(task.host, result=result)


def _save(site: Site, status: EndpointStatus, folder: Path) -> SavedSnapshot:
    cluster, now = site.settings.cluster.name, datetime.now(UTC)
    path = folder / cluster / f"{cluster}-{now:%Y%m%dT%H%M%SZ}-{status.revision}.db"
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            seconds = 60 + 2 * status.db_size / _SLOWEST
            site.remote.fetch(
                _script(site, status, seconds),
                file,
                timeout=seconds,
                check="saving a snapshot",
                remedy=NO_ROOM_REMEDY,
            )
            file.flush()
            os.fsync(file.fileno())
        checked = check_snapshot(part)
        saved = SavedSnapshot(
            file=str(path),
            size=checked.size,
            sha256=checked.sha256,
            cluster=cluster,
            cluster_id=hex_id(status.cluster_id),
            member=site.settings.member.name,
            etcd=status.version,
            revision=status.revision,
            raft_index=status.raft_applied,
            taken=now.isoformat(timespec="seconds"),
        )
        note = path.with_suffix(".json")
        note.write_text(json.dumps(asdict(saved), indent=1) + "\n")
        note.chmod(0o600)
        part.replace(path)
    except OSError as error:
        raise VerificationError(
            f"the snapshot cannot be kept: {error.strerror or error}",
            where=str(path),
            remedy="make room on this machine, or name another folder: --snapshot-dir",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return saved


def _script(site: Site, status: EndpointStatus, seconds: float) -> str:
    saving = etcdctl(site.settings, 'snapshot save "$1"', [local_endpoint(site.settings)], seconds=seconds)
    return script(
        "save_snapshot",
        str(Path(site.settings.member.data_dir).parent),
        "/var/tmp",  # noqa: S108  a folder of its own is made there
        "/tmp",  # noqa: S108
        "/run",
        functions={"save": saving},
        needed_kib=int(status.db_size * _ROOM / 1024) + 1024,
        no_room=_NO_ROOM,
    )


def told(saved: SavedSnapshot) -> str:
    """Return what was saved, in words."""
    return f"{saved.file} ({mib(saved.size)}, revision {saved.revision}, its hash is right)"
