"""When the certificates of a run end, as a picture: the soonest first. Pure; positions in percent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Literal

from etcdfleet.report.export.timeline import Tick, round_marks
from etcdfleet.report.record.codec import read
from etcdfleet.report.record.facts import SeenCertificate, certificates_of
from etcdfleet.report.record.model import HostRecord, RunRecord
from etcdfleet.report.show.format import SOON_DAYS

Urgency = Literal["good", "due", "expired"]
_TICK_DAYS = (1, 2, 5, 7, 14, 30, 60, 90, 180, 365, 730, 1825, 3650)
_MOST_TICKS = 5
_LEAST_DAYS = 90.0  # a scale that is shorter makes every certificate look far away
_TIMES_THE_SOONEST = 4.0  # a scale that is longer makes the soonest a speck


@dataclass(frozen=True)
class Expiry:
    """Certificates of one host that end together. ``days`` are left when the run looked; ``beyond`` the scale's end."""

    host: str
    cluster: str
    roles: tuple[str, ...]
    serials: tuple[str, ...]
    not_after: datetime
    days: float
    urgency: Urgency
    width: float = 0.0
    beyond: bool = False

    @property
    def left(self) -> str:
        """The life left in words."""
        if self.days <= 0:
            return "expired"
        return f"{int(self.days)} days" if self.days >= 2 else f"{self.days * 24:.0f} hours"


@dataclass(frozen=True)
class Expiries:
    """The rows, and their scale of ``days`` days."""

    rows: tuple[Expiry, ...]
    days: float

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Round numbers of days on the scale."""
        _, marks = round_marks(self.days, _TICK_DAYS, _MOST_TICKS)
        return tuple(Tick(100 * mark / self.days, "run" if not mark else f"{mark} d") for mark in marks)

    @property
    def urgent(self) -> int:
        """How many rows are due or expired."""
        return sum(row.urgency != "good" for row in self.rows)


def expiries(record: RunRecord) -> Expiries:
    """Return all certificates that the run has seen, those of a host that end within a day of each other in one row."""
    looked = record.finished or record.started
    rows = [row for host in record.hosts.values() for row in _of_host(host, looked)]
    rows.sort(key=lambda row: row.days)
    if not rows:
        return Expiries((), _LEAST_DAYS)
    soonest, latest = (max(row.days, 1.0) for row in (rows[0], rows[-1]))
    scale = min(latest, max(soonest * _TIMES_THE_SOONEST, _LEAST_DAYS))
    return Expiries(tuple(_placed(row, scale) for row in rows), scale)


def _placed(row: Expiry, scale: float) -> Expiry:
    return replace(row, width=100 * min(max(row.days, 0.0) / scale, 1.0), beyond=row.days > scale * 1.001)


def _of_host(host: HostRecord, looked: datetime) -> Iterator[Expiry]:
    certificates = certificates_of(host.facts)
    client = host.facts.get("client_certificate")
    if isinstance(client, Mapping):
        certificates[str(client.get("common_name") or "client")] = read(SeenCertificate, client)
    by_end = sorted(
        ((one.not_after, role, one) for role, one in certificates.items() if one.not_after), key=itemgetter(0)
    )
    while by_end:
        first = by_end[0][0]
        group = {role: one for end, role, one in by_end if end - first < timedelta(days=1)}
        by_end = by_end[len(group) :]
        days = (first - looked) / timedelta(days=1)
        decisions = [one.due for one in group.values() if one.due is not None]
        due = any(decisions) or (not decisions and days < SOON_DAYS)
        urgency: Urgency = "expired" if days <= 0 else "due" if due else "good"
        serials = tuple(one.serial for one in group.values())
        yield Expiry(host.name, host.cluster, tuple(group), serials, first, days, urgency)
