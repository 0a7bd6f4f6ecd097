"""Known lines of etcd's log, and what they mean to the person who has to do something about them.

The table is data: ``symptoms.yaml`` beside this module, which says how a row is written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

TABLE = Path(__file__).with_name("symptoms.yaml")
Level = Literal["failed", "warning", "note"]
Origin = Literal["member", "gateway", "host", "client"]
_STARTS = re.compile(r'"msg":"(loaded server configuration|Running: |configuring peer listeners)')
_START_LINES = 5
"""A start logs several of these lines, one right after the other; other lines come between two starts."""
_REMOTE = re.compile(r'rejected connection(?: on [a-z]+ endpoint)?(?:","remote-addr":| from )"\[?([^"]*?)\]?:\d+"')
"""Who was refused. Since 3.5.10 or so the line says at which port (etcd: server/embed/config_logging.go)."""
_LOOPBACK = ("127.0.0.1", "::1")
_STACK_FIELD = re.compile(r',"stacktrace":"(?:[^"\\]|\\.)*"')
_NOTES = re.compile(
    r'"level":"(?:info|debug)"|^\S+ \S+ [ID] \| '
    r"|^etcd\.service: (?:Scheduled restart|Main process exited|Failed with result|Deactivated|Consumed|Skipped due)"
    r"|^(?:Starting|Started|Stopping|Stopped|Failed to start|Condition check resulted in) etcd(?:\.service)? - "
)
_TIME = re.compile(r'"ts":"([^"]+)"')


@dataclass(frozen=True)
class Symptom:
    """A pattern in etcd's log, what it means, and the remedy. ``origins`` limits it to connections of some.

    Lines of the first ``settles`` seconds after etcd's start do not count, and with ``until`` those after which a line
    tells that it is over.
    """

    name: str
    pattern: re.Pattern[str]
    meaning: str
    remedy: str
    examples: Sequence[str] = ()
    level: Level = "failed"
    origins: frozenset[Origin] = frozenset()
    settles: int = 0
    until: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Sighting:
    """A symptom in a log: how many lines, and the last of them. ``last`` is None when no line says its time.

    ``over``: a later line tells that it is so no more.
    """

    symptom: Symptom
    count: int
    line: str
    last: datetime | None = None
    over: bool = False


@cache
def symptoms() -> tuple[Symptom, ...]:
    """Return the rows of the table."""
    rows = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return tuple(
        Symptom(
            pattern=re.compile(row.pop("pattern"), re.IGNORECASE),
            origins=frozenset(row.pop("from", ())),
            until=re.compile(until) if (until := row.pop("until", "")) else None,
            **row,
        )
        for row in rows
    )


def explain(log: str) -> Symptom | None:
    """Return why etcd does not run, by its log: the first row of the table that is found anywhere in it, or ``None``.

    The order of the table goes from the special to the general. What a cluster lives with (level warning) is no reason,
    nor is a connection from the host itself that was refused: this project's checks make such ones.
    """
    lines = (line for line in log.splitlines() if not ((remote := _REMOTE.search(line)) and remote[1] in _LOOPBACK))
    text = "\n".join(lines)
    return next((s for s in symptoms() if s.level == "failed" and s.pattern.search(text)), None)


def known(line: str, origin: Origin | None = None) -> Symptom | None:
    """Return the row of the table that explains a line; ``origin`` is where a refused connection came from."""
    rows = (row for row in symptoms() if origin is None or not row.origins or origin in row.origins)
    return next((row for row in rows if row.pattern.search(line)), None)


def sightings(
    log: str, *, members: Collection[str] = (), own: Collection[str] = ("127.0.0.1",), gateway: bool = False
) -> tuple[Sighting, ...]:
    """Return what is known of the lines since etcd's last start, in the order of the table; each line counts once.

    ``members`` are the addresses of the other members and ``own`` those of this host: a refused connection is told by
    where it came from. ``gateway`` says whether etcd's gateway is on.
    """
    by_name: dict[str, Sighting] = {}
    at: datetime | None = None
    lines = since_last_start(without_stacks(log))
    began = line_time(lines[0]) if lines and _STARTS.search(lines[0]) else None
    for line in lines:
        for name, sighting in by_name.items():
            if sighting.symptom.until and sighting.symptom.until.search(line):
                by_name[name] = replace(sighting, over=True)
        at = line_time(line) or at
        age = (at - began).total_seconds() if at and began else math.inf
        symptom = known(line, _origin(line, members, own, gateway=gateway))
        if symptom and age >= symptom.settles:
            count = by_name[symptom.name].count if symptom.name in by_name else 0
            by_name[symptom.name] = Sighting(symptom, count + 1, line.strip(), at)
    order = [symptom.name for symptom in symptoms()]
    return tuple(sorted(by_name.values(), key=lambda sighting: order.index(sighting.symptom.name)))


def _origin(line: str, members: Collection[str], own: Collection[str], *, gateway: bool) -> Origin | None:
    remote = _REMOTE.search(line)
    if remote is None:
        return None
    if remote[1] in members:
        return "member"
    if remote[1] not in own:
        return "client"
    return "gateway" if gateway else "host"


def since_last_start(log: str) -> Sequence[str]:
    """Return the lines since etcd was last started; all of them where the log goes not so far back."""
    lines = log.splitlines()
    starts = [number for number, line in enumerate(lines) if _STARTS.search(line)]
    if not starts:
        return lines
    first = starts[-1]
    for number in reversed(starts[:-1]):
        if first - number > _START_LINES or "loaded server configuration" in lines[first]:
            break
        first = number
    return lines[first:]


def line_time(line: str) -> datetime | None:
    """Return when a line was logged, by the host's clock; ``None`` for one that does not say."""
    if not line.startswith("{"):
        return None
    stamp = _TIME.search(line)
    try:
        moment = datetime.fromisoformat(stamp[1].replace("Z", "+00:00")) if stamp else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def message(line: str) -> str:
    """Return a line of the log for people: message and error of a structured line, else the line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or not entry.get("msg"):
        return line
    more = [str(entry[key]) for key in ("alarm", "took", "error") if entry.get(key)]
    where = [f"from {entry['remote-addr']}"] if entry.get("remote-addr") else []
    return ": ".join([" ".join([str(entry["msg"]), *where]), *more])


_STACK = re.compile(r"^(\s+\S+\.(go|s):\d+|goroutine \d+ \[|created by |[\w./*()%-]+\([^)]*\)\s*$)")


def last_words(log: str) -> str:
    """Return what etcd said at last, of what is more than a note; its very last lines where there is nothing of that
    kind.

    After an etcd that ended, the init system says much, and the next one begins with many lines that tell nothing.
    """
    lines = [line for line in without_stacks(log).splitlines() if line.strip()]
    telling = [_STACK_FIELD.sub("", line) for line in lines if not _NOTES.search(line)]
    distinct = {_TIME.sub("", line): line for line in telling}  # each start of a crash loop says the same
    return " | ".join(list(distinct.values())[-2:] or lines[-4:])


def without_stacks(log: str) -> str:
    """Return the log without Go's stack traces: the line before them says why etcd ended."""
    return "\n".join(line for line in log.splitlines() if not _STACK.match(line))
