"""Which backups are still wanted: the newest of each of the last days, weeks and months that have one. Pure.

A count of days is one of days *with* a backup: when there was none for a while, nothing disappears for that. Days,
weeks (from Monday) and months are those of UTC. The newest of all is always wanted, whatever the counts are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Counts:
    """How many days, weeks and months are kept."""

    daily: int
    weekly: int
    monthly: int


def wanted(taken: Mapping[_Key, datetime], counts: Counts) -> dict[_Key, tuple[str, ...]]:
    """Return which are to be kept, the newest first, each with what it stands for: ``newest``, ``day``, ``week``, …

    ``taken`` has all that count, by whatever names them, with the time at which each was taken.
    """
    newest_first = sorted(taken, key=lambda key: taken[key].astimezone(UTC), reverse=True)
    reasons: dict[_Key, list[str]] = {key: [] for key in newest_first}
    if newest_first:
        reasons[newest_first[0]].append("newest")
    periods: tuple[tuple[str, int, Callable[[datetime], Hashable]], ...] = (
        ("day", counts.daily, lambda when: when.date()),
        ("week", counts.weekly, lambda when: when.isocalendar()[:2]),
        ("month", counts.monthly, lambda when: (when.year, when.month)),
    )
    for name, count, period_of in periods:
        seen: set[Hashable] = set()
        for key in newest_first:
            period = period_of(taken[key].astimezone(UTC))
            if period in seen:
                continue
            if len(seen) == count:
                break
            seen.add(period)
            reasons[key].append(name)
    return {key: tuple(why) for key, why in reasons.items() if why}


def surplus(taken: Mapping[_Key, datetime], counts: Counts) -> frozenset[_Key]:
    """Return which are not wanted any more."""
    return frozenset(taken) - wanted(taken, counts).keys()
