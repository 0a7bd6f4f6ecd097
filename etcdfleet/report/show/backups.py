"""The snapshots of clusters on a terminal, as ``backup.py --list`` shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from etcdfleet.backup.note import Note, parse_time
from etcdfleet.backup.store import Bad, Snapshot
from etcdfleet.backup.thin import Read
from etcdfleet.text import age_text, size_text

_NONE = "never"


def print_backups(
    console: Console, found: Mapping[str, Sequence[tuple[str, Read]]], now: datetime | None = None
) -> None:
    """Print by cluster and by place a row for each snapshot, the newest first, and what does not count."""
    now = now or datetime.now(UTC)
    blocks = [(cluster, place, read) for cluster, places in found.items() for place, read in places]
    for number, (cluster, place, read) in enumerate(blocks):
        if number:
            console.print()
        console.print(Text.assemble((cluster, "bold"), f"  in {place}"), soft_wrap=True)
        if read.good:
            _print_rows(console, [_row(one, now) for one in read.good])
        elif not read.bad:
            console.print(Text("  none", "yellow"))
        damaged = [Bad(one.path, one.note.damaged) for one in read.good if one.note.damaged]
        for bad in (*damaged, *read.bad):
            console.print(Text(f"  does not count: {bad.path.name}: {bad.why}", "bold red"), soft_wrap=True)


_TITLES = ("snapshot", "taken", "for", "size", "revision", "keys", "etcd", "read", "drill")
_RIGHT = ("size", "revision", "keys")


def _row(one: Snapshot, now: datetime) -> tuple[Text, ...]:
    note = one.note
    keys = "" if note.keys is None else str(note.keys)
    told = (one.path.name, age_text(now - note.when), note.purpose, size_text(note.size), str(note.revision), keys)
    return (*map(Text, (*told, note.etcd)), _read(note, now), _drill(note, now))


def _print_rows(console: Console, rows: Sequence[Sequence[Text]]) -> None:
    """Print a row for each; where they do not fit, two lines for each."""
    widest = [max(len(title), *(row[at].cell_len for row in rows)) for at, title in enumerate(_TITLES)]
    if sum(widest) + 2 * len(widest) + 2 <= console.width:
        table = Table(box=None, pad_edge=True, padding=(0, 0, 0, 2), header_style="dim")
        for title in _TITLES:
            table.add_column(title, no_wrap=True, justify="right" if title in _RIGHT else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    for row in rows:
        console.print(Text.assemble("  ", row[0]), soft_wrap=True)
        line = Text("    ")
        for title, cell in zip(_TITLES[1:], row[1:], strict=True):
            if cell.plain:
                line.append(f"{title} ", "dim").append_text(cell).append("  ")
        line.rstrip()
        console.print(line, soft_wrap=True)


def _read(note: Note, now: datetime) -> Text:
    if note.damaged:
        return Text("bad", "bold red")
    return Text(age_text(now - parse_time(note.verified.when)) if note.verified else _NONE)


def _drill(note: Note, now: datetime) -> Text:
    if note.drill is None:
        return Text(_NONE)
    age = age_text(now - parse_time(note.drill.when))
    return Text(age) if note.drill.good else Text(f"failed {age}", "bold red")
