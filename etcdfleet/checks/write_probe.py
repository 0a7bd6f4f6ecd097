"""What became of a key that was written, read and deleted through every member. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from etcdfleet.checks.findings import Finding, failed, skipped
from etcdfleet.etcd.alarms import WAY_OUT

RESERVED_PREFIX = "/etcdfleet/verify/"
"""Keys below it are written, read and deleted by verify; nothing else may use them."""
PROBE_TTL_SECONDS = 60
"""The life of the lease that probe keys hang on: a run that is killed leaves nothing for longer."""
_ANSWER = re.compile(r"^(lease|put|read|del|gone|revoke)\|([^|]*)\|(\d+)\|(.*)$", re.MULTILINE)


def probe_checks(asked: Sequence[str], silent: Sequence[str], answers: str, token: str) -> tuple[Finding, ...]:
    """Return the findings in what the script of the write probe said (``step|member|exit code|output`` a line).

    ``asked`` are the members that were to read the key, ``silent`` those that were left out since they do not answer.
    """
    check = "write, read, delete"
    steps = {(step, name): (int(code), text.strip()) for step, name, code, text in _ANSWER.findall(answers)}
    if not steps:
        return (skipped(check, "the script's output cannot be read"),)
    for step, words in (("lease", "a lease for the key"), ("put", "the write of the key")):
        code, text = steps.get((step, ""), (1, "no answer"))
        if code:
            return (failed(check, f"{words} through this member was refused: {_error(text)}", *_why(text)),)
    bad = []
    for name in asked:
        code, text = steps.get(("read", name), (1, "no answer"))
        if code or text != token:
            bad.append(f"{name} does not read what was written: {_error(text) if code else repr(text)}")
        code, text = steps.get(("gone", name), (1, "no answer"))
        if code or text:
            bad.append(f"{name} still has the key that was deleted" if not code else f"{name}: {_error(text)}")
    code, text = steps.get(("del", ""), (1, "no answer"))
    if code or text != "1":
        bad.append(f"the key was not deleted: {_error(text)} (its lease ends within {PROBE_TTL_SECONDS} s)")
    if bad:
        return (failed(check, "; ".join(bad), *_why("; ".join(bad))),)
    left = f"; not asked, since silent: {', '.join(silent)}" if silent else ""
    return (Finding(check, True, f"written through this member, read and gone on {', '.join(asked)}{left}"),)


def _error(text: str) -> str:
    """Return the reason in etcdctl's output, whose lines were joined."""
    reason = text.rpartition("Error: ")[2].strip()
    return reason[:200] or "no reason given"


def _why(text: str) -> tuple[str, str]:
    """Likely cause and remedy for a probe that failed."""
    if "space exceeded" in text:
        return "the database has reached its quota (alarm NOSPACE)", WAY_OUT
    if any(words in text for words in ("permission denied", "user name is empty", "invalid auth token")):
        return (
            "authentication is on, and this host's client certificate is not root's",
            "run setup_auth, or correct pki.client_common_name; docs/auth.md",
        )
    return (
        "there is no quorum, no leader, or the member is cut off from the others",
        "see the checks of members, leader and health, and etcd's log on this host",
    )
