"""What a snapshot holds, read on the controller from its pages: revision, keys, members, alarms, authentication.

A member that is asked says what was true a moment before or after; the file says what a restore will give. All pages of
all buckets are walked, so this proves the structure of the file as well, as ``etcdutl check`` and ``snapshot status``
would, without etcd. Where things lie: ``server/mvcc/kvstore.go`` and ``server/mvcc/buckets`` of etcd 3.5,
``mvcc/kvstore.go`` of 3.4, ``server/storage/schema`` of 3.6.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.answers import Member
from etcdfleet.etcd.bbolt import BrokenError, Database
from etcdfleet.etcd.versions import minor_of

_HASH_BYTES = 32
_NUMBER = struct.Struct(">Q")
_REVISION = struct.Struct(">QcQ")  # main, "_", sub
_TOMBSTONE = b"t"
_ALARMS = {1: "NOSPACE", 2: "CORRUPT"}
_NEEDED = (b"key", b"meta")


@dataclass(frozen=True)
class Contents:
    """What a restore of the snapshot will give.

    ``keys`` are those that exist at ``revision``; of those before ``compacted`` nothing else is known. ``raft_index``
    is that of the last entry in it, with ``term`` (0 before 3.5, which does not keep it). ``minor`` is the cluster's
    version, which all members had, such as ``3.5``; empty where none was agreed on yet. ``roots`` are those of the
    ``users`` that have the role root, whether authentication is on or not.
    """

    revision: int
    compacted: int
    keys: int
    raft_index: int
    term: int
    auth: bool
    alarms: tuple[str, ...]
    members: tuple[Member, ...]
    minor: str = ""
    users: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()


def read_contents(path: Path) -> Contents:
    """Return what a snapshot holds. Its hash is `check_snapshot`'s business. Raise `VerificationError`."""
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            return _read(Database(file, os.fstat(file).st_size - _HASH_BYTES))
        finally:
            os.close(file)
    except OSError as error:
        raise VerificationError(
            f"the snapshot cannot be read: {error.strerror or error}", where=str(path), remedy="see what it says"
        ) from error
    except (BrokenError, struct.error, ValueError, IndexError, KeyError, TypeError) as error:
        raise VerificationError(
            f"this is no good snapshot: its pages are damaged ({error})",
            where=str(path),
            remedy="take another one; if its hash is right, the database of the member is damaged as well: run verify",
        ) from error


@dataclass(frozen=True)
class Head:
    """How far the data of a database have come, as a few of its pages say; see `Contents`.

    ``raised`` are the alarms in it, with the id of the member that each is about (0 for none in particular).
    """

    revision: int
    raft_index: int
    raised: tuple[tuple[int, str], ...] = ()


def read_head(database: Database) -> Head:
    """Return how far a database has come. Raise `BrokenError` where the pages that say it are damaged, and OSError.

    All others are not read: what this says is no proof that the database is sound.
    """
    try:
        _must_be_whole(database)
        meta: Mapping[bytes, bytes] = dict(database.items(b"meta"))
        last = database.last(b"key")
        return Head(
            revision=_last_revision(meta, _REVISION.unpack_from(last)[0] if last else 0),
            raft_index=_number(meta.get(b"consistent_index")),
            raised=tuple(sorted({_alarm(key) for key, _ in database.items(b"alarm")})),
        )
    except (struct.error, ValueError, IndexError, KeyError, TypeError) as error:
        raise BrokenError(str(error)) from error


def _must_be_whole(database: Database) -> None:
    if missing := [name.decode() for name in _NEEDED if name not in database.buckets]:
        raise BrokenError(f"it has no bucket {' and '.join(missing)}")


def _minor(database: Database) -> str:
    return minor_of(dict(database.items(b"cluster")).get(b"clusterVersion", b"").decode("ascii"))


def _last_revision(meta: Mapping[bytes, bytes], last: int) -> int:
    """Return the revision as etcd's start reckons it: a compaction may have taken the last ones with it."""
    return max(1, last, _revision(meta.get(b"finishedCompactRev")), _revision(meta.get(b"scheduledCompactRev")))


def _read(database: Database) -> Contents:
    _must_be_whole(database)
    meta: Mapping[bytes, bytes] = dict(database.items(b"meta"))
    compacted = _revision(meta.get(b"finishedCompactRev"))
    last, keys = _keys(database.items(b"key"))
    auth = dict(database.items(b"auth"))
    users = {key.decode("utf-8"): _roles(value) for key, value in database.items(b"authUsers")}
    contents = Contents(
        revision=_last_revision(meta, last),
        compacted=compacted,
        keys=keys,
        raft_index=_number(meta.get(b"consistent_index")),
        term=_number(meta.get(b"term")),
        auth=auth.get(b"authEnabled") == b"\x01",
        alarms=tuple(sorted({_alarm(key)[1] for key, _ in database.items(b"alarm")})),
        members=tuple(_member(value) for _, value in database.items(b"members")),
        minor=_minor(database),
        users=tuple(sorted(users)),
        roots=tuple(sorted(name for name, roles in users.items() if b"root" in roles)),
    )
    for name in database.buckets:
        if name not in (b"meta", b"key", b"auth", b"authUsers", b"alarm", b"members", b"cluster"):
            for _ in database.items(name):
                pass
    return contents


def _keys(items: Iterable[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Return the last revision, and how many keys exist at it."""
    last, living = 0, set[bytes]()
    for key, value in items:
        last, _, _ = _REVISION.unpack_from(key)
        if not value:
            continue  # a restore that raised the revision puts a place there (``unsafeBumpRevision`` in etcdutl)
        name = _name(value)
        if key[_REVISION.size :] == _TOMBSTONE:
            living.discard(name)
        else:
            living.add(name)
    return last, len(living)


def _name(value: bytes) -> bytes:
    """Return the key in a ``mvccpb.KeyValue``, whose first field it is."""
    if not value or value[0] != 0x0A:
        raise BrokenError("a key has no name")
    size, at = _varint(value, 1)
    if at + size > len(value):
        raise BrokenError("the name of a key is cut off")
    return value[at : at + size]


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number as protobuf writes it, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _alarm(key: bytes) -> tuple[int, str]:
    """Return member and kind of an ``AlarmMember``: the numbers of field 1 and 2."""
    at, member, kind = 0, 0, 0
    while at < len(key):
        tag, at = _varint(key, at)
        value, at = _varint(key, at)
        member = value if tag >> 3 == 1 else member
        kind = value if tag >> 3 == 2 else kind
    return member, _ALARMS.get(kind, f"alarm {kind}")


def _roles(user: bytes) -> frozenset[bytes]:
    """Return the roles of an ``authpb.User``: the texts of field 3. Numbers are in none of its fields but options."""
    at, roles = 0, set[bytes]()
    while at < len(user):
        tag, at = _varint(user, at)
        size, at = _varint(user, at)
        if tag & 7 != 2:
            continue
        if tag >> 3 == 3:
            roles.add(user[at : at + size])
        at += size
    return frozenset(roles)


def _member(value: bytes) -> Member:
    said = json.loads(value)
    return Member(
        id=int(said["id"]),
        name=str(said.get("name") or ""),
        peer_urls=tuple(said.get("peerURLs") or ()),
        client_urls=tuple(said.get("clientURLs") or ()),
        learner=bool(said.get("isLearner")),
    )


def _revision(value: bytes | None) -> int:
    return _REVISION.unpack_from(value)[0] if value else 0


def _number(value: bytes | None) -> int:
    return int(_NUMBER.unpack_from(value)[0]) if value else 0
