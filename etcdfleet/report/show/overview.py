"""Clusters at a glance as lines of text: a heading, a row per host, and sentences, for any width of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from rich.text import Text

from etcdfleet.checks.overview.data import ClusterOverview, Concern, LastRun, Level, Machine, MemberView
from etcdfleet.checks.overview.host import state_of
from etcdfleet.report.show.format import SOON_DAYS, Marks, wrapped
from etcdfleet.text import counted, days_cell, size_text

NARROWEST = 44
"""Columns; narrower terminals get lines that wrap by themselves."""
_LEVELS: Mapping[Level, tuple[str, str]] = {
    Level.BROKEN: ("BROKEN", "bold red"),
    Level.UNKNOWN: ("unknown", "bold red"),
    Level.WRONG: ("wrong", "yellow"),
    Level.SOON: ("soon", "cyan"),
}
_INDENT = 10
_HOST = "  host"
_COLUMNS = ("etcd", "version", "term", "index", "db", "read", "certs", "clock", "files", "last run")
Row = Mapping[str, Text]
"""A host's cells by the titles of their columns."""


def lines(overviews: Sequence[ClusterOverview], marks: Marks, width: int, now: datetime) -> list[Text]:
    """Return all clusters in lines of ``width`` columns, as far as words allow; ``now`` is for the age of runs."""
    rows = [[_row(view, cluster, marks, now) for view in cluster.views] for cluster in overviews]
    tables, gap = _layout(overviews, [row for block in rows for row in block], width)
    texts: list[Text] = []
    for cluster, hosts in zip(overviews, rows, strict=True):
        texts.append(_heading(cluster, width))
        for widths in tables:
            texts.append(_line({title: Text(title) for title in widths}, widths, gap, "dim"))
            texts += [_line(row, widths, gap) for row in hosts]
        if not tables:
            texts += _list(hosts, width)
        texts += _sentences(cluster, width)
        texts.append(Text())
    return texts


def findings(overviews: Sequence[ClusterOverview], width: int) -> list[Text]:
    """Only the sentences of clusters that have any."""
    bad = [cluster for cluster in overviews if cluster.concerns]
    return [line for cluster in bad for line in (_heading(cluster, width), *_sentences(cluster, width))]


def closing_line(overviews: Sequence[ClusterOverview], seconds: str) -> Text:
    """Return the whole in one line."""
    wrong = [cluster.name for cluster in overviews if cluster.needs_attention]
    if wrong:
        need = "needs" if len(wrong) == 1 else "need"
        return Text(f"status: {' and '.join(wrong)} {need} attention, exit code 1", "bold red")
    count = counted(sum(len(cluster.views) for cluster in overviews), "host")
    return Text(f"status: all well on {count}, looked at in {seconds}", "bold green")


def _heading(cluster: ClusterOverview, width: int) -> Text:
    parts = [cluster.margin]
    if cluster.leader:
        parts.append(f"leader {cluster.leader}")
    if cluster.term:
        parts.append(f"term {cluster.term}")
    versions = {view.status.version for view in cluster.views if view.status}
    if len(versions) == 1:
        parts.append(f"etcd {versions.pop()}")
    text = Text(wrapped(f"{cluster.name}  {'; '.join(parts)}", max(width, NARROWEST), 2))
    text.stylize("bold", 0, len(cluster.name))
    start = text.plain.find(cluster.margin)
    if start >= 0:
        unknown = "bold red" if cluster.needs_attention else ""
        style = "green" if cluster.can_lose else unknown if cluster.can_lose is None else "yellow"
        text.stylize(style, start, start + len(cluster.margin))
    return text


def _layout(overviews: Sequence[ClusterOverview], rows: Sequence[Row], width: int) -> tuple[list[dict[str, int]], int]:
    """(tables below each other as widths by title, blanks between columns): the widest that fits; none for a list."""
    layouts: list[tuple[Sequence[Sequence[str]], int]] = [([_COLUMNS], 2)]
    statuses = [[view.status for view in cluster.views if view.status] for cluster in overviews]
    if all(len({one.version for one in of}) < 2 and len({one.term for one in of}) < 2 for of in statuses):
        short = [title for title in _COLUMNS if title not in {"version", "term"}]
        layouts += [([short], 2), ([short], 1)]
    halves = [_COLUMNS[:6], _COLUMNS[6:]]
    layouts += [(halves, 2), (halves, 1)]
    for titles, gap in layouts:
        tables = [
            {title: max([len(title), *(row[title].cell_len for row in rows)]) for title in (_HOST, *half)}
            for half in titles
        ]
        if all(sum(widths.values()) + gap * (len(widths) - 1) <= width for widths in tables):
            return tables, gap
    return [], 0


def _line(row: Row, widths: Mapping[str, int], gap: int, style: str = "") -> Text:
    line = Text(style=style, no_wrap=True)
    for title, width in widths.items():
        line.append_text(row[title]).append(" " * (width - row[title].cell_len + gap))
    line.rstrip()
    return line


def _list(rows: Sequence[Row], width: int) -> Iterator[Text]:
    for row in rows:
        yield Text(row[_HOST].plain, "bold")
        cells = [f"{title} {row[title].plain}" for title in _COLUMNS if row[title].plain]
        yield Text("    " + wrapped(", ".join(cells), width, 4))


def _sentences(cluster: ClusterOverview, width: int) -> Iterator[Text]:
    for concern in cluster.concerns:
        yield _sentence(concern, width, len(cluster.views))
    if not cluster.concerns:
        first = _first_end(cluster)
        more = "".join(f"; {words}" for words in (f"next: {first}" if first else "", cluster.backup) if words)
        yield Text("  all well", "green").append(more, "dim")
    elif cluster.backup:
        yield Text(f"  {cluster.backup}", "dim")


def _sentence(concern: Concern, width: int, hosts: int) -> Text:
    word, style = _LEVELS[concern.level]
    who = "all hosts" if len(concern.hosts) == hosts > 1 else ", ".join(concern.hosts)
    text = Text(f"  {word:<7} ", style)
    text.append(wrapped(f"{who}: {concern.what}" if who else concern.what, width, _INDENT), "")
    if concern.remedy:
        text.append("\n" + " " * _INDENT).append(wrapped(f"remedy: {concern.remedy}", width, _INDENT), "dim")
    return text


def _first_end(cluster: ClusterOverview) -> str:
    ends = [(life, view.host) for view in cluster.views if view.machine for life in view.machine.lives]
    life, host = min(ends, key=lambda end: end[0].days_left, default=(None, ""))
    if not life or not life.ends:
        return ""
    what = f"the CA {life.ca!r}" if life.ca else f"the {life.role} certificate"
    return f"{what} of {host} ends in {days_cell(life.days_left)} ({life.ends:%Y-%m-%d})"


def _row(view: MemberView, cluster: ClusterOverview, marks: Marks, now: datetime) -> Row:
    """Return what is known of a host; the cells of what is not are empty."""
    row = {title: Text() for title in _COLUMNS}
    row[_HOST] = Text(f"  {view.host}")
    state = state_of(view)
    style = "green" if state == "serves" else "yellow" if state in {"learner", "not deployed"} else "bold red"
    row["etcd"] = Text(state, style).append(f" {marks.leader}" if view.host == cluster.leader else "", "bold")
    if view.status:
        row["version"] = Text(view.status.version)
        row["term"] = Text(str(view.status.term))
        row["index"] = Text(str(view.status.raft_index))
        share = view.status.db_size / view.quota_bytes if view.quota_bytes else 0.0
        style = "bold red" if share >= 1 else "yellow" if share >= 0.8 else ""
        row["db"] = Text(f"{size_text(view.status.db_size)} {share:.0%}", style)
    if view.health and view.serves:
        took = view.health.took
        text = f"{took * 1000:.1f}ms" if took < 0.01 else f"{took * 1000:.0f}ms" if took < 1 else f"{took:.1f}s"
        row["read"] = Text(text, "yellow" if took >= 1 else "")
    if view.machine:
        row["clock"] = _clock(view.machine.clock_offset, view.clock_tolerance)
        if view.machine.deployed:
            row["certs"] = _certificates(view.machine)
            row["files"] = _files(view.machine)
    if view.last_run:
        row["last run"] = _last_run(view.last_run, now)
    return row


def _certificates(machine: Machine) -> Text:
    if not machine.lives:
        return Text()
    bad = [life.problem for life in machine.lives if life.problem]
    if bad:
        return Text(bad[0].split(":")[0] if len(bad[0]) < 12 else "unfit", "bold red")
    first = min(machine.lives, key=lambda life: life.days_left)
    if first.days_left <= 0:
        return Text("expired", "bold red")
    return Text(days_cell(first.days_left), "yellow" if first.due or first.days_left < min(SOON_DAYS, 7.0) else "green")


def _clock(offset: float, tolerance: float) -> Text:
    amount = abs(offset)
    if amount <= 1:
        return Text("ok", "green")
    text = (
        f"{amount:.0f}s" if amount < 600 else f"{amount / 3600:.1f}h" if amount < 172800 else f"{amount / 86400:.0f}d"
    )
    return Text(("+" if offset > 0 else "-") + text, "bold red" if amount > tolerance else "yellow")


def _files(machine: Machine) -> Text:
    if machine.drift:
        return Text(f"{len(machine.drift)} differ", "yellow")
    return Text("restart", "yellow") if machine.restart_pending else Text("ok", "green")


def _last_run(run: LastRun, now: datetime) -> Text:
    age = max((now - run.started).total_seconds(), 0.0)
    text = f"{age / 60:.0f}m" if age < 5400 else f"{age / 3600:.0f}h" if age < 172800 else f"{age / 86400:.0f}d"
    good = run.state == "ok" or (run.state == "failed" and not run.failed)
    return Text(f"{run.runbook} {text}", "" if good else "yellow").append("" if good else " !", "yellow")
