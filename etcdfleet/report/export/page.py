"""report.html: a run as one page that needs nothing else, made from its report.json.

The page has no script and may load nothing (its content security policy says so); every text in it is escaped, since
texts come from hosts. Steps, hosts and evidence fold by ``<details>``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jinja2

from etcdfleet.compiled import CompiledTemplates
from etcdfleet.report.export.expiry import expiries
from etcdfleet.report.export.timeline import lanes, length, ticks
from etcdfleet.report.record.facts import STATUSES, SeenCheck, checks_of
from etcdfleet.report.record.model import (
    ExitCode,
    Failure,
    HostRecord,
    Protection,
    RunRecord,
    RunStatus,
    Status,
    StepRecord,
    record_of,
)
from etcdfleet.report.show import format as words
from etcdfleet.report.show.table import alike_failures, closing_line, skipped_everywhere, warnings_of
from etcdfleet.text import counted, seconds_text

_FOLDER = Path(__file__).resolve().parent / "html"
_MANY = 24  # hosts from which on pictures begin folded
_MARK_COLOURS = {"ok": "#1a7f37", "changed": "#9a6700", "failed": "#cf222e", "protected": "#cf222e"}
_KNOWN_FACTS = {
    "version": "etcd",
    "member_id": "member id",
    "cluster_id": "cluster id",
    "leader": "leader",
    "db_size_bytes": "database",
    "revision": "revision",
    "raft_term": "raft term",
    "distribution": "system",
    "architecture": "architecture",
    "learner_behind_entries": "entries behind, as a learner",
    "learner_seconds": "time so far, as a learner",
    "clock_offset_seconds": "clock offset",
    "sync_p99_ms": "synced write (p99)",
    "ssh_round_trips": "SSH round trips",
}
_SHOWN_ELSEWHERE = ("certificates", "checks", "decisions", "advice", "client_certificate")


class Page:
    """What the template shows of a run: its verdict in one sentence, what is wrong with it, its steps, and pictures."""

    def __init__(self, record: RunRecord, state: str | None = None) -> None:
        self.record = record
        self.state = state or record.status.value
        self.steps = {step.name: step.title for step in record.steps}
        """The title of each step by its name, those of the runbook first."""
        for host in record.hosts.values():
            self.steps.update({name: name for name in host.steps if name not in self.steps})
        self.numbers = {name: number for number, name in enumerate(self.steps, 1)}
        self._ids = {name: f"h{number}" for number, name in enumerate(record.hosts)}
        self.verdict = closing_line(record, self.state).plain
        self.findings = tuple(self._findings())
        self.warnings = warnings_of(record)
        self.many = len(record.hosts) > _MANY
        """Whether there are so many hosts that pictures begin folded."""
        self.lanes = lanes(record, self.numbers)
        self.ticks = ticks(length(record))
        self.expiries = expiries(record)

    @cached_property
    def left_out(self) -> dict[str, str]:
        """The steps that no host had to do, whose column in the matrix would say nothing, with why."""
        skipped = skipped_everywhere(self.record)
        return skipped if len(skipped) < len(self.steps) else {}

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """(name, title) of the steps that are columns of the matrix."""
        return tuple(step for step in self.steps.items() if step[0] not in self.left_out)

    @property
    def next_step(self) -> str:
        """What to do now, if anything."""
        if self.state == RunStatus.RUNNING:
            return "The run was still at work when this was written."
        if self.record.exit_code is ExitCode.USAGE:
            return "Correct the command or the settings, then run it again."
        if self.state == RunStatus.PROTECTED:
            return "Nothing that could cost data was done. Do what is said below, then run the same command again."
        if self.state in (RunStatus.FAILED, RunStatus.INTERRUPTED, "killed"):
            begin = "Do what is said below, then run" if self.findings else "Run"
            return f"{begin} the same command again: it looks at the hosts, and does what is missing."
        if self.record.check and self.record.changed:
            return "Nothing was changed. Without --check, the same command does it."
        return ""

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """How many steps ended how, over all hosts."""
        totals = [host.totals() for host in self.record.hosts.values()]
        return tuple((status.value, sum(total[status.value] for total in totals)) for status in Status)

    @property
    def timed(self) -> tuple[str, ...]:
        """Names of the steps that the timeline shows."""
        shown = {bar.name for lane in self.lanes.values() for bar in lane.bars}
        return tuple(name for name in self.steps if name in shown)

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """What the command line asked for, as far as it asked for anything."""
        given = {name: value for name, value in self.record.options.items() if value not in (None, False, [], "")}
        return tuple((f"--{name.replace('_', '-')}", words.value_text(value)) for name, value in given.items())

    def id_of(self, host: HostRecord, step: str = "") -> str:
        """Return the anchor of a host, or of one of its steps."""
        return self._ids[host.name] + (f"-{self.numbers[step]}" if step else "")

    def word(self, step: StepRecord | None) -> str:
        """Return a step's status in words."""
        if step is None:
            return "not part of it"
        if step.status is None and self.state == "killed":
            return "not known" if step.started_offset is not None else "not begun"
        if step.status is None and step.started_offset is None:
            return "not begun"
        return words.status_word(step.status, check=self.record.check)

    def facts(self, host: HostRecord) -> tuple[tuple[str, str], ...]:
        """Return what was read on a host, the well-known first."""
        well_known = [
            (label, words.fact_text(key, host.facts[key])) for key, label in _KNOWN_FACTS.items() if key in host.facts
        ]
        others = [
            (key.replace("_", " "), words.value_text(value))
            for key, value in host.facts.items()
            if key not in _KNOWN_FACTS and key not in _SHOWN_ELSEWHERE and value not in (None, "", [], {})
        ]
        return (*well_known, *others)

    def checks(self, host: HostRecord) -> tuple[SeenCheck, ...]:
        """Return what was verified on a host, what is not well first."""
        return tuple(sorted(checks_of(host.facts), key=lambda check: STATUSES.index(check.status)))

    def said(self, host: HostRecord) -> tuple[str, ...]:
        """Return what was decided about each certificate, and what was advised."""
        lists = [host.facts.get(key) for key in ("decisions", "advice")]
        return tuple(str(one) for sentences in lists if isinstance(sentences, list) for one in sentences)

    def summary_facts(self, host: HostRecord) -> tuple[str, str]:
        """Version, and life left of the certificate that ends first, for the matrix."""
        return str(host.facts.get("version") or ""), words.expiry_text(host.facts)[0]

    def _findings(self) -> Iterator[tuple[str, str, Failure | Protection, str]]:
        """Yield why the run stopped, and what failed: kind, place, what is said of it, and where the evidence is."""
        for protection in self.record.protections:
            yield "stopped to protect", protection.cluster, protection, ""
        if self.record.error and not any(
            protection.what == self.record.error.what for protection in self.record.protections
        ):
            yield "failed", self.record.runbook, self.record.error, ""
        for hosts, step, error in alike_failures(self.record):
            yield "failed", f"{', '.join(hosts)} · {step}", error, self.id_of(self.record.hosts[hosts[0]], step)


def render(document: Mapping[str, Any], state: str | None = None) -> str:
    """Return the page of a report.json, redacted as it is. ``state`` says what is known beyond (`RunSummary.state`)."""
    page = Page(record_of(document), state)
    css = _text("report.css")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    rendered: str = (
        _environment()
        .get_template("report.html.j2")
        .render(page=page, record=page.record, css=css, css_hash=digest, mark=_MARK_COLOURS.get(page.state, "#6e7781"))
    )
    return rendered.encode("utf-8", "replace").decode()  # what a host answered need not be text in any encoding


def diff_lines(text: str) -> tuple[tuple[str, str], ...]:
    """Return a unified diff as (add, del, file, hunk or same; the line): the first sign of a line says which."""
    return tuple((_kind(line), line) for line in text.splitlines())


def diff_size(text: str) -> str:
    """Return how much a diff changes: ``2 files, +10 −3``."""
    kinds = [_kind(line) for line in text.splitlines()]
    files = sum(line.startswith("+++ ") for line in text.splitlines())
    return f"{counted(files, 'file')}, +{kinds.count('add')} −{kinds.count('del')}"


def _kind(line: str) -> str:
    if line.startswith(("--- ", "+++ ")):
        return "file"
    return {"+": "add", "-": "del", "@": "hunk"}.get(line[:1], "same")


@cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=CompiledTemplates(),
    )
    made.filters.update(seconds=seconds_text, diff_lines=diff_lines, diff_size=diff_size)
    made.filters["percent"] = lambda number: f"{number:.2f}%"
    return made
