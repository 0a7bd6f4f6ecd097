"""A snapshot of a cluster on the controller, checked there, before anything risky."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nornir.core.task import Result, Task

from etcdfleet.backup.note import Note, NotedMember, Purpose, Verified, time_text
from etcdfleet.backup.store import HOW, Snapshot, incoming, keep
from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.answers import EndpointStatus, parse_hashkv, parsed
from etcdfleet.etcd.etcdctl import etcdctl
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.snapshot_contents import Contents, read_contents
from etcdfleet.etcd.snapshot_file import SnapshotFile, check_snapshot
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


def save_snapshot(task: Task, folder: Path, least: int = 0, purpose: Purpose = "change") -> Result:
    """Save a snapshot of the member on this host in a folder of the controller: a `Snapshot`, or why not, as text.

    ``least`` is the raft index that the member must have applied: one that is behind would give old data. The file is
    complete under its name, or not there; beside it is a note (JSON). Nothing stays on the host.
    """
    try:
        site = site_of(task)
        status = ask_member(site).status
        if status is None:
            raise VerificationError("its member does not answer", where=site.settings.name)
        if status.learner:
            raise VerificationError("its member is a learner", where=site.settings.name)
        if status.raft_applied < least:
            raise VerificationError(f"it is {least - status.raft_applied} entries behind", where=site.settings.name)
        result: Snapshot | str = _save(site, status, folder, purpose)
    except FleetError as error:
        result = "; ".join(filter(None, (f"{task.host.name}: {error.what}", error.remedy)))
    return Result(task.host, result=result)


def _save(site: Site, status: EndpointStatus, folder: Path, purpose: Purpose) -> Snapshot:
    cluster, now = site.settings.cluster.name, datetime.now(UTC)
    try:
        with incoming(folder, cluster) as (part, file):
            _has_room(part.parent, status.db_size)
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
            checked, contents = check_snapshot(part), read_contents(part)
            if contents.revision < status.revision:
                raise VerificationError(
                    f"it gave a snapshot of revision {contents.revision}, and has {status.revision}",
                    where=site.settings.name,
                    remedy="take it from another member, and look at this one's data: run verify",
                )
            key_hash = _key_hash(site, contents, seconds) if purpose == "backup" else None
            note = note_of(site, status, contents, checked, time_text(now))
            return keep(part, replace(note, purpose=purpose, key_hash=key_hash))
    except OSError as error:
        raise VerificationError(
            f"the snapshot cannot be kept: {error.strerror or error}",
            where=str(folder / cluster),
            remedy="make room on this machine, or name another folder",
        ) from error


def _has_room(folder: Path, size: int) -> None:
    """Raise `VerificationError` where the snapshot cannot fit: before the member reads all of its database for it."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise VerificationError(
            f"the snapshot cannot be kept: it takes {mib(size)}, and {mib(free)} are free on this machine",
            where=str(folder),
            remedy="make room on this machine, or name another folder",
        )


def note_of(site: Site, status: EndpointStatus, contents: Contents, checked: SnapshotFile, when: str) -> Note:
    """Return the note of a snapshot of the member on a host, which said this of itself."""
    marked = site.observe().facts.established or {}
    same = marked.get("cluster_id") == status.cluster_id
    return Note(
        cluster=site.settings.cluster.name,
        taken=when,
        size=checked.size,
        sha256=checked.sha256,
        revision=contents.revision,
        compacted=contents.compacted,
        keys=contents.keys,
        raft_index=contents.raft_index,
        term=contents.term,
        auth=contents.auth,
        alarms=contents.alarms,
        members=tuple(
            NotedMember(hex_id(member.id), member.name, member.peer_urls, member.learner) for member in contents.members
        ),
        etcd=status.version,
        member=site.settings.member.name,
        member_id=hex_id(status.member_id),
        cluster_id=hex_id(status.cluster_id),
        token=str(marked.get("token") or site.settings.cluster.token) if same else site.settings.cluster.token,
        restores=int(marked.get("restores") or 0) if same else 0,
        verified=Verified(when, HOW),
    )


def _key_hash(site: Site, contents: Contents, seconds: float) -> int | None:
    """Return the hash of the keys at the snapshot's revision, as the member has it; None where it cannot say it."""
    command = f"-w json endpoint hashkv --rev={contents.revision}"
    asked = site.remote.run(etcdctl(site.settings, command, [site.here()], seconds=seconds))
    answers = parsed(parse_hashkv, asked.stdout, asked.stderr) or ()
    return next((answer.hash for answer in answers if max(0, answer.compact_revision) == contents.compacted), None)


def _script(site: Site, status: EndpointStatus, seconds: float) -> str:
    saving = etcdctl(site.settings, 'snapshot save "$1"', [site.here()], seconds=seconds)
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


def told(saved: Snapshot) -> str:
    """Return what was saved, in words."""
    return f"{saved.path} ({mib(saved.note.size)}, revision {saved.note.revision}, its hash is right)"
