"""What is noted of a snapshot comes back as it was, fits the schema, and notes of earlier versions are read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from etcdfleet.backup.note import VERSION, Drill, Note, Stored, Verified, read_note, write_note
from tests.unit.support.paths import ROOT
from tests.unit.support.snapshots import NOTE

SCHEMA = json.loads((ROOT / "docs" / "snapshot-note.schema.json").read_text())
FULL = replace(
    NOTE,
    key_hash=3268549831,
    alarms=("NOSPACE",),
    restores=2,
    verified=Verified("2026-11-26T02:00:05+00:00", ("hash", "pages")),
    stored=Stored("home-20261126T020000Z-22.db.age", 99, "ab" * 32, encrypted=True),
    drill=Drill("2026-11-26T03:00:00+00:00", "this machine", "3.5.1", good=True, says="412 keys"),
)
FIRST = {
    "file": "/s/home/home-20261120T020000Z-40.db",
    "size": 20512,
    "sha256": "ab" * 32,
    "cluster": "home",
    "cluster_id": "7f0170a0dda1eee3",
    "member": "one",
    "etcd": "3.5.16",
    "revision": 40,
    "raft_index": 99,
    "taken": "2026-11-20T02:00:00+00:00",
}


@pytest.mark.parametrize("note", [NOTE, FULL, replace(NOTE, keys=None, compacted=None, auth=None, members=())])
def test_it_comes_back_as_it_was(note: Note) -> None:
    text = write_note(note)
    assert read_note(text) == note
    jsonschema.Draft202012Validator({**SCHEMA, "additionalProperties": False}).validate(json.loads(text))


def test_every_field_is_in_the_schema() -> None:
    assert set(json.loads(write_note(FULL))) == set(SCHEMA["properties"])
    assert SCHEMA["properties"]["version"] == {"const": VERSION}


def test_the_first_notes_are_read() -> None:
    note = read_note(json.dumps(FIRST))
    assert (note.revision, note.size, note.minor) == (40, 20512, "3.5")
    assert (note.keys, note.members, note.token, note.purpose, note.verified) == (None, (), "", "change", None)


def test_what_a_later_program_adds_is_no_mistake() -> None:
    assert read_note(json.dumps(json.loads(write_note(NOTE)) | {"moon": "full"})) == NOTE


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no JSON"),
        ("[]", "no JSON object"),
        ("null", "no JSON object"),
        (json.dumps(FIRST | {"version": VERSION + 1}), f"of version {VERSION + 1}"),
        (json.dumps(FIRST | {"version": "two"}), "of version two"),
        (json.dumps({**FIRST, "size": "large"}), "does not say size"),
        (json.dumps({**FIRST, "size": True}), "does not say size"),
        (json.dumps({key: FIRST[key] for key in FIRST if key not in ("sha256", "etcd")}), "does not say sha256, etcd"),
        (json.dumps(FIRST | {"taken": "yesterday"}), "yesterday"),
        (json.dumps(FIRST | {"members": [{"id": "1"}]}), "not the note of a snapshot"),
        (json.dumps(FIRST | {"drill": {"good": True}}), "not the note of a snapshot"),
        (json.dumps(FIRST | {"verified": "yes"}), "not the note of a snapshot"),
        (json.dumps(FIRST | {"alarms": 3}), "not the note of a snapshot"),
    ],
)
def test_what_is_no_note_is_said(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read_note(text)


def test_a_time_without_a_zone_is_utc() -> None:
    plain: dict[str, Any] = FIRST | {"taken": "2026-11-20T02:00:00"}
    assert read_note(json.dumps(plain)).when == read_note(json.dumps(FIRST)).when
