"""What clients know a cluster's members by: the file for them, and the clients that a change of CA cuts off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from etcdfleet.certs.chain import Anchors, accepts, find_path, way_of, ways
from etcdfleet.certs.model import Certificate
from etcdfleet.certs.trust import MemberTrust


def cut_off(
    members: Iterable[tuple[MemberTrust, Sequence[Certificate]]], *, at: datetime
) -> tuple[tuple[Certificate, ...], tuple[Certificate, ...]]:
    """Return the CAs that alone are enough for a client today, and will not be; and those that it must know then.

    Each live member comes with what its new server certificate is placed with. What clients have in their files is not
    known; that members trust a CA for clients, and that what they show leads to it, makes it likely: etcdctl and
    ``ca.pem`` of client_cert.py have just these. Both are empty when nothing is new to any client.
    """
    lost: dict[Certificate, None] = {}
    needed: dict[Certificate, None] = {}
    for member, way in members:
        if not (member.live and member.shown and way):
            continue
        enough = [anchor for anchor in member.trusted if find_path(member.shown, [anchor], at=at)]
        gone = [anchor for anchor in enough if not accepts(way, [anchor], at=at)]
        lost |= dict.fromkeys(gone)
        needed |= dict.fromkeys(way[:1] if gone else ())
    return tuple(lost), tuple(needed)


@dataclass(frozen=True)
class ClientAnchors:
    """What is in a client's file of CAs, as certificates, each once: the CA that issues first, then what is above it.

    ``roots`` are the self-signed ones among them, ``before`` those that are only there because members still show
    certificates of them. ``headless`` are CAs whose root is not known: OpenSSL's clients do not take them for anchors.
    """

    certificates: tuple[Certificate, ...]
    before: tuple[Certificate, ...] = ()
    headless: tuple[Certificate, ...] = ()

    @property
    def pem(self) -> str:
        """The file's text."""
        return "".join(certificate.pem for certificate in self.certificates)

    @property
    def roots(self) -> tuple[Certificate, ...]:
        """The self-signed CAs in it."""
        return tuple(certificate for certificate in self.certificates if certificate.self_signed)


def client_anchors(
    issuer: Sequence[Certificate],
    anchors: Anchors,
    roots: Anchors,
    members: Iterable[MemberTrust],
    *,
    at: datetime,
) -> ClientAnchors:
    """Return what a client is to trust: ``anchors`` and what is above them up to a root, and what members still show.

    ``issuer`` is the CA that issues, with all that is known above it; ``anchors`` are the wanted ones. A root is needed
    by all that use OpenSSL as it comes (Python, node, Ruby, PostgreSQL's tools): without one of its own, a certificate
    is no anchor to them.
    """
    pool = tuple(dict.fromkeys([*issuer, *roots]))
    wanted = [up for anchor in anchors for up in _up_to_root(anchor, pool, roots, at)]
    before: list[Certificate] = []
    for member in members:
        if member.live and member.shown:
            wider = tuple(dict.fromkeys([*pool, *member.shown[1:], *member.trusted]))
            for anchor in member.trusted:
                if anchor not in wanted and find_path(member.shown, [anchor], at=at):
                    before += _up_to_root(anchor, wider, (*roots, *member.trusted), at)
    everything = tuple(dict.fromkeys([*wanted, *before]))
    headless = [ca for ca in everything if not _reaches_root(ca, everything, at)]
    return ClientAnchors(everything, tuple(dict.fromkeys(c for c in before if c not in wanted)), tuple(headless))


def _up_to_root(anchor: Certificate, pool: Anchors, roots: Anchors, at: datetime) -> tuple[Certificate, ...]:
    if anchor.self_signed:
        return (anchor,)
    tops = [c for c in (*roots, *pool) if c.self_signed]
    way = way_of((anchor, *pool), [tops], at=at)
    path = find_path(way, tops, at=at)
    return (anchor, *(path or way)[1:])


def _reaches_root(ca: Certificate, pool: Sequence[Certificate], at: datetime) -> bool:
    roots = [c for c in pool if c.self_signed]
    return ca.self_signed or any(accepts(way, roots, at=at) for way in ways(ca, pool))
