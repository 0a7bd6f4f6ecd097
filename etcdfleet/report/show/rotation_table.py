"""The table of ``rotate_certs.py --check``: each certificate, until when it is good, and what will be done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from etcdfleet.certs.decide import Keep, Renew
from etcdfleet.certs.rotation import MemberPair
from etcdfleet.report.show.format import wrapped

HEADING = ("host", "role", "ends (UTC)", "left", "what")


def due_lines(clusters: Mapping[str, Sequence[MemberPair]], width: int) -> list[str]:
    """Return the lines of the table, no wider than ``width`` columns where words allow it.

    What is left of a life is counted by the host's own clock, as the decision was.
    """
    rows = {
        cluster: [
            (f"  {member.host}", role, *_life(decision, member.clock), _what(decision))
            for member in members
            for role, decision in member.decisions.items()
        ]
        for cluster, members in clusters.items()
    }
    every = [HEADING, *(row for table in rows.values() for row in table)]
    widths = [max(len(row[column]) for row in every) for column in range(len(HEADING) - 1)]
    indent = sum(widths) + 2 * len(widths)

    def drawn(row: Sequence[str]) -> list[str]:
        start = "".join(f"{cell:<{size}}  " for cell, size in zip(row, widths, strict=False))
        return (start + wrapped(row[-1], width, indent)).splitlines()

    lines = drawn(HEADING)
    for cluster, table in rows.items():
        lines += [cluster, *(line for row in table for line in drawn(row))] if table else []
    return lines


def _life(decision: Keep | Renew, clock: datetime | None) -> tuple[str, str]:
    if decision.certificate is None:
        return "none", ""
    end = decision.certificate.not_after
    left = f"{(end - clock).days} d" if clock else ""
    return f"{end.astimezone(UTC):%Y-%m-%d %H:%M}", left


def _what(decision: Keep | Renew) -> str:
    if isinstance(decision, Renew):
        return f"replace: {'; '.join(decision.reasons)}"
    return f"keep, due from {decision.renew_at.astimezone(UTC):%Y-%m-%d}"
