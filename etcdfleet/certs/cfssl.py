"""What to correct where a certificate was made that turned out not to be fit, in the terms of cfssl's own files."""

from __future__ import annotations

import json
from collections.abc import Sequence

from etcdfleet.certs.chain import find_path, order_problems
from etcdfleet.certs.model import Certificate, parse_pem_bundle, public_key_fingerprint
from etcdfleet.certs.want import Want, missing_names, usage_problems
from etcdfleet.errors import CertificateError
from etcdfleet.roles import Usage

_WORDS: dict[Usage, str] = {"server": "server auth", "client": "client auth"}


def usages_line(want: Want) -> str:
    """Return the line of a profile in ``ca-config.json`` that makes certificates for this."""
    usages = [words for usage, words in _WORDS.items() if usage in want.usages]
    return '"usages": ' + json.dumps(["signing", "key encipherment", *usages])


def gencert(want: Want, stem: str, ca: str) -> str:
    """Return the command that makes ``stem.pem`` from ``stem.json``, beside the CA's file ``ca``."""
    ca_key = ca.replace(".pem", "-key.pem")
    return (
        f"cfssl gencert -ca={ca} -ca-key={ca_key} -config=ca-config.json -profile={want.role} {stem}.json | "
        f"cfssljson -bare {stem}"
    )


def remedy(want: Want, pem: str, key: str, *, stem: str, ca: str) -> str:
    """Return what to correct about this certificate, if it is not fit for ``want``.

    ``stem`` is the name of its file without ``.pem``, ``ca`` that of the trust anchor, ``key`` the private key (in no
    message). Raises `CertificateError` when a certificate or the trust anchor cannot be read.
    """
    certificates, anchors = parse_pem_bundle(pem), parse_pem_bundle(want.trust_anchor)
    leaf = certificates[0]
    if leaf.is_ca:
        return f"let {stem}.pem begin with the {want.role} certificate: {gencert(want, stem, ca)}"
    parts = []
    if corrections := _corrections(want, certificates, anchors, stem, ca):
        parts.append(f"{'; '.join(corrections)}; then make it again: {gencert(want, stem, ca)}")
    if order_problems(certificates):
        parts.append(f"leave nothing in {stem}.pem but the certificate itself, then its intermediates, no root")
    if not _fits(key, leaf):
        parts.append(f"put the key there that {stem}.pem was made with (cfssljson -bare {stem} writes both)")
    return "; ".join(parts) or f"correct what is said there; this makes a new one: {gencert(want, stem, ca)}"


def _corrections(
    want: Want, certificates: Sequence[Certificate], anchors: Sequence[Certificate], stem: str, ca: str
) -> list[str]:
    leaf, corrections = certificates[0], []
    if names := missing_names(want, leaf):
        corrections.append(f'add {", ".join(json.dumps(name) for name in names)} to "hosts" in {stem}.json')
    if usage_problems(want, leaf):
        line = f"write {usages_line(want)} for the profile of {want.role} certificates in ca-config.json"
        if want.usages < leaf.usages:
            both = ", ".join(sorted(leaf.usages, reverse=True))
            line += f" (or pki.roles.{want.role}.usages: [{both}] in the inventory, if it may do both)"
        corrections.append(line)
    if find_path(certificates, anchors, at=certificates[0].not_before) is None:
        holds = " or ".join(repr(anchor.title) for anchor in anchors)
        corrections.append(f"have it signed by {holds}, or put the certificate of the CA that signed it into {ca}")
    return corrections


def _fits(key: str, leaf: Certificate) -> bool:
    try:
        return public_key_fingerprint(key) == leaf.public_key
    except CertificateError:
        return False
