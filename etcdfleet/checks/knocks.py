"""Who is let in at a member's ports: judged by what TLS does, since the words of etcd and etcdctl change by version.

A certificate is shown to a port, and a question is asked. Accepted, it is answered by HTTP. Refused, the connection
ends with an alert (TLS 1.2: within the handshake; TLS 1.3: after it, where the connection may break before the alert is
read), while the certificate that the port is for is answered at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from etcdfleet.checks.findings import Finding, failed, skipped, warned
from etcdfleet.remote import last_lines
from etcdfleet.roles import RoleName, Side
from etcdfleet.settings.models import HostSettings

Kind = Literal[
    "answered", "refused", "closed", "silent", "late", "unverified", "no connection", "unreadable", "unclear"
]
PROPER = "proper certificate: "
"""Begins the line in which an attempt with etcdctl says how the client's own certificate fared right after it: the exit
code, and the seconds it took."""


@dataclass(frozen=True)
class Heard:
    """What became of a certificate that was shown to a port, and how it was told.

    ``refused``: an alert of TLS says that the certificate is not accepted. ``closed``: the connection ended without an
    answer, after the server had shown a good certificate of its own. ``silent``: etcdctl, which never gives up by
    itself, had no answer within its time, while it had one at once with the proper certificate. Nothing is said about
    the certificate by ``late`` (no answer within the time), ``unverified`` (the server's certificate), ``no
    connection``, ``unreadable`` (the files) and ``unclear``.
    """

    kind: Kind
    detail: str = ""

    def refusal(self, proper: bool) -> str:
        """Return how the certificate was refused, in words; empty where that is not certain.

        ``proper`` says that the certificate that the port is for was answered by the same port at the same time.
        """
        if self.kind == "refused":
            return f"refused: {self.detail}"
        if self.kind == "closed" and proper:
            return "refused: the connection was closed, while the proper certificate was answered"
        if self.kind == "silent" and proper:
            return "refused: no answer in time, while the proper certificate was answered at once"
        return ""


# RFC 5246, 7.2.2, and RFC 8446, 6.2: the alerts that speak of the certificate of the other side.
_ALERTS: Mapping[int, str] = {
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    48: "unknown ca",
    49: "access denied",
    116: "certificate required",
}
_ALERT_NUMBER = re.compile(r"alert number (\d+)")
_ALERT_WORDS = re.compile(r"alert ([a-z ]+?)(:|$)", re.MULTILINE)
_UNREADABLE = re.compile(r"could not (open|read|find)|unable to load|no such file|key values mismatch", re.IGNORECASE)
_NO_CONNECTION = re.compile(
    r"connect:errno|Connection refused|No route to host|BIO_connect|BIO_lookup|timed out", re.IGNORECASE
)


def heard_by_openssl(rc: int, output: str) -> Heard:
    """Read what ``openssl s_client`` tells with its exit code and both outputs."""
    if status := re.search(r"^HTTP/1\.\d (\d+)", output, re.MULTILINE):
        return Heard("answered", f"HTTP {status[1]}")
    if "verify failed" in output or "verification failed" in output:
        return Heard("unverified", last_lines(output))
    if _NO_CONNECTION.search(output):
        return Heard("no connection", last_lines(output))
    number, words = _ALERT_NUMBER.search(output), _ALERT_WORDS.search(output)
    named = _ALERTS.get(int(number[1])) if number else (words[1].strip() if words else None)
    if named in _ALERTS.values():
        return Heard("refused", str(named))
    if rc in (124, 143):
        return Heard("late")
    if _UNREADABLE.search(output):
        return Heard("unreadable", last_lines(output))
    # Who is refused has seen the server's certificate before; an alert of another kind is about something else.
    if "verify return:1" in output and not number and not words:
        return Heard("closed")
    return Heard("unclear", last_lines(output) or "openssl said nothing")


# Go's words for alerts that a server sends (crypto/tls/alert.go): the same ones since Go 1.12.
_GO_ALERTS = re.compile(
    r"remote error: tls: ((?:bad|unsupported|revoked|expired|unknown) certificate(?! authority)"
    r"|unknown certificate authority|certificate required|access denied)"
)
_GO_UNREADABLE = re.compile(r"open /\S+: |failed to find any PEM data|private key does not match")
_GO_NO_CONNECTION = re.compile(
    r"connection refused|no route to host|i/o timeout|network is unreachable|no such host|server misbehaving"
)
_GO_CLOSED = re.compile(r"broken pipe|connection reset by peer|\bEOF\b|TRANSIENT_FAILURE")
_AT_ONCE = 1
"""Seconds within which the proper certificate must be answered before the silence on another one means anything."""
_GO_LATE = re.compile(r"DeadlineExceeded|deadline exceeded")


def heard_by_etcdctl(rc: int, output: str) -> Heard:
    """Read what etcdctl tells with its exit code and its output; where its words are not known, by the time it took."""
    output, _, proper = output.partition(PROPER)
    if rc == 0:
        return Heard("answered", "etcdctl")
    if alert := _GO_ALERTS.search(output):
        return Heard("refused", alert[1])
    if _GO_UNREADABLE.search(output):
        return Heard("unreadable", last_lines(output))
    if "x509: " in output:
        return Heard("unverified", last_lines(output))
    if _GO_NO_CONNECTION.search(output):
        return Heard("no connection", last_lines(output))
    if "remote error: " in output:
        return Heard("unclear", last_lines(output))
    if _GO_CLOSED.search(output):
        return Heard("closed")
    if _GO_LATE.search(output) and int((proper.split() or ["9"])[-1]) <= _AT_ONCE:
        return Heard("silent")
    return Heard("unclear", last_lines(output) or "etcdctl said nothing")


def proper_answered(output: str) -> bool:
    """Return whether the attempt with etcdctl says that the client's own certificate was answered right after it."""
    return output.partition(PROPER)[2].split()[:1] == ["0"]


def refusal_finding(role: RoleName, heard: Heard, proper: bool) -> Finding:
    """Return the finding that etcd refused the certificate of ``role``, used as a client's, for what it is.

    ``proper`` says that the client's own certificate was answered by the same endpoint at the same time.
    """
    check = f"{role} certificate refused as a client"
    if heard.kind == "answered":
        return Finding(
            check,
            False,
            f"etcd served a client that came with the {role} certificate",
            "is client-cert-auth on, and does trusted-ca-file hold the CA of the clients alone?",
        )
    if how := heard.refusal(proper):
        return Finding(check, True, how)
    why = ": ".join(part for part in (heard.kind, heard.detail) if part)
    if not proper:
        why += "; the client's own certificate is not answered either"
    return Finding(check, False, f"no proof of a refusal: {why}", "see etcd's log on this host")


@dataclass(frozen=True)
class Knock:
    """A try at one of the host's ports with one of its certificates (``shown`` None: with none)."""

    side: Side
    port: int
    shown: RoleName | None
    let_in: bool

    @property
    def check(self) -> str:
        """The name of the check, and of what the host answered."""
        who = f"{self.shown} certificate" if self.shown else "no certificate"
        return f"{self.port} {'serves' if self.let_in else 'refuses'} {who}"


def knocks(settings: HostSettings, roles: Sequence[RoleName]) -> tuple[Knock, ...]:
    """Return every certificate of the host, and none, at every port with TLS, and who is to be let in."""
    cluster = settings.cluster
    serve: Mapping[Side, set[RoleName]] = {
        "client": {"client", "server"} if "client" in settings.pki.roles["server"].usages else {"client"},
        "peer": {"peer"},
    }
    sides: list[tuple[Side, int]] = [("client", cluster.client_port)] if cluster.client_tls else []
    sides += [("peer", cluster.peer_port)] if cluster.peer_tls else []
    return tuple(Knock(side, port, shown, shown in serve[side]) for side, port in sides for shown in (*roles, None))


_FAULTS: Mapping[Kind, tuple[str, str, str]] = {
    "unverified": (
        "what the port serves does not lead to the trust anchor on this host, or has another name",
        "the served certificate is not the one that lies here, or the CA was changed half-way",
        "run deploy",
    ),
    "no connection": (
        "no connection to the port from the host itself",
        "etcd does not run, or the name of this host resolves to another address",
        "see the checks of service and names, and etcd's log on this host",
    ),
    "late": (
        "no answer in time",
        "etcd waits for a quorum that is not there, or hangs",
        "see the check of members, and etcd's log on this host",
    ),
    "unreadable": (
        "openssl cannot read the certificate or its key",
        "a file of the pair is missing or damaged",
        "see the checks of this certificate; run deploy",
    ),
}
"""What was seen, likely cause and remedy where nothing was heard about the certificate that was shown."""


def knock_finding(knock: Knock, heard: Heard, excuse: str = "", *, proper: bool = True) -> Finding:
    """Return the finding in what was heard; ``excuse`` is why a certificate too many may be let in.

    ``proper`` says that a certificate that the port is for was answered by it in the same run.
    """
    if heard.kind == "answered":
        return _let_in(knock, heard.detail, excuse)
    if fault := _FAULTS.get(heard.kind):
        return failed(knock.check, *fault)
    if knock.let_in and heard.kind in ("refused", "closed"):
        return failed(
            knock.check,
            f"refused: {heard.detail or 'the connection was closed'}",
            "the certificate is expired, revoked, of another CA than the port trusts, or not for clients",
            "see the checks of this certificate, and etcd's log on this host; run deploy",
        )
    if how := heard.refusal(proper):
        return Finding(knock.check, True, how)
    return failed(
        knock.check,
        f"no proof of a refusal: {heard.detail or 'the proper certificate is not answered either'}",
        "openssl is too old or too small for the question, or the connection broke",
        "run it again; ask by hand with openssl s_client on the host",
    )


def _let_in(knock: Knock, code: str, excuse: str) -> Finding:
    if knock.let_in:
        return Finding(knock.check, True, f"answered {code}")
    if excuse:
        return warned(knock.check, "it was let in", excuse, "set pki.trust: separate and run deploy")
    return failed(
        knock.check,
        f"it was let in ({code})",
        "client-cert-auth is off, or trusted-ca-file holds more than the CA of this side",
        "compare /etc/etcd/conf.yml and the files of trust anchors with the inventory, then run deploy",
    )


def health_finding(answer: str | None, why: str = "") -> Finding:
    """Return the finding in the ``answer`` of ``/health``; None: it could not be asked, for the reason ``why``."""
    check = "/health"
    if answer is None:
        return skipped(check, why)
    body = re.search(r'\{[^{}]*"health"[^{}]*\}', answer)
    if body is None:
        return failed(
            check,
            "no answer in time",
            "etcd refuses this host's client certificate, waits for a quorum that is not there, or hangs",
            "see the checks of this port and of the members",
        )
    if re.search(r'"health":\s*"?true', body[0]):
        return Finding(check, True, body[0])
    return failed(check, body[0], "an alarm is raised, or there is no leader", "see the checks of alarms and leader")
