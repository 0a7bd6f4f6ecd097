"""Chains: putting one together, and proving that it leads to a trust anchor.

The proof follows what Go's crypto/x509 does for etcd, because that is who will judge the certificate in earnest; it is
written out here so that each failure can be named by what a person has to change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from etcdfleet.certs.model import Certificate, Usage, aware, parse_pem_bundle
from etcdfleet.errors import CertificateError

_WEAK = (hashes.MD5, hashes.SHA1)


def bundle(leaf: str, chain: Iterable[str]) -> str:
    """The text of a ``.pem`` file for etcd: the leaf, then its intermediates, each once, with ``\\n`` line ends.

    ``chain`` is Vault's ``ca_chain`` (each item may hold several certificates), in any order. Self-signed roots are
    left out: the other side must have them already. Intermediates are put into issuing order; those that are not part
    of the leaf's chain are left out. Raises CertificateError when a certificate cannot be read.
    """
    first = parse_pem_bundle(leaf)
    rest = [*first[1:], *(c for text in chain if text.strip() for c in parse_pem_bundle(text))]
    return "".join(certificate.pem for certificate in in_order(first[0], rest))


def in_order(leaf: Certificate, others: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """``leaf``, then from ``others`` its issuer, that one's issuer and so on, up to but without a self-signed root."""
    left = [c for c in dict.fromkeys(others) if not c.self_signed and c != leaf]
    path = [leaf]
    while issuer := next((c for c in left if issued(path[-1], by=c)), None):
        path.append(issuer)
        left.remove(issuer)
    return tuple(path)


def same_certificates(one: str | None, other: str | None) -> bool:
    """Whether two PEM texts hold the same set of certificates (order, comments and line ends do not matter)."""
    try:
        sets = [frozenset(c.fingerprint for c in parse_pem_bundle(text)) for text in (one, other) if text is not None]
    except CertificateError:
        return False
    return len(sets) == 2 and sets[0] == sets[1]


def issued(certificate: Certificate, *, by: Certificate) -> bool:
    """Whether ``by`` signed ``certificate``: the names fit and the signature verifies with its key."""
    return signature_problem(certificate, by) is None


def signature_problem(certificate: Certificate, issuer: Certificate) -> str | None:
    """Why ``issuer`` is not the one that signed ``certificate``; None when it is."""
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
    """What is wrong with the composition of a bundle: a root in it, doubles, the wrong order, strangers."""
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
    path = in_order(certificates[0], rest[1:])
    strangers = [c for c in rest if c not in path]
    problems += [f"the certificate {c.title!r} in the bundle is not part of the leaf's chain" for c in strangers]
    if not strangers and list(path) != rest:
        problems.append("the intermediates are not in issuing order (leaf, its issuer, that one's issuer, …)")
    return problems


def chain_problems(
    certificates: Sequence[Certificate],
    anchors: Sequence[Certificate],
    *,
    at: datetime,
    usages: Iterable[Usage] = (),
) -> tuple[str, ...]:
    """Why the leaf ``certificates[0]`` does not build, over the other ones, to any of ``anchors`` at the moment ``at``.

    An anchor need not be self-signed (etcd takes an intermediate as one). Checked for each issuer: signature, CA flag,
    keyCertSign, path length, name constraints, validity, its own extended key usages against ``usages``, and no SHA-1.
    The leaf's validity is the caller's matter. Empty when the chain is good.
    """
    path = find_path(certificates, anchors, at=at)
    if path:
        return tuple(_path_problems(path, at, frozenset(usages)))
    top = in_order(certificates[0], certificates[1:])[-1]
    namesakes = [a for a in anchors if a.x509.subject == top.x509.issuer]
    if namesakes:
        reason = signature_problem(top, namesakes[0]) or ""
    else:
        known = ", ".join(repr(a.title) for a in anchors) or "nothing"
        reason = f"{top.title!r} was issued by {top.issuer!r}; the trust anchor holds {known}"
    return (
        f"the chain does not build to the trust anchor ({reason}): every other member and client would log "
        '"certificate signed by unknown authority" and refuse it',
    )


def find_path(
    certificates: Sequence[Certificate], anchors: Sequence[Certificate], *, at: datetime
) -> tuple[Certificate, ...] | None:
    """The leaf, the intermediates used and the anchor; None when the signatures lead to none of ``anchors``.

    Only names and signatures count here; ``at`` decides between anchors that would both do.
    """
    aware(at, "at")
    path = in_order(certificates[0], certificates[1:])
    for length in range(1, len(path) + 1):
        top = path[length - 1]
        if length > 1 and top in anchors:
            return path[:length]
        if anchor := _best([a for a in anchors if a != top and issued(top, by=a)], at):
            return (*path[:length], anchor)
    return None


def _best(candidates: list[Certificate], at: datetime) -> Certificate | None:
    """Of several anchors with one key (a CA renewed under its old key) one that is valid, if any is."""
    valid = (c for c in candidates if c.not_before <= at <= c.not_after)
    return next(valid, candidates[0] if candidates else None)


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
    """The extended key usages in words, for messages."""
    if certificate.any_usage:
        return "any usage"
    named = {ExtendedKeyUsageOID.SERVER_AUTH: "ServerAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "ClientAuth"}
    usages = certificate.x509.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return ", ".join(named.get(usage, usage.dotted_string) for usage in usages)
