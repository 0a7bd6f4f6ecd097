"""Judgement of the pairs on a host, and of what its ports answer to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from etcdfleet.certs import public_key_fingerprint
from etcdfleet.checks.findings import Finding
from etcdfleet.checks.tls import certificate_findings
from etcdfleet.host.facts import PairFacts
from etcdfleet.roles import RoleName
from tests.unit.support.certs_ca import DAY, NOW, PEERS, ROOT, Made, ca, leaf, pem_of
from tests.unit.support.site import MEMBERS, settings

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
