"""What a raft log holds of the old v2 API, and when that stands against etcd 3.6."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.v2_entries import V2Entries
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
from tasks.upgrades import read_residue, read_v2_entries
from tests.unit.support.paths import ROOT
from tests.unit.support.site import LocalHost, settings
from tests.unit.support.stand_ins import Place, carry_out, error_of

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
    assert requests(read_entries(io.BytesIO(LOG)), after) == found


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
    assert [one.index for one in read_entries(io.BytesIO(LOG[:-100]))] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="empty WAL segment"):
        list(read_entries(io.BytesIO(bytes(64))))
    with pytest.raises(ValueError, match="not a WAL segment"):
        list(read_entries(io.BytesIO(b"no log at all, but some text")))


@pytest.mark.parametrize("version", ["3.4", "3.5"])
def test_a_real_log_has_requests_of_etcd_alone(version: str) -> None:
    logs = [list(read_entries(io.BytesIO(path.read_bytes()))) for path in (FIXTURES / f"etcd-{version}").glob("*.wal")]
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


@pytest.fixture
def host(tmp_path: Path) -> Place:
    """A host that is this machine, with a data directory of the test's own."""
    for name in ("snap", "wal"):
        (tmp_path / "member" / name).mkdir(parents=True)
    of = settings()
    return Place(LocalHost(), of=replace(of, member=of.member.model_copy(update={"data_dir": str(tmp_path)})))


def write(folder: Path, *segments: bytes, snap: bytes = b"", index: int = 1, second: int = 7) -> None:
    """Segments of a log, the second of which begins with that entry; and a snapshot at this index."""
    for at, content in enumerate(segments):
        (folder / "member" / "wal" / f"{at:016x}-{at * second:016x}.wal").write_bytes(content)
    if snap:
        (folder / "member" / "snap" / f"{2:016x}-{index:016x}.snap").write_bytes(snap)


def test_a_host_is_read(host: Place, tmp_path: Path) -> None:
    write(tmp_path, LOG, segment(entry(7, HEALTH)))
    assert carry_out(read_residue, host).result == Residue("az-1", 3, "QGET /health")
    write(tmp_path, segment(), segment())
    assert carry_out(read_residue, host).result == Residue("az-1")


def test_what_lies_before_the_newest_snapshot_is_not_read(host: Place, tmp_path: Path) -> None:
    kept = snapshot(OWN)
    write(tmp_path, b"an old one", LOG, snap=kept, index=1, second=2)
    assert carry_out(read_residue, host).result.count == 2
    assert carry_out(read_v2_entries, host).result == V2Entries("az-1", 1), "two are within requests of the v3 API"


def test_the_newest_raft_snapshot_is_read_too(host: Place, tmp_path: Path) -> None:
    write(tmp_path, LOG, snap=snapshot(OWN, ("1", node(app=node()))), index=2)
    assert carry_out(read_residue, host).result.key == "/1/app"
    write(tmp_path, snap=snapshot(OWN), index=2)
    clean = carry_out(read_residue, host).result
    assert (clean.count, clean.key) == (1, "")


def test_a_key_in_the_log_alone(host: Place, tmp_path: Path) -> None:
    write(tmp_path, segment(entry(1, v2("PUT", "/1/app")), entry(2, HEALTH)))
    assert carry_out(read_residue, host).result == Residue("az-1", 2, "QGET /health", "PUT /1/app")


def test_a_log_that_cannot_be_read_stops_it(host: Place, tmp_path: Path) -> None:
    write(tmp_path, b"no log")
    assert "its raft log cannot be read: no whole WAL record" in error_of(carry_out(read_residue, host))
    write(tmp_path, LOG, snap=b"nothing", index=1)
    assert "its raft log cannot be read: " in error_of(carry_out(read_residue, host))
    (tmp_path / "member" / "wal").rename(tmp_path / "gone")
    assert "reading the names of the raft log" in error_of(carry_out(read_residue, host))


def test_an_answer_that_was_cut_off_is_no_log(host: Place, tmp_path: Path) -> None:
    write(tmp_path, LOG)
    assert isinstance(host.remote, LocalHost)
    host.remote.stand_ins(tmp_path, gzip='/bin/gzip "$@" | head -c 60')
    assert "its raft log cannot be read: Compressed file ended" in error_of(carry_out(read_residue, host))
