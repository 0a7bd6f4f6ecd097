"""Whether the certificate on a host can stay, decided from what the host's probe saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from etcdfleet.certs.chain import chain_problems, find_path, order_problems
from etcdfleet.certs.model import Certificate, aware, holds_private_key, parse_pem_bundle
from etcdfleet.certs.want import (
    Want,
    issuer_problem,
    key_problems,
    missing_names,
    name_problems,
    usage_problems,
    utc,
)
from etcdfleet.errors import CertificateError
from etcdfleet.renewal import RenewBefore
from etcdfleet.text import whole_span


@dataclass(frozen=True)
class Observed:
    """What a host has for one role.

    ``bundle`` is the text of the ``.pem`` file, ``key_fingerprint`` the SHA-256 (hex) of the SPKI DER form of the key
    file's public key; each is None when missing or unreadable. ``clock`` is the host's own time, aware.
    """

    bundle: str | None = field(default=None, repr=False)
    key_fingerprint: str | None = None
    clock: datetime | None = None


@dataclass(frozen=True)
class Keep:
    """The certificate is good. ``renew_at`` is when the threshold will be crossed."""

    certificate: Certificate
    renew_at: datetime


@dataclass(frozen=True)
class Renew:
    """A new certificate is needed, for these reasons; ``certificate`` is the present one if there is a readable one.

    ``unusable`` says that no handshake may succeed with the present pair: it has ended, is not whole, or lacks a name
    or a usage that the other side asks for.
    """

    reasons: tuple[str, ...]
    certificate: Certificate | None = None
    unusable: bool = False


def decide(
    want: Want, observed: Observed, *, renew_before: RenewBefore, now_host: datetime | None = None
) -> Keep | Renew:
    """Return whether the certificate that a host has can stay; every reason against it is named.

    ``now_host`` is the host's clock (aware), ``observed.clock`` unless given. What ``check_bundle`` lets pass is kept
    here, so that a second run changes nothing, unless its life is already within the threshold. Raises ValueError for a
    naive or missing clock, and CertificateError when the trust anchor or issuing CA of ``want`` is unreadable.
    """
    now = now_host or observed.clock
    if now is None:
        raise ValueError("the host's clock is needed: now_host or observed.clock")
    aware(now, "now_host")
    anchors = parse_pem_bundle(want.trust_anchor)
    if observed.bundle is None or not observed.bundle.strip():
        reasons = ["there is no certificate yet" if observed.key_fingerprint is None else "the certificate is missing"]
        return Renew(tuple(reasons), unusable=True)
    try:
        certificates = parse_pem_bundle(observed.bundle)
    except CertificateError as error:
        return Renew((f"the certificate file is unreadable: {error.what}",), unusable=True)
    leaf = certificates[0]
    path = find_path(certificates, anchors, at=now)
    end = min(c.not_after for c in path or (leaf,))
    reasons = _time_reasons(leaf, end, now, renew_before)
    reasons += name_problems(want, leaf)
    reasons += usage_problems(want, leaf)
    reasons += key_problems(want, leaf)
    if holds_private_key(observed.bundle):
        reasons.append("there is a private key in the certificate file")
    reasons += order_problems(certificates)
    reasons += chain_problems(certificates, anchors, at=now, usages=want.usages)
    if problem := issuer_problem(want, leaf):
        reasons.append(problem)
    reasons += (key_reasons := _key_reasons(leaf, observed))
    if reasons:
        refused = bool(missing_names(want, leaf) or want.usages - leaf.usages)
        return Renew(tuple(reasons), leaf, unusable=bool(key_reasons) or refused or not leaf.not_before <= now <= end)
    return Keep(leaf, end - renew_before.threshold(leaf.not_after - leaf.not_before))


def _time_reasons(leaf: Certificate, end: datetime, now: datetime, renew_before: RenewBefore) -> list[str]:
    if now < leaf.not_before:
        return [f"it is not valid before {utc(leaf.not_before)}, and the host's clock says {utc(now)}"]
    whose = "it" if end == leaf.not_after else "its CA"
    if now > end:
        return [f"{whose} expired at {utc(end)} ({whole_span(now - end)} ago by the host's clock)"]
    left, threshold = end - now, renew_before.threshold(leaf.not_after - leaf.not_before)
    if left > threshold:
        return []
    note = ""
    if threshold >= leaf.not_after - leaf.not_before:
        note = "; that is more than its whole life, so it will be renewed at every run: ask for a longer TTL"
    limit = f"{renew_before} of its life" if renew_before.fraction else str(renew_before)
    return [f"{whose} expires at {utc(end)}, in {whole_span(left)}, within the renewal threshold of {limit}{note}"]


def _key_reasons(leaf: Certificate, observed: Observed) -> list[str]:
    if observed.key_fingerprint is None:
        return ["the private key is missing or unreadable"]
    if observed.key_fingerprint.lower() != leaf.public_key:
        return ["the private key does not belong to the certificate"]
    return []
