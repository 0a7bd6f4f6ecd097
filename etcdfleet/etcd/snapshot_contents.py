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
    version, which all members had, such as ``3.5``; empty where none was agreed on yet.
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


def _read(database: Database) -> Contents:
    if missing := [name.decode() for name in _NEEDED if name not in database.buckets]:
        raise BrokenError(f"it has no bucket {' and '.join(missing)}")
    meta: Mapping[bytes, bytes] = dict(database.items(b"meta"))
    compacted = _revision(meta.get(b"finishedCompactRev"))
    last, keys = _keys(database.items(b"key"))
    auth = dict(database.items(b"auth"))
    contents = Contents(
        # As etcd's start reckons: a compaction may have taken the last revisions with it.
        revision=max(1, last, compacted, _revision(meta.get(b"scheduledCompactRev"))),
        compacted=compacted,
        keys=keys,
        raft_index=_number(meta.get(b"consistent_index")),
        term=_number(meta.get(b"term")),
        auth=auth.get(b"authEnabled") == b"\x01",
        alarms=tuple(sorted({_alarm(key) for key, _ in database.items(b"alarm")})),
        members=tuple(_member(value) for _, value in database.items(b"members")),
        minor=minor_of(dict(database.items(b"cluster")).get(b"clusterVersion", b"").decode("ascii")),
    )
    for name in database.buckets:
        if name not in (b"meta", b"key", b"auth", b"alarm", b"members", b"cluster"):
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


def _alarm(key: bytes) -> str:
    """Return the kind in an ``AlarmMember``: the number of field 2."""
    at, kind = 0, 0
    while at < len(key):
        tag, at = _varint(key, at)
        value, at = _varint(key, at)
        kind = value if tag >> 3 == 2 else kind
    return _ALARMS.get(kind, f"alarm {kind}")


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
