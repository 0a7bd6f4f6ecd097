"""Reads a bbolt database, the kind of file in which etcd keeps its data, page by page. Needs no etcd, writes nothing.

The form is that of ``page.go``, ``db.go`` and ``bucket.go`` in bbolt, the same in all versions that etcd 3.4 to 3.7
use: a page has a header of 16 bytes and may run over into the pages after it; a branch page names pages below it, a
leaf page holds keys with values, and a bucket is a key whose value names the root page of a tree of its own (or holds
that page, where it is small). Pages that nothing names are free, and hold anything. Every page is looked at before it
is believed, so a damaged file gives `BrokenError` and never a wrong answer, nor an endless loop.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

_HEADER = struct.Struct("<QHHI")  # id, flags, count, overflow
_META = struct.Struct("<IIIIQQQQQQ")  # magic, version, page size, flags, root, sequence, freelist, high, txid, checksum
_BRANCH_ITEM = struct.Struct("<IIQ")  # position, size of the key, page
_LEAF_ITEM = struct.Struct("<IIII")  # flags, position, size of the key, size of the value
_BUCKET = struct.Struct("<QQ")  # root page, sequence
_BRANCH, _LEAF, _META_FLAG = 0x01, 0x02, 0x04
_IS_BUCKET = 0x01
_MAGIC, _VERSION = 0xED0CDAED, 2
_DEEPEST = 64
"""Levels of pages: far more than a database of the largest size has."""


class BrokenError(Exception):
    """The database is damaged; the text says where."""


class MissingPieceError(Exception):
    """A piece of the database is needed that is not here: ``count`` bytes from ``offset`` on."""

    def __init__(self, offset: int, count: int) -> None:
        super().__init__(f"{count} bytes from {offset} on")
        self.offset, self.count = offset, count


@dataclass(frozen=True)
class Bucket:
    """One bucket of the root: the page where its tree begins, or that page itself where it lies in the root."""

    root: int
    inline: bytes = b""


@dataclass
class Database:
    """A database in an open file, whose pages are numbered from its beginning. Raises `BrokenError` and OSError.

    With ``read``, a function of offset and count, it lies elsewhere, and ``file`` says nothing.
    """

    file: int
    size: int
    read: Callable[[int, int], bytes] | None = field(default=None, repr=False)
    _seen: set[int] = field(default_factory=set, repr=False)

    @cached_property
    def page_size(self) -> int:
        """The size of a page, from the first page that says it."""
        magic, version, page_size = struct.unpack_from("<III", self._read(0, 64), _HEADER.size)
        if magic != _MAGIC or version != _VERSION or page_size < 512 or page_size & (page_size - 1):
            raise BrokenError("it does not begin as a database of etcd does")
        return int(page_size)

    @cached_property
    def root(self) -> tuple[int, int]:
        """The page of the root bucket, and the number of pages: from the newer of the two pages that say it."""
        found = []
        for number in (0, 1):
            content = self._read(number * self.page_size, _HEADER.size + _META.size)
            (*_, root, _, _, high, transaction, checksum) = _META.unpack_from(content, _HEADER.size)
            magic, version = struct.unpack_from("<II", content, _HEADER.size)
            good = checksum == _fnv(content[_HEADER.size : _HEADER.size + _META.size - 8])
            if good and (magic, version) == (_MAGIC, _VERSION):
                found.append((transaction, root, high))
        if not found:
            raise BrokenError("neither of its first two pages has a checksum that is right")
        _, root, high = max(found)
        if high * self.page_size > self.size:
            raise BrokenError(f"it should have {high} pages, and ends after {self.size // self.page_size}")
        return root, high

    @cached_property
    def buckets(self) -> Mapping[bytes, Bucket]:
        """The buckets of the root, by name."""
        found = {}
        for name, value, is_bucket in self._leaves(self.root[0], 0):
            if not is_bucket or len(value) < _BUCKET.size:
                raise BrokenError(f"{name!r} should be a bucket")
            root, _ = _BUCKET.unpack_from(value)
            found[name] = Bucket(root, bytes(value[_BUCKET.size :]) if not root else b"")
        return found

    def items(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values of a bucket in the order of the keys; nothing where there is no such bucket."""
        there = self.buckets.get(bucket)
        if there is None:
            return
        leaves = self._leaves(there.root, 0) if there.root else self._leaf(there.inline, "a bucket in the root")
        before = b""
        for key, value, is_bucket in leaves:
            if is_bucket or (before and key <= before):
                raise BrokenError(f"the keys of bucket {bucket.decode(errors='replace')} are not in order")
            before = key
            yield key, value

    def last(self, bucket: bytes) -> bytes | None:
        """Return the last key of a bucket, by the few pages on the way to it; None where it has none."""
        there = self.buckets.get(bucket)
        if there is None:
            return None
        content, where, number = there.inline, "a bucket in the root", there.root
        for _ in range(_DEEPEST):
            if not number:
                break
            content, flags = self._page(number)
            where = f"page {number}"
            below = [] if flags & _LEAF else self._below(content, number, flags)
            number = below[-1] if below else 0
        keys = [key for key, _, _ in self._leaf(content, where)]
        return keys[-1] if keys else None

    def _leaves(self, number: int, depth: int) -> Iterator[tuple[bytes, bytes, bool]]:
        content, flags = self._page(number)
        if depth > _DEEPEST:
            raise BrokenError(f"page {number} lies too deep")
        if flags & _LEAF:
            yield from self._leaf(content, f"page {number}")
            return
        for below in self._below(content, number, flags):
            yield from self._leaves(below, depth + 1)

    @staticmethod
    def _below(content: bytes, number: int, flags: int) -> list[int]:
        """Return the pages that a branch page names."""
        if not flags & _BRANCH:
            raise BrokenError(f"page {number} is neither branch nor leaf")
        (_, _, count, _) = _HEADER.unpack_from(content)
        end = _HEADER.size + count * _BRANCH_ITEM.size
        if not count or end > len(content):
            raise BrokenError(f"page {number} cannot have {count} entries")
        return [below for _, _, below in _BRANCH_ITEM.iter_unpack(content[_HEADER.size : end])]

    @staticmethod
    def _leaf(content: bytes, where: str) -> Iterator[tuple[bytes, bytes, bool]]:
        if len(content) < _HEADER.size:
            raise BrokenError(f"{where} is cut off")
        (_, _, count, _) = _HEADER.unpack_from(content)
        end = _HEADER.size + count * _LEAF_ITEM.size
        if end > len(content):
            raise BrokenError(f"{where} cannot have {count} entries")
        at = _HEADER.size
        for flags, position, key_size, value_size in _LEAF_ITEM.iter_unpack(content[_HEADER.size : end]):
            start = at + position
            middle, stop = start + key_size, start + key_size + value_size
            if start < end or stop > len(content):
                raise BrokenError(f"{where} has an entry that does not lie in it")
            yield content[start:middle], content[middle:stop], bool(flags & _IS_BUCKET)
            at += _LEAF_ITEM.size

    def _page(self, number: int) -> tuple[bytes, int]:
        """Return a page with those that it runs over into, and its flags; each page belongs to one place alone."""
        high = self.root[1]
        if not 2 <= number < high:
            raise BrokenError(f"there is no page {number} among {high}")
        content = self._read(number * self.page_size, self.page_size)
        own, flags, _, overflow = _HEADER.unpack_from(content)
        if own != number or flags & _META_FLAG or number + overflow >= high:
            raise BrokenError(f"page {number} says that it is page {own}, with {overflow} more")
        taken = range(number, number + overflow + 1)
        if not self._seen.isdisjoint(taken):
            raise BrokenError(f"page {number} belongs to two places")
        self._seen.update(taken)
        if overflow:
            content += self._read((number + 1) * self.page_size, overflow * self.page_size)
        return content, flags

    def _read(self, offset: int, count: int) -> bytes:
        content = self.read(offset, count) if self.read else os.pread(self.file, count, offset)
        if len(content) < count:
            raise BrokenError(f"it ends at byte {offset + len(content)}, within a page")
        return content


@dataclass
class Pieces(Database):
    """A database of which there are pieces, by their offset. Raises `MissingPieceError` where it needs another.

    Of what a member is writing to, pieces that were read one after the other may not fit together: that is a
    `BrokenError` as well, and goes away when all is read anew.
    """

    pieces: Mapping[int, bytes] = field(default_factory=dict)

    def _read(self, offset: int, count: int) -> bytes:
        for start, content in self.pieces.items():
            if start <= offset and offset + count <= start + len(content):
                return content[offset - start : offset - start + count]
        if offset + count > self.size:
            raise BrokenError(f"it ends at byte {self.size}, within a page")
        raise MissingPieceError(offset, count)


def _fnv(content: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in content:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value
