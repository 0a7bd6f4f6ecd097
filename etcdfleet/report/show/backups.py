"""The snapshots of clusters on a terminal, as ``backup.py --list`` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from etcdfleet.backup.note import Note, parse_time
from etcdfleet.backup.store import Bad
from etcdfleet.backup.thin import Read
from etcdfleet.text import age_text, size_text

_NONE = "never"


def print_backups(console: Console, found: Mapping[str, tuple[Path, Read]], now: datetime | None = None) -> None:
    """Print by cluster a row for each snapshot, the newest first, and what does not count.

    ``found`` has of each cluster where they lie.
    """
    now = now or datetime.now(UTC)
    for number, (cluster, (folder, read)) in enumerate(found.items()):
        if number:
            console.print()
        console.print(Text.assemble((cluster, "bold"), f"  in {folder}"), soft_wrap=True)
        if read.good:
            console.print(_table([(one.path.name, one.note) for one in read.good], now))
        elif not read.bad:
            console.print(Text("  none", "yellow"))
        damaged = [Bad(one.path, one.note.damaged) for one in read.good if one.note.damaged]
        for bad in (*damaged, *read.bad):
            console.print(Text(f"  does not count: {bad.path.name}: {bad.why}", "bold red"), soft_wrap=True)


def _table(notes: list[tuple[str, Note]], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), header_style="dim")
    for title in ("snapshot", "taken", "for", "size", "revision", "keys", "etcd", "read", "drill"):
        right = title in ("size", "revision", "keys")
        table.add_column(title, no_wrap=True, overflow="fold", justify="right" if right else "left")
    for name, note in notes:
        table.add_row(
            name,
            age_text(now - note.when),
            note.purpose,
            size_text(note.size),
            str(note.revision),
            "" if note.keys is None else str(note.keys),
            note.etcd,
            _read(note, now),
            _drill(note, now),
        )
    return table


def _read(note: Note, now: datetime) -> Text:
    if note.damaged:
        return Text("bad", "bold red")
    return Text(age_text(now - parse_time(note.verified.when)) if note.verified else _NONE)


def _drill(note: Note, now: datetime) -> Text:
    if note.drill is None:
        return Text(_NONE)
    age = age_text(now - parse_time(note.drill.when))
    return Text(age) if note.drill.good else Text(f"failed {age}", "bold red")
