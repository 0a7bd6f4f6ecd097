"""Which versions of etcd a host and its cluster run, and which one a deploy would bring. Nothing is changed."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from nornir.core.task import Result, Task

from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.answers import address
from etcdfleet.etcd.bbolt import BrokenError, MissingPieceError, Pieces
from etcdfleet.etcd.canary import Hold, hold_in
from etcdfleet.etcd.etcdctl import PROXY_VARIABLES, pair_file
from etcdfleet.etcd.removed_members import NotedMembers, noted_members
from etcdfleet.etcd.upgrades import MemberVersion, VersionsSaid
from etcdfleet.etcd.v2_entries import V2Entries, count_v2
from etcdfleet.etcd.v2_residue import (
    KEEPING,
    Residue,
    kept_key,
    newest_snapshot,
    requests,
    segments_after,
    snapshot_index,
)
from etcdfleet.etcd.wal import Entry, read_entries
from etcdfleet.host.paths import HostPaths
from tasks.member import ask_cluster, ask_member
from tasks.observe import Observed, Site, site_of
from tasks.programs import offered, program_due
from tasks.raft_log import read_log

T = TypeVar("T")

_HEAD_BYTES, _BLOCK = 128 << 10, 512
"""The beginning of a database, where most of what lists the members lies in one that is small; what `dd` reads in."""
_LOOKS, _PIECES = 8, 40
"""So often a database is looked at while its member writes, and so many pieces of it are read each time."""


@dataclass(frozen=True)
class VersionsSeen:
    """One host's part: its own member, what it hears the others run (by address), and the cluster version.

    ``held`` is the hold of a canary that its marker tells of; ``job`` the minor version to which etcd's own job leads
    the cluster, if one is under way.
    """

    member: MemberVersion
    others: Mapping[str, str] = field(default_factory=dict)
    cluster: str = ""
    held: Hold | None = None
    job: str = ""


def is_due(task: Task) -> Result:
    """Return whether the host's program would be replaced, and whether data or etcd there belong to a cluster."""
    site = site_of(task)
    observed = site.observe()
    due = bool(program_due(site.packages, observed))
    return Result(task.host, result=(due, observed.service.running or observed.facts.data.ids is not None))


def look_at_versions(task: Task) -> Result:
    """Read what the host's member and those that it hears of run, and what would be installed: a `VersionsSeen`."""
    site = site_of(task)
    observed = site.observe()
    answers = ask_member(site) if observed.service.running else None
    others: dict[str, str] = {}
    if answers and answers.members:
        try:
            statuses = ask_cluster(site, answers.members).statuses
            others = {address(status.endpoint): status.version for status in statuses}
        except FleetError:
            pass  # they are asked on their own hosts, too
    status = answers.status if answers else None
    member = MemberVersion(
        site.settings.name,
        running=status.version if status else "",
        installed=observed.in_force.version or "",
        brings=_brings(site, observed),
        by=site.packages.title,
        data=observed.facts.data.ids is not None,
    )
    cluster = versions_said(site, tls=status.endpoint.startswith("https:")).cluster if status else ""
    held = hold_in(observed.facts.established, task.host.name)
    job = status.going_back_to if status else ""
    return Result(task.host, result=VersionsSeen(member, others, cluster, held, job))


def _brings(site: Site, observed: Observed) -> str | None:
    try:
        return offered(site, observed)
    except FleetError:
        return None  # a host without a member, else the preflight had failed: the step `install` will say why


def versions_said(site: Site, *, tls: bool) -> VersionsSaid:
    """Return what the member on the host says at ``/version``; nothing when nothing on the host can ask for it."""
    paths = HostPaths.of(site.settings)
    authority = site.here(tls=tls).partition("://")[2]
    request = r"printf 'GET /version HTTP/1.0\r\nHost: localhost\r\n\r\n'"
    cert, key = (pair_file(paths.folder("client"), paths.fqdn, kind) for kind in ("pem", "key"))
    pair = f"-cert {cert} -key {key}"
    script = f"{request} | timeout 5 openssl s_client -quiet -connect {authority} {pair} 2>/dev/null"
    if not tls:
        url = f"http://{authority}/version"
        direct = f"unset {' '.join(PROXY_VARIABLES)}"
        script = f"{direct}; wget -q -T 5 -O - {url} 2>/dev/null || curl -s -m 5 {url}"
    answer = re.search(r"\{.*\}", site.remote.run(script).stdout)
    try:
        said = json.loads(answer.group(0)) if answer else {}
    except ValueError:
        said = {}
    return VersionsSaid(str(said.get("etcdcluster") or ""), str(said.get("storage") or ""))


def read_residue(task: Task) -> Result:
    """Read what the host's etcd keeps of the old v2 API: a `Residue`. Raises as `residue_of` does."""
    return Result(task.host, result=residue_of(site_of(task)))


def residue_of(site: Site) -> Residue:
    """Read what the raft log on this host holds of the old v2 API after its newest snapshot, and that snapshot of it.

    All of the log that etcd would read at its next start is read, compressed. Raises `RemoteError`, and
    `VerificationError` where it cannot be read.
    """
    found, key = _of_log(site, requests)
    key = key or next((request for request in found if request.startswith(KEEPING)), "")
    return Residue(site.settings.name, len(found), found[-1] if found else "", key)


def read_v2_entries(task: Task) -> Result:
    """Read how many entries of the old v2 API, etcd's own among them, are in the same part of the log: `V2Entries`."""
    return Result(task.host, result=v2_entries_of(site_of(task)))


def v2_entries_of(site: Site) -> V2Entries:
    """Read the same on a host. Raises as `residue_of` does."""
    count, _ = _of_log(site, count_v2)
    return V2Entries(site.settings.name, count)


def _of_log(site: Site, judge: Callable[[Iterable[Entry], int], T]) -> tuple[T, str]:
    """Judge the entries that etcd would read at its next start, given with the index of the snapshot before them.

    Returns the judgement, and a key of the old API that this snapshot holds.
    """
    member = f"{site.settings.member.data_dir.rstrip('/')}/member"
    listing = f"cd {shlex.quote(member)} && ls snap wal"
    names = site.remote.run(listing, check="reading the names of the raft log").stdout.split()
    newest, after, key = newest_snapshot(names), snapshot_index(names), ""
    try:
        if newest:
            with read_log(site, f"{member}/snap/{newest}") as snapshot:
                key = kept_key(snapshot.read())
        segments = [f"{member}/wal/{name}" for name in segments_after(names, after)]
        return judge(_entries(site, segments), after), key
    except (EOFError, OSError, ValueError) as error:
        raise VerificationError(
            f"its raft log cannot be read: {error}",
            where=site.settings.name,
            remedy="run again; if it happens again, look at the disk of this host",
        ) from error


def _entries(site: Site, segments: Iterable[str]) -> Iterator[Entry]:
    for segment in segments:
        with read_log(site, segment) as log:
            yield from read_entries(log)


def read_noted_members(task: Task) -> Result:
    """Read which members the database on this host lists, and which as removed: a `NotedMembers`.

    Only the pages are read that list them, while etcd runs. Raises `RemoteError`, and `VerificationError` where they
    cannot be read.
    """
    site = site_of(task)
    file = shlex.quote(f"{site.settings.member.data_dir.rstrip('/')}/member/snap/db")
    why = ""
    for _ in range(_LOOKS):
        try:
            return Result(task.host, result=_noted_members(site, task.host.name, file))
        except BrokenError as error:
            why = str(error)
    raise VerificationError(
        f"its database cannot be read: {why}",
        where=task.host.name,
        remedy="run again; if it happens again, run verify, and look at the disk of this host",
    )


def _noted_members(site: Site, host: str, file: str) -> NotedMembers:
    """Read one piece of the database after the other, until none is missing."""
    size = int(site.remote.run(f"stat -c %s {file}", check="reading the size of the database").stdout)
    pieces = {0: _piece(site, file, 0, min(size, _HEAD_BYTES))}
    for _ in range(_PIECES):
        try:
            return noted_members(host, Pieces(-1, size, pieces=pieces))
        except MissingPieceError as missing:
            start = missing.offset // _BLOCK * _BLOCK
            pieces[start] = _piece(site, file, start, missing.offset + missing.count - start)
    raise BrokenError(f"its list of members lies on more than {_PIECES} pages")


def _piece(site: Site, file: str, start: int, count: int) -> bytes:
    blocks = -(-count // _BLOCK)
    reading = f"dd if={file} bs={_BLOCK} skip={start // _BLOCK} count={blocks} 2>/dev/null | gzip -c | base64"
    answer = site.remote.run(reading, check="reading the list of members in the database")
    try:
        content = gzip.decompress(base64.b64decode(answer.stdout))
    except (EOFError, OSError, ValueError) as error:
        raise BrokenError(f"what was read of it did not arrive: {error}") from error
    if len(content) < count:
        raise BrokenError(f"it ends at byte {start + len(content)}")
    return content
