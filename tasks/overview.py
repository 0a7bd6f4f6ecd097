"""What ``runbooks/status.py`` does with what it saw of all hosts: judge it, show it, and look again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

from nornir.core.task import AggregatedResult
from rich.console import Console, Group
from rich.text import Text

from etcdfleet.checks.overview.data import ClusterOverview, LastRun, MemberView
from etcdfleet.errors import UsageError
from etcdfleet.etcd.equal import CONFIRMATIONS, PAUSE_SECONDS, divergence
from etcdfleet.etcd.expected import expected_member, expected_members
from etcdfleet.program.main import Run
from etcdfleet.report.record.model import deepest_cause, failure_of
from etcdfleet.report.show.format import Marks, marks_for, seconds_text, wrapped
from tasks.issuing import Issuing
from tasks.status import CONNECT_SECONDS, judge, list_members, look

# What judges and shows is imported when hosts have been asked: they need not wait for it.

ONLY_LOOK = ("status", "verify", "preflight")
"""Runbooks that do not count as work on a host."""
_POLL = 0.1


def show(run: Run) -> None:
    """Looks once, records what is wrong with which host, and has it shown at the end."""
    began = time.monotonic()
    _be_quick(run)
    seen: dict[str, MemberView] = {}
    _also_failed(run, seen, run.step("look", look, seen=seen, list_on=_first_hosts(run), issuing=Issuing()))
    _without_lists(run, seen)
    _look_again(run, seen)
    found = overviews(run, _with_last_runs(run, seen))
    by_name = {cluster.name: cluster for cluster in found}
    if run.good_hosts:
        run.step("judge", judge, overviews=by_name)
    took = seconds_text(time.monotonic() - began)

    def ending(console: Console, marks: Marks, only_findings: bool) -> None:
        from etcdfleet.report.show import overview as pages

        width = console.width if console.is_terminal else max(console.width, 80)
        shown = pages.findings(found, width) if only_findings else pages.lines(found, marks, width, datetime.now(UTC))
        for line in [*_warnings(run, width), *shown]:
            console.print(line, soft_wrap=True)
        if not only_findings:
            console.print(pages.closing_line(found, took), soft_wrap=True)

    run.terminal.ending = ending


def watch(run: Run, seconds: float) -> None:
    """Looks again and again until Ctrl-C: in place on a terminal, elsewhere one page after the other.

    Connections are kept; a host that is gone is tried again each time. Raises UsageError where nobody can watch.
    """
    from rich.live import Live

    from etcdfleet.report.show import overview as pages

    if run.options.json:
        raise UsageError("--watch shows pages to people", remedy="for programs, run it with --json - now and then")
    _be_quick(run)
    console = run.terminal.console
    marks = marks_for(console.encoding or "ascii")
    quiet = run.nornir.with_processors([])
    in_place = console.is_terminal and not console.is_dumb_terminal
    run.terminal.ending = lambda *_: None
    run.terminal.show_no_progress()
    with ExitStack() as stack:
        live = None
        if in_place:
            live = stack.enter_context(
                Live(Text("looking"), console=console, auto_refresh=False, vertical_overflow="crop")
            )
        while True:
            seen: dict[str, MemberView] = {}
            results = quiet.run(
                look, on_failed=True, seen=seen, list_on=_first_hosts(run), tolerant=True, issuing=Issuing()
            )
            _also_failed(run, seen, results)
            _without_lists(run, seen)
            _look_again(run, seen)
            if run.record.stopping:
                return
            now = datetime.now(UTC)
            found = overviews(run, _with_last_runs(run, seen))
            note = f"{now:%Y-%m-%d %H:%M:%S} UTC, every {seconds:g} s" + (", Ctrl-C ends" if in_place else "")
            page = [Text(note, "dim"), *pages.lines(found, marks, console.width, now)]
            if live:
                live.update(Group(*_fitting(page, console.size.height)), refresh=True)
            else:
                for line in page:
                    console.print(line, soft_wrap=True)
                console.file.flush()
            _pause(run, seconds)


def overviews(run: Run, seen: Mapping[str, MemberView]) -> list[ClusterOverview]:
    """The chosen clusters as their hosts were seen."""
    from etcdfleet.checks.overview.cluster import overview

    found = []
    for name, hosts in run.clusters.items():
        settings = run.fleet.hosts[hosts[0]]
        found.append(
            overview(
                name,
                [seen[host] for host in hosts if host in seen],
                expected_members(settings),
                election_seconds=settings.cluster.election_ms / 1000,
                within_days=run.options.extra["days"],
            )
        )
    return found


def _be_quick(run: Run) -> None:
    limit = min(CONNECT_SECONDS, run.options.timeout or CONNECT_SECONDS)
    run.nornir.config.user_defined["connect_timeout"] = limit  # read by etcdfleet.remote


def _first_hosts(run: Run) -> tuple[str, ...]:
    """One host of each cluster."""
    return tuple(hosts[0] for hosts in run.clusters.values())


def _without_lists(run: Run, seen: dict[str, MemberView]) -> None:
    """Asks another member for the list of members, in clusters where the one that was asked gave none."""
    others = []
    for hosts in run.clusters.values():
        views = [seen[host] for host in hosts if host in seen]
        if not any(view.members for view in views):
            others += [view.host for view in views if view.serves][:1]
    if others:
        chosen = run.nornir.with_processors([]).filter(filter_func=lambda host: host.name in others)
        chosen.run(list_members, on_failed=True, seen=seen)


def _look_again(run: Run, seen: dict[str, MemberView]) -> None:
    """Asks members again where one look may be wrong: about a leader whose host gives no answer, and about data."""
    from etcdfleet.checks.overview.cluster import presumed_leader

    def hosts_of(clusters: Callable[[list[MemberView]], bool]) -> frozenset[str]:
        looked_at = {name: [seen[host] for host in hosts if host in seen] for name, hosts in run.clusters.items()}
        return frozenset(
            view.host for views in looked_at.values() if clusters(views) for view in views if view.machine is not None
        )

    _ask_again(run, seen, hosts_of(presumed_leader))
    for _ in range(CONFIRMATIONS):
        hosts = hosts_of(lambda views: bool(divergence(view.status for view in views if view.status)))
        if not hosts:
            return
        time.sleep(PAUSE_SECONDS)
        _ask_again(run, seen, hosts)


def _ask_again(run: Run, seen: dict[str, MemberView], hosts: Collection[str]) -> None:
    if not hosts:
        return
    again: dict[str, MemberView] = {}
    chosen = run.nornir.with_processors([]).filter(filter_func=lambda host: host.name in hosts)
    chosen.run(look, on_failed=True, seen=again, list_on=(), tolerant=True)
    for host, view in again.items():
        seen[host] = replace(view, members=seen[host].members) if host in seen else view


def _also_failed(run: Run, seen: dict[str, MemberView], results: AggregatedResult) -> None:
    """Adds the hosts on which looking failed for an unexpected reason."""
    for host, result in results.items():
        if host in seen or not result.failed:
            continue
        failure = failure_of(deepest_cause(result[0]) or RuntimeError("nothing is known about it"))
        settings = run.fleet.hosts[host]
        remedy = failure.remedy if failure.expected else "run again with --debug, which shows the traceback"
        seen[host] = MemberView(host, expected_member(settings, settings.member), failure.what, remedy)


def _with_last_runs(run: Run, seen: Mapping[str, MemberView]) -> dict[str, MemberView]:
    from etcdfleet.report.record.history import last_runs

    newest = last_runs(run.options.report_dir, tuple(seen), ignoring=ONLY_LOOK)
    found = dict(seen)
    for host, summary in newest.items():
        mine = summary.host(host)
        last = LastRun(summary.id, summary.runbook, summary.started, summary.state, bool(mine and mine.failed))
        found[host] = replace(found[host], last_run=last)
    return found


def _warnings(run: Run, width: int) -> list[Text]:
    return [
        Text.assemble(("warning  ", "yellow"), wrapped(f"{notice.place}: {notice.text}", width, 9))
        for notice in run.record.record.warnings
    ]


def _fitting(page: Sequence[Text], height: int) -> Collection[Text]:
    """As many lines as the terminal is high: what does not fit is said, not cut off unseen."""
    lines = [line for text in page for line in text.split("\n", allow_blank=True)]
    if len(lines) < height:
        return lines
    return [*lines[: max(height - 2, 1)], Text(f"{len(lines) - height + 2} more lines: enlarge the window", "dim")]


def _pause(run: Run, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not run.record.stopping and time.monotonic() < until:
        time.sleep(min(_POLL, seconds))
