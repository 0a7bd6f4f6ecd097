"""Whose data a data directory holds, read from the head of its write-ahead log.

``<data-dir>/member/wal/`` exists from a member's first start on, whether or not etcd runs now, so this answers "which
member of which cluster is this, and has that cluster ever worked?" without starting anything.

Sources: ``server/wal/{wal,encoder,decoder,repair}.go`` and ``walpb/record.proto``, ``raft/raftpb/raft.proto`` and
``etcdserverpb`` (``Metadata``). Same format in 3.4, 3.5 and 3.6; checked on data directories of 3.4.23 and 3.5.1.

A segment is a sequence of frames: an eight-byte little-endian length, the record, and padding to a multiple of eight.
The top bit of the length says that there is padding, the three bits below position 59 how much. A record is a
protobuf message ``{1: type, 2: crc, 3: data}``. Every segment begins with a ``crc`` record (the running sum of the
segments before it) and the ``metadata`` record. Space not written yet is zero, so a length of zero is the end.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal, TypeAlias

HEAD_BYTES = 65536
"""How much of a segment to read. The ids are in the first 100 bytes; the rest decides whether the cluster ever had a
leader (three bootstrap entries take about 500 bytes, and a 3.4 member that waits alone adds 32 bytes per election
time-out). What is not written yet is zeros, so the head of a young log compresses to nothing."""

_METADATA, _ENTRY, _STATE, _CRC, _SNAPSHOT = 1, 2, 3, 4, 5
# Where term and raft index are: Entry{1: type, 2: term, 3: index}, HardState{1: term, 2: vote, 3: commit},
# Snapshot{1: index, 2: term}.
_POSITIONS = {_ENTRY: (2, 3), _STATE: (1, 3), _SNAPSHOT: (2, 1)}
_CASTAGNOLI = 0x82F63B78

_Record = tuple[int, int, bytes]  # type, crc, data
Birth: TypeAlias = Literal["", "bootstrap", "restore", "join"]


@dataclass(frozen=True)
class DataIds:
    """Member id and cluster id of a data directory, and how far its raft log is known to reach.

    ``last_index`` is the highest raft index that the head proves. A static bootstrap writes one entry per member
    (``StartNode`` in ``raft/node.go``); anything above that was written by an elected leader. ``complete`` says that
    the head reached the end of what was written, so that nothing above ``last_index`` exists in this segment.

    ``snapshot`` says that there is a raft snapshot: a record of one with an index above 0 in the log, or a ``.snap``
    file beside it. A bootstrap writes neither. ``snapshot restore`` writes both, and its log is in all else that of a
    bootstrap (``saveWALAndSnap`` in ``etcdutl/snapshot/v3_snapshot.go``): the key space is in the database alone.

    ``birth`` is how the log began: with its own ``bootstrap``, with a ``restore``, or empty, to ``join`` others; it is
    empty where that cannot be told. Terms tell: the first election makes it 2, so a member that joins begins with that
    at least, and a snapshot of term 1 is none that a running etcd has taken.
    """

    member_id: int
    cluster_id: int
    last_index: int = 0
    complete: bool = False
    snapshot: bool = False
    birth: Birth = ""

    def has_past(self, members: int) -> bool:
        """Return whether this data may hold what was promised to a client, in a cluster of so many initial members.

        False only when the log provably ends with the bootstrap entries, with no snapshot: then this member has never
        taken part in a quorum. Unknown counts as True.
        """
        return self.snapshot or self.was_led(members)

    def was_led(self, members: int) -> bool:
        """Return whether this member may have followed an elected leader since its log began, of so many initial
        members.

        False only when the log provably ends with the entries that a bootstrap or a restore writes. Unknown is True.
        """
        return self.last_index > members or not self.complete


def read_ids(head: bytes, *, first: bool = True) -> DataIds:
    """Return the ids in the head of a WAL segment (``member/wal/*.wal``, any of them; the first tells most).

    ``first`` says that it is the very first segment of the member's life, and none from which older ones were purged.
    ``head`` is the start of the file, at least a hundred bytes; with ``HEAD_BYTES`` it also tells whether the cluster
    ever had a leader or was restored. Raises ``ValueError`` saying what was seen when this is no segment, a damaged or
    an empty one.
    """
    records = _records(io.BytesIO(head))
    kind, crc, _ = next(records, (0, 0, b""))
    if kind != _CRC:
        raise ValueError(f"not a WAL segment: the first record has type {kind}, not {_CRC} (crc)")
    kind, recorded, data = next(records, (0, 0, b""))
    if kind != _METADATA:
        raise ValueError(f"not a WAL segment: the second record has type {kind}, not {_METADATA} (metadata)")
    crc = _crc32c(data, crc)
    if crc != recorded:
        raise ValueError(f"damaged WAL segment: the metadata's checksum is {crc:08x}, the record says {recorded:08x}")
    fields = fields_of(data)
    member, cluster = fields.get(1, 0), fields.get(2, 0)
    if not (isinstance(member, int) and isinstance(cluster, int) and member and cluster):
        raise ValueError("WAL metadata without a member id or without a cluster id")
    ids = _history(DataIds(member, cluster), records, crc)
    return ids if first else replace(ids, birth="")


@dataclass(frozen=True)
class Entry:
    """An entry of the raft log; ``normal`` is one that changes data, no change of members."""

    index: int
    data: bytes
    normal: bool = True


def read_entries(segment: BinaryIO) -> Generator[Entry, None, None]:
    """Yield the entries of a whole segment, up to the end of what was written or to a torn tail.

    Checksums are not compared: this asks what etcd would read, and etcd itself ends at a sum that is wrong. Raises
    ValueError for what is no segment.
    """
    at_all = False
    records = _records(segment)
    while True:
        try:
            kind, _, data = next(records)
        except StopIteration:
            return
        except ValueError:
            if at_all:
                return
            raise
        at_all = True
        if kind != _ENTRY:
            continue
        fields = fields_of(data)
        index, content = fields.get(3, 0), fields.get(4, b"")
        if isinstance(index, int) and isinstance(content, bytes):
            yield Entry(index, content, normal=not fields.get(1))


@dataclass(frozen=True)
class Position:
    """How far a log comes: its term, up to which index it is known to be committed, and its last entry."""

    term: int = 0
    commit: int = 0
    last: int = 0


def read_position(segment: BinaryIO) -> Position:
    """Return how far the last segment of a log comes, up to the end of what was written or to a torn tail.

    Each segment begins with the state that was true then, so the last one is enough. Raises ValueError for what is
    no segment.
    """
    found, records, at_all = Position(), _records(segment), False
    while True:
        try:
            kind, _, data = next(records)
        except StopIteration:
            return found
        except ValueError:
            if at_all:
                return found
            raise
        at_all = True
        if kind not in _POSITIONS:
            continue
        fields = fields_of(data)
        numbers = {position: value for position, value in fields.items() if isinstance(value, int)}
        term, index = (numbers.get(position, 0) for position in _POSITIONS[kind])
        if kind == _ENTRY:  # a leader that was deposed may have written more, which others overwrite
            found = replace(found, last=index)
        else:
            found = replace(found, term=max(found.term, term), commit=max(found.commit, index))


def _history(ids: DataIds, records: Generator[_Record, None, bool], crc: int) -> DataIds:
    """Add what the remaining records tell, up to the end of what was written or to the first one that is not whole."""
    while True:
        try:
            kind, recorded, data = next(records)
        except StopIteration as end:
            return replace(ids, complete=bool(end.value))
        except ValueError:
            return ids  # a torn tail: etcd repairs it at its start; what it held is unknown
        if kind == _CRC:
            crc = recorded
            continue
        crc = _crc32c(data, crc)
        if crc != recorded:
            return ids
        if kind in _POSITIONS:
            ids = _with_record(ids, kind, fields_of(data))


def _with_record(ids: DataIds, kind: int, fields: dict[int, int | bytes]) -> DataIds:
    def number(position: int) -> int:
        value = fields.get(position, 0)
        return value if isinstance(value, int) else 0

    term, index = (number(position) for position in _POSITIONS[kind])
    birth, is_snapshot = ids.birth, kind == _SNAPSHOT and index > 0
    if not birth and kind == _STATE:
        birth = "bootstrap" if term == 1 else "join"
    elif is_snapshot and term == 1:
        birth = "restore"
    return replace(ids, last_index=max(ids.last_index, index), snapshot=ids.snapshot or is_snapshot, birth=birth)


def _records(log: BinaryIO) -> Generator[_Record, None, bool]:
    """Yield (type, crc, data) of each whole record; the generator's value is True when the written part ended."""
    at, begins = 0, b""
    while len(frame := log.read(8)) == 8:
        word = int.from_bytes(frame, "little")
        begins = begins or frame
        if word == 0:
            if at == 0:
                raise ValueError("empty WAL segment: it begins with zeros (etcd was stopped while it created it)")
            return True
        length = word & ((1 << 56) - 1)
        padding = (word >> 56) & 0x7 if word >> 63 else 0
        if length > 1 << 30:
            raise ValueError(f"not a WAL segment: a record of {length} bytes at offset {at}")
        record = log.read(length + padding)
        if len(record) < length:
            break
        fields = fields_of(record[:length])
        kind, crc, data = fields.get(1, 0), fields.get(2, 0), fields.get(3, b"")
        if not (isinstance(kind, int) and isinstance(crc, int) and isinstance(data, bytes)):
            raise ValueError(f"not a WAL record at offset {at}")  # noqa: TRY004 - it is the content that is wrong
        yield kind, crc, data
        at += 8 + length + padding
    if at == 0:
        raise ValueError(f"no whole WAL record in it, beginning {(begins or frame).hex() or 'nowhere'}")
    return False


def fields_of(message: bytes) -> dict[int, int | bytes]:
    """Decode the scalar and bytes fields of one protobuf message; the last value of a field wins.

    Raises ValueError for what is none.
    """
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            fields[key >> 3], at = _varint(message, at)
        elif key & 7 == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a protobuf field reaches beyond its message")
            fields[key >> 3] = message[at : at + length]
            at += length
        else:
            raise ValueError(f"unexpected protobuf wire type {key & 7}")
    return fields


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("a protobuf number is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a protobuf number is longer than 64 bits")


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ _CASTAGNOLI if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _table()


def _crc32c(data: bytes, crc: int = 0) -> int:
    """Return CRC-32C of ``data``, continuing from ``crc`` (etcd's ``pkg/crc`` sums over all records of a log)."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
