"""The entries of the old v2 API in a member's raft log, read from the controller, with nothing of the code under test.

Formats: etcd 3.4, wal/encoder.go and wal/walpb/record.proto (frames and records), raft/raftpb/raft.proto (entries),
etcdserver/etcdserverpb/etcdserver.proto (requests).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lab import hosts
from tests.lab.conftest import LabHandle

_ENTRY, _NORMAL = 2, 0
_METHODS = {b"GET", b"QGET", b"PUT", b"POST", b"DELETE", b"SYNC"}
_OWN = (b"/0/members/", b"/0/version")
"""What etcd itself writes by way of v2: attributes of members and the cluster's version. 3.6 still reads these."""


def foreign_v2_entries(handle: LabHandle, host: str) -> list[str]:
    """Method and path of each v2 request in the host's raft log that etcd 3.6 would not survive."""
    root = Path(f"/proc/{hosts.init_pid(handle.plan, handle.plan.host(host))}/root")
    segments = sorted((root / "var/lib/etcd/member/wal").glob("*.wal"))
    assert segments, f"{host} has no raft log"
    found = [request for segment in segments for request in _requests(segment)]
    assert any(path.startswith(_OWN) for _, path in found), f"{host}: not even etcd's own entries were found"
    return [f"{method.decode()} {path.decode()}" for method, path in found if not path.startswith(_OWN)]


def _requests(segment: Path) -> Iterator[tuple[bytes, bytes]]:
    with segment.open("rb") as file:
        while (head := file.read(8)) and (length := int.from_bytes(head, "little")):
            padding = (length >> 56) & 7 if length >> 63 else 0
            size = length & ((1 << 56) - 1)
            record = _fields(file.read(size))
            file.read(padding)
            if record.get(1) != _ENTRY:
                continue
            entry = _fields(_bytes(record.get(3)))
            if entry.get(1, _NORMAL) == _NORMAL and (request := _v2(_bytes(entry.get(4)))):
                yield request


def _v2(data: bytes) -> tuple[bytes, bytes] | None:
    """The request as it is in 3.4's log, or within a request of the v3 API, as some versions wrap it."""
    try:
        fields = _fields(data)
    except (IndexError, ValueError):
        return None
    if fields.get(2) in _METHODS:
        return _bytes(fields.get(2)), _bytes(fields.get(3))
    return _v2(_bytes(fields.get(2))) if _bytes(fields.get(2)) else None


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _fields(message: bytes) -> dict[int, int | bytes]:
    """The last value of each field of a protobuf message."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            found[key >> 3], at = _varint(message, at)
        elif key & 7 == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("it is cut off")
            found[key >> 3], at = message[at : at + size], at + size
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            raise ValueError("no protobuf")
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 128:
            return value, at
