"""Revocation lists: reading one, and whether it may take the place of the one on a host. Pure functions.

What etcd does with the file (``checkCRL`` in its source, and tried with 3.4 and 3.5): it reads it anew at each
handshake, looks at its first list only, and compares serial numbers alone: neither issuer nor signature nor the end of
the list matter to it. Without the file, or with one that it cannot read, it refuses every connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from etcdfleet.certs.model import Certificate, pem_blocks, serial_text
from etcdfleet.certs.want import utc
from etcdfleet.errors import CertificateError


@dataclass(frozen=True)
class Crl:
    """A list of revoked certificates. ``number`` counts up with each list of an issuer; None where it has none."""

    issuer: str
    number: int | None
    made: datetime
    next_update: datetime | None
    serials: frozenset[str]
    pem: str = field(repr=False)
    x509: x509.CertificateRevocationList = field(repr=False, compare=False)

    @property
    def title(self) -> str:
        """The list in a few words."""
        which = f" {self.number}" if self.number is not None else ""
        return f"list{which} of {utc(self.made)} with {len(self.serials)} revoked"


def parse_crl(text: str, *, where: str = "") -> Crl:
    """Return the one list in a PEM text. Raises `CertificateError` for none, several, and one that cannot be read."""
    blocks = pem_blocks(text, "X509 CRL")
    if len(blocks) != 1:
        raise CertificateError(
            f"{'there are several revocation lists' if blocks else 'there is no revocation list'} in it (PEM)",
            where=where,
            remedy="etcd reads one list from a file: put the one of the CA that issues there, as PEM",
        )
    try:
        crl = x509.load_pem_x509_crl(blocks[0].encode())
        number = _number(crl)
        return Crl(
            issuer=crl.issuer.rfc4514_string(),
            number=number,
            made=crl.last_update_utc,
            next_update=crl.next_update_utc,
            serials=frozenset(serial_text(revoked.serial_number) for revoked in crl),
            pem=crl.public_bytes(Encoding.PEM).decode(),
            x509=crl,
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(
            f"the revocation list cannot be read: {error}", where=where, remedy="have the CA make it anew"
        ) from error


def readable_crl(text: str | None) -> Crl | None:
    """Return the list in a text; None when there is none that can be read."""
    try:
        return parse_crl(text) if text else None
    except CertificateError:
        return None


def signed_by(crl: Crl, issuers: Sequence[Certificate]) -> bool:
    """Return whether one of the CAs signed the list."""
    for issuer in issuers:
        try:
            if issuer.subject == crl.issuer and crl.x509.is_signature_valid(issuer.x509.public_key()):  # type: ignore[arg-type]
                return True
        except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
            continue
    return False


@dataclass(frozen=True)
class CrlPlan:
    """What becomes of the list on a host: ``pem`` is to be placed (None: stays), and why in ``text``."""

    pem: str | None = field(repr=False)
    text: str
    warning: str = ""


def plan_crl(there: str | None, wanted: Crl, trusted: Sequence[Certificate], *, now: datetime) -> CrlPlan:
    """Return whether ``wanted`` takes the place of what is ``there``, on a host whose etcd trusts these CAs.

    One file holds one list. While a previous CA is still trusted, its list stays if it names any certificate: with the
    list of the new CA, those certificates would be let in again. An older list never replaces a newer one.
    """
    warning = ""
    if _ended(wanted, now) and wanted.next_update:
        warning = (
            f"the revocation list was to be replaced by {utc(wanted.next_update)}, and the CA has no newer one; etcd "
            "goes on with it (in Vault: vault read MOUNT/crl/rotate, or auto_rebuild in MOUNT/config/crl)"
        )
    before = readable_crl(there)
    if before is None:
        return CrlPlan(wanted.pem, f"placed: {wanted.title}", warning)
    if before.pem == wanted.pem:
        return CrlPlan(None, wanted.title, warning)
    if before.issuer != wanted.issuer or not _same_signer(before, wanted, trusted):
        if before.serials - wanted.serials and signed_by(before, trusted):
            notice = (
                f"the list of {before.issuer} stays, since that CA is still trusted and {len(before.serials)} of its "
                "certificates are revoked; what the present CA revokes takes effect once the previous one is untrusted"
            )
            return CrlPlan(None, before.title, notice)
    elif (wanted.number or 0, wanted.made) < (before.number or 0, before.made):
        return CrlPlan(None, before.title, f"an older list was offered ({wanted.title}), and the newer one stays")
    elif before.serials == wanted.serials and not (_ended(before, now) and not _ended(wanted, now)):
        # Vault makes a list anew every few days: without another name in it, there is nothing to change on hosts.
        return CrlPlan(None, before.title, warning)
    more, less = len(wanted.serials - before.serials), len(before.serials - wanted.serials)
    text = f"replaced: {wanted.title}; {more} more" + (f", {less} less" if less else "")
    return CrlPlan(wanted.pem, text, warning)


def _same_signer(one: Crl, other: Crl, trusted: Sequence[Certificate]) -> bool:
    """Return whether one CA signed both. Two CAs may have one name, as with another key after a renewal."""
    first = [ca.fingerprint for ca in trusted if signed_by(one, [ca])]
    second = [ca.fingerprint for ca in trusted if signed_by(other, [ca])]
    return not first or not second or first == second


def _ended(crl: Crl, now: datetime) -> bool:
    return crl.next_update is not None and crl.next_update < now


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None
