"""Whether a file is a whole snapshot of etcd, told on the controller from its bytes alone. Needs no etcd.

``etcdctl snapshot save`` writes a bbolt database followed by the SHA-256 of all before it, which the member computes
while it sends (``Snapshot`` in ``server/etcdserver/api/v3rpc/maintenance.go``; the same from 3.4 to 3.7). etcd checks
it at a restore only; ``snapshot status`` does not, and panics at a file that was cut off (measured with 3.4.23 and
3.5.16). Where the database begins with a bbolt meta page: ``page.go`` and ``db.go`` of bbolt.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from etcdfleet.errors import VerificationError

_HASH_BYTES = hashlib.sha256().digest_size
_PAGE_HEADER = 16
_META = struct.Struct("<III")  # magic, version, page size
_BBOLT_MAGIC = 0xED0CDAED
_CHUNK = 1 << 20
_AGAIN = "take the snapshot again; if it happens again, look at the disk and the memory of this machine"


@dataclass(frozen=True)
class SnapshotFile:
    """A snapshot whose hash is right: its size in bytes, and the SHA-256 of the database in it, in hexadecimal."""

    size: int
    sha256: str


def check_snapshot(path: Path) -> SnapshotFile:
    """Return what a file is, if it is a whole snapshot. Raise `VerificationError` that says what is wrong with it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_PAGE_HEADER + _META.size)
            problem = _not_a_database(head, size)
            if problem:
                raise _bad(path, problem)
            file.seek(0)
            digest, left = hashlib.sha256(), size - _HASH_BYTES
            while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
            trailer = file.read(_HASH_BYTES)
    except OSError as error:
        raise VerificationError(
            f"the snapshot cannot be read: {error.strerror or error}", where=str(path), remedy=_AGAIN
        ) from error
    if trailer != digest.digest():
        raise _bad(path, "its hash does not fit its contents: a part of it is damaged")
    return SnapshotFile(size, digest.hexdigest())


def _not_a_database(head: bytes, size: int) -> str:
    if size == 0:
        return "it is empty"
    if len(head) < _PAGE_HEADER + _META.size:
        return f"it is cut off: {size} bytes"
    magic, version, page_size = _META.unpack_from(head, _PAGE_HEADER)
    if magic != _BBOLT_MAGIC:
        return "it does not begin as a database of etcd does"
    if version != 2 or page_size < 512 or page_size & (page_size - 1):
        return f"it is a database of an unknown kind (version {version}, pages of {page_size} bytes)"
    if size % page_size == 0:
        return "it has no hash at its end: it is a copy of a member's db file, or was cut off"
    if size % page_size != _HASH_BYTES:
        return f"it is cut off: {size} bytes are no whole number of pages ({page_size} bytes) and a hash"
    return ""


def _bad(path: Path, what: str) -> VerificationError:
    return VerificationError(f"this is no good snapshot: {what}", where=str(path), remedy=_AGAIN)
