"""Causes first: what follows from another finding is said as that, once, and without a remedy of its own. Pure.

A member that does not answer, or a lost leader, makes many checks fail. Their remedies side by side contradict each
other, and lead away from the one fault that there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from etcdfleet.checks.findings import SERVED, Finding
from etcdfleet.etcd.answers import ExpectedMember

FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "members answer": ("service",),
    "one cluster": (),
    "one leader": ("members answer", "one cluster"),
    "health": ("members answer", "one cluster", "one leader"),
    "one term": ("members answer", "one cluster", "one leader"),
    "applied": ("members answer", "one cluster", "one leader"),
    "equal data": ("one cluster",),
    "write, read, delete": ("members answer", "one cluster", "one leader", "health"),
    "/health": ("service", "members answer", "one leader", "alarms"),
    SERVED: ("service",),
    "TLS offered on": ("service", SERVED),
}
"""From which checks a failed one may follow, the deepest cause first; by name, or by how the name begins."""
SILENCES: tuple[tuple[str, str, str], ...] = (
    (
        r"x509|tls:|certificate|handshake",
        "one side does not accept the other's certificate",
        "see the checks of certificates and trust in both rows, and the clocks",
    ),
    (
        r"no such host|lookup |name resolution|server misbehaving",
        "its name does not resolve on this host",
        "correct DNS, or /etc/hosts on this host; preflight compares names and addresses",
    ),
    (
        r"refused",
        "nothing listens there: etcd does not run, or listens on another address; a firewall that rejects looks alike",
        "see its own row and etcd's log there; deploy starts a member that does not run",
    ),
    (
        r"no route|unreachable|host is down",
        "the host is off or cut off from this one, or a firewall between them rejects",
        "look at power, cable, routes and firewall; its own row says whether etcd runs",
    ),
    (
        "",
        "a firewall drops what goes to its ports, or the host is off or hangs",
        "if its own row says that etcd runs, open TCP {ports} there to all members; else bring the host back",
    ),
)
"""Why a member does not answer, by what etcdctl says (the first row that fits): pattern, cause, remedy."""


def causes_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, causes before what follows from them; each of the latter names its cause alone."""
    findings = list(findings)
    bad = {finding.check: finding for finding in findings if not finding.ok}
    marked = [finding if finding.ok or finding.follows else _marked(finding, bad) for finding in findings]
    return sorted(marked, key=lambda finding: bool(finding.follows))


def silence(member: ExpectedMember, error: str) -> tuple[str, str]:
    """Likely cause and remedy for a member that did not answer, by what etcdctl said about it."""
    ports = " and ".join(
        dict.fromkeys(url.rstrip("/").rpartition(":")[2] for url in (member.client_url, member.peer_url))
    )
    cause, remedy = next(row[1:] for row in SILENCES if re.search(row[0], error, re.IGNORECASE))
    return cause, remedy.format(ports=ports)


def told(bad: Sequence[Finding]) -> str:
    """Return what failed, in one sentence: causes with what was seen, then what follows from them by name."""
    causes = "; ".join(f"{finding.check}: {finding.evidence}" for finding in bad if not finding.follows)
    following = ", ".join(finding.check for finding in bad if finding.follows)
    return f"{causes} (and so: {following})" if following else causes


def remedies(bad: Sequence[Finding]) -> str:
    """Return the remedies for the causes, each once."""
    return "; ".join(dict.fromkeys(finding.remedy for finding in bad if finding.remedy))


def _marked(finding: Finding, bad: Mapping[str, Finding]) -> Finding:
    causes = (causes for name, causes in FOLLOWS.items() if finding.check.startswith(name))
    for check in next(causes, ()):
        # Of checks that are made for each port, the one for the same port.
        cause = bad.get(f"{check} {finding.check.rpartition(' ')[2]}" if check == SERVED else check)
        if cause is not None and (not cause.about or (finding.about and set(finding.about) <= set(cause.about))):
            return consequence(finding, cause.check)
    return finding


def consequence(finding: Finding, check: str) -> Finding:
    """Return the finding as one that follows from the failed check of that name."""
    return replace(finding, cause=f"it follows from '{check}'", remedy="", follows=check)
