"""A certificate as plain data, and the readers that turn PEM text into it."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etcdfleet.errors import CertificateError
from etcdfleet.roles import Usage

"""What a TLS certificate may be used for. etcd's peer certificates need both."""

BOTH: frozenset[Usage] = frozenset({"server", "client"})

E = TypeVar("E", bound=x509.ExtensionType)

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_USAGES: dict[str, Usage] = {
    ExtendedKeyUsageOID.SERVER_AUTH.dotted_string: "server",
    ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string: "client",
}
_KEY_USAGES = ("digital_signature", "key_encipherment", "key_agreement", "key_cert_sign", "crl_sign")


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Times are aware and in UTC, the serial is written as Vault prints it (``3b:f4:…``).

    ``usages`` holds both usages when there is no ExtendedKeyUsage at all or it names "any" (``any_usage`` is then
    true), which is how TLS reads it. ``key_usage`` is None when the extension is absent. ``fingerprint`` is the SHA-256
    of the DER form and ``public_key`` that of the public key's SPKI DER form, both in lower-case hex.
    """

    common_name: str
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    usages: frozenset[Usage]
    any_usage: bool
    key_usage: frozenset[str] | None
    is_ca: bool
    path_length: int | None
    self_signed: bool
    key_type: str
    key_size: int
    fingerprint: str
    public_key: str
    pem: str = field(repr=False, compare=False)
    x509: x509.Certificate = field(repr=False, compare=False)

    @property
    def key_kind(self) -> str:
        """Type and size of its key as the settings write them: ``rsa-2048``, ``ec-p256``."""
        return f"{self.key_type.lower()}-{'p' if self.key_type == 'EC' else ''}{self.key_size}"

    @property
    def title(self) -> str:
        """A name for messages: the subject's CN if it has one, else the whole subject, else the serial."""
        return self.common_name or self.subject or self.serial

    def facts(self) -> dict[str, object]:
        """Return plain JSON values for a report. Nothing in a certificate is secret."""
        return {
            "common_name": self.common_name,
            "serial": self.serial,
            "issuer": self.issuer,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "dns_names": list(self.dns_names),
            "ip_addresses": list(self.ip_addresses),
            "usages": sorted(self.usages),
            "key": f"{self.key_type} {self.key_size}",
            "fingerprint": self.fingerprint,
        }


def parse_pem_bundle(pem: str | bytes) -> tuple[Certificate, ...]:
    """Read every certificate of ``pem``, in its order; text around the blocks is ignored, as OpenSSL and Go do.

    Raises CertificateError when there is no certificate or one cannot be read.
    """
    blocks = pem_blocks(pem, "CERTIFICATE")
    if not blocks:
        raise CertificateError("there is no certificate in this PEM text")
    certificates = []
    for number, block in enumerate(blocks, start=1):
        try:
            certificates.append(_read(x509.load_pem_x509_certificate(block.encode()), block))
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, TypeError) as error:
            raise CertificateError(f"certificate {number} of {len(blocks)} cannot be read: {error}") from None
    return tuple(certificates)


def pem_blocks(pem: str | bytes, label: str) -> tuple[str, ...]:
    """Return the blocks of ``pem`` with that label, with ``\\n`` line ends and a final one."""
    text = pem.decode("utf-8", "replace") if isinstance(pem, bytes) else pem
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return tuple(
        "\n".join(line.strip() for line in match.group(0).split("\n") if line.strip()) + "\n"
        for match in _BLOCK.finditer(text)
        if match.group(1) == label
    )


def holds_private_key(pem: str | bytes) -> bool:
    """Return whether any private key block is in ``pem``, whatever its kind."""
    text = pem.decode("utf-8", "replace") if isinstance(pem, bytes) else pem
    return re.search(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----", text) is not None


def public_key_fingerprint(key_pem: str | bytes) -> str:
    """Return the SHA-256 (lower-case hex) of the SPKI DER form of the public key in a key, CSR or certificate (PEM).

    It equals ``openssl pkey -in KEY -pubout -outform DER | sha256sum`` on a host, so a key never has to leave it.
    Raises CertificateError, which never quotes the input, when there is no readable key.
    """
    data = key_pem.encode() if isinstance(key_pem, str) else key_pem
    if b"-----BEGIN CERTIFICATE-----" in data:
        return parse_pem_bundle(data)[0].public_key
    try:
        if b"CERTIFICATE REQUEST-----" in data:
            return spki_sha256(x509.load_pem_x509_csr(data).public_key())
        if holds_private_key(data):
            return spki_sha256(serialization.load_pem_private_key(data, password=None).public_key())
        return spki_sha256(serialization.load_pem_public_key(data))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    # Outside the handler: the original exception may quote the key's text and must not hang on this one as context.
    raise CertificateError("the key cannot be read: it is not PEM, is encrypted, or is of an unknown kind")


def spki_sha256(key: object) -> str:
    """Return the SHA-256 (lower-case hex) of a public key object's SPKI DER form."""
    der: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def serial_text(number: int) -> str:
    """Return a serial number the way Vault writes it: lower-case hex bytes joined by colons."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex(":")


def normal_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return DNS names in lower case, without a final dot, each once, in their order."""
    return tuple(dict.fromkeys(name.strip().lower().rstrip(".") for name in names))


def normal_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return IP addresses in canonical form, each once, in their order. Raises ValueError for anything else."""
    return tuple(dict.fromkeys(str(ipaddress.ip_address(address.strip())) for address in addresses))


def aware(moment: datetime, name: str) -> datetime:
    """Return ``moment``. Raises ValueError when it is naive: comparing it would silently mean local time."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(f"{name} must be a datetime with a time zone")
    return moment


def _read(certificate: x509.Certificate, pem: str) -> Certificate:
    extensions = certificate.extensions
    san = _extension(extensions, x509.SubjectAlternativeName)
    eku = _extension(extensions, x509.ExtendedKeyUsage)
    constraints = _extension(extensions, x509.BasicConstraints)
    any_usage = eku is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in list(eku)
    usages = (
        BOTH
        if eku is None or any_usage
        else frozenset(_USAGES[o.dotted_string] for o in eku if o.dotted_string in _USAGES)
    )
    key_type, key_size = _kind(certificate.public_key())
    common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        common_name=str(common_names[0].value) if common_names else "",
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=serial_text(certificate.serial_number),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        dns_names=normal_names(san.get_values_for_type(x509.DNSName)) if san else (),
        ip_addresses=tuple(str(address) for address in san.get_values_for_type(x509.IPAddress)) if san else (),
        usages=usages,
        any_usage=any_usage,
        key_usage=_key_usage(extensions),
        is_ca=constraints.ca if constraints else False,
        path_length=constraints.path_length if constraints else None,
        self_signed=_signed_by_itself(certificate),
        key_type=key_type,
        key_size=key_size,
        fingerprint=hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest(),
        public_key=spki_sha256(certificate.public_key()),
        pem=pem,
        x509=certificate,
    )


def _extension(extensions: x509.Extensions, kind: type[E]) -> E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _key_usage(extensions: x509.Extensions) -> frozenset[str] | None:
    usage = _extension(extensions, x509.KeyUsage)
    return None if usage is None else frozenset(name for name in _KEY_USAGES if getattr(usage, name))


def _kind(key: object) -> tuple[str, int]:
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC", key.key_size
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA", key.key_size
    return type(key).__name__.removesuffix("PublicKey").lstrip("_"), 256


def _signed_by_itself(certificate: x509.Certificate) -> bool:
    if certificate.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
