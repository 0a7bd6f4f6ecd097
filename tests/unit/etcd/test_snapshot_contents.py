"""What a snapshot holds is read from its pages, and a damaged page is never believed."""

from __future__ import annotations

import random
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.answers import Member
from etcdfleet.etcd.bbolt import BrokenError, Database
from etcdfleet.etcd.snapshot_contents import Contents, _keys, _roles, read_contents, read_head
from tests.unit.support.snapshots import PAGE, REAL, WHOLE, hashed, with_bytes, with_number


def read(folder: Path, content: bytes) -> Contents:
    path = folder / "snapshot.db"
    path.write_bytes(content)
    return read_contents(path)


@pytest.mark.parametrize(
    ("version", "index", "term", "alarms", "member"),
    [
        (
            "3.4",
            29,
            0,
            ("NOSPACE",),
            Member(0x6754153264C413FB, "one", ("http://127.0.0.1:24891",), ("http://127.0.0.1:24890",)),
        ),
        ("3.5", 38, 2, (), Member(0x2BC21162CAB8EB93, "one", ("http://127.0.0.1:24791",), ())),
    ],
)
def test_what_etcd_said_of_it_is_read_from_the_file(
    tmp_path: Path, version: str, index: int, term: int, alarms: tuple[str, ...], member: Member
) -> None:
    """When they were taken, etcd counted 412 keys, and said revision 22, compacted 9."""
    known = ("root",)
    expected = Contents(22, 9, 412, index, term, True, alarms, (member,), version, users=known, roots=known)
    assert read(tmp_path, REAL[version]) == expected


@pytest.mark.parametrize(("version", "index"), [("3.4", 29), ("3.5", 38)])
def test_how_far_it_has_come_is_read_from_few_pages(version: str, index: int) -> None:
    content, pieces = REAL[version], list[int]()

    def piece(offset: int, count: int) -> bytes:
        pieces.append(count)
        return content[offset : offset + count]

    head = read_head(Database(-1, len(content) - 32, piece))
    assert (head.revision, head.raft_index) == (22, index)
    assert [kind for _, kind in head.raised] == (["NOSPACE"] if version == "3.4" else [])
    assert sum(pieces) < len(content) // 2
    with pytest.raises(BrokenError):
        read_head(Database(-1, len(content) - 32, lambda *_: bytes(64)))


def test_roles_of_a_user() -> None:
    """authpb.User{1: name, 2: password, 3: roles, 4: options}."""
    assert _roles(b"\x0a\x01a\x12\x02pw\x1a\x04root\x1a\x03app\x22\x02\x08\x01") == {b"root", b"app"}
    assert _roles(b"") == frozenset()


def test_a_revision_that_a_restore_has_raised_holds_no_key() -> None:
    """As etcdutl 3.5.30 writes it with --bump-revision; etcd counts none there."""
    rows = [(7, b"\x0a\x02k1"), (1_000_000_007, b""), (1_000_000_008, b"\x0a\x02k2")]
    assert _keys((struct.pack(">QcQ", number, b"_", 0), value) for number, value in rows) == (1_000_000_008, 2)
    assert _keys((struct.pack(">QcQ", number, b"_", 0), value) for number, value in rows[:2]) == (1_000_000_007, 1)


def pages() -> tuple[int, int]:
    """Where the root lies in the fixture, and where the keys begin; older copies of both lie in it, too."""
    with tempfile.TemporaryFile() as file:
        file.write(WHOLE)
        file.flush()
        database = Database(file.fileno(), len(WHOLE) - 32)
        return database.root[0], database.buckets[b"key"].root


ROOT, KEYS = pages()
LEAF = struct.unpack_from("<IIQ", WHOLE, KEYS * PAGE + 16)[2]
ENABLED = WHOLE.index(b"authEnabled", ROOT * PAGE) + len(b"authEnabled")
META_TXIDS = [struct.unpack_from("<Q", WHOLE, page * PAGE + 16 + 48)[0] for page in (0, 1)]


def test_authentication_that_is_off(tmp_path: Path) -> None:
    assert WHOLE[ENABLED] == 1
    assert read(tmp_path, with_bytes(ENABLED, b"\0")).auth is False


def test_one_good_page_of_the_first_two_is_enough(tmp_path: Path) -> None:
    """Bbolt writes them in turn, so that a write that was cut off is harmless."""
    newer = META_TXIDS.index(max(META_TXIDS))
    assert read(tmp_path, with_bytes((1 - newer) * PAGE + 16 + 56, bytes(8))).revision == 22


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (hashed(bytes(2 * PAGE)), "does not begin as a database"),
        (with_bytes(16 + 56, bytes(PAGE)), "neither of its first two pages"),
        (with_number(KEYS * PAGE, "<Q", 77), f"page {KEYS} says that it is page 77"),
        (with_number(KEYS * PAGE + 8, "<H", 0x04), f"page {KEYS} says that it is page {KEYS}"),
        (with_number(KEYS * PAGE + 8, "<H", 0x10), "neither branch nor leaf"),
        (with_number(KEYS * PAGE + 12, "<I", 5000), "with 5000 more"),
        (with_number(KEYS * PAGE + 10, "<H", 60000), "cannot have 60000 entries"),
        (with_number(LEAF * PAGE + 16 + 4, "<I", 1 << 20), "an entry that does not lie in it"),
        (with_number(LEAF * PAGE + 16 + 4, "<I", 3), "an entry that does not lie in it"),
        (with_number(LEAF * PAGE + 8, "<H", 0x01), "there is no page"),
        (hashed(WHOLE[: 3 * PAGE]), "and ends after 3"),
        (with_bytes(WHOLE.index(b"finishedCompactRev", ROOT * PAGE), b"zzz"), "not in order"),
    ],
)
def test_damage_is_said(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(VerificationError, match="its pages are damaged") as caught:
        read(tmp_path, content)
    assert what in caught.value.what
    assert caught.value.where == str(tmp_path / "snapshot.db")


def test_a_page_that_is_named_twice_is_damage_and_no_endless_loop(tmp_path: Path) -> None:
    """A branch that names itself: its only entry points back to its own page."""
    own = struct.pack("<QHHI", KEYS, 0x01, 1, 0) + struct.pack("<IIQ", 16, 0, KEYS)
    with pytest.raises(VerificationError, match="belongs to two places"):
        read(tmp_path, with_bytes(KEYS * PAGE, own))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="cannot be read: No such file"):
        read_contents(tmp_path / "none")


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(sorted(REAL)), st.integers(1, 12))
def test_any_damage_is_harmless(tmp_path_factory: Any, chance: random.Random, version: str, count: int) -> None:
    """Whatever bytes stand there: an answer or a refusal in words, never an exception of another kind."""
    content = bytearray(REAL[version])
    for _ in range(count):
        content[chance.randrange(len(content))] = chance.randrange(256)
    found = ""
    try:
        found = str(read(tmp_path_factory.mktemp("damaged"), bytes(content)))
    except VerificationError as error:
        found = error.what
    assert "revision=" in found or "its pages are damaged" in found
