"""The list of snapshots on a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from etcdfleet.backup.note import Drill, Verified, time_text
from etcdfleet.backup.store import Bad, Snapshot
from etcdfleet.backup.thin import Read
from etcdfleet.report.show.backups import print_backups
from tests.unit.support.snapshots import NOTE, put

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def shown(*clusters: tuple[str, Read], width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_backups(console, {name: [(f"/s/{name}", read)] for name, read in clusters}, NOW)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_what_there_is(tmp_path: Path) -> None:
    old = time_text(NOW - timedelta(days=3))
    read = put(
        tmp_path,
        NOW - timedelta(hours=10),
        verified=Verified(time_text(NOW - timedelta(minutes=9)), ("hash", "pages")),
        drill=Drill(old, "here", "3.5.1", good=True, says=""),
    )
    bad = put(tmp_path, NOW - timedelta(days=4), damaged="its hash does not fit", purpose="change")
    failed = put(tmp_path, NOW - timedelta(days=5), drill=Drill(old, "here", "3.5.1", good=False, says="no start"))
    first = Snapshot(Path("/s/home/first.db"), NOTE.__class__(**{**NOTE.__dict__, "keys": None}))
    foreign = Bad(Path("/s/home/foreign.db"), "it has no note foreign.json, or is gone")

    lines = shown(("home", Read((read, bad, failed, first), (foreign,))), ("edge", Read())).splitlines()
    assert lines[0] == "home  in /s/home"
    assert lines[1].split() == ["snapshot", "taken", "for", "size", "revision", "keys", "etcd", "read", "drill"]
    rows = [line.split() for line in lines[2:6]]
    first_row = "home-20261126T020000Z-22.db 10 h ago backup 100 KiB 22 412 3.5.1 9 min ago 3 d ago"
    assert " ".join(rows[0]) == first_row
    assert rows[1][-2:] == ["bad", "never"]
    assert rows[1][4] == "change"
    assert rows[2][-5:] == ["never", "failed", "3", "d", "ago"]
    assert rows[3][-3:] == ["3.5.1", "never", "never"]
    assert lines[6] == "  does not count: home-20261122T120000Z-22.db: its hash does not fit"
    assert lines[7] == "  does not count: foreign.db: it has no note foreign.json, or is gone"
    assert lines[8:] == ["", "edge  in /s/edge", "  none"]


def test_on_a_narrow_terminal_nothing_is_cut_off(tmp_path: Path) -> None:
    one = put(tmp_path, NOW - timedelta(hours=10))
    assert shown(("home", Read((one,))), width=60).splitlines() == [
        "home  in /s/home",
        "  home-20261126T020000Z-22.db",
        "    taken 10 h ago  for backup  size 100 KiB  revision 22  keys 412  etcd 3.5.1  read never  drill never",
    ]
