"""Whether a certificate is fit to be the CA of a mount that issues. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from etcdfleet.certs.chain import chain_problems
from etcdfleet.certs.model import Certificate
from etcdfleet.certs.want import utc
from etcdfleet.text import whole_span

CA_DAYS = 180
"""A CA with fewer days left is a warning: another one takes planning."""
CA_ENDED = (
    "give the mount a new CA if it has none yet; stop etcd on all members of the cluster (it serves no requests any "
    "more) and run deploy: it starts them so that they trust the new one too, and may fail then, as their certificates "
    "have ended; rotate_certs after it gives them new ones. The data stay"
)
"""The remedy for a CA that has ended. Members cannot be moved away from it one by one: none can be asked any more."""


def authority_problems(
    chain: Sequence[Certificate], roots: Sequence[Certificate], *, key: str, until: datetime, now: datetime
) -> tuple[str, ...]:
    """Return why ``chain`` (the CA's certificate first) is not fit as a CA below one of ``roots``; empty if it is.

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
        problems.append(f"it ends at {own.not_after:%Y-%m-%d}, before new certificates would ({until:%Y-%m-%d})")
    if own not in roots:
        problems += chain_problems([*chain, *roots], roots, at=now)
    return tuple(problems)


def ends_soon(own: Certificate, mount: str, now: datetime) -> str:
    """Return a warning if the CA of ``mount`` ends soon: every renewal ends with it or is refused. Empty if not."""
    if own.not_after - now >= timedelta(days=CA_DAYS):
        return ""
    return (
        f"the CA {own.title!r} of {mount} ends at {utc(own.not_after)}, in {whole_span(own.not_after - now)}: no "
        "certificate of it lives longer, however often it is renewed; give the mount a new CA in time, then run "
        "rotate_certs --ca"
    )
