"""What a raft log holds of the old v2 API, and when that stands against etcd 3.6."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.v2_residue import (
    Residue,
    enters,
    kept_key,
    newest_snapshot,
    refuse_keys,
    requests,
    segments_after,
    snapshot_index,
    told_of,
    with_snapshots_at_once,
)
from etcdfleet.etcd.wal import Entry, read_entries
from etcdfleet.remote import CommandResult
from tasks.upgrades import read_residue
from tests.unit.support.paths import ROOT
from tests.unit.support.stand_ins import Place, Scripted, carry_out, error_of

FIXTURES = ROOT / "tests" / "unit" / "fixtures"


def number(value: int) -> bytes:
    """A protobuf number."""
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(position: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return number(position << 3) + number(value)
    return number(position << 3 | 2) + number(len(value)) + value


def v2(method: str, path: str) -> bytes:
    return field(1, 7) + field(2, method.encode()) + field(3, path.encode())


def frame(kind: int, data: bytes) -> bytes:
    record = field(1, kind) + field(2, 0) + field(3, data)
    padding = -len(record) % 8
    head = len(record) | (0x80 | padding) << 56 if padding else len(record)
    return head.to_bytes(8, "little") + record + bytes(padding)


def entry(index: int, data: bytes, kind: int = 0) -> bytes:
    return frame(2, field(1, kind) + field(2, 3) + field(3, index) + field(4, data))


def segment(*entries: bytes) -> bytes:
    return b"".join([frame(4, b""), frame(1, field(1, 1) + field(2, 2)), *entries, bytes(64)])


HEALTH = v2("QGET", "/health")
PUT_V3 = field(1, 9) + field(4, field(1, b"key") + field(2, b"PUT"))
LOG = segment(
    entry(1, v2("PUT", "/0/members/8211f1d0f64f3269/attributes")),
    entry(2, HEALTH),
    entry(3, field(1, 5) + field(2, v2("PUT", "/0/version"))),
    entry(4, PUT_V3),
    entry(5, field(1, 5) + field(2, v2("SYNC", ""))),
    entry(6, v2("QGET", "/health"), kind=1),
)


@pytest.mark.parametrize(
    ("after", "found"),
    [(0, ["QGET /health", "SYNC"]), (1, ["QGET /health", "SYNC"]), (2, ["SYNC"]), (5, [])],
)
def test_requests_that_are_not_etcds_own(after: int, found: list[str]) -> None:
    assert requests(read_entries(LOG), after) == found


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (v2("PUT", "/0/members/8211f1d0f64f3269/attributes"), []),
        (v2("PUT", "/0/members/8211f1d0f64f3269/attributes/x"), ["PUT /0/members/8211f1d0f64f3269/attributes/x"]),
        (v2("PUT", "/1/key"), ["PUT /1/key"]),
        (v2("DELETE", "/0/version"), ["DELETE /0/version"]),
        (PUT_V3, []),
        (b"", []),
        (b"\xff", []),
        (field(2, b"PUTTY"), []),
    ],
)
def test_what_a_request_is(data: bytes, found: list[str]) -> None:
    assert requests([Entry(9, data)], 0) == found


def test_a_torn_tail_ends_the_log_and_what_is_none_is_said() -> None:
    assert [one.index for one in read_entries(LOG[:-100])] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="empty WAL segment"):
        list(read_entries(bytes(64)))
    with pytest.raises(ValueError, match="not a WAL segment"):
        list(read_entries(b"no log at all, but some text"))


@pytest.mark.parametrize("version", ["3.4", "3.5"])
def test_a_real_log_has_requests_of_etcd_alone(version: str) -> None:
    logs = [list(read_entries(path.read_bytes())) for path in (FIXTURES / f"etcd-{version}").glob("*.wal")]
    assert sum(map(len, logs)) > 10
    assert [requests(entries, 0) for entries in logs] == [[]] * len(logs)


def test_the_files_after_the_newest_snapshot() -> None:
    names = [f"{number:016x}-{index:016x}.wal" for number, index in enumerate((0, 100, 200))] + ["0.tmp"]
    snaps = [f"{2:016x}-{index:016x}.snap" for index in (90, 150)] + ["db", "broken.snap"]
    assert snapshot_index(snaps) == 150
    assert newest_snapshot(snaps) == snaps[1]
    assert newest_snapshot(["db"]) == ""
    assert snapshot_index([]) == 0
    assert segments_after(names, 150) == tuple(names[1:3])
    assert segments_after(names, 199) == (names[2],)
    assert segments_after(names, 0) == tuple(names[:3])
    assert segments_after([], 0) == ()


@pytest.mark.parametrize(
    ("running", "brings", "data", "entering"),
    [
        ("3.5.33", "3.6.14", True, True),
        ("3.6.14", "3.7.1", True, False),
        ("3.4.23", "3.5.33", True, False),
        ("3.5.33", None, True, False),
        ("3.5.33", "3.6.14", False, False),
    ],
)
def test_only_the_step_to_the_first_that_ends_on_them_is_looked_at(
    running: str, brings: str | None, data: bool, entering: bool
) -> None:
    assert enters([MemberVersion("a", running, running, brings, "apt", data)]) == (("a",) if entering else ())


def test_what_is_left_behind_is_told() -> None:
    assert told_of([Residue("a"), Residue("b")]) == ""
    assert "(b: 3, the last is QGET /health)" in told_of([Residue("a"), Residue("b", 3, "QGET /health")])


def test_keys_of_the_v2_api_are_refused() -> None:
    assert refuse_keys([Residue("a"), Residue("b", 3, "QGET /health")]) is None
    refusal = refuse_keys([Residue("a"), Residue("b", 1, "QGET /health", "/1/app")])
    assert refusal
    assert "(b: /1/app)" in refusal.what
    assert refusal.hosts == ("b",)


def snapshot(*below: tuple[str, Any]) -> bytes:
    """A raft snapshot whose old store has these folders in its root."""
    store = json.dumps({"Root": {"Path": "/", "Children": dict(below)}, "CurrentIndex": 9})
    return field(1, 77) + field(2, field(1, store.encode()) + field(2, field(2, 30)))


def node(**children: Any) -> dict[str, Any]:
    return {"Value": "", "Children": children or None}


OWN = ("0", node(members=node(a1=node()), version=node()))


@pytest.mark.parametrize(
    ("below", "key"),
    [
        ([OWN, ("1", node())], ""),
        ([OWN, ("1", node(app=node(x=node()), zoo=node()))], "/1/app"),
        ([OWN, ("2", node(enabled=node(), roles=node(), users=node()))], ""),
        ([OWN, ("2", node(enabled=node(), users=node(root=node())))], "/2/users"),
        ([OWN, ("3", node(x=node()))], "/3/x"),
    ],
)
def test_keys_in_a_raft_snapshot(below: list[tuple[str, Any]], key: str) -> None:
    assert kept_key(snapshot(*below)) == key


@pytest.mark.parametrize("content", [b"", field(1, 7), field(2, field(1, b"{}")), field(2, field(1, b"["))])
def test_what_is_no_raft_snapshot_is_said(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"raft snapshot|Expecting"):
        kept_key(content)


def test_a_configuration_that_has_snapshots_taken_at_once() -> None:
    text = b"name: a\nsnapshot-count: 10000\n# snapshot-count: 5\nlogger: zap\n"
    assert with_snapshots_at_once(text) == text.replace(b"10000", b"1")
    assert with_snapshots_at_once(b"name: a") == b"name: a\nsnapshot-count: 1\n"


def answers(*segments: bytes, snap: bytes = b"", index: int = 1) -> dict[str, Any]:
    names = f"snap:\n{2:016x}-{index:016x}.snap\n" * bool(snap) + "\nwal:\n"
    names += "\n".join(f"{at:016x}-{at:016x}.wal" for at in range(len(segments)))
    files = [*([snap] if snap else []), *segments]
    packed = "\n\n".join(base64.encodebytes(gzip.compress(each)).decode().strip() for each in files) + "\n\n"
    return {"ls snap wal": names, "gzip": packed}


def test_a_host_is_read() -> None:
    host = Scripted(answers(LOG, segment(entry(7, HEALTH))))
    assert carry_out(read_residue, Place(host)).result == Residue("az-1", 3, "QGET /health")
    assert host.was_sent("wal/0000000000000001-0000000000000001.wal")
    assert carry_out(read_residue, Place(Scripted(answers(segment())))).result == Residue("az-1")


def test_the_newest_raft_snapshot_is_read_too() -> None:
    kept = snapshot(OWN, ("1", node(app=node())))
    assert carry_out(read_residue, Place(Scripted(answers(LOG, snap=kept, index=2)))).result.key == "/1/app"
    clean = carry_out(read_residue, Place(Scripted(answers(LOG, snap=snapshot(OWN), index=2)))).result
    assert (clean.count, clean.key) == (1, "")


def test_a_key_in_the_log_alone() -> None:
    log = segment(entry(1, v2("PUT", "/1/app")), entry(2, HEALTH))
    assert carry_out(read_residue, Place(Scripted(answers(log)))).result == Residue(
        "az-1", 2, "QGET /health", "PUT /1/app"
    )


def test_a_log_that_cannot_be_read_stops_it() -> None:
    bad = {**answers(LOG), "gzip": base64.b64encode(b"nothing").decode()}
    assert "its raft log cannot be read" in error_of(carry_out(read_residue, Place(Scripted(bad))))
    gone = {"ls snap wal": CommandResult(2, "", "ls: cannot access 'wal'")}
    assert "reading the names of the raft log" in error_of(carry_out(read_residue, Place(Scripted(gone))))
