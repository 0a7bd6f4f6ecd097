"""Where a run meets people and programs: which views there are, and what is printed before and after them."""

from __future__ import annotations

import contextlib
import getpass
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TextIO, cast

from rich.console import Console
from rich.text import Text

from etcdfleet.errors import FleetError, UsageError
from etcdfleet.program.options import Options
from etcdfleet.report.export.events import EventView
from etcdfleet.report.record.files import ReportFolder
from etcdfleet.report.record.model import ExitCode, RunRecord, failure_of
from etcdfleet.report.record.secrets import RedactingStream, Redactor, plain
from etcdfleet.report.record.view import View
from etcdfleet.report.show import table
from etcdfleet.report.show.format import Explained, Marks, marks_for, told, wrapped
from etcdfleet.report.show.progress import LiveView, PlainView
from etcdfleet.settings.problems import SettingsError

_WIDEST_TEXT = 100
_WIDEST_TABLE = 160
_TURN_SECONDS = 0.2
STOPPING = "stopping after the running steps; Ctrl-C again leaves at once"


class Terminal:
    """Standard output (with ``--json -`` standard error, and only the end) and the events, as the options say.

    Files that are opened are closed with ``stack``. Without ``steps`` no line is printed for each step. Raises
    UsageError when the events cannot be written.
    """

    def __init__(
        self, options: Options, redactor: Redactor, stack: contextlib.ExitStack, *, steps: bool = True
    ) -> None:
        self._silent = options.quiet or options.json == "-"
        stream = sys.stderr if options.json == "-" else sys.stdout
        self.console = console_on(stream, redactor)
        self._marks = marks_for(stream.encoding or "ascii")
        self._live: LiveView | None = None
        self.asking = False
        self.ending: Callable[[Console, Marks, bool], None] | None = None
        """Prints what was seen, in place of the table of steps; told whether only warnings and failures are wanted."""
        views: list[View] = []
        if options.json:
            views.append(EventView(_event_stream(options.json, stack), redactor))
        live = self.console.is_terminal and not self.console.is_dumb_terminal and not self._silent
        diffs = options.diff and options.json != "-"
        if live:
            self._live = LiveView(self.console, self._marks)
            stack.callback(self._live.close)
            views.append(self._live)
        if not self._silent or diffs:
            views.append(
                PlainView(
                    self.console,
                    lines=not self._silent and (not live or options.verbose) and (steps or options.verbose),
                    changes=options.verbose and not self._silent,
                    diffs=diffs,
                )
            )
        self.views: Sequence[View] = tuple(views)

    @property
    def width(self) -> int:
        """Columns that tables of text may take: the terminal's, elsewhere as many as people's screens have."""
        return self.console.width if self.console.is_terminal else _WIDEST_TABLE

    def say(self, text: str) -> None:
        """Print a text above the progress, unless only the end was asked for."""
        if not self._silent:
            self.console.print(Text(plain(text)), soft_wrap=True)

    def complain(self, text: str) -> None:
        """Print a text to standard error, whatever was asked for."""
        with contextlib.suppress(OSError):
            print(plain(text), file=sys.stderr)

    def ask(self, question: str) -> bool:
        """Ask yes or no. Raises UsageError without a terminal."""
        with self._asking():
            return ask_yes(wrapped(plain(question), reading_width(self.console), 0))

    def ask_name(self, question: str) -> str:
        """Ask for a name, to be typed in full. Raises UsageError without a terminal."""
        with self._asking():
            return ask_line(f"{wrapped(plain(question), reading_width(self.console), 0)}: ")

    def ask_secret(self, question: str) -> str:
        """Ask for something that is not shown. Empty without a terminal."""
        with self._asking():
            try:
                return getpass.getpass(plain(question))
            except EOFError:
                return ""

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        with self._live.suspended() if self._live else contextlib.nullcontext():
            self.asking = True
            try:
                yield
            finally:
                self.asking = False

    def show_no_progress(self) -> None:
        """Leave the terminal to the runbook, which draws itself."""
        if self._live:
            self._live.wanted = False

    def stopping(self) -> None:
        """Say that a stop was understood. Called in a signal handler: only an assignment or one system call."""
        if self._live:
            self._live.notice = STOPPING
        else:
            with contextlib.suppress(OSError):
                os.write(2, f"{STOPPING}\n".encode())

    def sum_up(self, record: RunRecord, folder: ReportFolder | None) -> None:
        """Print the end of the run, and where its report is, if it is kept; a closed pipe is no reason to fail."""
        if self._live:
            self._live.close()
        with contextlib.suppress(OSError):
            if self.ending and not record.interrupted and not record.error:
                self.ending(self.console, self._marks, self._silent)
                self.console.file.flush()
                return
            width = reading_width(self.console)
            if not self._silent:
                self.console.print()
                table.print_table(self.console, record, self._marks)
                table.print_totals(self.console, record)
            if record.warnings or record.exit_code:
                if not self._silent:
                    self.console.print()
                table.print_findings(self.console, record, width=width)
            if not self._silent or record.exit_code:
                self.console.print()
                self.console.print(table.closing_line(record), soft_wrap=True)
                if folder and not folder.lost:
                    shown = folder.page if folder.page.exists() else folder.report
                    self.console.print(Text(f"report: {_short(shown)}"), soft_wrap=True)
                if folder:
                    self.console.print(Text(f"log:    {_short(folder.log)}"), soft_wrap=True)
            self.console.file.flush()


def ask_yes(question: str) -> bool:
    """Ask on standard error for a yes at the terminal; anything else is a no. Raises UsageError without a terminal."""
    return ask_line(f"{question} [y/N] ").lower() in ("y", "yes")


def ask_line(question: str) -> str:
    """Ask on standard error, and return the line that is typed at the terminal. Raises UsageError without a terminal.

    It is waited for in short turns: a Ctrl-C that comes right before a blocking read is seen only after that read.
    """
    if not sys.stdin.isatty():
        raise UsageError("this needs a yes, and there is no terminal to ask on", remedy="add --yes if you mean it")
    sys.stderr.write(question)
    sys.stderr.flush()
    while not select.select([sys.stdin], [], [], _TURN_SECONDS)[0]:
        pass
    return sys.stdin.readline().strip()


def console_on(stream: TextIO, redactor: Redactor, *, width: int | None = None) -> Console:
    """Return a console that hides secrets; colours only on a terminal, and not when NO_COLOR is set."""
    return Console(
        file=cast(IO[str], RedactingStream(stream, redactor)),
        # Rich would take FORCE_COLOR for a terminal, and draw over lines in a file.
        force_terminal=stream.isatty(),
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
    )


def reading_width(console: Console) -> int:
    """Return the column at which running text is wrapped: the terminal's, but no line so long that the eye loses it."""
    return min(console.width, _WIDEST_TEXT) if console.is_terminal else _WIDEST_TEXT


def refuse(runbook: str, error: FleetError, options: Options, redactor: Redactor) -> int:
    """Print why nothing was run, every mistake of the settings in one go; the exit code."""
    mistakes = error.problems if isinstance(error, SettingsError) else ()
    problems = mistakes or (error,)
    console = console_on(sys.stderr, redactor)
    with contextlib.suppress(OSError, UsageError):
        title = f"{runbook}: {plain(error.what)}; no host was touched" if mistakes else f"{runbook}: nothing was run"
        _print_blocks(console, title, problems)
        if options.json:
            with contextlib.ExitStack() as stack:
                EventView(_event_stream(options.json, stack), redactor).refused(runbook, problems)
    if options.debug:
        console.print_exception()
    return int(ExitCode.USAGE)


def broke(runbook: str, error: Exception, options: Options, redactor: Redactor) -> int:
    """Print what ended the program outside of any step, a fault of its own most likely; the exit code."""
    failure = failure_of(error)
    if not failure.expected:
        failure = replace(
            failure, remedy="a fault of this program: run the same with --debug, and report the traceback"
        )
    console = console_on(sys.stderr, redactor)
    with contextlib.suppress(OSError):
        _print_blocks(console, f"{runbook}: failed", [failure])
    if options.debug:
        console.print_exception()
    return int(ExitCode.FAILED)


def _print_blocks(console: Console, title: str, problems: Sequence[Explained]) -> None:
    console.print(Text(title, "bold red"), soft_wrap=True)
    for problem in problems:
        console.print()
        for line in told(problem, reading_width(console), ("where", "what", "remedy")):
            console.print(line, soft_wrap=True)


def _event_stream(target: str, stack: contextlib.ExitStack) -> TextIO:
    if target == "-":
        return sys.stdout
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write events: {error.strerror}", where=target, remedy="give --json a path") from error
    return stack.enter_context(os.fdopen(descriptor, "w", encoding="utf-8"))


def _short(path: Path) -> str:
    """Return the path as a person here would type it."""
    path = path.resolve()
    here = Path.cwd().resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
