"""Chains: putting one together, and proving that it leads to a trust anchor.

The proof follows what Go's crypto/x509 does for etcd, because that is who will judge the certificate in earnest; it is
written out here so that each failure can be named by what a person has to change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from etcdfleet.certs.model import Certificate, aware, parse_pem_bundle
from etcdfleet.errors import CertificateError
from etcdfleet.roles import Usage

_WEAK = (hashes.MD5, hashes.SHA1)


Anchors = Sequence[Certificate]


def bundle(leaf: str, chain: Iterable[str], *, wanted: Sequence[Anchors] = (), at: datetime | None = None) -> str:
    """Return the text of a ``.pem`` file for etcd: the leaf, then its intermediates, each once, with ``\n`` line ends.

    ``chain`` is Vault's ``ca_chain`` (each item may hold several certificates), in any order. Self-signed roots are
    left out: the other side must have them already. Intermediates are put into issuing order; those that are not part
    of the leaf's chain are left out. Where a CA has several certificates (signed by an old and a new root), there are
    several ways up, and `best_way` chooses one by ``wanted`` and ``at`` (now, if not given). Raises CertificateError
    when a certificate cannot be read.
    """
    first = parse_pem_bundle(leaf)
    rest = [*first[1:], *(c for text in chain if text.strip() for c in parse_pem_bundle(text))]
    starts = [c for c in rest if c != first[0] and issued(first[0], by=c)]
    way = best_way(starts, rest, wanted, at=at or datetime.now(UTC))
    return "".join(certificate.pem for certificate in (first[0], *(c for c in way if not c.self_signed)))


def best_way(
    starts: Iterable[Certificate], others: Iterable[Certificate], wanted: Sequence[Anchors], *, at: datetime
) -> tuple[Certificate, ...]:
    """Return the way from a CA (its certificates: ``starts``) up to below its root that is placed with its leaves.

    ``wanted`` are sets of trust anchors, the most important first: of all ways, the one that leads to more of them, and
    of equals the first in the order of ``starts`` and ``others`` (Vault's order, or a person's). Only one is placed:
    Go would look for the right one among several, but OpenSSL takes the first issuer that fits by name and key and is
    valid, and never goes back to try another one. Empty when there is no start.
    """
    pool = tuple(others)
    candidates = list(dict.fromkeys(way for start in dict.fromkeys(starts) for way in ways(start, pool)))
    return min(candidates, key=lambda way: [not accepts(way, anchors, at=at) for anchors in wanted], default=())


def way_of(issuer: Sequence[Certificate], wanted: Sequence[Anchors], *, at: datetime) -> tuple[Certificate, ...]:
    """Return what `bundle` would place below a leaf of the CA ``issuer[0]``, given all that is known above it."""
    starts = [certificate for certificate in issuer if same_ca(certificate, issuer[0])]
    return best_way(starts, issuer, wanted, at=at)


def accepts(way: Sequence[Certificate], anchors: Anchors, *, at: datetime) -> bool:
    """Return whether ``anchors`` vouch for a leaf that is shown with ``way``: its issuer, that one's issuer and so on.

    An anchor with the issuer's name and key does, whatever certificate of that CA it is.
    """
    direct = [(anchor,) for anchor in anchors if same_ca(anchor, way[0])]
    longer = [
        (*way[:length], anchor)
        for length in range(1, len(way) + 1)
        for anchor in anchors
        if issued(way[length - 1], by=anchor)
    ]
    return any(all(_may_issue(ca, at) for ca in path) for path in (*direct, *longer))


def ways(start: Certificate, others: Iterable[Certificate]) -> tuple[tuple[Certificate, ...], ...]:
    """Return each way up from ``start`` over issuers among ``others``, without self-signed roots.

    Several where a CA has several certificates. No way passes one CA twice (Go's and OpenSSL's do not, either).
    """
    pool = [c for c in dict.fromkeys(others) if not c.self_signed and c != start]

    def climb(way: tuple[Certificate, ...]) -> Iterator[tuple[Certificate, ...]]:
        above = [c for c in pool if not any(same_ca(c, ca) for ca in way) and issued(way[-1], by=c)]
        for issuer in above:
            yield from climb((*way, issuer))
        if not above:
            yield way

    return tuple(climb((start,)))


def same_ca(one: Certificate, other: Certificate) -> bool:
    """Return whether both are of one CA: one name and one key, so that what it issues can be verified with either."""
    return one.public_key == other.public_key and one.x509.subject == other.x509.subject


def _may_issue(authority: Certificate, at: datetime) -> bool:
    signs = authority.key_usage is None or "key_cert_sign" in authority.key_usage
    return authority.is_ca and signs and authority.not_before <= at <= authority.not_after


def same_certificates(one: str | None, other: str | None) -> bool:
    """Return whether two PEM texts hold the same set of certificates (order, comments and line ends do not matter)."""
    try:
        sets = [frozenset(c.fingerprint for c in parse_pem_bundle(text)) for text in (one, other) if text is not None]
    except CertificateError:
        return False
    return len(sets) == 2 and sets[0] == sets[1]


@lru_cache(maxsize=4096)  # a signature is verified for some tenths of a millisecond, and asked about again and again
def issued(certificate: Certificate, *, by: Certificate) -> bool:
    """Return whether ``by`` signed ``certificate``: the names fit and the signature verifies with its key."""
    return signature_problem(certificate, by) is None


def signature_problem(certificate: Certificate, issuer: Certificate) -> str | None:
    """Return why ``issuer`` is not the one that signed ``certificate``; None when it is."""
    if certificate.x509.issuer != issuer.x509.subject:
        return f"its issuer is {certificate.issuer!r}, not {issuer.subject!r}"
    try:
        certificate.x509.verify_directly_issued_by(issuer.x509)
    except InvalidSignature:
        return f"its signature was not made with the key of {issuer.title!r} (another CA of the same name)"
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"its signature cannot be verified with the key of {issuer.title!r}: {error}"
    return None


def order_problems(certificates: Sequence[Certificate]) -> list[str]:
    """Return what is wrong with the composition of a bundle: a root in it, doubles, the wrong order, strangers."""
    problems = [
        f"the root {c.title!r} is in the bundle; only the leaf and its intermediates belong there"
        for c in certificates[1:]
        if c.self_signed
    ]
    if len(set(certificates)) != len(certificates):
        problems.append("a certificate is in the bundle more than once")
    if certificates[0].is_ca:
        problems.append(f"the first certificate, {certificates[0].title!r}, is a CA's; the leaf has to be first")
    rest = [c for c in dict.fromkeys(certificates) if not c.self_signed or c == certificates[0]]
    part_of = {c for way in ways(rest[0], rest[1:]) for c in way}
    strangers = [c for c in rest if c not in part_of]
    problems += [f"the certificate {c.title!r} in the bundle is not part of the leaf's chain" for c in strangers]
    late = (not any(issued(below, by=c) for below in rest[:place]) for place, c in enumerate(rest) if place)
    if not strangers and any(late):
        problems.append("the intermediates are not in issuing order (leaf, its issuer, that one's issuer, …)")
    return problems


def chain_problems(
    certificates: Sequence[Certificate],
    anchors: Sequence[Certificate],
    *,
    at: datetime,
    usages: Iterable[Usage] = (),
) -> tuple[str, ...]:
    """Return why the leaf ``certificates[0]`` does not build over the others to any of ``anchors``, ``at`` that moment.

    An anchor need not be self-signed (etcd takes an intermediate as one). Checked for each issuer: signature, CA flag,
    keyCertSign, path length, name constraints, validity, its own extended key usages against ``usages``, and no SHA-1.
    The leaf's validity is the caller's matter. Empty when the chain is good.
    """
    aimed = frozenset(usages)
    path = find_path(certificates, anchors, at=at, usages=aimed)
    if path:
        return tuple(_path_problems(path, at, aimed))
    top = ways(certificates[0], certificates[1:])[0][-1]
    namesakes = [a for a in anchors if a.x509.subject == top.x509.issuer]
    if namesakes:
        reason = signature_problem(top, namesakes[0]) or ""
    else:
        titles = ", ".join(repr(a.title) for a in anchors) or "nothing"
        reason = f"{top.title!r} was issued by {top.issuer!r}; the trust anchor holds {titles}"
    return (
        f"the chain does not build to the trust anchor ({reason}): every other member and client would log "
        '"certificate signed by unknown authority" and refuse it',
    )


def find_path(
    certificates: Sequence[Certificate],
    anchors: Sequence[Certificate],
    *,
    at: datetime,
    usages: frozenset[Usage] = frozenset(),
) -> tuple[Certificate, ...] | None:
    """Return the leaf, the intermediates used and the anchor; None when the signatures lead to none of ``anchors``.

    Where several paths lead there (a CA with several certificates, several anchors with one key), it is the one with
    the fewest faults at the moment ``at``, of these the one that holds longest, then the shortest: as Go does, which
    accepts a certificate when any path is good.
    """
    aware(at, "at")
    paths: list[tuple[Certificate, ...]] = []
    for way in ways(certificates[0], certificates[1:]):
        for length in range(1, len(way) + 1):
            top = way[length - 1]
            paths += [(*way[:length], anchor) for anchor in anchors if anchor != top and issued(top, by=anchor)]
    if len(paths) < 2:
        return paths[0] if paths else None
    return min(
        paths,
        key=lambda path: (
            len(_path_problems(path, at, usages)),
            -min(c.not_after for c in path).timestamp(),
            len(path),
        ),
    )


def _path_problems(path: Sequence[Certificate], at: datetime, usages: frozenset[Usage]) -> list[str]:
    problems = []
    for below, issuer in enumerate(path[1:]):  # `below` intermediates stand between this issuer and the leaf
        name = f"the CA {issuer.title!r}"
        if not issuer.is_ca:
            problems.append(f"{issuer.title!r} issued {path[below].title!r} but is not a CA (basic constraints)")
        if issuer.key_usage is not None and "key_cert_sign" not in issuer.key_usage:
            problems.append(f"{name} may not sign certificates (key usage without keyCertSign)")
        if issuer.path_length is not None and below > issuer.path_length:
            problems.append(f"{name} allows {issuer.path_length} intermediates below it, but there are {below}")
        if at > issuer.not_after:
            problems.append(f"{name} expired at {issuer.not_after:%Y-%m-%d %H:%M:%S} UTC")
        if at < issuer.not_before:
            problems.append(f"{name} is not valid before {issuer.not_before:%Y-%m-%d %H:%M:%S} UTC")
        if missing := usages - issuer.usages:
            problems.append(f"{name} may not issue {' and '.join(sorted(missing))} certificates (extended key usage)")
        problems += _constraint_problems(path[0], issuer)
    problems += [
        f"{c.title!r} is signed with {c.x509.signature_hash_algorithm.name.upper()}, which etcd refuses"
        for c in path[:-1]
        if isinstance(c.x509.signature_hash_algorithm, _WEAK)
    ]
    return problems


def _constraint_problems(leaf: Certificate, issuer: Certificate) -> list[str]:
    try:
        limits = issuer.x509.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return []
    permitted, excluded = limits.permitted_subtrees or [], limits.excluded_subtrees or []
    problems = []
    for names, inside, kind in (
        (leaf.dns_names, _name_inside, x509.DNSName),
        (leaf.ip_addresses, _address_inside, x509.IPAddress),
    ):
        allowed = [str(n.value) for n in permitted if isinstance(n, kind)]
        denied = [str(n.value) for n in excluded if isinstance(n, kind)]
        problems += [
            f"the CA {issuer.title!r} may not certify {name} (name constraints)"
            for name in names
            if (allowed and not any(inside(name, tree) for tree in allowed)) or any(inside(name, t) for t in denied)
        ]
    return problems


def _name_inside(name: str, tree: str) -> bool:
    tree = tree.lower().lstrip(".")
    return not tree or name == tree or name.endswith(f".{tree}")


def _address_inside(address: str, tree: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(tree)


def eku_text(certificate: Certificate) -> str:
    """Return the extended key usages in words, for messages."""
    if certificate.any_usage:
        return "any usage"
    named = {ExtendedKeyUsageOID.SERVER_AUTH: "ServerAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "ClientAuth"}
    usages = certificate.x509.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return ", ".join(named.get(usage, usage.dotted_string) for usage in usages)
