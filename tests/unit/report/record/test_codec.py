from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from etcdfleet.report.record.codec import document, read, read_value
from etcdfleet.report.record.model import (
    Failure,
    HostRecord,
    Notice,
    Protection,
    RunRecord,
    RunStatus,
    Status,
    Step,
    StepRecord,
)
from tests.unit.support.fake_run import SCHEMA

PROPERTIES = SCHEMA["properties"]
IN_SCHEMA = {
    RunRecord: SCHEMA,
    Step: PROPERTIES["steps"]["items"],
    HostRecord: SCHEMA["$defs"]["host"],
    StepRecord: SCHEMA["$defs"]["step"],
    Failure: SCHEMA["$defs"]["error"]["anyOf"][1],
    Notice: PROPERTIES["warnings"]["items"],
    Protection: PROPERTIES["protections"]["items"],
}
"""Where the schema has each class of the model."""
DERIVED = {RunRecord: {"schema_version", "status", "exit_code", "clusters"}, HostRecord: {"totals"}}
UNSAID = {RunRecord: {"interrupted", "error_code"}, HostRecord: {"name", "also"}}
"""Fields that are in no report, as others say the same; a host's name is its key."""
LISTED: dict[tuple[type[Any], str], Any] = {(HostRecord, "steps"): list[StepRecord]}
"""What has names in the model, and is a list in the document."""


def plain(schema: Any) -> Any:
    """A part of the schema without references, descriptions and what is narrower than a type."""
    if isinstance(schema, list):
        return [plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return {key: plain(value) for key, value in schema.items() if key in ("type", "items", "enum", "anyOf")}


def expected(kind: Any) -> Any:
    """What the schema must say of a type."""
    whole, inner = get_origin(kind) or kind, [one for one in get_args(kind) if one not in (..., NoneType)]
    if NoneType in get_args(kind):
        found = expected(inner[0])
        if "enum" in found:
            return {"enum": [None, *found["enum"]]}
        simple = inner[0] is float
        return {"type": [found["type"], "null"]} if simple else {"anyOf": [{"type": "null"}, found]}
    if whole in (tuple, list):
        return {"type": "array", "items": expected(inner[0])}
    if isinstance(whole, type) and issubclass(whole, Enum):
        return {"enum": [one.value for one in whole]}
    names = {str: "string", bool: "boolean", float: "number", datetime: "string"}
    return {"type": names.get(whole, "object")}


@pytest.mark.parametrize("kind", IN_SCHEMA, ids=lambda kind: kind.__name__)
def test_the_schema_has_what_the_model_has(kind: type[Any]) -> None:
    schema, types = IN_SCHEMA[kind], get_type_hints(kind)
    names = [name for name in kind.__dataclass_fields__ if name not in UNSAID.get(kind, ())]
    assert set(schema["properties"]) == {*names, *DERIVED.get(kind, ())}
    assert set(schema["properties"]) - set(schema["required"]) <= {"by"}  # which reports of old do not have
    for name in names:
        assert plain(schema["properties"][name]) == expected(LISTED.get((kind, name), types[name])), name
    assert set(SCHEMA["$defs"]["host"]["properties"]["totals"]["properties"]) == set(Status)
    assert PROPERTIES["status"]["enum"] == list(RunStatus)


@dataclass(frozen=True)
class Part:
    name: str
    long: float | None = None


@dataclass(frozen=True)
class Whole:
    begun: datetime
    state: Status
    parts: tuple[Part, ...] = ()
    sure: bool = True
    count: int = 0
    free: Mapping[str, Any] = field(default_factory=dict)


def test_there_and_back() -> None:
    begun = datetime(2026, 11, 23, 17, 3, 55, 123000, tzinfo=UTC)
    whole = Whole(begun, Status.CHANGED, (Part("a", 1.5), Part("b")), False, 3, {"x": [1.23456]})
    found = document(whole)
    assert found == {
        "begun": "2026-11-23T17:03:55.123Z",
        "state": "changed",
        "parts": [{"name": "a", "long": 1.5}, {"name": "b", "long": None}],
        "sure": False,
        "count": 3,
        "free": {"x": [1.23456]},
    }
    assert list(found) == list(Whole.__dataclass_fields__)
    assert read(Whole, found) == whole
    assert document(Part("a", 2.00049)) == {"name": "a", "long": 2.0}
    assert document(Part("a"), ("size", "name"), size=3) == {"size": 3, "name": "a"}


def test_a_time_is_read_in_utc() -> None:
    east = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert document(Whole(east, Status.OK))["begun"] == "2026-01-01T00:00:00.000Z"
    for text in ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00"):
        assert str(read_value(datetime, text, None)) == "2026-01-01 00:00:00+00:00"


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (str, 3),
        (str, None),
        (bool, 1),
        (bool, "true"),
        (int, True),
        (int, 1.5),
        (float, True),
        (float, "1"),
        (float, 10**400),
        (datetime, 3),
        (datetime, "yesterday"),
        (datetime, "0001-01-01T00:00:00+14:00"),
        (Status, "fine"),
        (Status, []),
        (tuple[str, ...], "text"),
        (tuple[str, ...], {"a": 1}),
        (dict, ["a"]),
        (Part, "text"),
    ],
)
def test_what_is_malformed_is_the_default(kind: Any, wrong: Any) -> None:
    assert read_value(kind, wrong, "default") == "default"


def test_what_is_absent_or_malformed_is_left_out() -> None:
    assert read(Part, None) == read(Part, {"name": 3, "long": "x", "more": 1}) == Part("")
    assert read(Part, {"name": "a", "long": 1}, name="known") == Part("known", 1.0)
    parts = [{"name": "a"}, None, "b", {"long": 2}]
    assert read_value(list[Part], parts, []) == [Part("a"), Part("", 2.0)]
    assert read_value(tuple[str, ...], ["a", 1, None, "b"], ()) == ("a", "b")
