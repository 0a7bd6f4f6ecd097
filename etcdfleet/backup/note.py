"""What is noted of a snapshot, in a file beside it (JSON, ``docs/snapshot-note.schema.json``). Pure.

What a person or a restore must know and cannot ask any more: which cluster it is of, with which ids and token, which
etcd wrote it, how far it had come. Where the file itself says something (``etcdfleet/etcd/snapshot_contents.py``), that
is what is noted, and not what a member said a moment before.

Notes of earlier versions of this project (``"version"`` is missing: the first ones) are read as well. What such a note
does not say is None, or empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal

VERSION = 2
"""Of what a note says. The first had no list of members, no token and no keys."""

Purpose = Literal["backup", "change"]
"""``backup``: one of a series, which retention thins out; ``change``: taken before something risky, and kept."""


@dataclass(frozen=True)
class NotedMember:
    """A member of the cluster when the snapshot was taken."""

    id: str
    name: str
    peer_urls: tuple[str, ...] = ()
    learner: bool = False


@dataclass(frozen=True)
class Verified:
    """When all of the copy was last read, and what was looked at: ``hash``, ``pages``, and by which programs."""

    when: str
    how: tuple[str, ...]


@dataclass(frozen=True)
class Drill:
    """The last time that the snapshot was restored for a trial: when, where, with which etcd, and whether it was good.

    ``says`` is what was compared, or what was wrong.
    """

    when: str
    where: str
    etcd: str
    good: bool
    says: str


@dataclass(frozen=True)
class Stored:
    """A copy in a store off this machine: its name there, and what it must be, encrypted or not."""

    name: str
    size: int
    sha256: str
    encrypted: bool


@dataclass(frozen=True)
class Note:
    """A snapshot as it was when it was taken.

    ``size`` and ``sha256`` are of the file and of the database in it (all but the last 32 bytes, which are that hash).
    ``revision``, ``compacted``, ``keys``, ``raft_index``, ``auth`` and ``alarms`` are what a restore of it gives, ids
    are hexadecimal as etcdctl shows them, and times UTC. ``token`` is the one that the cluster was begun with, or
    restored under, and ``restores`` how often it was restored before. ``key_hash`` is what the member said of its keys
    at this revision (``etcdctl endpoint hashkv --rev``), None where it was not asked or had been compacted since.
    ``damaged`` says what was wrong with the copy when it was last read; empty for a good one. ``stored`` is there in
    notes of copies off this machine alone.
    """

    cluster: str
    taken: str
    size: int
    sha256: str
    revision: int
    etcd: str
    member: str
    cluster_id: str
    raft_index: int
    member_id: str = ""
    term: int = 0
    compacted: int | None = None
    keys: int | None = None
    key_hash: int | None = None
    auth: bool | None = None
    alarms: tuple[str, ...] = ()
    members: tuple[NotedMember, ...] = ()
    token: str = ""
    restores: int = 0
    purpose: Purpose = "change"
    verified: Verified | None = None
    drill: Drill | None = None
    damaged: str = ""
    stored: Stored | None = None
    version: int = field(default=VERSION)

    @property
    def when(self) -> datetime:
        """When it was taken, by the clock of the controller that took it."""
        return parse_time(self.taken)

    @property
    def minor(self) -> str:
        """The minor version of the etcd that wrote it, such as ``3.5``: the one that may restore it."""
        return ".".join(self.etcd.split(".")[:2])


_FIELDS = frozenset(one.name for one in fields(Note))
_NEEDED: Mapping[str, type] = {
    **dict.fromkeys(("cluster", "taken", "sha256", "etcd", "member", "cluster_id"), str),
    **dict.fromkeys(("size", "revision", "raft_index"), int),
}


def write_note(note: Note) -> str:
    """Return a note as the text of its file."""
    said = {"version": note.version, **asdict(note)}
    return json.dumps(said, indent=1) + "\n"


def read_note(text: str) -> Note:
    """Return the note in the text of a file. Raise ValueError that says what is wrong with it."""
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from error
    kind = type(said)
    if kind is not dict:
        raise ValueError("it is no JSON object")
    version = said.get("version", 1)
    if version not in range(1, VERSION + 1):
        raise ValueError(f"it is of version {version}, and this program knows up to {VERSION}")
    given: dict[str, Any] = {name: value for name, value in said.items() if name in _FIELDS}
    if wrong := [name for name, kind in _NEEDED.items() if type(given.get(name)) is not kind]:
        raise ValueError(f"it does not say {', '.join(wrong)}")
    try:
        parse_time(given["taken"])
        given["version"] = VERSION
        given["alarms"] = tuple(str(alarm) for alarm in given.get("alarms") or ())
        given["members"] = tuple(_member(member) for member in given.get("members") or ())
        given["verified"] = _verified(given.get("verified"))
        given["drill"] = Drill(**given["drill"]) if given.get("drill") else None
        given["stored"] = Stored(**given["stored"]) if given.get("stored") else None
        return Note(**given)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it is not the note of a snapshot: {error}") from error


def _member(said: Mapping[str, Any]) -> NotedMember:
    urls = tuple(str(url) for url in said.get("peer_urls") or ())
    return NotedMember(str(said["id"]), str(said["name"]), urls, bool(said.get("learner")))


def _verified(said: Mapping[str, Any] | None) -> Verified | None:
    return Verified(str(said["when"]), tuple(str(how) for how in said["how"])) if said else None


def time_text(when: datetime) -> str:
    """Return a time as notes have it."""
    return when.astimezone(UTC).isoformat(timespec="seconds")


def parse_time(text: str) -> datetime:
    """Return the time of a note. Raise ValueError for what is none."""
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)
