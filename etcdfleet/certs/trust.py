"""Changing the CA of a live cluster: who trusts which CA, and what may be done next so that none is ever refused.

etcd reads leaf files at each handshake, and the files of trust anchors at its start only. A member that presents a leaf
of a new CA before every other member trusts that CA is cut off, and so is one whose old leaf is not trusted any more.
Hence the order: all members trust old and new (a rolling restart, needed only where the anchors in use do not lead to
the new CA already), then new leaves everywhere (no restart), then all trust the new one only (a rolling
restart). All is decided from what is on the hosts, so a run that was interrupted is continued by any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from etcdfleet.certs.chain import accepts, find_path, issued
from etcdfleet.certs.model import Certificate, parse_pem_bundle
from etcdfleet.errors import CertificateError


@dataclass(frozen=True)
class MemberTrust:
    """One member, on one side (its peers, or its clients).

    ``trusted`` are the anchors in the file that etcd's configuration on the host names, ``restart_due`` says that etcd
    may still run with others. ``leaves`` are the bundles that lie on the host for this side, leaf first; ``shown`` is
    the one of them that clients see (empty for peers). ``live`` is False for a host that has never been part of a
    working cluster: nothing depends on it yet.
    """

    name: str
    live: bool
    restart_due: bool = False
    trusted: tuple[Certificate, ...] = ()
    leaves: tuple[tuple[Certificate, ...], ...] = ()
    shown: tuple[Certificate, ...] = ()


def leads_to(certificates: Sequence[Certificate], anchors: Sequence[Certificate], *, at: datetime) -> bool:
    """Return whether the first of ``certificates`` is one of ``anchors``, or builds to one over the others."""
    return certificates[0] in anchors or find_path(certificates, anchors, at=at) is not None


def must_trust_first(
    members: Iterable[MemberTrust], way: Sequence[Certificate], *, at: datetime
) -> tuple[MemberTrust, ...]:
    """Return the live members that may refuse a leaf placed with ``way``, as they run now.

    ``way`` is the certificate of the CA that is to issue, that of its issuer and so on (`chain.best_way`): of a CA with
    several certificates, who trusts the one's issuer may refuse the other. A member that is due for a restart may trust
    less than its file says. None when every live member shows just this already (`shown_by_all`).
    """
    members = tuple(members)
    if shown_by_all(members, way):
        return ()
    return tuple(
        member for member in members if member.live and (member.restart_due or not accepts(way, member.trusted, at=at))
    )


def shown_by_all(members: Iterable[MemberTrust], way: Sequence[Certificate]) -> bool:
    """Return whether every leaf that these members show is of the CA that is to issue, placed with just this ``way``.

    Where it is not so, something is new to the whole cluster: its other members must trust it, too.
    """
    placed = tuple(certificate for certificate in way if not certificate.self_signed)
    shown = [leaf for member in members if member.live for leaf in member.leaves]
    return all(leaf[1:] == placed and issued(leaf[0], by=way[0]) for leaf in shown)


def still_shown(
    members: Iterable[MemberTrust], anchors: Sequence[Certificate], *, at: datetime
) -> tuple[MemberTrust, ...]:
    """Return the live members with a leaf that would be refused if only ``anchors`` were trusted."""
    return tuple(
        member
        for member in members
        if member.live and not all(leads_to(leaf, anchors, at=at) for leaf in member.leaves)
    )


def besides(member: MemberTrust, *, at: datetime) -> tuple[Certificate, ...]:
    """Return the CAs that a member trusts, and to which nothing that it shows leads: a change of CA begun or left."""
    return tuple(
        anchor
        for anchor in member.trusted
        if member.leaves and not any(leads_to(x, [anchor], at=at) for x in member.leaves)
    )


def merge_pem(one: str | None, other: str) -> str:
    """Return the PEM text of all anchors of two files, ``other``'s first, each once; none for an unreadable ``one``.

    Raises CertificateError when ``other`` cannot be read.
    """
    anchors = list(parse_pem_bundle(other))
    return "".join(anchor.pem for anchor in dict.fromkeys([*anchors, *parse_or_empty(one)]))


def parse_or_empty(pem: str | None) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM text, none when there is no text or it cannot be read."""
    try:
        return parse_pem_bundle(pem) if pem and pem.strip() else ()
    except CertificateError:
        return ()
