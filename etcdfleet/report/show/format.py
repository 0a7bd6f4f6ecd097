"""The wording that progress, table and plain lines share: statuses, life left, and what went wrong."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from rich.text import Text

from etcdfleet.errors import FleetError
from etcdfleet.report.record.facts import certificates_of
from etcdfleet.report.record.model import Failure, Protection, Status
from etcdfleet.report.record.secrets import plain
from etcdfleet.settings.problems import Problem
from etcdfleet.text import size_text

STYLES = {Status.OK: "green", Status.CHANGED: "yellow", Status.FAILED: "bold red", Status.SKIPPED: "cyan"}
SOON_DAYS = 30.0
Explained: TypeAlias = Failure | Protection | Problem | FleetError
"""What says by itself what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Marks:
    """The signs of a terminal: pretty ones, or ASCII where the encoding has no others."""

    by_status: Mapping[Status, str]
    spinner: str
    waiting: str
    cut: str
    leader: str


PRETTY = Marks(
    {Status.OK: "✔", Status.CHANGED: "✔", Status.FAILED: "✘", Status.SKIPPED: "–"}, "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "·", "…", "★"
)
ASCII = Marks({Status.OK: "+", Status.CHANGED: "+", Status.FAILED: "x", Status.SKIPPED: "-"}, "|/-\\", ".", "~", "*")


def marks_for(encoding: str) -> Marks:
    """Pretty signs where ``encoding`` has all of them."""
    signs = "".join([*PRETTY.by_status.values(), PRETTY.spinner, PRETTY.cut, PRETTY.leader])
    try:
        signs.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return PRETTY


def status_word(status: Status | None, *, check: bool) -> str:
    """Return the status for people; with ``--check`` a change is one that would be."""
    if status is None:
        return "running"
    return "would change" if check and status is Status.CHANGED else status.value


def member_text(facts: Mapping[str, Any]) -> str:
    """Return the member's id in hexadecimal."""
    member = facts.get("member_id", "")
    return f"{member:x}" if isinstance(member, int) and not isinstance(member, bool) else str(member or "")


def expiry_text(facts: Mapping[str, Any]) -> tuple[str, str]:
    """(life left of the certificate that expires first, style). A certificate may say itself that it is ``due``."""
    lives = [(one.days_left, one.due) for one in certificates_of(facts).values() if one.days_left is not None]
    if not lives:
        return "", ""
    days, due = min(lives, key=itemgetter(0))
    if days <= 0:
        return "expired", "bold red"
    text = f"{int(days)} d" if days >= 2 else f"{days * 24:.1f} h"
    return text, "yellow" if (days < SOON_DAYS if due is None else due) else "green"


def fact_text(key: str, value: object) -> str:
    """Return a fact for people."""
    if key == "db_size_bytes" and isinstance(value, int):
        return size_text(value)
    if key == "leader":
        return "yes" if value else "no"
    units = {"clock_offset_seconds": " s", "learner_seconds": " s or more", "sync_p99_ms": " ms"}
    return value_text(value) + units.get(key, "")


def value_text(value: object) -> str:
    """Return a value of a fact or an option for people; what is nested as JSON."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(str(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def told(problem: Explained, width: int, labels: Sequence[str] = ("what", "where", "remedy")) -> Iterator[Text]:
    """Yield the lines that say what is wrong, where, and what to do."""
    for label in labels:
        if text := getattr(problem, label):
            yield Text.assemble((f"  {label:<7} ", "bold"), wrapped(plain(text), width, 10))


def wrapped(text: str, width: int, indent: int) -> str:
    """``text`` wrapped with a hanging indent; lines that are indented already (commands) stay whole, to be copied."""
    room = max(width - indent, 16)
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        if line.startswith((" ", "\t")):
            lines.append(line)
        else:
            lines += textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
    return ("\n" + " " * indent).join(lines)
