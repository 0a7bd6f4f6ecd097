"""Private keys and requests for certificates, made on this machine: for people and programs, never for hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_KINDS: Mapping[str, Callable[[], PrivateKey]] = {
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
    "ec-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ec-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


def make_key(key_type: str) -> PrivateKey:
    """Return a new private key of a type of the settings (``rsa-2048``, ``ec-p256``). KeyError for another."""
    return _KINDS[key_type]()


def key_pem(key: PrivateKey) -> str:
    """Return the key as text, not encrypted (PKCS #8)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def request_for(key: PrivateKey, common_name: str) -> str:
    """Return a request (CSR, PEM) for a certificate with this common name and no other names."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()
