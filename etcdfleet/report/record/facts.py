"""What the facts of a host tell of certificates and checks, whichever version of the program wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from etcdfleet.report.record.codec import read, read_value

STATUSES = ("failed", "warning", "skipped", "ok")
"""How a check can stand, the worst first."""


@dataclass(frozen=True)
class SeenCertificate:
    """A certificate when the run looked. ``due`` says that it is to be renewed; None: the report does not say."""

    serial: str = ""
    not_after: datetime | None = None
    days_left: float | None = None
    due: bool | None = None


@dataclass(frozen=True)
class SeenCheck:
    """Something that was verified; ``status`` is one of STATUSES."""

    check: str = ""
    status: str = ""
    evidence: str = ""
    cause: str = ""
    remedy: str = ""
    ok: bool = True


def certificates_of(facts: Mapping[str, Any]) -> dict[str, SeenCertificate]:
    """Return the certificates on the host, by role."""
    certificates: dict[str, Any] = read_value(dict, facts.get("certificates"), {})
    return {role: read(SeenCertificate, one) for role, one in certificates.items() if isinstance(one, Mapping)}


def checks_of(facts: Mapping[str, Any]) -> list[SeenCheck]:
    """Return the checks of the host, in order; none where nothing was verified."""
    checks = read_value(list[SeenCheck], facts.get("checks"), [])
    return [one if one.status in STATUSES else replace(one, status=_status(one)) for one in checks]


def _status(check: SeenCheck) -> str:
    return "ok" if check.ok and not check.status else "failed"
