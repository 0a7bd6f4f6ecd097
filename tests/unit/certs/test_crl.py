from __future__ import annotations

from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from etcdfleet.certs import parse_pem_bundle
from etcdfleet.certs.crl import parse_crl, plan_crl, readable_crl, signed_by
from etcdfleet.errors import CertificateError
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import DAY, NOW, Made

PEERS = certs_ca.PEERS
OTHER = certs_ca.ca("Another CA", certs_ca.ROOT)
TRUSTED = [parse_pem_bundle(made.pem)[0] for made in (PEERS, OTHER)]


def crl(*serials: int, by: Made = PEERS, number: int = 1, made: datetime = NOW, until: datetime = NOW + DAY) -> str:
    built = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(made)
        .next_update(until)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(made).build()
        built = built.add_revoked_certificate(revoked)
    return built.sign(by.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_list_is_read_with_serials_as_vault_writes_them() -> None:
    parsed = parse_crl("some words\n" + crl(0x0A0B, 0xFF, number=7))
    assert parsed.serials == {"0a:0b", "ff"}
    assert (parsed.number, parsed.made, parsed.next_update) == (7, NOW, NOW + DAY)
    assert parsed.title.startswith("list 7 of 2026-06-01 12:00:00 UTC with 2 revoked")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "there is no revocation list"),
        (crl(1) + crl(2), "several"),
        ("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "cannot be read"),
    ],
)
def test_what_etcd_could_not_use_is_refused(text: str, what: str) -> None:
    with pytest.raises(CertificateError, match=what) as raised:
        parse_crl(text, where="ca.crl")
    assert raised.value.where == "ca.crl"
    assert readable_crl(text) is None


def test_who_signed_it() -> None:
    parsed = parse_crl(crl(1))
    assert signed_by(parsed, TRUSTED)
    assert not signed_by(parsed, TRUSTED[1:])
    same_name = certs_ca.ca("Peers CA", OTHER, label="another key")
    assert not signed_by(parsed, parse_pem_bundle(same_name.pem)), "a name alone is no signature"


@pytest.mark.parametrize(
    ("there", "wanted", "placed", "text", "warning"),
    [
        (None, crl(1), True, "placed: list 1", ""),
        ("spoiled", crl(1), True, "placed: list 1", ""),
        (crl(1), crl(1, number=2, made=NOW + DAY), False, "list 1", ""),
        (crl(1), crl(1, 2, number=2), True, "1 more", ""),
        (crl(1, 2), crl(2, number=2), True, "0 more, 1 less", ""),
        # Made anew without another name: only worth placing once the one on the host has run out.
        (crl(1, made=NOW - 9 * DAY, until=NOW - DAY), crl(1, number=2), True, "replaced", ""),
        (
            crl(1, made=NOW - 9 * DAY, until=NOW - DAY),
            crl(1, number=2, made=NOW - 2 * DAY, until=NOW - DAY),
            False,
            "list 1",
            "no newer one",
        ),
        # An old list, from a standby or a backup of Vault, lets nobody in again.
        (crl(1, 2, number=5), crl(1, number=4), False, "list 5", "older list was offered"),
        # While the CA of before is trusted, its list stays: but only if it names anybody.
        (crl(1, by=OTHER), crl(), False, "list 1", "is still trusted and 1 of its certificates"),
        (crl(by=OTHER), crl(), True, "replaced", ""),
    ],
)
def test_which_list_a_host_gets(there: str | None, wanted: str, placed: bool, text: str, warning: str) -> None:
    plan = plan_crl(there, parse_crl(wanted), TRUSTED, now=NOW)
    assert (plan.pem is not None) is placed
    assert text in plan.text
    assert (warning in plan.warning) if warning else not plan.warning


def test_the_list_of_a_ca_that_is_trusted_no_longer_makes_way() -> None:
    plan = plan_crl(crl(1, by=OTHER), parse_crl(crl()), TRUSTED[:1], now=NOW)
    assert plan.pem is not None
    assert not plan.warning


def test_another_key_under_the_same_name_is_another_ca() -> None:
    renewed = certs_ca.ca("Another CA", certs_ca.ROOT, label="renewed")
    trusted = [*TRUSTED, *parse_pem_bundle(renewed.pem)]
    plan = plan_crl(crl(1, by=OTHER, number=9), parse_crl(crl(by=renewed, number=1)), trusted, now=NOW)
    assert plan.pem is None
    assert "is still trusted" in plan.warning
