"""Reading certificates, putting bundles together, proving chains."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from etcdfleet.certs import (
    Certificate,
    bundle,
    chain_problems,
    issued,
    parse_pem_bundle,
    public_key_fingerprint,
    same_certificates,
)
from etcdfleet.certs.authority import ends_soon
from etcdfleet.errors import CertificateError
from tests.unit.support.certs_ca import CLIENTS, DAY, NOW, PEERS, ROOT, YEAR, Made, ca, key, leaf, pem_of, public_pem


def one(made: Made) -> Certificate:
    return parse_pem_bundle(made.pem)[0]


def test_a_certificate_as_data() -> None:
    made = leaf(PEERS, dns=("Etcd.AZ1.k8s.home", "etcd.home"), ips=("10.240.1.2", "127.0.0.1"), serial=0x3BF46D0A)
    certificate = one(made)
    assert certificate.common_name == "etcd.az1.k8s.home"
    assert certificate.serial == "3b:f4:6d:0a"
    assert certificate.dns_names == ("etcd.az1.k8s.home", "etcd.home")
    assert certificate.ip_addresses == ("10.240.1.2", "127.0.0.1")
    assert certificate.usages == {"server", "client"}
    assert not certificate.any_usage
    assert certificate.key_usage == frozenset({"digital_signature", "key_encipherment"})
    assert certificate.issuer == "CN=Peers CA"
    assert (certificate.key_type, certificate.key_size) == ("EC", 256)
    assert certificate.not_after == NOW + 2 * YEAR
    assert certificate.not_after.tzinfo is UTC
    assert certificate.fingerprint == made.certificate.fingerprint(hashes.SHA256()).hex()
    assert not certificate.is_ca
    assert not certificate.self_signed
    assert one(ROOT).self_signed
    assert one(ROOT).is_ca
    assert certificate.facts()["not_after"] == "2028-05-31T12:00:00+00:00"
    assert "BEGIN" not in repr(certificate)


@pytest.mark.parametrize(("number", "text"), [(1, "01"), (0x80, "80"), (0x0ABC, "0a:bc"), (2**64, "01" + ":00" * 8)])
def test_serials_are_written_as_vault_does(number: int, text: str) -> None:
    assert one(leaf(PEERS, serial=number)).serial == text


def test_rsa_key_and_no_extensions() -> None:
    certificate = one(leaf(PEERS, kind="rsa", label="rsa", dns=(), ips=(), usages=None, key_usage=None))
    assert (certificate.key_type, certificate.key_size) == ("RSA", 2048)
    assert certificate.any_usage
    assert certificate.usages == {"server", "client"}
    assert certificate.key_usage is None
    assert certificate.dns_names == certificate.ip_addresses == ()


def test_any_extended_key_usage_is_any_and_unknown_ones_are_none() -> None:
    any_usage = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string
    assert one(leaf(PEERS, usages=(any_usage,))).usages == {"server", "client"}
    assert one(leaf(PEERS, usages=(ExtendedKeyUsageOID.CODE_SIGNING.dotted_string,))).usages == frozenset()


def test_bundles_are_read_in_order_with_any_line_ends_and_text_around() -> None:
    made = leaf(PEERS)
    text = "subject=whatever\r\n" + made.pem.replace("\n", "\r\n") + "\n# the CA\n" + PEERS.pem.strip()
    assert [c.common_name for c in parse_pem_bundle(text)] == ["etcd.az1.k8s.home", "Peers CA"]
    assert parse_pem_bundle(text.encode())[0] == one(made)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no certificate"),
        ("hello", "no certificate"),
        (PEERS.pem[:200], "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "certificate 1 of 1 cannot be read"),
        (PEERS.pem + "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n", "certificate 2 of 2"),
    ],
)
def test_unreadable_text(text: str, says: str) -> None:
    with pytest.raises(CertificateError, match=says):
        parse_pem_bundle(text)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_one_fingerprint_for_key_public_key_csr_and_certificate(kind: str) -> None:
    private = key("leaf", kind)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, hashes.SHA256())
    texts = [
        pem_of(private),
        pem_of(private, pkcs8=False),
        public_pem(private),
        csr.public_bytes(serialization.Encoding.PEM).decode(),
        leaf(PEERS, kind=kind).pem,
    ]
    assert len({public_key_fingerprint(text) for text in texts}) == 1
    assert public_key_fingerprint(texts[0].encode()) == public_key_fingerprint(texts[0])


def test_the_fingerprint_is_what_openssl_says_on_a_host(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(pem_of(key("leaf")))
    der = subprocess.run(
        ["openssl", "pkey", "-in", file, "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout
    assert hashlib.sha256(der).hexdigest() == public_key_fingerprint(file.read_text())


def test_an_unreadable_key_is_not_quoted() -> None:
    text = "-----BEGIN PRIVATE KEY-----\nVERYSECRET\n-----END PRIVATE KEY-----\n"
    with pytest.raises(CertificateError) as caught:
        public_key_fingerprint(text)
    assert "VERYSECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_bundle_orders_and_drops_root_and_doubles() -> None:
    below = ca("Below", PEERS)
    made = leaf(below)
    crlf = below.pem.replace("\n", "\r\n").rstrip()
    text = bundle(made.pem.strip(), [ROOT.pem, PEERS.pem, crlf, PEERS.pem + CLIENTS.pem, ""])
    assert [c.common_name for c in parse_pem_bundle(text)] == ["etcd.az1.k8s.home", "Below", "Peers CA"]
    assert text == made.pem + below.pem + PEERS.pem
    assert bundle(text, [ROOT.pem]) == text
    assert bundle(made.pem, []) == made.pem


def test_same_certificates() -> None:
    assert same_certificates(ROOT.pem + PEERS.pem, PEERS.pem.replace("\n", "\r\n") + ROOT.pem)
    assert not same_certificates(ROOT.pem, ROOT.pem + PEERS.pem)
    assert not same_certificates(ROOT.pem, None)
    assert not same_certificates(ROOT.pem, "nothing")


def test_a_name_alone_does_not_make_an_issuer() -> None:
    impostor = ca("Peers CA", ROOT, label="other key")
    assert issued(one(leaf(PEERS)), by=one(PEERS))
    assert not issued(one(leaf(impostor)), by=one(PEERS))
    assert not issued(one(leaf(PEERS)), by=one(CLIENTS))


def chain_of(*made: Made, anchors: tuple[Made, ...] = (ROOT,), at: datetime = NOW) -> tuple[str, ...]:
    return chain_problems([one(m) for m in made], [one(a) for a in anchors], at=at, usages=("server", "client"))


BELOW = ca("Below", PEERS)
RSA_ROOT = ca("RSA Root", kind="rsa")
CROSSED = ca("Peers CA", RSA_ROOT)  # the key of Peers CA, signed by another root


@pytest.mark.parametrize(
    ("made", "anchors"),
    [
        ((leaf(PEERS), PEERS), (ROOT,)),
        ((leaf(PEERS), PEERS), (PEERS,)),
        ((leaf(PEERS),), (PEERS,)),
        ((leaf(BELOW), BELOW, PEERS), (ROOT,)),
        ((leaf(BELOW), BELOW, PEERS), (PEERS,)),
        ((leaf(PEERS), PEERS), (RSA_ROOT, ROOT)),
        ((leaf(CROSSED), CROSSED), (RSA_ROOT,)),
        ((leaf(RSA_ROOT, kind="rsa"),), (RSA_ROOT,)),
        ((leaf(PEERS), PEERS), (ca("Test Root", end=NOW - DAY), ROOT)),
    ],
    ids=["root", "intermediate", "alone", "deep", "deep-intermediate", "two", "crossed", "rsa", "renewed-root"],
)
def test_good_chains(made: tuple[Made, ...], anchors: tuple[Made, ...]) -> None:
    assert chain_of(*made, anchors=anchors) == ()


def _limited(*trees: x509.GeneralName, denied: bool = False) -> Made:
    limits = x509.NameConstraints(None if denied else list(trees), list(trees) if denied else None)
    return ca("Limited", ROOT, extra=(limits,))


def _net(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_network(text))


@pytest.mark.parametrize(
    ("issuers", "says"),
    [
        ((ca("Peers CA", ROOT, label="x"),), "does not build.*not made with the key of 'Peers CA'"),
        ((), "does not build.*issued by 'CN=Peers CA'; the trust anchor holds 'Test Root'"),
        ((ca("No CA", ROOT, is_ca=False),), "is not a CA"),
        ((ca("Mute", ROOT, may_sign=False),), "may not sign certificates"),
        ((ca("Old", ROOT, end=NOW - DAY),), "the CA 'Old' expired at 2026-05-31 12:00:00 UTC"),
        ((ca("Early", ROOT, start=NOW + DAY),), "the CA 'Early' is not valid before 2026-06-02"),
        ((ca("B", ca("A", ROOT, path_length=0)), ca("A", ROOT, path_length=0)), "'A' allows 0 intermediates.*are 1"),
        (
            (ca("S", ROOT, extra=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),)),),
            "'S' may not issue client certificates",
        ),
        ((_limited(x509.DNSName("example.org")),), "may not certify etcd.az1.k8s.home"),
        ((_limited(x509.DNSName("k8s.home"), denied=True),), "may not certify etcd.az1.k8s.home"),
        ((_limited(_net("192.0.2.0/24")),), "may not certify 10.240.1.2"),
        ((_limited(_net("10.0.0.0/8"), x509.DNSName(".k8s.home")),), None),
    ],
)
def test_chains_with_one_thing_wrong(issuers: tuple[Made, ...], says: str | None) -> None:
    if issuers and issuers[0].certificate.subject == PEERS.certificate.subject:
        problems = chain_of(leaf(PEERS), anchors=issuers)
    else:
        problems = chain_of(leaf(issuers[0] if issuers else PEERS), *issuers)
    if says is None:
        assert problems == ()
        return
    assert len(problems) == 1
    assert re.search(says, problems[0])


def test_a_forged_signature_is_found() -> None:
    der = bytearray(leaf(PEERS, kind="rsa").certificate.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_certificate(bytes(der))
    problems = chain_of(Made(forged, key("leaf")), PEERS)
    assert len(problems) == 1
    assert "unknown authority" in problems[0]


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        chain_of(leaf(PEERS), PEERS, at=datetime(2026, 6, 1))  # noqa: DTZ001


def test_an_expired_anchor_is_named() -> None:
    problems = chain_of(leaf(PEERS), PEERS, at=NOW + 11 * YEAR + timedelta(days=1))
    assert [p for p in problems if "'Test Root' expired" in p]


@pytest.mark.parametrize(
    ("days", "says"), [(181, ""), (100, "in 100 days: no certificate of it lives longer"), (3, "'Old CA' of pki_peer")]
)
def test_a_ca_that_ends_soon_is_said_in_time(days: int, says: str) -> None:
    own = parse_pem_bundle(ca("Old CA", ROOT, start=NOW - YEAR, end=NOW + days * DAY).pem)[0]
    warning = ends_soon(own, "pki_peer", NOW)
    assert (says in warning, bool(warning)) == (True, days < 180)
