"""The run while it happens: a line per host on a terminal, a line per finished step elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from etcdfleet.report.record.model import HostRecord, RunRecord, Status, StepRecord
from etcdfleet.report.record.view import View
from etcdfleet.report.show.format import STYLES, Marks, status_word
from etcdfleet.text import clock_text, seconds_text

_ACTIVITY_FROM = 60  # columns; narrower terminals show the step only
_WIDEST = 120  # columns; in wider terminals the end of a line would be far from its beginning
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True)
class Line:
    """One host in the live display; replaced as a whole, so that it can be drawn from another thread."""

    cluster: str
    host: str
    status: Status | None = None
    running: bool = False
    text: str = "waiting"
    done: int = 0
    activity: str = ""
    since: float = 0.0

    @property
    def urgent(self) -> bool:
        """Shown even when there is not room for every host."""
        return self.running or self.status is Status.FAILED


class PlainView(View):
    """One line per finished step, for logs and pipes; also prints changes and diffs where they were asked for."""

    def __init__(self, console: Console, *, lines: bool = True, changes: bool = False, diffs: bool = False) -> None:
        self._console = console
        self._lines = lines
        self._changes = changes
        self._diffs = diffs
        self._check = False
        self._widths = (0, 0)
        self._hosts = 0
        self._skipped: dict[tuple[str, str], list[str]] = {}

    def run_started(self, record: RunRecord) -> None:
        """Learn the widths of names, so that the columns line up."""
        self._check = record.check
        self._hosts = len(record.hosts)
        self._widths = (
            max((len(name) for name in record.hosts), default=0),
            max((len(step.name) for step in record.steps), default=0),
        )

    def step_finished(self, host: HostRecord, step: StepRecord) -> None:
        """Print the step's line, then what was asked for in detail.

        Steps that are skipped come in crowds, each of a host: those for the same reason are one line, and so are steps
        that follow each other.
        """
        if self._lines and step.status is Status.SKIPPED:
            if host.failed_step is None:  # else that step's line has been printed, and says it all
                self._skipped.setdefault((step.name, step.summary), []).append(host.name)
            return
        if self._lines:
            self._print_skipped()
            self._print(host.name, step.name, step.status, seconds_text(step.seconds), step.summary)
        if self._changes:
            for change in step.changes:
                self._console.print(Text(f"    {host.name}: {change}"), soft_wrap=True)
        if self._diffs and step.diff:
            self._console.print(Text(f"{host.name}: {step.name}:", "bold"), soft_wrap=True)
            for line in step.diff.splitlines():
                self._console.print(Text(line, _DIFF_STYLES.get(line[:1], "")), soft_wrap=True)

    def run_finished(self, record: RunRecord) -> None:  # noqa: ARG002
        """Print what was skipped last."""
        self._print_skipped()

    def _print_skipped(self) -> None:
        waiting, self._skipped = self._skipped, {}
        lines: list[tuple[list[str], str, list[str]]] = []  # hosts, why, steps
        for (step, why), hosts in waiting.items():
            if lines and lines[-1][:2] == (hosts, why):
                lines[-1][2].append(step)
            else:
                lines.append((hosts, why, [step]))
        for hosts, why, steps in lines:
            everywhere = len(hosts) == self._hosts > 1
            names = " to ".join((steps[0], steps[-1])) if len(steps) > 2 else ", ".join(steps)
            self._print("all hosts" if everywhere else ", ".join(hosts), names, Status.SKIPPED, "", why)

    def _print(self, hosts: str, step: str, status: Status | None, took: str, summary: str) -> None:
        text = Text(f"{hosts:<{self._widths[0]}}  {step:<{self._widths[1]}}  ")
        word = status_word(status, check=self._check)
        text.append(f"{word:<{12 if self._check else 7}}", STYLES.get(status) if status else None)
        text.append(f"  {took:>6}  {' '.join(summary.split())}")
        text.rstrip()
        self._console.print(text, soft_wrap=True)


class LiveView(View):
    """A line per host, grouped by cluster, redrawn a few times a second."""

    def __init__(self, console: Console, marks: Marks, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._marks = marks
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._titles: dict[str, str] = {}
        self._noun = "host"
        self._check = False
        self._began = clock()
        self._live: Live | None = None
        self.notice = ""
        self.wanted = True
        """Whether there is anything to draw; set to false before the run starts, by a runbook that draws itself."""

    def run_started(self, record: RunRecord) -> None:
        """Take over the lower part of the terminal."""
        self._check = record.check
        self._began = self._clock()
        self._noun = record.noun
        self._titles = {step.name: step.title for step in record.steps}
        for cluster, hosts in record.clusters.items():
            for host in hosts:
                self._lines.setdefault(host.name, Line(cluster, host.name))
        self._draw()

    def step_started(self, host: HostRecord, step: StepRecord) -> None:
        """Show the step as running."""
        title = self._titles.get(step.name, step.name)
        self._change(host, running=True, text=title, activity="", since=self._clock())

    def activity(self, host: str, text: str) -> None:
        """Show what the step is at."""
        if host in self._lines:
            self._lines[host] = replace(self._lines[host], activity=text)

    def step_finished(self, host: HostRecord, step: StepRecord) -> None:
        """Show how the step ended; a failure stays."""
        line = self._lines.get(host.name)
        failed = host.failed_step
        if line and line.status is Status.FAILED and failed is not step:
            return
        title = self._titles.get(step.name, step.name)
        self._change(
            host,
            status=step.status,
            running=False,
            text=f"{title} {status_word(step.status, check=self._check)}",
            activity=" ".join(step.summary.split()),
            since=0.0,
            done=sum(one.status is not None for one in host.steps.values()),
        )

    def run_finished(self, record: RunRecord) -> None:  # noqa: ARG002
        """Give the terminal back; the table follows."""
        self.close()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Give the terminal back for a while, to ask something."""
        drawn = self._live is not None
        self.close()
        try:
            yield
        finally:
            if drawn:
                self._draw()

    def _draw(self) -> None:
        if not self.wanted:
            return
        self._live = Live(self, console=self._console, refresh_per_second=5, transient=True, vertical_overflow="crop")
        self._live.start()

    def close(self) -> None:
        """Stop drawing. May be called at any time, and twice."""
        if self._live:
            self._live.stop()
            self._live = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.draw(options.max_width, max(console.size.height, 4))

    def draw(self, width: int, height: int) -> list[Text]:
        """Return the lines of the display, no longer than ``width`` columns and no more than ``height``."""
        now, width = self._clock(), min(width, _WIDEST)
        every = tuple(self._lines.values())
        shown = every
        clusters = len({line.cluster for line in every})
        if len(every) + clusters + 2 > height:
            urgent = tuple(line for line in every if line.urgent)
            shown = urgent[: max(height - 2 - len({line.cluster for line in urgent}), 1)]
        names = min(max((cell_len(line.host) for line in shown), default=0), max(width // 2 - 4, 8))
        texts = min(
            max([cell_len(line.text) for line in shown] + [cell_len(title) + 8 for title in self._titles.values()]),
            max(width - names - 14, 8),
        )
        display: list[Text] = []
        cluster = None
        for line in shown:
            if line.cluster != cluster:
                cluster = line.cluster
                display.append(Text(self._cut(cluster, width), "bold"))
            display.append(self._drawn(line, now, width, names, texts))
        display.append(self._foot(every, len(shown), now, width))
        return display

    def _drawn(self, line: Line, now: float, width: int, names: int, texts: int) -> Text:
        if line.running:
            mark, style = self._marks.spinner[int(now * 5) % len(self._marks.spinner)], "bold"
        elif line.status:
            mark, style = self._marks.by_status[line.status], STYLES[line.status]
        else:
            mark, style = self._marks.waiting, "dim"
        text = Text("  ")
        text.append(mark, style)
        text.append(f" {self._fit(line.host, names)} ")
        text.append(f"{line.done}/{len(self._titles)} " if width >= _ACTIVITY_FROM else "", "dim")
        text.append(self._fit(line.text, texts), "" if line.running else style)
        elapsed = clock_text(now - line.since) if line.running else ""
        room = width - text.cell_len - 1
        if room < 7:
            return text
        activity = room - 7 if width >= _ACTIVITY_FROM else 0
        text.append(" " + self._fit(line.activity, activity), "dim")
        text.append(f"{elapsed:>6}", "bold")
        return text

    def _foot(self, every: tuple[Line, ...], shown: int, now: float, width: int) -> Text:
        if self.notice:
            return Text(self._cut(self.notice, width), "bold yellow")
        done = sum(line.done >= len(self._titles) and not line.running for line in every)
        hidden = f", {len(every) - shown} not shown" if shown < len(every) else ""
        text = f"{done} of {len(every)} {self._noun}s done{hidden}, {clock_text(now - self._began)}"
        return Text(self._cut(text, width), "dim")

    def _change(self, host: HostRecord, **values: object) -> None:
        line = self._lines.get(host.name, Line(host.cluster, host.name))
        self._lines[host.name] = replace(line, **values)  # type: ignore[arg-type]

    def _fit(self, text: str, width: int) -> str:
        return set_cell_size(self._cut(text, width), width) if width > 0 else ""

    def _cut(self, text: str, width: int) -> str:
        return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)) + self._marks.cut
