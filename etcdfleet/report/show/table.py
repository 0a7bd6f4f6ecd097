"""The end of a run for a reader: the table, the totals, the warnings, and each failure with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from etcdfleet.alike import natural, together
from etcdfleet.report.record.model import ExitCode, Failure, HostRecord, Protection, RunRecord, Status, StepRecord
from etcdfleet.report.show.format import STYLES, Marks, expiry_text, member_text, status_word, told, wrapped
from etcdfleet.text import counted, seconds_text, size_text

_ENDLESS = 10_000  # columns, when asking how wide a table would like to be


Rows = Mapping[str, Mapping[str, Text]]
"""Cells by host, and by the titles of their columns."""


def print_table(console: Console, record: RunRecord, marks: Marks) -> None:
    """Print steps and facts per host, in the widest layout that fits: a table, two, two with tall cells, or a list."""
    skipped = skipped_everywhere(record)
    if record.exit_code is not ExitCode.OK and skipped:  # where all went well, they say nothing
        console.print(Text(f"not done on any host: {', '.join(skipped)}", "dim"), soft_wrap=True)
        console.print()
    names = dict.fromkeys([step.name for step in record.steps])
    names.update(dict.fromkeys(name for host in record.hosts.values() for name in host.steps))
    shown = [name for name in names if name not in skipped]

    def steps(between: str) -> Rows:
        return {
            name: {step: _step_cell(host.steps.get(step), record.check, between) for step in shown}
            for name, host in record.hosts.items()
        }

    facts = _facts(record, marks)
    flat, tall = steps("  "), steps("\n")
    for layout in ([{name: {**flat[name], **facts[name]} for name in facts}], [flat, facts], [tall, facts]):
        tables = [_table(record, rows) for rows in layout if any(rows.values())]
        if all(_width(console, table) <= console.width for table in tables):
            for table in tables:
                console.print(table)
                console.print()
            return
    listed = steps(" ")
    for cluster, hosts in record.clusters.items():
        console.print(Text(cluster, "bold"), soft_wrap=True)
        for host in hosts:
            _print_list(console, host, listed[host.name], facts[host.name])
        console.print()


def print_totals(console: Console, record: RunRecord) -> None:
    """Print one line per host that a program can search: ``etcd-az-1 ok=6 changed=0 failed=0 skipped=0``."""
    for host in record.hosts.values():
        text = Text(host.name)
        for status, count in host.totals().items():
            text.append(f" {status}={count}", STYLES[Status(status)] if count else "dim")
        console.print(text, soft_wrap=True)


def print_findings(console: Console, record: RunRecord, *, width: int) -> None:
    """Print warnings, then every failure as a block, then what the run stopped for."""
    for place, text in warnings_of(record):
        console.print(Text.assemble(("warning  ", "yellow"), wrapped(f"{place}: {text}", width, 9)), soft_wrap=True)
    for hosts, step, failure in alike_failures(record):
        _print_failure(console, ("FAILED", ", ".join(hosts), step), failure, width)
    if record.error:
        _print_failure(console, ("FAILED", record.runbook), record.error, width)
    for protection in record.protections:
        _print_failure(console, ("STOPPED to protect", protection.cluster), protection, width)


def alike_failures(record: RunRecord) -> list[tuple[tuple[str, ...], str, Failure]]:
    """Return the failures with their hosts and step. What several hosts say in the same words is one of them."""
    errors = {
        (host.name, step.name): step.error
        for host in record.hosts.values()
        for step in host.steps.values()
        if step.error
    }
    groups = together(
        (host, record.hosts[host].names, step, (error.what, error.remedy)) for (host, step), error in errors.items()
    )
    failures = []
    for one in groups:
        same = [errors[host, one.kind] for host in one.places]
        places = [error.where for host, error in zip(one.places, same, strict=True) if error.where not in ("", host)]
        where = ", ".join(natural(dict.fromkeys(places))) if len(same) > 1 else same[0].where
        failures.append((one.places, one.kind, replace(same[0], what=one.texts[0], remedy=one.texts[1], where=where)))
    return failures


def warnings_of(record: RunRecord) -> list[tuple[str, str]]:
    """Return the warnings as (places, text), those that are alike joined."""
    groups = together(
        (notice.place, host.names if (host := record.hosts.get(notice.place)) else (), "", (notice.text,))
        for notice in record.warnings
    )
    return [(", ".join(one.places), one.texts[0]) for one in groups]


def closing_line(record: RunRecord, state: str = "") -> Text:
    """Return the run in one line. ``state`` says of a run without an end whether it was ``killed``."""
    count, took, code = counted(len(record.hosts), record.noun), seconds_text(record.seconds), record.exit_code
    if record.finished is None:
        if state == "killed":
            return Text(f"{record.title}: killed after {took} or later; run it again to finish", "bold red")
        return Text(f"{record.title}: at work on {count} for {took} or longer", "bold yellow")
    if code is ExitCode.OK:
        verb = "would change" if record.check else "changed"
        what = f"{record.changed} of them {verb}" if record.changed else f"nothing {verb}"
        return Text(f"{record.title}: all well on {count} in {took}, {what}", "bold green")
    how, then = "failed", ""
    if code is ExitCode.INTERRUPTED:
        how, then = "interrupted", "; run it again to finish"
    elif code is ExitCode.PROTECTED:
        how = f"stopped to protect {', '.join(dict.fromkeys(protection.cluster for protection in record.protections))}"
    elif record.failed_hosts:
        how = f"failed on {len(record.failed_hosts)} of {count}"
    return Text(f"{record.title}: {how} after {took}, exit code {int(code)}{then}", "bold red")


def _print_failure(console: Console, title: Sequence[str], failure: Failure | Protection, width: int) -> None:
    console.print()
    console.print(Text("  ".join(title), "bold red"), soft_wrap=True)
    for line in told(failure, width):
        console.print(line, soft_wrap=True)


def skipped_everywhere(record: RunRecord) -> dict[str, str]:
    """Return the steps that were done on no host, whose column would say nothing, with why; the first host's reason."""
    reasons = {}
    for name in dict.fromkeys(step.name for step in record.steps):
        steps = [step for host in record.hosts.values() if (step := host.steps.get(name))]
        if steps and all(step.status is Status.SKIPPED for step in steps):
            reasons[name] = steps[0].summary
    return reasons


def _step_cell(step: StepRecord | None, check: bool, between: str) -> Text:
    if step is None or step.status is None:
        return Text()
    words = status_word(step.status, check=check)
    if between == "\n":
        words = words.replace(" ", "\n")
    text = Text(words, STYLES[step.status])
    if step.status is not Status.SKIPPED:
        text.append(between + seconds_text(step.seconds), "dim")
    return text


def _facts(record: RunRecord, marks: Marks) -> Rows:
    """Return what was read on the hosts, as far as it was read on any."""

    def cells(facts: Mapping[str, Any]) -> dict[str, Text]:
        size = facts.get("db_size_bytes")
        return {
            "version": Text(str(facts.get("version") or "")),
            "member id": Text(member_text(facts)),
            "leader": Text(marks.leader if facts.get("leader") else "", "bold"),
            "db size": Text(size_text(size) if isinstance(size, int) else ""),
            "certs": Text(*expiry_text(facts)),
        }

    rows = {name: cells(host.facts) for name, host in record.hosts.items()}
    titles = {title for row in rows.values() for title, cell in row.items() if cell.plain}
    return {name: {title: cell for title, cell in row.items() if title in titles} for name, row in rows.items()}


def _table(record: RunRecord, rows: Rows) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", collapse_padding=False)
    for title in (record.noun, *next(iter(rows.values()))):
        table.add_column(title, no_wrap=True)
    for cluster, hosts in record.clusters.items():
        table.add_row(Text(cluster, "bold"))
        for host in hosts:
            table.add_row(Text(f"  {host.name}"), *rows[host.name].values())
    return table


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(width=_ENDLESS, max_width=_ENDLESS), table).maximum


def _print_list(console: Console, host: HostRecord, steps: Mapping[str, Text], facts: Mapping[str, Text]) -> None:
    console.print(Text(f"  {host.name}", "bold"), soft_wrap=True)
    names = max((len(name) for name in host.steps), default=0)
    for name, cell in steps.items():
        if name in host.steps:
            console.print(Text(f"    {name:<{names}}  ").append_text(cell), soft_wrap=True)
    for line in _fact_lines(facts, console.width):
        console.print(line, soft_wrap=True)


def _fact_lines(facts: Mapping[str, Text], width: int) -> Iterator[Text]:
    line = Text()
    for title, cell in facts.items():
        if not cell.plain:
            continue
        part = Text(f"{title} ").append_text(cell)
        if line.plain and line.cell_len + 2 + part.cell_len > width:
            yield line
            line = Text()
        line = line.append("  " if line.plain else "    ").append_text(part)
    if line.plain:
        yield line
