"""Certificate requests (CSRs): what one must say, and whether one that came back from a host says just that."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from etcdfleet.certs.model import normal_addresses, normal_names
from etcdfleet.certs.want import Want

CURVES: Mapping[str, str] = {"ec-p256": "secp256r1", "ec-p384": "secp384r1"}


def request_problems(want: Want, csr: str, key_type: str) -> tuple[str, ...]:
    """Return how a CSR (PEM) differs from what ``want`` asks for; empty when it may be signed.

    The program that asks for the certificate decides its names: Vault takes them from the CSR, so a host could have
    itself certified under any other name. ``key_type`` is as in the settings (``rsa-2048``, ``ec-p256``).
    """
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        signed = request.is_signature_valid
        public = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        return (f"it cannot be read: {error}",)
    problems = []
    if not signed:
        problems.append("it is not signed with the key that it is for")
    subject = [(attribute.oid, attribute.value) for attribute in request.subject]
    if subject != ([(NameOID.COMMON_NAME, want.common_name)] if want.common_name else []):
        wanted_subject = f"CN={want.common_name}" if want.common_name else "an empty one"
        problems.append(f"its subject is {request.subject.rfc4514_string()!r} instead of {wanted_subject}")
    names, addresses, others = _alternative_names(request)
    if others:
        problems.append(f"it asks for {', '.join(others)}")
    if sorted(names) != sorted(want.dns_names) or sorted(addresses) != sorted(want.ip_addresses):
        asked = ", ".join((*names, *addresses)) or "no names"
        wanted = ", ".join((*want.dns_names, *want.ip_addresses)) or "no names"
        problems.append(f"it is for {asked} instead of {wanted}")
    kind = _type_of(public)
    if kind != key_type:
        problems.append(f"its key is {kind} instead of {key_type}")
    return tuple(problems)


def _alternative_names(request: x509.CertificateSigningRequest) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    others = []
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            value = extension.value
            names = normal_names(value.get_values_for_type(x509.DNSName))
            addresses = normal_addresses(str(address) for address in value.get_values_for_type(x509.IPAddress))
            if len(list(value)) != len(names) + len(addresses):
                others.append("other kinds of names")
        else:
            others.append(f"the extension {extension.oid.dotted_string}")
    return names, addresses, others


def _type_of(public: object) -> str:
    if isinstance(public, rsa.RSAPublicKey):
        return f"rsa-{public.key_size}"
    if isinstance(public, ec.EllipticCurvePublicKey):
        return next((name for name, curve in CURVES.items() if curve == public.curve.name), f"ec {public.curve.name}")
    return type(public).__name__
