"""Judgement of a host's certificates as they lie on its disk, and of the TLS that its ports offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from etcdfleet.certs import Certificate, chain_problems, parse_or_empty, parse_pem_bundle, want_for
from etcdfleet.certs.authority import CA_DAYS
from etcdfleet.certs.chain import find_path, order_problems
from etcdfleet.certs.want import Want, missing_names, usage_problems, utc
from etcdfleet.checks.findings import Finding, failed, warned
from etcdfleet.errors import CertificateError
from etcdfleet.host.facts import PairFacts
from etcdfleet.host.tls_greetings import Offered
from etcdfleet.roles import RoleName
from etcdfleet.settings.models import HostSettings
from etcdfleet.text import whole_span

SOON_DAYS, LONG_DAYS = 7, 30
"""With fewer than these days left is a warning, where the inventory asks for a life of more than those."""
_RENEW = "run rotate_certs (--force if it says that nothing is due)"
_DEPLOY = "run deploy, which obtains a certificate that fits"


def certificate_findings(
    settings: HostSettings, role: RoleName, pair: PairFacts | None, anchor: str, public_key: str, clock: datetime
) -> list[Finding]:
    """Return the findings about one pair: names, usage, chain, key, life.

    ``anchor`` is what the host trusts on the side of the role (PEM), ``public_key`` the fingerprint of the key's public
    half as the host has it (empty: not known), ``clock`` the host's.
    """
    title = f"{role} certificate"
    try:
        bundle = parse_pem_bundle(pair.pem) if pair else ()
    except CertificateError as error:
        return [failed(f"{title}: file", error.what, "the file was damaged or written by hand", _DEPLOY)]
    if not bundle:
        return [failed(f"{title}: file", "there is none", "it was removed, or deploy has not placed it yet", _DEPLOY)]
    leaf = bundle[0]
    want = want_for(
        role,
        fqdn=settings.member.fqdn,
        address=settings.member.address,
        usages=settings.pki.roles[role].usages,
        trust_anchor=anchor,
        service_name=settings.cluster.service_name,
    )
    return [
        _names(title, want, leaf),
        _usage(title, want, leaf),
        _chain(title, want, bundle, anchor, clock),
        _key(title, leaf, public_key),
        _life(title, settings, role, bundle, anchor, clock),
    ]


def _names(title: str, want: Want, leaf: Certificate) -> Finding:
    check = f"{title}: names"
    if missing := missing_names(replace(want, made_elsewhere=True), leaf):
        return failed(
            check,
            f"not valid for {', '.join(missing)}",
            "the host, the service name or the address changed in the inventory, or the file is another host's",
            _DEPLOY,
        )
    if want.role == "client":
        return Finding(check, True, f"common name {leaf.common_name or '(none)'}")
    return Finding(check, True, ", ".join([*leaf.dns_names, *leaf.ip_addresses]))


def _usage(title: str, want: Want, leaf: Certificate) -> Finding:
    check = f"{title}: usage"
    if problems := usage_problems(want, leaf):
        return failed(
            check,
            "; ".join(problems),
            "the role in Vault has other usages than pki.roles in the inventory, or the file was made elsewhere",
            "correct the role (server_flag, client_flag, ext_key_usage) or pki.roles, then run deploy",
        )
    return Finding(check, True, f"for {' and '.join(sorted(leaf.usages))}")


def _chain(title: str, want: Want, bundle: Sequence[Certificate], anchor: str, clock: datetime) -> Finding:
    check = f"{title}: chain"
    try:
        anchors = parse_pem_bundle(anchor)
    except CertificateError as error:
        return failed(check, f"the trust anchor: {error.what}", "the file was damaged or removed", "run deploy")
    problems = [*order_problems(bundle), *chain_problems(bundle, anchors, at=clock, usages=want.usages)]
    if problems:
        return failed(
            check, "; ".join(problems), "the CA was changed, and not everything is from the new one", "run deploy"
        )
    path = find_path(bundle, anchors, at=clock) or ()
    return Finding(check, True, " < ".join(c.title for c in path[1:]))


def _key(title: str, leaf: Certificate, public_key: str) -> Finding:
    check = f"{title}: key"
    if not public_key:
        return failed(check, "there is no readable key beside it", "it was removed or damaged", _DEPLOY)
    if public_key != leaf.public_key:
        return failed(
            check,
            "the key does not belong to the certificate; etcd would not start again",
            "one of the two files was replaced by hand",
            _DEPLOY,
        )
    return Finding(check, True, f"belongs to the certificate ({leaf.key_kind})")


def _life(
    title: str, settings: HostSettings, role: RoleName, bundle: Sequence[Certificate], anchor: str, clock: datetime
) -> Finding:
    check, leaf = f"{title}: life", bundle[0]
    if clock < leaf.not_before:
        return failed(
            check,
            f"not valid before {utc(leaf.not_before)}, and the host's clock says {utc(clock)}",
            "the host's clock is wrong",
            "set the clock and keep it right (chrony, ntpd, systemd-timesyncd)",
        )
    authorities = (find_path(bundle, parse_or_empty(anchor), at=clock) or bundle)[1:]
    first = min([leaf, *authorities], key=lambda c: c.not_after)
    whose = "it" if first is leaf else f"the CA {first.title}"
    left = first.not_after - clock
    if left <= timedelta(0):
        return failed(
            check,
            f"{whose} expired at {utc(first.not_after)}, {whole_span(left)} ago",
            "nothing renews the certificates: rotate_certs does not run, or Vault refuses it",
            "run rotate_certs --force; docs/rotation.md shows how to run it every night"
            if first is leaf
            else "make another CA (setup_pki), then run deploy",
        )
    text = f"until {leaf.not_after:%Y-%m-%d}, {whole_span(leaf.not_after - clock)} left"
    if authorities:
        ca = min(authorities, key=lambda c: c.not_after)
        text += f"; CA {ca.title} until {ca.not_after:%Y-%m-%d}"
        if ca.not_after - clock < timedelta(days=CA_DAYS):
            return warned(
                check,
                f"{text}, {whole_span(ca.not_after - clock)} left",
                "nothing renews a CA by itself",
                "make another CA in time (setup_pki), then rotate_certs --ca; docs/rotation.md",
            )
    life = settings.pki.roles[role].ttl
    soon = leaf.not_after - clock < timedelta(days=SOON_DAYS) and life > timedelta(days=LONG_DAYS)
    threshold = settings.pki.renew_before.threshold(leaf.not_after - leaf.not_before)
    if soon or leaf.not_after - clock <= threshold:
        return warned(
            check, text, f"it is due (pki.renew_before: {settings.pki.renew_before}), and nothing renewed it", _RENEW
        )
    return Finding(check, True, text)


def offer_finding(port: int, offered: Offered, suites: tuple[str, ...]) -> Finding:
    """Judge that a port offers no old version of TLS, and by TLS 1.2 nothing beside ``suites``."""
    check = f"TLS offered on {port}"
    if offered.problem:
        return failed(
            check,
            offered.problem,
            "a firewall between this machine and the host, or no TLS there",
            "see the check of the certificate served on this port",
        )
    if offered.unwanted:
        return failed(
            check,
            f"it takes {', '.join(offered.unwanted)}",
            "etcd was started before the inventory was changed (cluster.cipher_suites, cluster.tls_min_version)",
            "run deploy, which restarts the members one after the other",
        )
    return Finding(check, True, f"{len(suites)} suites of TLS 1.2, none else" if suites else "TLS 1.3 alone")
