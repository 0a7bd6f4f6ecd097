"""Earlier runs on a terminal: the list, one run, and what differs between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from etcdfleet.report.record.history import KILLED, UNREADABLE, RunSummary
from etcdfleet.report.record.model import RunRecord
from etcdfleet.report.show import table
from etcdfleet.report.show.compare import Difference
from etcdfleet.report.show.format import Marks, status_word
from etcdfleet.text import age_text, seconds_text, some

_STYLES = {"ok": "green", "running": "cyan"}
_BAD = "bold red"
_NAMES = 3  # hosts named in a cell


def print_list(console: Console, runs: Sequence[RunSummary], now: datetime) -> None:
    """Print a row for each run; where they do not fit, two lines for each."""
    listed = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("run", "began", "took", "result", "hosts", "changed", "failed"):
        listed.add_column(
            title, no_wrap=title != "failed", overflow="fold", justify="right" if title == "took" else "left"
        )
    rows = [_row(run, now) for run in runs]
    for row in rows:
        listed.add_row(*row)
    wide = max((sum(cell.cell_len + 2 for cell in row[:-1]) + min(row[-1].cell_len, 24) for row in rows), default=0)
    if wide <= console.width:
        console.print(listed)
        return
    for row in rows:
        console.print(row[0], soft_wrap=True)
        line = Text("  ")
        for title, cell in zip(("", "", "", "of", "changed", "failed"), row[1:], strict=True):
            if cell.plain:
                line.append_text(Text(f"{title} " if title else "", "dim")).append_text(cell).append("  ")
        console.print(line, soft_wrap=True)


def print_run(
    console: Console,
    run: RunSummary,
    record: RunRecord,
    marks: Marks,
    *,
    host: str = "",
    changes: bool = False,
    diffs: bool = False,
) -> None:
    """Print a run, as at its end, or only what is about ``host``; ``changes`` and ``diffs`` of its steps too."""
    whole = record
    if host:
        record = replace(whole, hosts={host: whole.hosts[host]})
    about = f"{run.id}: {run.started:%Y-%m-%d %H:%M:%S} UTC" + (f", by {record.by}" if record.by else "")
    console.print(Text(about, "dim"), soft_wrap=True)
    console.print()
    table.print_table(console, record, marks)
    for shown in record.hosts.values():
        for step in shown.steps.values():
            if changes and step.changes:
                word = status_word(step.status, check=record.check)
                console.print(Text(f"{shown.name}: {step.name}: {word}", "bold"), soft_wrap=True)
                for change in step.changes:
                    console.print(Text(f"  {change}"), soft_wrap=True)
            if diffs and step.diff:
                console.print(Text(f"{shown.name}: {step.name}: diff", "bold"), soft_wrap=True)
                for line in step.diff.splitlines():
                    console.print(Text(line, _diff_style(line)), soft_wrap=True)
    table.print_totals(console, record)
    if record.warnings or record.protections or record.error or record.failed_hosts:
        console.print()
        table.print_findings(console, record, width=console.width if console.is_terminal else 100)
    console.print()
    console.print(table.closing_line(whole, run.state), soft_wrap=True)
    for name in ("report.html", "report.json", f"{record.runbook}.log"):
        if (run.folder / name).is_file():
            console.print(Text(f"{name}: {run.folder / name}", "dim"), soft_wrap=True)


def print_differences(console: Console, runs: tuple[RunSummary, RunSummary], differences: Sequence[Difference]) -> None:
    """Print what differs, host by host."""
    for sign, run in zip("-+", runs, strict=True):
        console.print(Text(f"{sign} {run.id}  {run.state}, {seconds_text(run.seconds)}", "bold"), soft_wrap=True)
    if not differences:
        console.print(Text("\nno differences that matter", "green"))
    place = None
    for one in differences:
        if one.place != place:
            place = one.place
            console.print(Text(f"\n{place or 'the runs'}", "bold"), soft_wrap=True)
        values = [one.before or "none", one.after or "none"]
        if sum(map(len, values)) + len(one.what) < 70:
            text = Text.assemble(f"  {one.what}: ", (values[0], "red"), " → ", (values[1], "green"))
        else:
            text = Text.assemble(f"  {one.what}:\n", (f"    - {values[0]}\n", "red"), (f"    + {values[1]}", "green"))
        console.print(text, soft_wrap=True)


def _row(run: RunSummary, now: datetime) -> tuple[Text, ...]:
    state = f"{run.state} {run.exit_code}" if run.exit_code else run.state
    result = Text(f"{state} (check)" if run.check else state, _STYLES.get(run.state, _BAD))
    took = "" if run.state in (KILLED, UNREADABLE, "running") else seconds_text(run.seconds)
    wrong = some(run.failed, _NAMES) or run.error.partition("\n")[0] or run.problem
    return (
        Text(run.id),
        Text(age_text(now - run.started)),
        Text(took),
        result,
        Text(str(len(run.hosts)) if run.hosts else ""),
        Text(str(len(run.changed)) if run.changed else "", "yellow"),
        Text(wrong, "red"),
    )


def _diff_style(line: str) -> str:
    if line.startswith(("--- ", "+++ ")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
