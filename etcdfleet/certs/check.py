"""The last look at a certificate before it is placed on a host: all that etcd would trip over, said beforehand."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from etcdfleet.certs.chain import chain_problems, find_path, order_problems
from etcdfleet.certs.model import Certificate, aware, holds_private_key, parse_pem_bundle, public_key_fingerprint
from etcdfleet.certs.want import Want, issuer_problem, key_problems, name_problems, usage_problems, utc
from etcdfleet.errors import CertificateError
from etcdfleet.text import whole_span

_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")


def check_bundle(
    want: Want, bundle: str, key: str | bytes, *, now: datetime, clock_of_host: datetime
) -> tuple[str, ...]:
    """Return everything that is wrong with placing ``bundle`` and its key for ``want``; empty when it may be placed.

    ``key`` is the private key, a public key or a CSR as PEM, or the SHA-256 (hex) of the public key's SPKI DER form; it
    appears in no message. ``now`` is this machine's time, ``clock_of_host`` the host's, both aware (ValueError if not).
    Never raises for a bad bundle, key or trust anchor: that is a problem like the others.
    """
    aware(now, "now")
    aware(clock_of_host, "clock_of_host")
    try:
        certificates = parse_pem_bundle(bundle)
    except CertificateError as error:
        return (f"the certificate bundle: {error.what}",)
    leaf = certificates[0]
    problems = []
    if holds_private_key(bundle):
        problems.append("there is a private key in the bundle, which is a file that others may read")
    problems += order_problems(certificates)
    problems += _key_problems(leaf, key)
    problems += name_problems(want, leaf)
    problems += usage_problems(want, leaf)
    problems += key_problems(want, leaf)
    problems += _clock_problems(leaf, now, clock_of_host)
    try:
        anchors = parse_pem_bundle(want.trust_anchor)
        chain = chain_problems(certificates, anchors, at=clock_of_host, usages=want.usages)
        problems += chain
        if not want.made_elsewhere:
            problems += _outlives(find_path(certificates, anchors, at=clock_of_host) or ())
        if problem := issuer_problem(want, leaf):
            problems.append(problem)
    except CertificateError as error:
        problems.append(f"the trust anchor: {error.what}")
    return tuple(problems)


def _key_problems(leaf: Certificate, key: str | bytes) -> list[str]:
    text = key.decode("utf-8", "replace") if isinstance(key, bytes) else key
    try:
        fingerprint = text.lower() if _FINGERPRINT.fullmatch(text) else public_key_fingerprint(text)
    except CertificateError as error:
        return [error.what]
    if fingerprint == leaf.public_key:
        return []
    return [
        'the key does not belong to the certificate: etcd would not start ("private key does not match public key")'
    ]


def _clock_problems(leaf: Certificate, now: datetime, host: datetime) -> list[str]:
    consequence = (
        'etcd on it would refuse every connection ("certificate has expired or is not yet valid"); '
        "set the host's clock first, and see to it that it is kept right (chrony, ntpd, systemd-timesyncd)"
    )
    off = now - host
    side = "behind" if off > timedelta(0) else "ahead of"
    clock = f"the host's clock says {utc(host)}, {whole_span(off)} {side} this machine's"
    if now > leaf.not_after:
        return [f"it expired at {utc(leaf.not_after)}: every connection would be refused"]
    if host < leaf.not_before:
        return [f"it is not valid before {utc(leaf.not_before)}, but {clock}: {consequence}"]
    if host > leaf.not_after:
        return [f"it is valid until {utc(leaf.not_after)}, but {clock}: {consequence}"]
    if now < leaf.not_before:
        return [
            f"it is not valid before {utc(leaf.not_before)}, and this machine's clock says {utc(now)}: "
            "either this machine's clock or that of the CA is wrong"
        ]
    return []


def _outlives(path: tuple[Certificate, ...]) -> list[str]:
    return [
        f"it is valid until {utc(path[0].not_after)}, but the CA {issuer.title!r} ends at {utc(issuer.not_after)}: "
        "it would stop working then, long before anything reminds of it; ask for a shorter TTL or renew the CA"
        for issuer in path[1:]
        if issuer.not_after < path[0].not_after
    ]
