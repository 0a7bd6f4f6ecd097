"""What every runbook has in common: ``run_runbook`` turns a body into a command with options, report and exit code."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from etcdfleet.errors import FleetError, UsageError
from etcdfleet.files import write_whole
from etcdfleet.program import collector
from etcdfleet.program.arguments import build_parser, parse_options
from etcdfleet.program.options import Options
from etcdfleet.program.run import Program, Run
from etcdfleet.report.record.secrets import REDACTOR
from etcdfleet.session import session_of

if TYPE_CHECKING:  # imported when needed, so that --help answers at once
    from nornir.core import Nornir

    from etcdfleet.program.terminal import Terminal
    from etcdfleet.report.record.files import ReportFolder
    from etcdfleet.report.record.recorder import RunRecorder
    from etcdfleet.settings.fleet import Fleet

__all__ = ["Options", "Program", "Run", "run_runbook"]


Own = TypeVar("Own")
Body = Callable[[Program[Own]], None]
Rows: TypeAlias = Literal["hosts", "clusters"]
"""What a run's report has a row for."""


def run_runbook(
    name: str,
    body: Body[Own],
    *,
    description: str,
    steps: Sequence[tuple[str, str]],
    own: type[Own],
    examples: str = "",
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    rows: Rows = "hosts",
    only_looks: bool = False,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line, open the inventory, run ``body``, report, and return the exit code.

    ``steps`` are (name of the top-level Nornir task, title for people) in their order. ``own`` is the type of the
    runbook's own options, with a field for each argument of ``add_arguments``. With ``rows="clusters"``, for
    work that touches no host, the run's Nornir has one entry for each chosen cluster instead of its hosts, by the
    cluster's name and with the settings of its first member. With ``only_looks``, for a run that says what it saw in an
    end of its own (`Terminal.ending`), no line per step is printed, and a report is kept only where ``--report-dir``
    says so. ``body`` may raise FleetError
    for what is wrong with the run as a whole; failures of hosts are recorded, not raised. Imports of tasks belong in
    ``body``, so that ``--help`` stays quick.
    """
    collector.leave_out_the_last()
    options = parse_options(build_parser(name, description, examples, add_arguments), argv)
    REDACTOR.add_environment()
    try:
        return _run(name, body, steps, options, own(**options.extra), rows, only_looks)
    except UsageError as error:
        from etcdfleet.program.terminal import refuse

        return _noted(name, refuse(name, error, options, REDACTOR), options)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from etcdfleet.program.terminal import broke

        return _noted(name, broke(name, error, options, REDACTOR), options)


def _noted(name: str, code: int, options: Options) -> int:
    """Write down that a run could not begin, where monitoring looks if that was asked for; return its exit code."""
    from etcdfleet.report.export.metrics import OPTION, write_refusal

    if path := options.extra.get(OPTION):
        try:
            write_refusal(path, name, code)
        except UsageError as error:
            print(f"{name}: {error}", file=sys.stderr)
    return code


def _run(
    name: str,
    body: Body[Own],
    steps: Sequence[tuple[str, str]],
    options: Options,
    own: Own,
    rows: Rows,
    only_looks: bool,
) -> int:
    from etcdfleet.host.lock import started_by
    from etcdfleet.program.terminal import Terminal
    from etcdfleet.report.record.files import ReportFolder, logging_to
    from etcdfleet.report.record.model import Step, utc_now
    from etcdfleet.report.record.recorder import RunRecorder
    from etcdfleet.settings.processors import Guarded

    nornir, fleet = _open_fleet(options)
    everything = nornir.with_processors([])
    chosen = _chosen(nornir, fleet, options)
    if rows == "clusters":
        nornir, chosen = _as_clusters(nornir, fleet, chosen)
    started = utc_now()
    with contextlib.ExitStack() as stack:
        terminal = Terminal(options, REDACTOR, stack, steps=not only_looks)
        kept = not only_looks or options.report_dir != Options.report_dir
        base = options.report_dir if kept else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = ReportFolder(base, name, started)
        stack.enter_context(logging_to(folder.log, REDACTOR, debug=options.debug))
        recorder = RunRecorder(
            name,
            [Step(*step) for step in steps],
            chosen,
            check=options.check,
            options=options.as_json(),
            by=started_by(),
            redactor=REDACTOR,
            views=terminal.views,
            save=folder.write,
        )
        names = frozenset(host.name for host in chosen)
        program = Program(
            name,
            options,
            own,
            nornir.with_processors([recorder, *nornir.processors]).filter(filter_func=lambda host: host.name in names),
            fleet,
            recorder,
            REDACTOR,
            terminal,
            everything,
        )
        for processor in nornir.processors:
            if isinstance(processor, Guarded):
                processor.tell = recorder.warn
        for problem in fleet.warnings:
            recorder.warn(problem.where, f"{problem.what}; {problem.remedy}" if problem.remedy else problem.what)
        with _stop_signals(recorder, terminal):
            at_once = _carry_out(body, program)
            record = recorder.finish(interrupted=at_once or recorder.cut_short)
            _save(folder, recorder, terminal, page=kept)
            _save_junit(options, recorder, terminal)
        terminal.sum_up(record, folder if kept else None)
    if at_once:
        # Workers still wait for hosts, and Python would wait for the workers.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(record.exit_code))
    session_of(nornir.config).finish()
    everything.close_connections(on_good=True, on_failed=True)
    return int(record.exit_code)


def _open_fleet(options: Options) -> tuple[Nornir, Fleet]:
    from etcdfleet.settings.load import open_nornir

    nornir, fleet = open_nornir(options.config, forks=options.forks, dry_run=options.check)
    if options.timeout is not None:
        session_of(nornir.config).timeout = options.timeout
    return nornir, fleet


def _chosen(nornir: Nornir, fleet: Fleet, options: Options) -> list[Any]:
    from etcdfleet.program.selection import HostLabels, select
    from etcdfleet.report.record.model import HostRecord

    labels = {
        name: HostLabels(fleet.hosts[name].cluster.name, frozenset(group.name for group in host.extended_groups()))
        for name, host in nornir.inventory.hosts.items()
        if name in fleet.hosts
    }
    return [
        HostRecord(
            name,
            labels[name].cluster,
            fleet.hosts[name].hostname,
            (fleet.hosts[name].member.fqdn, fleet.hosts[name].member.address),
        )
        for name in select(labels, options.limit, options.clusters)
    ]


def _as_clusters(nornir: Nornir, fleet: Fleet, chosen: Sequence[Any]) -> tuple[Nornir, list[Any]]:
    from nornir.core.inventory import Host, Hosts, Inventory

    from etcdfleet.report.record.model import HostRecord
    from etcdfleet.settings.load import bind

    names = list(dict.fromkeys(host.cluster for host in chosen))
    hosts = Hosts({name: Host(name) for name in names})
    for name, host in hosts.items():
        bind(host, fleet.clusters[name][0])
    entries = type(nornir)(
        inventory=Inventory(hosts=hosts, defaults=nornir.inventory.defaults),
        runner=nornir.runner,
        config=nornir.config,
        data=nornir.data,
        processors=nornir.processors,
    )
    return entries, [HostRecord(name, name, "") for name in names]


def _carry_out(body: Body[Own], program: Program[Own]) -> bool:
    """Run the body; whether to leave at once."""
    from etcdfleet.report.record.model import ExitCode
    from etcdfleet.report.record.recorder import RunInterruptedError

    try:
        body(program)
    except RunInterruptedError:
        pass
    except KeyboardInterrupt:
        return True
    except FleetError as error:
        program.record.fail(error, code=ExitCode.USAGE if isinstance(error, UsageError) else ExitCode.FAILED)
    except (Exception, SystemExit) as error:  # a task's sys.exit comes out here; it may not pass for an ending
        program.record.fail(error)
    return False


@contextlib.contextmanager
def _stop_signals(recorder: RunRecorder, terminal: Terminal) -> Iterator[None]:
    """First Ctrl-C (or TERM, or a lost terminal): begin no further step. Second: leave at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if recorder.stopping or terminal.asking:
            raise KeyboardInterrupt
        recorder.request_stop()
        terminal.stopping()

    # Signals that are ignored stay so: under nohup a run goes on when the terminal is gone.
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save(folder: ReportFolder, recorder: RunRecorder, terminal: Terminal, *, page: bool) -> None:
    document = recorder.as_json()
    try:
        folder.write(document, durable=True)
    except OSError as error:
        terminal.complain(
            f"warning  {folder.report}: cannot be written: {error.strerror}; make room, or choose another folder with "
            "--report-dir"
        )
        return
    try:
        if page:
            from etcdfleet.report.export.page import render

            write_whole(folder.page, render(document), 0o600)
    except Exception as error:  # the page is a picture of the report, and no reason for a run to fail
        logging.getLogger(__name__).exception("report.html could not be made")
        terminal.complain(f"warning  {folder.page}: cannot be written: {getattr(error, 'strerror', None) or error}")


def _save_junit(options: Options, recorder: RunRecorder, terminal: Terminal) -> None:
    if options.junit is None:
        return
    from etcdfleet.report.export.junit import junit

    path = options.junit.expanduser()
    try:
        write_whole(path, junit(recorder.as_json()), 0o644)  # a CI system reads it, as another user maybe
    except OSError as error:
        terminal.complain(f"warning  {path}: cannot be written: {error.strerror or error}; give --junit another path")
