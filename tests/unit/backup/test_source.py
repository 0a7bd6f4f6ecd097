"""What a restore is given: a file whoever made it, the newest good snapshot, or the one that it was begun with."""

from __future__ import annotations

from pathlib import Path

import pytest

from etcdfleet.backup.source import latest_of, source_of
from etcdfleet.errors import VerificationError
from tests.unit.support.snapshots import NOTE, REAL, WHOLE, put

SHA = WHOLE[-32:].hex()


def test_a_file_without_a_note_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "by-hand.db"
    path.write_bytes(REAL["3.4"])
    source = source_of(path)
    assert (source.revision, source.keys, source.minor, source.auth) == (22, 412, "3.4", True)
    assert (source.alarms, source.peer_urls) == (("NOSPACE",), ("http://127.0.0.1:24891",))
    assert (source.cluster, source.taken) == ("", "")


def test_a_note_beside_it_counts_if_it_is_about_it(tmp_path: Path) -> None:
    snapshot = put(tmp_path, NOTE.when)
    assert (source_of(snapshot.path).cluster, source_of(snapshot.path).taken) == ("home", NOTE.taken)
    snapshot.path.write_bytes(REAL["3.4"])
    assert source_of(snapshot.path).cluster == ""


def test_the_newest_good_one_of_all_folders(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    put(one, NOTE.when.replace(day=20))
    wanted = put(two, NOTE.when.replace(day=21))
    bad = put(one, NOTE.when.replace(day=22), WHOLE[:-1] + b"x")
    source, passed = latest_of((one, two), "home")
    assert source.file == str(wanted.path)
    assert [text.partition(":")[0] for text in passed] == [str(bad.path)]
    with pytest.raises(VerificationError, match="no good snapshot of other"):
        latest_of((one, two), "other")


def test_the_one_that_a_restore_was_begun_with_whatever_is_newer(tmp_path: Path) -> None:
    first = put(tmp_path, NOTE.when.replace(day=20))
    put(tmp_path, NOTE.when.replace(day=21), REAL["3.4"])
    assert latest_of((tmp_path / "none", tmp_path), "home", SHA)[0].file == str(first.path)
    with pytest.raises(VerificationError, match="SHA-256 begins with abababababab"):
        latest_of((tmp_path,), "home", "ab" * 32)
