"""What ``runbooks/report.py`` does: lists, shows and compares earlier runs, makes their pages, removes old ones."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcdfleet import __version__
from etcdfleet.errors import UsageError
from etcdfleet.files import write_whole
from etcdfleet.program.arguments import parser_of
from etcdfleet.program.options import Options
from etcdfleet.report.record import history
from etcdfleet.report.record.codec import document
from etcdfleet.report.record.history import RunSummary
from etcdfleet.report.record.model import record_of
from etcdfleet.report.record.prune import old_runs, remove
from etcdfleet.report.record.secrets import REDACTOR
from etcdfleet.report.record.select import Filter, chosen, run_filter

if TYPE_CHECKING:
    from rich.console import Console

# What shows runs is imported when it is needed: it takes as long as all the rest.

_LISTED = 20
_SUMMARY = (
    "id",
    "folder",
    "runbook",
    "started",
    "state",
    "seconds",
    "exit_code",
    "check",
    "hosts",
    "changed",
    "failed",
    "error",
)


class Asked(argparse.Namespace):
    """The command line of report.py."""

    run: str | None
    compare: Sequence[str] | None
    html: str | None
    json: str | None
    junit: Path | None
    runbook: str
    host: str
    failed: bool
    all: bool
    prune: float | None
    keep: int | None
    check: bool
    yes: bool
    diff: bool
    verbose: bool
    debug: bool
    report_dir: Path


def main(description: str, examples: str, argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; the exit code. Nothing here needs an inventory or touches a host."""
    parser = _parser(description, examples)
    if argv is None and "_ARGCOMPLETE" in os.environ:
        from etcdfleet.program.completion import complete

        complete(parser)
    asked = parser.parse_args(argv, Asked())
    asked.report_dir = asked.report_dir.expanduser()
    if asked.html and asked.run is None and asked.html != "-" and not asked.html.endswith((".html", ".htm")):
        # `--html RUN`: what is no page's name is a run's.
        asked.run, asked.html = asked.html, ""
    REDACTOR.add_environment()
    try:
        return _do(asked)
    except UsageError as error:
        from etcdfleet.program.terminal import refuse

        return refuse("report", error, Options(debug=asked.debug), REDACTOR)
    except BrokenPipeError:  # a pager that was left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser(description: str, examples: str) -> argparse.ArgumentParser:
    codes = (
        "exit codes:\n  0    done, however the runs ended that are shown\n  1    some old runs could not be removed\n"
    )
    parser = parser_of("report", description, examples, f"{codes}  2    wrong use, or there is no such run\n")
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="its name or how that begins, latest, latest~1 (the one before), or a path",
    )
    parser.add_argument("--compare", nargs=2, metavar="RUN", help="what differs between two")
    parser.add_argument(
        "--html",
        nargs="?",
        const="",
        metavar="FILE",
        help="make the page of RUN (FILE.html, or - ; default: beside it)",
    )
    which = parser.add_argument_group("which runs")
    which.add_argument("--runbook", default="", metavar="NAME", help="only those of this runbook")
    which.add_argument(
        "--host", default="", metavar="NAME", help="only those with this host, and of a run only this host"
    )
    which.add_argument("--failed", action="store_true", help="only those that did not go well")
    which.add_argument("--all", action="store_true", help=f"list all of them, not the newest {_LISTED}")
    old = parser.add_argument_group("old runs")
    old.add_argument("--prune", type=_days, metavar="DAYS", help="remove those that began more than DAYS days ago")
    old.add_argument(
        "--keep", type=_number, metavar="N", help="remove all but the newest N; with --prune, keep N anyway"
    )
    old.add_argument("--check", action="store_true", help="remove nothing, say what would be")
    old.add_argument("--yes", action="store_true", help="answer yes to every question")
    output = parser.add_argument_group("output")
    output.add_argument("--diff", action="store_true", help="show the changes of files that a run made")
    output.add_argument("--verbose", action="store_true", help="each change, too")
    output.add_argument("--json", metavar="FILE", help="the same as JSON; - for standard output")
    output.add_argument("--junit", type=Path, metavar="FILE", help="write RUN (default: latest) as JUnit XML")
    output.add_argument(
        "--report-dir", type=Path, default=Options.report_dir, metavar="DIR", help="default: %(default)s"
    )
    output.add_argument("--debug", action="store_true", help="tracebacks of refusals")
    parser.add_argument("--version", action="version", version=f"etcdfleet {__version__}")
    return parser


def _do(asked: Asked) -> int:
    if asked.prune is not None or asked.keep is not None:
        return _prune(asked)
    if asked.compare:
        return _compare(asked, *asked.compare)
    if asked.run is None and asked.html is None and asked.junit is None:
        return _list(asked)
    run = _chosen(asked, asked.run or "latest")
    if asked.junit:
        from etcdfleet.report.export.junit import junit

        _write(asked.junit, junit(_document(run)), "--junit")
        return 0
    return _page(asked, run) if asked.html is not None else _show(asked, run)


def _list(asked: Asked) -> int:
    from etcdfleet.report.show.runs import print_list

    wanted = filter(_filter(asked), history.runs(asked.report_dir))
    runs = list(wanted if asked.all else islice(wanted, _LISTED))
    if asked.json:
        _write_json(asked.json, [_summary(run) for run in runs])
        return 0
    if not runs:
        filtered = asked.runbook or asked.host or asked.failed
        sys.stdout.write(f"no {'such ' if filtered else ''}runs are kept in {asked.report_dir}\n")
        return 0
    console = _console()
    print_list(console, runs, datetime.now(UTC))
    kept = len(history.folders(asked.report_dir))
    if not asked.all and len(runs) == _LISTED and kept > _LISTED:
        console.print(f"\nthe newest {_LISTED}; {kept} are kept (--all lists them)", soft_wrap=True)
    return 0


def _show(asked: Asked, run: RunSummary) -> int:
    from etcdfleet.report.show.format import marks_for
    from etcdfleet.report.show.runs import print_run

    content = _document(run)
    if asked.json:
        _write_json(asked.json, content)
        return 0
    record = record_of(content)
    if asked.host and asked.host not in record.hosts:
        hosts = ", ".join(record.hosts)
        raise UsageError(f"host {asked.host} took no part", where=run.id, remedy=f"its hosts: {hosts}")
    marks = marks_for(sys.stdout.encoding or "ascii")
    print_run(_console(), run, record, marks, host=asked.host, changes=asked.verbose, diffs=asked.diff)
    return 0


def _compare(asked: Asked, first: str, second: str) -> int:
    from etcdfleet.report.show.compare import differences
    from etcdfleet.report.show.runs import print_differences

    if asked.run is not None:
        raise UsageError("--compare takes exactly two runs", remedy="leave out the third")
    before, after = _chosen(asked, first), _chosen(asked, second)
    different = differences(record_of(_document(before)), record_of(_document(after)))
    different = tuple(one for one in different if not asked.host or one.place == asked.host)
    if asked.json:
        documents = [document(one) for one in different]
        _write_json(asked.json, {"before": before.id, "after": after.id, "differences": documents})
        return 0
    print_differences(_console(), (before, after), different)
    return 0


def _page(asked: Asked, run: RunSummary) -> int:
    from etcdfleet.report.export.page import render

    text = render(_document(run), run.state)
    if asked.html == "-":
        sys.stdout.write(text)
        return 0
    path = Path(asked.html).expanduser() if asked.html else run.folder / "report.html"
    _write(path, text, "--html")
    sys.stdout.write(f"{path}\n")
    return 0


def _prune(asked: Asked) -> int:
    from etcdfleet.program.terminal import ask_yes

    runs = [*filter(_filter(asked), history.runs(asked.report_dir))]
    old = old_runs(runs, datetime.now(UTC), days=asked.prune, keep=asked.keep)
    if not old:
        sys.stdout.write(f"none of {len(runs)} runs in {asked.report_dir} is to be removed\n")
        return 0
    what = f"{len(old)} of {len(runs)} runs in {asked.report_dir}, from {old[-1].id} to {old[0].id}"
    if asked.check:
        sys.stdout.write(f"would remove {what}\n")
        return 0
    if not asked.yes and not ask_yes(f"Remove {what}?"):
        sys.stdout.write("nothing was removed\n")
        return 0
    kept = remove(run.folder for run in old)
    gone = len(old) - len(kept)
    sys.stdout.write(f"removed {gone}, kept {len(runs) - gone}\n")
    for folder, why in kept.items():
        sys.stderr.write(f"{folder}: not removed: {why}\n")
    return 1 if kept else 0


def _filter(asked: Asked) -> Filter:
    return run_filter(runbook=asked.runbook, host=asked.host, failed=asked.failed)


def _chosen(asked: Asked, word: str) -> RunSummary:
    return chosen(asked.report_dir, word, _filter(asked))


def _document(run: RunSummary) -> dict[str, Any]:
    try:
        return history.load(run.folder)
    except history.UnreadableError as error:
        remedy = f"look at what else is there: ls {run.folder}"
        raise UsageError(f"it cannot be shown: {error}", where=run.id, remedy=remedy) from None


def _summary(run: RunSummary) -> dict[str, Any]:
    return document(run, _SUMMARY, folder=str(run.folder), error=run.error or run.problem)


def _write_json(target: str, value: object) -> None:
    text = json.dumps(value, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        _write(Path(target), text, "--json")


def _write(path: Path, text: str, option: str) -> None:
    try:
        write_whole(path.expanduser(), text, 0o600)
    except OSError as error:
        what, remedy = f"it cannot be written: {error.strerror or error}", f"give {option} another path"
        raise UsageError(what, where=str(path), remedy=remedy) from None


def _console() -> Console:
    from etcdfleet.program.terminal import console_on

    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    return console_on(sys.stdout, REDACTOR, width=None if sys.stdout.isatty() else 140)


def _days(text: str) -> float:
    with contextlib.suppress(ValueError):
        days = float(text)
        if 0 <= days < 100_000:
            return days
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of days")


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
