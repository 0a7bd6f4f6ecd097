"""Living members among the removed ones of a database, and what is done about them before etcd 3.6."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence

import pytest

from etcdfleet.etcd.bbolt import BrokenError, MissingPieceError, Pieces
from etcdfleet.etcd.removed_members import NotedMembers, loses_members, noted_members, refuse_mistaken
from tests.unit.support.paths import ROOT

MISTAKEN = gzip.decompress((ROOT / "tests/unit/fixtures/etcd-3.5/removed-members.db.gz").read_bytes())
"""Of a cluster that was begun with 3.4.23, got no key, and then 3.5.33."""
SOUND = gzip.decompress((ROOT / "tests/unit/fixtures/etcd-3.5/snapshot.db.gz").read_bytes())
A, B, C = 0xA1, 0xB2, 0xC3
ALL = {A: "a", B: "b", C: "c"}
IDS = {"m0": 0x5CCD9B7DF9E9481E, "m1": 0x6FC227FC092EACE4, "m2": 0xF39391908C64E74B}


def whole(content: bytes) -> Pieces:
    return Pieces(-1, len(content), pieces={0: content})


def test_what_3_5_made_of_a_database_of_3_4_without_a_key() -> None:
    noted = noted_members("az-1", whole(MISTAKEN))
    assert noted == NotedMembers("az-1", {IDS[name]: name for name in IDS}, frozenset({IDS["m1"], IDS["m2"]}))
    assert noted.mistaken == {IDS["m1"]: "m1", IDS["m2"]: "m2"}
    sound = noted_members("az-1", whole(SOUND))
    assert (list(sound.members.values()), sound.mistaken) == (["one"], {})


def test_a_database_is_read_piece_by_piece() -> None:
    pieces: dict[int, bytes] = {}
    for _ in range(20):
        try:
            noted = noted_members("az-1", Pieces(-1, len(MISTAKEN), pieces=pieces))
            break
        except MissingPieceError as missing:
            pieces[missing.offset] = MISTAKEN[missing.offset : missing.offset + missing.count]
    assert noted == noted_members("az-1", whole(MISTAKEN))
    assert 0 < sum(map(len, pieces.values())) < len(MISTAKEN)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (bytes(len(SOUND)), "does not begin as a database"),
        (MISTAKEN[:4096], "it ends at byte 4096"),
        (MISTAKEN.replace(b"members_removed", b"members_rem0ved"), "no bucket members or members_removed"),
        (MISTAKEN.replace(b"6fc227fc092eace4", b"6fc227fc092eacxx"), "list of members cannot be read"),
        (MISTAKEN.replace(b'{"id"', b'["id"'), "list of members cannot be read"),
    ],
)
def test_what_is_no_list_of_members_is_said(content: bytes, what: str) -> None:
    with pytest.raises(BrokenError, match=what):
        noted_members("az-1", whole(content))


@pytest.mark.parametrize(
    ("removed", "renewed"),
    [
        # All of them came up with 3.5 before a key was written.
        ({"h-a": {B, C}, "h-b": {B, C}, "h-c": {B, C}}, "b and c"),
        # A key was written after the first had come up: its data can come from the others.
        ({"h-a": {B, C}, "h-b": set(), "h-c": set()}, "h-a"),
        # One member came in under 3.4, and no key since.
        ({"h-a": {C}, "h-b": set(), "h-c": set()}, "c"),
        ({"h-a": {C}, "h-b": {B, C}, "h-c": set()}, "b and c"),
    ],
)
def test_who_must_come_anew(removed: Mapping[str, set[int]], renewed: str) -> None:
    refusal = refuse_mistaken([NotedMembers(host, ALL, frozenset(ids)) for host, ids in removed.items()])
    assert refusal
    assert f"give {renewed} a new id, one" in refusal.remedy
    assert refusal.hosts == tuple(host for host, ids in removed.items() if ids)
    assert "h-a: " in refusal.what


@pytest.mark.parametrize("removed", [[], [0xD4], [0xD4, 0xE5]])
def test_members_that_are_gone_do_no_harm(removed: Sequence[int]) -> None:
    assert refuse_mistaken([NotedMembers("h-a", ALL, frozenset(removed))]) is None


def test_one_without_a_name_is_told_by_its_id() -> None:
    refusal = refuse_mistaken([NotedMembers("h-a", {A: "a", B: ""}, frozenset({B}))])
    assert refusal
    assert "(h-a: b2)" in refusal.what


@pytest.mark.parametrize(
    ("runs", "starts", "loses"),
    [
        ("3.4.23", "3.5.33", True),
        ("3.4.45", "3.5.1", True),
        ("3.4.23", "3.4.45", False),
        ("3.5.1", "3.5.33", False),
        ("3.5.33", "3.6.14", False),
        ("3.5.33", "3.4.23", False),
        ("3.4.23", "", False),
        ("", "3.5.33", False),
    ],
)
def test_the_step_that_makes_such_notes(runs: str, starts: str, loses: bool) -> None:
    assert loses_members(runs, starts) == loses
