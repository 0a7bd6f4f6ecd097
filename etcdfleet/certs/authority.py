"""Whether a certificate is fit to be the CA of a mount that issues. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from etcdfleet.certs.chain import chain_problems
from etcdfleet.certs.model import Certificate


def authority_problems(
    chain: Sequence[Certificate], roots: Sequence[Certificate], *, key: str, until: datetime, now: datetime
) -> tuple[str, ...]:
    """What is wrong with ``chain`` (the CA's certificate first) as a CA below one of ``roots``; empty if nothing is.

    ``key`` is the fingerprint of the public key that it must be for (empty: not looked at), ``until`` when the last
    certificate ends that it is to issue today.
    """
    own = chain[0]
    problems = []
    if key and own.public_key != key:
        problems.append("it is for another key than the one in Vault")
    if not own.is_ca:
        problems.append("it is no CA's certificate (basicConstraints without CA:TRUE)")
    elif own.key_usage is not None and "key_cert_sign" not in own.key_usage:
        problems.append("it may not sign certificates (key usage without keyCertSign)")
    if own.not_before > now:
        problems.append(f"it is not valid before {own.not_before:%Y-%m-%d %H:%M} UTC")
    if own.not_after < until:
        problems.append(f"it ends at {own.not_after:%Y-%m-%d}, before certificates of today would ({until:%Y-%m-%d})")
    if own not in roots:
        problems += chain_problems([*chain, *roots], roots, at=now)
    return tuple(problems)
