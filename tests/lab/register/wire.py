"""The three calls of etcd's KV service that the clients need, as protocol buffers by hand.

Field numbers are those of ``api/etcdserverpb/rpc.proto`` and ``api/mvccpb/kv.proto``; they are the same from etcd 3.4
to 3.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

RANGE, PUT, TXN = (f"/etcdserverpb.KV/{name}" for name in ("Range", "Put", "Txn"))
_EQUAL, _MOD_REVISION = 0, 2  # of Compare: its result, and the target that is compared


@dataclass(frozen=True)
class KeyValue:
    """A key as etcd stores it: ``revision`` is that of its last write, ``version`` the number of its writes."""

    key: str
    value: str
    revision: int
    version: int


def range_request(key: str, *, prefix: bool = False) -> bytes:
    """Ask for a key, or for all that begin with it, by a linearizable read."""
    end = key[:-1] + chr(ord(key[-1]) + 1) if prefix else ""
    return _text(1, key) + _text(2, end)


def range_response(message: bytes) -> tuple[KeyValue, ...]:
    """Return the keys in an answer."""
    return tuple(_key_value(part) for number, part in _fields(message) if number == 2 and isinstance(part, bytes))


def put_request(key: str, value: str) -> bytes:
    """Write a key."""
    return _text(1, key) + _text(2, value)


def revision(message: bytes) -> int:
    """Return the revision of the store in the header of any answer; after a write, it is that of the write."""
    return _integer(dict(_fields(_part(message, 1))), 3)


def swap_request(key: str, value: str, expected: int) -> bytes:
    """Write a key if the revision of its last write is this one (0: if there is none), else read it."""
    compare = _number(1, _EQUAL) + _number(2, _MOD_REVISION) + _text(3, key) + _number(6, expected, always=True)
    return _bytes(1, compare) + _bytes(2, _bytes(2, put_request(key, value))) + _bytes(3, _bytes(1, range_request(key)))


def swap_response(message: bytes) -> tuple[bool, tuple[KeyValue, ...]]:
    """Return whether the key was written, and else what was read."""
    fields = dict(_fields(message))
    read = _part(_part(message, 3), 1) if not fields.get(2) else b""
    return bool(fields.get(2)), range_response(read)


def _key_value(message: bytes) -> KeyValue:
    fields = dict(_fields(message))
    key, value = fields.get(1, b""), fields.get(5, b"")
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    return KeyValue(key.decode(), value.decode(), _integer(fields, 3), _integer(fields, 4))


def _part(message: bytes, wanted: int) -> bytes:
    return next((part for number, part in _fields(message) if number == wanted and isinstance(part, bytes)), b"")


def _integer(fields: dict[int, int | bytes], number: int) -> int:
    value = fields.get(number, 0)
    assert isinstance(value, int)
    return value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode()) if value else b""


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _number(number: int, value: int, *, always: bool = False) -> bytes:
    return _varint(number << 3) + _varint(value) if value or always else b""


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        if key & 7 == 2:
            length, at = _read_varint(message, at)
            yield key >> 3, message[at : at + length]
            at += length
        else:
            assert key & 7 == 0, f"wire type {key & 7}"
            number, at = _read_varint(message, at)
            yield key >> 3, number


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
