"""What is to be said about a cluster's backups, as this machine has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from etcdfleet.checks.overview.data import Concern, Level
from etcdfleet.text import age_text, counted, whole_span

_REMEDY = "run runbooks/backup.py, and see why no timer has done so (docs/backup.md)"


@dataclass(frozen=True)
class Backups:
    """What the notes in the folder of this machine say: when the newest good one was taken and the last drill was.

    ``damaged`` counts those that were found bad. ``unreadable`` is why the folder cannot be read.
    """

    taken: datetime | None = None
    drilled: datetime | None = None
    damaged: int = 0
    unreadable: str = ""


def told(backups: Backups, now: datetime) -> str:
    """Return how old the newest good one is, and what else is known; empty where there is nothing at all."""
    if backups.taken is None:
        return ""
    drill = f", restored for a trial {age_text(now - backups.drilled)}" if backups.drilled else ""
    return f"backup {age_text(now - backups.taken)}{drill}"


def backup_concerns(
    backups: Backups, max_age: timedelta | None, hosts: Sequence[str], now: datetime
) -> tuple[Concern, ...]:
    """Return what is wrong; that one is missing or old only where the settings say how old it may be."""
    found = []
    if backups.unreadable:
        found.append((f"its backups cannot be looked at: {backups.unreadable}", "make the folder readable"))
    elif max_age is not None and backups.taken is None:
        found.append(("there is no good backup of it on this machine", _REMEDY))
    elif max_age is not None and backups.taken and now - backups.taken > max_age:
        age, most = whole_span(now - backups.taken), whole_span(max_age)
        found.append((f"its newest good backup is {age} old, and backup.max_age is {most}", _REMEDY))
    if backups.damaged:
        copies = counted(backups.damaged, "copy", "copies")
        remedy = "runbooks/backup.py --list says which; move them away"
        found.append((f"{copies} of its backups {'is' if backups.damaged == 1 else 'are'} damaged", remedy))
    return tuple(Concern(Level.WRONG, what, tuple(hosts), remedy) for what, remedy in found)
