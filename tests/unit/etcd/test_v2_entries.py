"""Entries of the old v2 API, etcd's own among them, before etcd 3.7."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.v2_entries import V2Entries, count_v2, enters_3_7, told_of_entries
from etcdfleet.etcd.wal import Entry
from tests.unit.etcd.test_v2_residue import field, v2

OWN = v2("PUT", "/0/members/8e9e05c52164694d/attributes")
VERSION = v2("PUT", "/0/version")
V3 = field(1, 9) + field(4, field(1, b"key"))


@pytest.mark.parametrize(
    ("entries", "after", "count"),
    [
        ([Entry(4, OWN), Entry(5, VERSION), Entry(6, V3), Entry(7, v2("QGET", "/health"))], 0, 3),
        ([Entry(4, OWN), Entry(5, VERSION), Entry(6, V3)], 4, 1),
        ([Entry(4, OWN), Entry(5, VERSION), Entry(6, V3)], 5, 0),
        ([Entry(4, OWN, normal=False), Entry(5, b""), Entry(6, b"\xff")], 0, 0),
    ],
)
def test_what_3_7_would_end_on(entries: list[Entry], after: int, count: int) -> None:
    assert count_v2(entries, after) == count


def member(running: str, brings: str | None, *, data: bool = True) -> MemberVersion:
    return MemberVersion("h1", running, running, brings, "archive", data)


@pytest.mark.parametrize(
    ("one", "enters"),
    [
        (member("3.6.14", "3.7.1"), True),
        (member("3.7.0", "3.7.1"), False),
        (member("3.6.14", "3.6.15"), False),
        (member("3.6.14", None), False),
        (member("3.6.14", "3.7.1", data=False), False),
    ],
)
def test_who_enters(one: MemberVersion, enters: bool) -> None:
    assert enters_3_7([one]) == (("h1",) if enters else ())


def test_what_is_told() -> None:
    assert told_of_entries([V2Entries("h1"), V2Entries("h2")]) == ""
    told = told_of_entries([V2Entries("h1", 3), V2Entries("h2"), V2Entries("h3", 1)])
    assert "etcd 3.7 may end on them (h1: 3, h3: 1)" in told
    assert "restarted once more before" in told
