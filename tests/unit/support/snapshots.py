"""Real snapshots, taken of etcd with keys, a compaction, a deletion and authentication, and damaged as a test wants."""

from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from etcdfleet.backup.note import Note, NotedMember, time_text
from etcdfleet.backup.store import Snapshot, incoming, keep
from tests.unit.support.paths import ROOT

PAGE = 4096
REAL = {
    version: gzip.decompress((ROOT / "tests/unit/fixtures" / f"etcd-{version}" / "snapshot.db.gz").read_bytes())
    for version in ("3.4", "3.5")
}
WHOLE = REAL["3.5"]
NOTE = Note(
    cluster="home",
    taken="2026-11-26T02:00:00+00:00",
    size=len(WHOLE),
    sha256=WHOLE[-32:].hex(),
    revision=22,
    compacted=9,
    keys=412,
    raft_index=38,
    term=2,
    auth=True,
    etcd="3.5.1",
    member="one",
    member_id="2bc21162cab8eb93",
    cluster_id="7f0170a0dda1eee3",
    members=(NotedMember("2bc21162cab8eb93", "one", ("http://127.0.0.1:24791",)),),
    token="home",
    purpose="backup",
)


def hashed(database: bytes) -> bytes:
    """A database as a snapshot whose hash is right, whatever is in it."""
    return database + hashlib.sha256(database).digest()


def with_bytes(at: int, content: bytes, *, rehash: bool = True) -> bytes:
    """The snapshot with these bytes there; its hash is right all the same, unless the test says otherwise."""
    changed = WHOLE[:at] + content + WHOLE[at + len(content) :]
    return hashed(changed[:-32]) if rehash else changed


def with_number(at: int, form: str, value: int) -> bytes:
    """The snapshot with this number there."""
    return with_bytes(at, struct.pack(form, value))


def put(folder: Path, when: datetime, content: bytes = WHOLE, **noted: Any) -> Snapshot:
    """Put a snapshot into a folder as it was taken then, with a note that fits, but for what the test says."""
    note = replace(NOTE, taken=time_text(when), size=len(content), sha256=content[-32:].hex())
    note = replace(note, **noted)
    with incoming(folder, note.cluster) as (part, file):
        file.write(content)
        file.flush()
        return keep(part, note)
