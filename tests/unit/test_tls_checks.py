"""Judgement of the pairs on a host, and of what its ports answer to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from etcdfleet.certs import public_key_fingerprint
from etcdfleet.etcd.checks import Finding
from etcdfleet.etcd.tls_checks import Knock, certificate_findings, health_finding, knock_finding, knocks
from etcdfleet.facts import PairFacts
from etcdfleet.settings.base import RoleName
from etcdfleet.settings.pki import PkiSettings
from tests.unit.certs_ca import DAY, NOW, PEERS, ROOT, Made, ca, leaf, pem_of
from tests.unit.site import MEMBERS, settings

ROLES: tuple[RoleName, ...] = ("peer", "server", "client")
FQDN, ADDRESS = MEMBERS[0].fqdn, MEMBERS[0].address


def judged(made: Made, *, anchor: str = ROOT.pem, chain: str = PEERS.pem, key: str | None = None) -> dict[str, Finding]:
    pair = PairFacts(made.pem + chain, "", "600 etcd", {})
    public = public_key_fingerprint(pem_of(made.key)) if key is None else key
    found = certificate_findings(settings(), "peer", pair, anchor, public, NOW)
    return {finding.check.removeprefix("peer certificate: "): finding for finding in found}


def peer(**shape: Any) -> Made:
    return leaf(PEERS, FQDN, **{"dns": (FQDN,), "ips": (ADDRESS,), **shape})


def test_a_good_pair() -> None:
    found = judged(peer())
    assert list(found) == ["names", "usage", "chain", "key", "life"]
    assert {finding.status for finding in found.values()} == {"ok"}
    assert found["chain"].evidence == "Peers CA < Test Root"


@pytest.mark.parametrize(
    ("made", "check", "words"),
    [
        (peer(dns=("other.home",)), "names", f"not valid for {FQDN}"),
        (peer(ips=("192.0.2.1",)), "names", f"not valid for {ADDRESS}"),
        (peer(usages=("server",)), "usage", "may not be used as a client certificate"),
        (peer(end=NOW - timedelta(hours=1), start=NOW - 30 * DAY), "life", "it expired at"),
        (peer(start=NOW + DAY), "life", "not valid before"),
    ],
)
def test_what_is_wrong_with_a_certificate(made: Made, check: str, words: str) -> None:
    found = judged(made)[check]
    assert found.status == "failed"
    assert words in found.evidence
    assert found.cause
    assert found.remedy


def test_foreign_chain_and_key() -> None:
    found = judged(peer(), anchor=ca("Another").pem)
    assert "does not build to the trust anchor" in found["chain"].evidence
    assert judged(peer(), anchor="")["chain"].status == "failed"
    assert "does not belong" in judged(peer(), key="ab" * 32)["key"].evidence
    assert "no readable key" in judged(peer(), key="")["key"].evidence


@pytest.mark.parametrize(
    ("made", "status", "words"),
    [
        (peer(start=NOW - DAY, end=NOW + 3 * DAY), "warning", "3 days left"),  # the inventory asks for years
        (peer(start=NOW - 300 * DAY, end=NOW + 65 * DAY), "warning", "65 days left"),  # less than a third
        (peer(start=NOW - 300 * DAY, end=NOW + 400 * DAY), "ok", "400 days left"),
    ],
)
def test_life(made: Made, status: str, words: str) -> None:
    found = judged(made)["life"]
    assert (found.status, words in found.evidence) == (status, True), found


def test_a_ca_that_ends_soon() -> None:
    authority = ca("Old CA", end=NOW + 100 * DAY)
    found = judged(
        leaf(authority, FQDN, dns=(FQDN,), ips=(ADDRESS,), end=NOW + 99 * DAY), anchor=authority.pem, chain=""
    )["life"]
    assert found.status == "warning"
    assert "CA Old CA until" in found.evidence
    ended = ca("Ended CA", end=NOW - DAY)
    found = judged(leaf(ended, FQDN, dns=(FQDN,), ips=(ADDRESS,)), anchor=ended.pem, chain="")["life"]
    assert found.status == "failed"
    assert "the CA Ended CA expired" in found.evidence


@pytest.mark.parametrize(
    ("pair", "words"), [(None, "there is none"), (PairFacts("junk", "", "", {}), "no certificate")]
)
def test_no_file(pair: PairFacts | None, words: str) -> None:
    (found,) = certificate_findings(settings(), "peer", pair, ROOT.pem, "", NOW)
    assert found.status == "failed"
    assert words in found.evidence


def test_who_is_let_in() -> None:
    found = knocks(settings(), ROLES)
    assert len(found) == 8
    assert {(knock.port, knock.shown) for knock in found if knock.let_in} == {(2379, "client"), (2380, "peer")}
    both = PkiSettings.model_validate({"roles": {"server": {"usages": ["server", "client"]}}})
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
    found = knock_finding(knock, rc, said)
    assert (found.status, words in found.evidence) == (status, True), found
    assert status == "ok" or (found.cause and found.remedy)


def test_the_settings_may_let_a_certificate_in_that_they_should_not() -> None:
    assert knock_finding(WRONG, 0, OK, "one CA").status == "warning"
    assert knock_finding(WRONG, 0, REFUSED, "one CA").status == "ok"


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
