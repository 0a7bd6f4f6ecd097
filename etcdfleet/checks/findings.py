"""What a check has found: one thing that was looked at, good or bad, so that a report can show all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SERVED = "certificate served on"
"""How the checks begin that read a certificate back from a port."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: whether it is well, what was seen, why it may be so, and what to do if it is not.

    With ``level`` warning it is well enough, and worth knowing; with skipped it could not be asked, and ``evidence``
    says why. ``fault`` tells one fault of a check from another where ``evidence`` cannot: it holds numbers that change
    from one look to the next, or what other causes change meanwhile. Empty: the evidence does. ``about`` names the
    members that it is about, none for the whole cluster; ``follows`` the check that failed and is the cause of it.
    """

    check: str
    ok: bool
    evidence: str
    remedy: str = ""
    cause: str = ""
    level: Literal["", "warning", "skipped"] = ""
    fault: str = ""
    about: tuple[str, ...] = ()
    follows: str = ""

    @property
    def status(self) -> Literal["ok", "warning", "failed", "skipped"]:
        """How it stands, in a word."""
        return (self.level or "ok") if self.ok else "failed"

    def as_json(self) -> dict[str, object]:
        """Return the finding as it is in report.json."""
        return {
            "check": self.check,
            "ok": self.ok,
            "status": self.status,
            "evidence": self.evidence,
            "cause": self.cause,
            "remedy": self.remedy,
        }


def failed(check: str, evidence: str, cause: str, remedy: str, fault: str = "", about: tuple[str, ...] = ()) -> Finding:
    """Return a finding that something is wrong."""
    return Finding(check, False, evidence, remedy, cause, fault=fault, about=about)


def warned(check: str, evidence: str, cause: str, remedy: str) -> Finding:
    """Return a finding that something will be wrong, or could be better."""
    return Finding(check, True, evidence, remedy, cause, "warning")


def skipped(check: str, why: str) -> Finding:
    """Return a finding that it could not be asked."""
    return Finding(check, True, why, level="skipped")


def new_failures(findings: Iterable[Finding], before: Iterable[Finding]) -> list[Finding]:
    """Return what failed after a change and not ``before``: what did is no fault of the change.

    That a port shows the new certificate must be seen in any case.
    """

    def fault(finding: Finding) -> tuple[str, str]:
        return finding.check, finding.fault or finding.evidence

    old_faults = {fault(finding) for finding in before if not finding.ok and not finding.check.startswith(SERVED)}
    return [finding for finding in findings if not finding.ok and fault(finding) not in old_faults]
