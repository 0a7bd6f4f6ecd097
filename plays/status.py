"""Clusters at a glance: their members are read and judged, and shown once, or again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from etcdfleet.backup.note import parse_time
from etcdfleet.backup.store import listed
from etcdfleet.checks.overview.backup import Backups, backup_concerns, told
from etcdfleet.checks.overview.cluster import overview, presumed_leader
from etcdfleet.checks.overview.data import ClusterOverview, LastRun, MemberView
from etcdfleet.errors import UsageError, VerificationError
from etcdfleet.etcd.equal import CONFIRMATIONS, PAUSE_SECONDS, divergence
from etcdfleet.etcd.expected import expected_members
from etcdfleet.program.run import Program, Run
from etcdfleet.report.record.history import last_runs
from etcdfleet.report.show import overview as pages
from etcdfleet.report.show.format import Marks, marks_for, wrapped
from etcdfleet.settings.models import HostSettings
from etcdfleet.text import seconds_text
from plays.options import SNAPSHOTS, StatusOptions
from tasks.certificates.issuing import Issuing
from tasks.status.read import judge, list_members, read_host

Views = dict[str, MemberView]
"""What was seen, by host."""
ONLY_LOOK = ("status", "verify", "preflight")
"""Runbooks that do not count as work on a host."""
_POLL = 0.1


def read_members(run: Run[StatusOptions], issuing: Issuing, *, tolerant: bool = False) -> Views:
    """Read the hosts of a cluster and what their members say; what may be wrong at one look is read again."""
    reads = run.step("read", read_host, also_failed=True, list_on=run.hosts[:1], tolerant=tolerant, issuing=issuing)
    views: Views = {host: read.view for host, read in reads.items()}
    if not any(view.members for view in views.values()):
        # The one that was asked for the list of members gave none.
        lists = run.ask(list_members, on=[view.host for view in views.values() if view.serves][:1])
        views |= {host: replace(views[host], members=members) for host, members in lists.items()}
    _read_again(run, views)
    return views


def _read_again(run: Run[StatusOptions], views: Views) -> None:
    """Ask members again where one look may be wrong: about a leader whose host gives no answer, and about data."""

    def ask_again(when: Callable[[Sequence[MemberView]], bool]) -> bool:
        if not when(list(views.values())):
            return False
        hosts = [view.host for view in views.values() if not view.down]
        again = run.ask(read_host, also_failed=True, on=hosts, list_on=(), tolerant=True)
        views.update({host: replace(read.view, members=views[host].members) for host, read in again.items()})
        return True

    def differ(look: Sequence[MemberView]) -> bool:
        if not divergence(view.status for view in look if view.status):
            return False
        time.sleep(PAUSE_SECONDS)
        return True

    ask_again(presumed_leader)
    for _ in range(CONFIRMATIONS):
        if not ask_again(differ):
            return


def show(program: Program[StatusOptions]) -> None:
    """Look once, record what is wrong with which host, and have it shown at the end."""
    began = time.monotonic()
    program.be_quick()
    clusters = overviews(program, _seen_by_all(program.play(read_members, Issuing())))
    by_name = {cluster.name: cluster for cluster in clusters}
    program.play(lambda run: run.step("judge", judge, overview=by_name[run.cluster]))
    took = seconds_text(time.monotonic() - began)

    def ending(console: Console, marks: Marks, only_findings: bool) -> None:
        width = console.width if console.is_terminal else max(console.width, 80)
        now = datetime.now(UTC)
        shown = pages.findings(clusters, width) if only_findings else pages.lines(clusters, marks, width, now)
        for line in [*_warnings(program, width), *shown]:
            console.print(line, soft_wrap=True)
        if not only_findings:
            console.print(pages.closing_line(clusters, took), soft_wrap=True)

    program.terminal.ending = ending


def watch(program: Program[StatusOptions], seconds: float) -> None:
    """Look again and again until Ctrl-C: in place on a terminal, elsewhere one page after the other.

    Connections are kept; a host that is gone is tried again each time. Raises UsageError with --json.
    """
    if program.options.json:
        raise UsageError("--watch shows pages to people", remedy="for programs, run it with --json - now and then")
    program.be_quick()
    console = program.terminal.console
    marks = marks_for(console.encoding or "ascii")
    quiet = replace(program, nornir=program.nornir.with_processors([]))
    in_place = console.is_terminal and not console.is_dumb_terminal
    program.terminal.ending = lambda *_: None
    program.terminal.show_no_progress()
    with ExitStack() as stack:
        live = None
        if in_place:
            live = stack.enter_context(
                Live(Text("looking"), console=console, auto_refresh=False, vertical_overflow="crop")
            )
        while True:
            quiet.nornir.data.reset_failed_hosts()
            views = _seen_by_all(quiet.play(read_members, Issuing(), tolerant=True))
            if program.record.stopping:
                return
            now = datetime.now(UTC)
            clusters = overviews(program, views)
            note = f"{now:%Y-%m-%d %H:%M:%S} UTC, every {seconds:g} s" + (", Ctrl-C ends" if in_place else "")
            page = [Text(note, "dim"), *pages.lines(clusters, marks, console.width, now)]
            if live:
                live.update(Group(*_fitting(page, console.size.height)), refresh=True)
            else:
                for line in page:
                    console.print(line, soft_wrap=True)
                console.file.flush()
            _pause(program, seconds)


def _seen_by_all(views: Mapping[str, Views]) -> Views:
    return {host: view for of_cluster in views.values() for host, view in of_cluster.items()}


def overviews(program: Program[StatusOptions], views: Mapping[str, MemberView]) -> list[ClusterOverview]:
    """Return the chosen clusters as their hosts were seen, with the last run on each."""
    views = _with_last_runs(program, views)
    clusters = []
    for name, hosts in program.clusters.items():
        settings = program.fleet.hosts[hosts[0]]
        now, backups = datetime.now(UTC), backups_of(settings)
        clusters.append(
            overview(
                name,
                [views[host] for host in hosts if host in views],
                expected_members(settings),
                election_seconds=settings.cluster.election_ms / 1000,
                within_days=program.own.days,
                backup=told(backups, now),
                about_backups=backup_concerns(backups, settings.backup.max_age, hosts, now),
            )
        )
    return clusters


def backups_of(settings: HostSettings) -> Backups:
    """Return what the notes of a cluster's backups say, as they lie on this machine."""
    folder = Path(settings.backup.folder or SNAPSHOTS)
    try:
        notes = [one.note for one in listed(folder, settings.cluster.name)[0]]
    except VerificationError as error:
        return Backups(unreadable=error.what)
    drills = [parse_time(note.drill.when) for note in notes if note.drill and note.drill.good]
    return Backups(
        next((note.when for note in notes if not note.damaged), None),
        max(drills, default=None),
        sum(bool(note.damaged) for note in notes),
    )


def _with_last_runs(program: Program[StatusOptions], views: Mapping[str, MemberView]) -> Views:
    newest = last_runs(program.options.report_dir, tuple(views), ignoring=ONLY_LOOK)
    updated = dict(views)
    for host, summary in newest.items():
        last = LastRun(summary.id, summary.runbook, summary.started, summary.state, host in summary.failed)
        updated[host] = replace(updated[host], last_run=last)
    return updated


def _warnings(program: Program[StatusOptions], width: int) -> list[Text]:
    return [
        Text.assemble(("warning  ", "yellow"), wrapped(f"{notice.place}: {notice.text}", width, 9))
        for notice in program.record.record.warnings
    ]


def _fitting(page: Sequence[Text], height: int) -> Collection[Text]:
    """Fit the lines into the terminal's height: say what does not fit, instead of cutting it off unseen."""
    lines = [line for text in page for line in text.split("\n", allow_blank=True)]
    if len(lines) < height:
        return lines
    return [*lines[: max(height - 2, 1)], Text(f"{len(lines) - height + 2} more lines: enlarge the window", "dim")]


def _pause(program: Program[StatusOptions], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not program.record.stopping and time.monotonic() < until:
        time.sleep(min(_POLL, seconds))
