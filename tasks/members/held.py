"""How far the data of a member have come that does not answer: read from its files, which are not changed."""

from __future__ import annotations

import base64
import gzip
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import FleetError, RemoteError, VerificationError
from etcdfleet.etcd.bbolt import BrokenError, Database
from etcdfleet.etcd.restore_sources import Held
from etcdfleet.etcd.snapshot_contents import read_head
from etcdfleet.etcd.wal import HEAD_BYTES, read_ids, read_position
from etcdfleet.host.paths import ASIDE
from etcdfleet.outcome import done
from tasks.observe import Site, site_of
from tasks.raft_log import read_log

_PIECE = 64 * 1024
_MOST_ASIDE = 3
"""Folders of data that were moved aside and are looked at on a host, the newest first."""


def read_held(task: Task, *, own: bool = True) -> Result:
    """Read how far the data on this host have come: `Held` by their folder, or why not as text.

    With ``own``, those of the member, which must be stopped or not answer; and those that were moved aside. Of the
    database a few pages are read, and the last segment of the log, compressed. Raises `FleetError`.
    """
    site = site_of(task)
    facts, data_dir = site.observe().facts, site.settings.member.data_dir.rstrip("/")
    folders = [data_dir] if own and (facts.data.ids or facts.data.unreadable) else []
    aside = sorted((name for name in facts.data.foreign if name.startswith(ASIDE)), reverse=True)
    folders += [f"{data_dir}/{name}" for name in aside[:_MOST_ASIDE]]
    found: dict[str, Held | str] = {}
    for folder in folders:
        try:
            found[folder] = held_in(site, folder)
        except FleetError as error:
            found[folder] = error.what
    return Result(task.host, result=found)


def held_in(site: Site, folder: str) -> Held:
    """Return how far the data in a folder of a host have come. Raise `FleetError` for what are none."""
    member = f"cd {shlex.quote(folder)}/member"
    size, *names = _run(site, f"{member} && stat -c %s snap/db && ls wal", "reading the data").split()
    segments = sorted(name for name in names if name.endswith(".wal"))
    try:
        with read_log(site, f"{folder}/member/wal/{segments[-1]}") as log:
            ids = read_ids(log.read(HEAD_BYTES), first=False)
            log.seek(0)
            position = read_position(log)
    except (EOFError, IndexError, OSError, ValueError) as error:
        raise VerificationError(f"its raft log cannot be read ({error or 'there is none'})") from error
    try:
        head = read_head(Database(-1, int(size), _reader(site, member)))
    except BrokenError as error:
        raise VerificationError(f"its database is damaged ({error})") from error
    index = max(head.raft_index, position.commit)
    alarms = tuple(kind for number, kind in head.raised if number in (0, ids.member_id))
    return Held(ids.cluster_id, head.revision, head.raft_index, index, alarms, ids.member_id)


def _reader(site: Site, member: str) -> Callable[[int, int], bytes]:
    """Return what reads a part of the database; pieces that were read once are kept."""
    pieces: dict[int, bytes] = {}

    def read(offset: int, count: int) -> bytes:
        first, last = offset // _PIECE, (offset + count - 1) // _PIECE
        if missing := [number for number in range(first, last + 1) if number not in pieces]:
            skip, many = missing[0], missing[-1] - missing[0] + 1
            command = f"{member} && dd if=snap/db bs={_PIECE} skip={skip} count={many} 2>/dev/null | gzip -c | base64"
            content = _unpacked(_run(site, command, "reading the database"))
            for at in range(many):
                pieces[skip + at] = content[at * _PIECE : (at + 1) * _PIECE]
        whole = b"".join(pieces[number] for number in range(first, last + 1))
        start = offset - first * _PIECE
        return whole[start : start + count]

    return read


def _unpacked(answer: str) -> bytes:
    try:
        return gzip.decompress(base64.b64decode(answer))
    except (EOFError, OSError, ValueError) as error:
        raise VerificationError(f"reading the database was cut off ({error})") from error


def _run(site: Site, command: str, check: str) -> str:
    try:
        return site.remote.run(command, timeout=timeouts.READ_LOG, check=check).stdout
    except RemoteError as error:
        raise VerificationError(error.what) from error


def tell_sources(task: Task, summary: str, sources: Mapping[str, Any]) -> Result:
    """Tell the report from what the cluster can be restored."""
    return done(task, summary, facts={"sources": sources})
