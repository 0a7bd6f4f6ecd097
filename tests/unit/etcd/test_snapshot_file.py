"""A snapshot is told from what is cut off, damaged, or something else, without any etcd."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.snapshot_file import SnapshotFile, check_snapshot

PAGE = 4096
DATABASE = (bytes(16) + struct.pack("<III", 0xED0CDAED, 2, PAGE)).ljust(PAGE, b"\1") + b"\2" * 5 * PAGE
DIGEST = hashlib.sha256(DATABASE)
WHOLE = DATABASE + DIGEST.digest()


def file(folder: Path, content: bytes) -> Path:
    path = folder / "snapshot.db"
    path.write_bytes(content)
    return path


def test_a_whole_snapshot_is_told_with_its_hash(tmp_path: Path) -> None:
    assert check_snapshot(file(tmp_path, WHOLE)) == SnapshotFile(6 * PAGE + 32, DIGEST.hexdigest())


def flipped(at: int) -> bytes:
    return WHOLE[:at] + bytes([WHOLE[at] ^ 1]) + WHOLE[at + 1 :]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (WHOLE[:20], "it is cut off: 20 bytes"),
        (WHOLE[:-1], "it is cut off"),
        (WHOLE[: -PAGE // 2], "it is cut off"),
        (WHOLE[:-32], "no hash at its end"),
        (WHOLE[: -PAGE - 32], "no hash at its end"),
        (WHOLE[: -2 * PAGE], "its hash does not fit"),
        (WHOLE + b"\n", "it is cut off"),
        (flipped(3 * PAGE), "its hash does not fit"),
        (flipped(len(WHOLE) - 1), "its hash does not fit"),
        (flipped(16), "does not begin as a database of etcd"),
        (flipped(20), "unknown kind (version 3"),
        (b"Error: context deadline exceeded\n" * 200, "does not begin as a database of etcd"),
    ],
)
def test_what_is_no_whole_snapshot_says_why(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(VerificationError, match="no good snapshot") as caught:
        check_snapshot(file(tmp_path, content))
    assert what in caught.value.what
    assert caught.value.where == str(tmp_path / "snapshot.db")


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="cannot be read: No such file"):
        check_snapshot(tmp_path / "none.db")
