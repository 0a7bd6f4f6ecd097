"""The steps of a run on a common scale of time: what ran side by side, and what waited. Pure; positions in percent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etcdfleet.report.record.model import HostRecord, RunRecord, Status
from etcdfleet.text import clock_text, seconds_text

_NARROWEST = 0.35  # percent: a bar that can still be seen
_NAMED = 9.0  # percent: a bar that has room for a name on a wide screen
_TICK_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MOST_TICKS = 6


@dataclass(frozen=True)
class Tick:
    """A mark on a scale: where, and what it says."""

    x: float
    label: str


@dataclass(frozen=True)
class Bar:
    """One step of a host. ``number`` counts the runbook's steps from 1; ``named`` says whether a name has room."""

    number: int
    name: str
    x: float
    width: float
    failed: bool
    text: str
    named: bool


@dataclass(frozen=True)
class Lane:
    """A host's row. ``waited`` is for how many seconds of the run nothing was done on it."""

    host: str
    bars: tuple[Bar, ...]
    busy: float
    waited: float


def lanes(record: RunRecord, numbers: dict[str, int]) -> dict[str, Lane]:
    """Return a lane for each host on which something was done. ``numbers`` has the number of each step by its name."""
    whole = length(record)
    by_host = {host.name: _lane(host, whole, numbers) for host in record.hosts.values()}
    return {name: lane for name, lane in by_host.items() if lane.bars}


def length(record: RunRecord) -> float:
    """Return the length of the scale in seconds: the run, or what its steps amount to if that is more."""
    ends = [
        step.started_offset + (step.seconds or 0.0)
        for host in record.hosts.values()
        for step in host.steps.values()
        if step.started_offset is not None
    ]
    return max([record.seconds, *ends, 0.001])


def ticks(whole: float) -> tuple[Tick, ...]:
    """Round times on a scale of so many seconds."""
    every, marks = round_marks(whole, _TICK_SECONDS, _MOST_TICKS)
    return tuple(Tick(100 * mark / whole, f"{mark:.1f}s" if every < 1 else clock_text(mark)) for mark in marks)


def round_marks(whole: float, steps: Sequence[float], most: int) -> tuple[float, list[float]]:
    """Return the first step by which a scale of this length has no more than ``most`` marks, and these marks."""
    every = next((step for step in steps if whole / step <= most), steps[-1])
    return every, [number * every for number in range(int(whole / every) + 1)]


def _lane(host: HostRecord, whole: float, numbers: dict[str, int]) -> Lane:
    bars: list[Bar] = []
    spans: list[tuple[float, float]] = []
    for step in host.steps.values():
        if step.started_offset is None:
            continue
        seconds = step.seconds if step.seconds is not None else max(whole - step.started_offset, 0.0)
        spans.append((step.started_offset, step.started_offset + seconds))
        if step.status is Status.SKIPPED:
            continue  # looked at for a moment; it would be a speck
        x = min(100 * step.started_offset / whole, 100 - _NARROWEST)
        width = min(max(100 * seconds / whole, _NARROWEST), 100 - x)
        text = (
            f"{step.name}: {step.status or 'running'}, {seconds_text(seconds)} from {seconds_text(step.started_offset)}"
        )
        failed = step.status is Status.FAILED
        bars.append(Bar(numbers.get(step.name, 0), step.name, x, width, failed, text, width >= _NAMED))
    busy = covered(spans)
    return Lane(host.name, tuple(bars), busy, max(whole - busy, 0.0))


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return how much of the scale the spans cover, each part counted once."""
    total, reached = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total
