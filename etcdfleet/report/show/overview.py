"""Clusters at a glance as lines of text: a heading, a row per host, and sentences, for any width of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from etcdfleet.checks.overview.data import ClusterOverview, Concern, Level, Life, MemberView
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
_GOOD_STATES = {"serves"}


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[MemberView, ClusterOverview], Text]


def lines(overviews: Sequence[ClusterOverview], marks: Marks, width: int, now: datetime) -> list[Text]:
    """All clusters, each line at most ``width`` columns as far as its words allow; ``now`` is for the age of runs."""
    found: list[Text] = []
    layout, gap = _layout(overviews, marks, width, now)
    for cluster in overviews:
        found += _heading(cluster, width)
        if layout:
            for columns in layout:
                found += _rows(columns, cluster, overviews, gap)
        else:
            found += _list(_columns(marks, now), cluster, width)
        found += _sentences(cluster, width)
        found.append(Text())
    return found


def findings(overviews: Sequence[ClusterOverview], width: int) -> list[Text]:
    """Only the sentences of clusters that have any."""
    found: list[Text] = []
    for cluster in overviews:
        if cluster.concerns:
            found += [*_heading(cluster, width), *_sentences(cluster, width)]
    return found


def closing_line(overviews: Sequence[ClusterOverview], seconds: str) -> Text:
    """The whole in one line."""
    hosts = [view.host for cluster in overviews for view in cluster.views]
    count = counted(len(hosts), "host")
    wrong = [cluster.name for cluster in overviews if cluster.needs_attention]
    if not wrong:
        return Text(f"status: all well on {count}, looked at in {seconds}", "bold green")
    return Text(
        f"status: {' and '.join(wrong)} need{'s' if len(wrong) == 1 else ''} attention, exit code 1", "bold red"
    )


def _heading(cluster: ClusterOverview, width: int) -> list[Text]:
    style = "green" if cluster.can_lose else "bold red" if cluster.can_lose is None else "yellow"
    if cluster.can_lose is None and not cluster.needs_attention:
        style = ""
    said = [cluster.margin]
    if cluster.leader:
        said.append(f"leader {cluster.leader}")
    if cluster.term:
        said.append(f"term {cluster.term}")
    versions = _versions(cluster)
    if len(versions) == 1:
        said.append(f"etcd {versions[0]}")
    text = Text(wrapped(f"{cluster.name}  {'; '.join(said)}", max(width, NARROWEST), 2))
    text.stylize("bold", 0, len(cluster.name))
    start = text.plain.find(cluster.margin)
    if start >= 0:
        text.stylize(style, start, start + len(cluster.margin))
    return [text]


def _columns(marks: Marks, now: datetime) -> list[_Column]:
    return [
        _Column("etcd", lambda view, cluster: _state(view, cluster, marks)),
        _Column("version", lambda view, _: Text(view.status.version if view.status else "")),
        _Column("term", lambda view, _: Text(str(view.status.term) if view.status else "")),
        _Column("index", lambda view, _: Text(str(view.status.raft_index) if view.status else "")),
        _Column("db", lambda view, _: _size(view)),
        _Column("read", lambda view, _: _latency(view)),
        _Column("certs", lambda view, _: _certificates(view)),
        _Column("clock", lambda view, _: _clock(view)),
        _Column("files", lambda view, _: _files(view)),
        _Column("last run", lambda view, _: _last_run(view, now)),
    ]


def _layout(
    overviews: Sequence[ClusterOverview], marks: Marks, width: int, now: datetime
) -> tuple[list[list[_Column]], int]:
    """(tables below each other, blanks between columns): the widest that fits; no tables for a list."""
    columns = _columns(marks, now)
    layouts: list[tuple[list[list[_Column]], int]] = [([columns], 2)]
    if all(len(_versions(cluster)) < 2 and len(_terms(cluster)) < 2 for cluster in overviews):
        short = [column for column in columns if column.title not in {"version", "term"}]
        layouts += [([short], 2), ([short], 1)]
    layouts += [([columns[:6], columns[6:]], 2), ([columns[:6], columns[6:]], 1)]
    for tables, gap in layouts:
        if all(sum(_widths(table, overviews)) + gap * len(table) <= width for table in tables):
            return tables, gap
    return [], 0


def _widths(columns: Sequence[_Column], overviews: Sequence[ClusterOverview]) -> list[int]:
    rows = [(view, cluster) for cluster in overviews for view in cluster.views]
    names = max([len("host"), *(len(view.host) + 2 for view, _ in rows)])
    return [
        names,
        *(max([len(c.title), *(c.cell(view, cluster).cell_len for view, cluster in rows)]) for c in columns),
    ]


def _rows(
    columns: Sequence[_Column], cluster: ClusterOverview, overviews: Sequence[ClusterOverview], gap: int
) -> Iterator[Text]:
    widths = _widths(columns, overviews)
    yield _row([Text("  host"), *(Text(column.title) for column in columns)], widths, gap, "dim")
    for view in cluster.views:
        yield _row([Text(f"  {view.host}"), *(column.cell(view, cluster) for column in columns)], widths, gap)


def _row(cells: Sequence[Text], widths: Sequence[int], gap: int, style: str = "") -> Text:
    line = Text(style=style, no_wrap=True)
    for cell, width in zip(cells, widths, strict=True):
        line.append_text(cell).append(" " * (width - cell.cell_len + gap))
    line.rstrip()
    return line


def _list(columns: Sequence[_Column], cluster: ClusterOverview, width: int) -> Iterator[Text]:
    for view in cluster.views:
        yield Text(f"  {view.host}", "bold")
        said = [f"{c.title} {text.plain}" for c in columns if (text := c.cell(view, cluster)).plain]
        yield Text("    " + wrapped(", ".join(said), width, 4))


def _sentences(cluster: ClusterOverview, width: int) -> Iterator[Text]:
    for concern in cluster.concerns:
        yield _sentence(concern, width, len(cluster.views))
    if not cluster.concerns:
        first = _first_end(cluster)
        yield Text("  all well", "green").append(f"; next: {first}" if first else "", "dim")


def _sentence(concern: Concern, width: int, hosts: int) -> Text:
    word, style = _LEVELS[concern.level]
    who = "all hosts" if len(concern.hosts) == hosts > 1 else ", ".join(concern.hosts)
    text = Text(f"  {word:<7} ", style)
    text.append(wrapped(f"{who}: {concern.what}" if who else concern.what, width, _INDENT), "")
    if concern.remedy:
        text.append("\n" + " " * _INDENT).append(wrapped(f"remedy: {concern.remedy}", width, _INDENT), "dim")
    return text


def _first_end(cluster: ClusterOverview) -> str:
    ends = [(life.days_left, life, view.host) for view in cluster.views if view.machine for life in view.machine.lives]
    if not ends:
        return ""
    days, life, host = min(ends, key=lambda end: end[0])
    what = f"the CA {life.ca!r}" if life.ca else f"the {life.role} certificate"
    return f"{what} of {host} ends in {days_cell(days)} ({life.ends:%Y-%m-%d})" if life.ends else ""


def _state(view: MemberView, cluster: ClusterOverview, marks: Marks) -> Text:
    state = state_of(view)
    style = "green" if state in _GOOD_STATES else "yellow" if state in {"learner", "not deployed"} else "bold red"
    text = Text(state, style)
    return text.append(f" {marks.leader}", "bold") if view.host == cluster.leader else text


def _size(view: MemberView) -> Text:
    if view.status is None:
        return Text()
    share = view.status.db_size / view.quota_bytes if view.quota_bytes else 0.0
    style = "bold red" if share >= 1 else "yellow" if share >= 0.8 else ""
    return Text(f"{size_text(view.status.db_size)} {share:.0%}", style)


def _latency(view: MemberView) -> Text:
    if view.health is None or not view.serves:
        return Text()
    took = view.health.took
    text = f"{took * 1000:.1f}ms" if took < 0.01 else f"{took * 1000:.0f}ms" if took < 1 else f"{took:.1f}s"
    return Text(text, "yellow" if took >= 1 else "")


def _certificates(view: MemberView) -> Text:
    lives = view.machine.lives if view.machine and view.machine.deployed else ()
    if not lives:
        return Text()
    bad = [life for life in lives if life.problem]
    if bad:
        return Text(bad[0].problem.split(":")[0] if len(bad[0].problem) < 12 else "unfit", "bold red")
    first: Life = min(lives, key=lambda life: life.days_left)
    if first.days_left <= 0:
        return Text("expired", "bold red")
    style = "yellow" if first.due or first.days_left < min(SOON_DAYS, 7.0) else "green"
    return Text(days_cell(first.days_left), style)


def _clock(view: MemberView) -> Text:
    if view.machine is None:
        return Text()
    offset = view.machine.clock_offset
    if abs(offset) <= 1:
        return Text("ok", "green")
    amount = abs(offset)
    text = (
        f"{amount:.0f}s" if amount < 600 else f"{amount / 3600:.1f}h" if amount < 172800 else f"{amount / 86400:.0f}d"
    )
    return Text(("+" if offset > 0 else "-") + text, "bold red" if amount > view.clock_tolerance else "yellow")


def _files(view: MemberView) -> Text:
    machine = view.machine
    if machine is None or not machine.deployed:
        return Text()
    if machine.drift:
        return Text(f"{len(machine.drift)} differ", "yellow")
    return Text("restart", "yellow") if machine.restart_pending else Text("ok", "green")


def _last_run(view: MemberView, now: datetime) -> Text:
    run = view.last_run
    if run is None:
        return Text()
    age = max((now - run.started).total_seconds(), 0.0)
    text = f"{age / 60:.0f}m" if age < 5400 else f"{age / 3600:.0f}h" if age < 172800 else f"{age / 86400:.0f}d"
    good = run.state == "ok" or (run.state == "failed" and not run.failed)
    return Text(f"{run.runbook} {text}", "" if good else "yellow").append("" if good else " !", "yellow")


def _versions(cluster: ClusterOverview) -> list[str]:
    return sorted({view.status.version for view in cluster.views if view.status})


def _terms(cluster: ClusterOverview) -> set[int]:
    return {view.status.term for view in cluster.views if view.status}
