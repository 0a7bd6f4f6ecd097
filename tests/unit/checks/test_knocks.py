"""Who is let in at a port, in what openssl and etcdctl of many versions say of it."""

from __future__ import annotations

import pytest

from etcdfleet.checks.knocks import (
    Heard,
    Kind,
    Knock,
    health_finding,
    heard_by_etcdctl,
    heard_by_openssl,
    knock_finding,
    knocks,
    proper_answered,
    refusal_finding,
)
from etcdfleet.roles import RoleName
from etcdfleet.settings.vault import VaultPki
from tests.unit.support.site import settings

ROLES: tuple[RoleName, ...] = ("peer", "server", "client")


def test_who_is_let_in() -> None:
    found = knocks(settings(), ROLES)
    assert len(found) == 8
    assert {(knock.port, knock.shown) for knock in found if knock.let_in} == {(2379, "client"), (2380, "peer")}
    both = VaultPki.model_validate({"roles": {"server": {"usages": ["server", "client"]}}})
    assert (2379, "server") in {(k.port, k.shown) for k in knocks(settings(pki=both), ROLES) if k.let_in}
    assert {knock.port for knock in knocks(settings(client_tls=False), ("peer",))} == {2380}


# What openssl s_client says.
OK = 'depth=0 CN = a\nverify return:1\nHTTP/1.0 200 OK\nContent-Type: application/json\n\n{"etcdserver":"3.5.1"}'
REFUSED = (
    "verify return:1\n40A7:error:0A000412:SSL routines:ssl3_read_bytes:sslv3 alert bad certificate:../ssl/rec:1601:"
)
NOT_OURS = "verify error:num=20:unable to get local issuer certificate\nerror:0A000086:certificate verify failed:../ssl"
NOBODY = "40A7:error:8000006F:system library:BIO_connect:Connection refused:../crypto/bio:127:\nconnect:errno=111"
RIGHT, WRONG = Knock("peer", 2380, "peer", True), Knock("peer", 2380, "client", False)


@pytest.mark.parametrize(
    ("knock", "rc", "said", "status", "words"),
    [
        (RIGHT, 0, OK, "ok", "answered HTTP 200"),
        (WRONG, 0, REFUSED, "ok", "refused: bad certificate"),
        (WRONG, 0, "verify return:1", "ok", "refused: the connection was closed"),
        (WRONG, 0, OK, "failed", "it was let in"),
        (RIGHT, 0, REFUSED, "failed", "refused: bad certificate"),
        (RIGHT, 1, NOT_OURS, "failed", "does not lead to the trust anchor"),
        (WRONG, 1, NOT_OURS, "failed", "does not lead to the trust anchor"),
        (RIGHT, 1, NOBODY, "failed", "no connection"),
        (WRONG, 1, NOBODY, "failed", "no connection"),  # that is no refusal
        (WRONG, 124, "", "failed", "no answer"),
        (WRONG, 124, "verify return:1", "failed", "no answer"),
        (WRONG, 1, "Could not open file or uri for loading client certificate from /x", "failed", "cannot read"),
        (WRONG, 127, "sh: openssl: not found", "failed", "no proof of a refusal: sh: openssl: not found"),
        (WRONG, 1, "BIO_lookup_ex:Name or service not known", "failed", "no connection"),
    ],
)
def test_knocking(knock: Knock, rc: int, said: str, status: str, words: str) -> None:
    found = knock_finding(knock, heard_by_openssl(rc, said))
    assert (found.status, words in found.evidence) == (status, True), found
    assert status == "ok" or (found.cause and found.remedy)


def test_the_settings_may_let_a_certificate_in_that_they_should_not() -> None:
    assert knock_finding(WRONG, heard_by_openssl(0, OK), "one CA").status == "warning"
    assert knock_finding(WRONG, heard_by_openssl(0, REFUSED), "one CA").status == "ok"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ('HTTP/1.0 200 OK\n\n{"health":"true"}', "ok"),
        ('HTTP/1.0 200 OK\n\n{"health":"true","reason":""}', "ok"),
        ('HTTP/1.0 503 Service Unavailable\n\n{"health":"false","reason":"ALARM NOSPACE"}', "failed"),
        (REFUSED, "failed"),
        (None, "skipped"),
    ],
)
def test_health(said: str | None, status: str) -> None:
    found = health_finding(said, "there is no openssl")
    assert found.status == status
    assert "NOSPACE" in found.evidence or "NOSPACE" not in (said or "")


SEEN = "depth=1 O=Home, CN=CA\nverify return:1\ndepth=0 CN=a\nverify return:1\n"
"""What openssl says once the server has shown a good certificate."""


def alert(words: str, number: int) -> str:
    return f"40B7:error:0A000418:SSL routines:ssl3_read_bytes:{words}:../rec_layer_s3.c:918:SSL alert number {number}"


@pytest.mark.parametrize(
    ("rc", "said", "kind", "detail"),
    [
        (0, f'{SEEN}HTTP/1.0 200 OK\n\n{{"etcdserver":"3.5.16"}}', "answered", "HTTP 200"),
        # etcd 3.4.23 and 3.5.1, OpenSSL 3.0: one alert for all that is wrong with a certificate.
        (1, SEEN + alert("sslv3 alert bad certificate", 42), "refused", "bad certificate"),
        # etcd 3.5.16 to 3.7.1, OpenSSL 3.5: newer Go says which.
        (1, SEEN + alert("tlsv1 alert unknown ca", 48), "refused", "unknown ca"),
        (1, SEEN + alert("ssl/tls alert bad certificate", 42), "refused", "bad certificate"),
        (1, SEEN + alert("tlsv13 alert certificate required", 116), "refused", "certificate required"),
        # The alert was lost: the server closed while the question was on its way.
        (0, SEEN, "closed", ""),
        (1, f"{SEEN}write:errno=104", "closed", ""),
        # Alerts about something else are no refusal of the certificate.
        (1, alert("ssl/tls alert handshake failure", 40), "unclear", None),
        (1, alert("tlsv1 alert protocol version", 70), "unclear", None),
        (1, SEEN + alert("tlsv1 alert internal error", 80), "unclear", None),
        # A stopped etcd, a firewall that drops, a host that hangs, a full disk: nothing is proven.
        (1, "40A7:error:8000006F:system library:BIO_connect:Connection refused:x", "no connection", None),
        (124, "", "late", None),
        (124, SEEN, "late", None),
        (1, "", "unclear", None),
        (98, "mktemp: No space left on device", "unclear", None),
        (1, "Could not open file or uri for loading private key from /x", "unreadable", None),
        (1, "error:05800074:x509 certificate routines::key values mismatch", "unreadable", None),
    ],
)  # fmt: skip
def test_what_openssl_tells(rc: int, said: str, kind: Kind, detail: str | None) -> None:
    heard = heard_by_openssl(rc, said)
    assert heard.kind == kind
    assert detail is None or heard.detail == detail


LATE = "code = DeadlineExceeded desc = latest balancer error: "
PREFACE = 'Err: connection error: desc = "error reading server preface: remote error: tls: {}"'


@pytest.mark.parametrize(
    ("rc", "said", "kind"),
    [
        (0, "https://127.0.0.1:2379 is healthy: successfully committed proposal: took = 6.9ms", "answered"),
        (143, "rpc error: code = Unavailable desc = all SubConns are in TRANSIENT_FAILURE", "closed"),  # 3.4.23
        (143, 'authentication handshake failed: remote error: tls: bad certificate', "refused"),  # 3.5.1
        (143, PREFACE.format("unknown certificate authority"), "refused"),  # 3.5.16, 3.5.30
        (143, PREFACE.format("bad certificate"), "refused"),
        (143, "Err: write tcp 127.0.0.1:49426->127.0.0.1:2379: write: broken pipe", "closed"),  # every second try
        # 3.6 and 3.7 say it at the end only.
        (1, LATE + PREFACE.format("unknown certificate authority"), "refused"),
        (1, LATE + "write tcp 127.0.0.1:1->127.0.0.1:2379: write: broken pipe", "closed"),
        # Words that nobody knows yet: the time tells.
        (1, "https://127.0.0.1:2379 is unhealthy: failed to commit proposal: context deadline exceeded", "silent"),
        # Not a refusal of the certificate.
        (1, LATE + "dial tcp 127.0.0.1:2379: connect: connection refused", "no connection"),
        (1, "dial tcp 198.51.100.2:2379: i/o timeout context deadline exceeded", "no connection"),
        (1, "Error: open /etc/etcd/certs/client/a.pem: no such file or directory", "unreadable"),
        (1, "Error: tls: private key does not match public key", "unreadable"),
        (1, "authentication handshake failed: x509: certificate signed by unknown authority", "unverified"),
        (1, PREFACE.format("handshake failure"), "unclear"),
        (1, PREFACE.format("protocol version not supported"), "unclear"),
        (127, "sh: etcdctl: not found", "unclear"),
        (98, "", "unclear"),
    ],
)  # fmt: skip
def test_what_etcdctl_tells(rc: int, said: str, kind: Kind) -> None:
    assert heard_by_etcdctl(rc, f"{said}\nproper certificate: 0 1\n").kind == kind


@pytest.mark.parametrize(
    ("kind", "alone", "beside"),
    [("refused", True, True), ("closed", False, True), ("silent", False, True)]
    + [(kind, False, False) for kind in ("answered", "late", "unverified", "no connection", "unreadable", "unclear")],
)  # fmt: skip
def test_a_refusal_is_certain_beside_a_certificate_that_is_served(kind: Kind, alone: bool, beside: bool) -> None:
    """An etcd that hangs, a port that a firewall closes: silence proves something only where another is answered."""
    for proper, expected in ((False, alone), (True, beside)):
        finding = refusal_finding("peer", Heard(kind, "x"), proper)
        assert finding.ok is expected, (kind, proper, finding)
        assert finding.ok or finding.remedy


def test_the_proper_certificate_of_an_attempt_with_etcdctl() -> None:
    assert proper_answered("Error: x\nproper certificate: 0 2\n")
    assert not proper_answered("Error: x\nproper certificate: 1 0\n")
    assert not proper_answered("Error: x\n")


def test_silence_on_a_host_that_is_slow_anyway_proves_nothing() -> None:
    said = "https://127.0.0.1:2379 is unhealthy: failed to commit proposal: context deadline exceeded\n"
    assert heard_by_etcdctl(1, f"{said}proper certificate: 0 1\n").kind == "silent"
    assert heard_by_etcdctl(1, f"{said}proper certificate: 0 3\n").kind == "unclear"
    assert heard_by_etcdctl(1, said).kind == "unclear", "it was cut off"


@pytest.mark.parametrize("kind", ["closed", "refused"])
def test_the_matrix_wants_the_proper_certificate_served_too(kind: Kind) -> None:
    heard = Heard(kind, "bad certificate" if kind == "refused" else "")
    assert knock_finding(WRONG, heard, proper=True).ok
    assert knock_finding(WRONG, heard, proper=False).ok is (kind == "refused")
    assert knock_finding(RIGHT, heard, proper=False).status == "failed"
