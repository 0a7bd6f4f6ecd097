"""A tiny CA in memory, for tests: a root, two intermediates under it, and leaves of any shape."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
EKU = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def key(label: str, kind: str = "ec") -> Key:
    """The key with that label: always the same one within a test run (RSA keys are slow to make)."""
    return _key(label, kind)


@cache
def _key(label: str, kind: str) -> Key:
    del label
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)


def pem_of(private: Key, *, pkcs8: bool = True) -> str:
    form = serialization.PrivateFormat.PKCS8 if pkcs8 else serialization.PrivateFormat.TraditionalOpenSSL
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def public_pem(private: Key) -> str:
    return (
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


@dataclass(frozen=True)
class Made:
    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _usage(*names: str) -> x509.KeyUsage:
    every: tuple[str, ...] = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    every += ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in names for name in every})


def ca(
    name: str,
    issuer: Made | None = None,
    *,
    label: str = "",
    start: datetime = NOW - YEAR,
    end: datetime = NOW + 10 * YEAR,
    is_ca: bool = True,
    path_length: int | None = None,
    may_sign: bool = True,
    extra: Sequence[x509.ExtensionType] = (),
    kind: str = "ec",
) -> Made:
    private = key(label or name, kind)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer.certificate.subject if issuer else _name(name))
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(is_ca, path_length if is_ca else None), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign") if may_sign else _usage("digital_signature"), critical=True)
    )
    for extension in extra:
        builder = builder.add_extension(extension, critical=False)
    return Made(builder.sign(issuer.key if issuer else private, hashes.SHA256()), private)


def leaf(
    issuer: Made,
    common_name: str = "etcd.az1.k8s.home",
    *,
    dns: Sequence[str] = ("etcd.az1.k8s.home",),
    ips: Sequence[str] = ("10.240.1.2",),
    usages: Sequence[str] | None = ("server", "client"),
    key_usage: Sequence[str] | None = ("digital_signature", "key_encipherment"),
    start: datetime = NOW - DAY,
    end: datetime = NOW + 2 * YEAR,
    label: str = "leaf",
    kind: str = "ec",
    serial: int | None = None,
    basic: x509.BasicConstraints | None = None,
    algorithm: hashes.HashAlgorithm | None = None,
) -> Made:
    private = key(label, kind)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer.certificate.subject)
        .public_key(private.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    names: list[x509.GeneralName] = [x509.DNSName(n) for n in dns]
    names += [x509.IPAddress(ipaddress.ip_address(a)) for a in ips]
    if names:
        # Without a subject it must be critical: RFC 5280, section 4.2.1.6.
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not common_name)
    if usages is not None:
        oids = [EKU[u] if u in EKU else x509.ObjectIdentifier(u) for u in usages]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    if key_usage is not None:
        builder = builder.add_extension(_usage(*key_usage), critical=True)
    if basic is not None:
        builder = builder.add_extension(basic, critical=True)
    return Made(builder.sign(issuer.key, algorithm or hashes.SHA256()), private)  # type: ignore[arg-type]


ROOT = ca("Test Root")
PEERS = ca("Peers CA", ROOT, end=NOW + 5 * YEAR)
CLIENTS = ca("Clients CA", ROOT, end=NOW + 5 * YEAR)
