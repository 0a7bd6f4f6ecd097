"""Judgement of a host's certificates as they lie on its disk, and of whom its ports let in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from etcdfleet.certs import Certificate, chain_problems, parse_pem_bundle, want_for
from etcdfleet.certs.authority import CA_DAYS
from etcdfleet.certs.chain import find_path, order_problems
from etcdfleet.certs.want import Want, missing_names, span, usage_problems, utc
from etcdfleet.errors import CertificateError
from etcdfleet.etcd.checks import Finding, failed, skipped, warned
from etcdfleet.facts import PairFacts
from etcdfleet.remote import last_lines
from etcdfleet.settings.base import RoleName, Side
from etcdfleet.settings.models import HostSettings

SOON_DAYS, LONG_DAYS = 7, 30
"""With fewer than these days left is a warning, where the inventory asks for a life of more than those."""
_RENEW = "run rotate_certs (--force if it says that nothing is due)"
_DEPLOY = "run deploy, which obtains a certificate that fits"


def certificate_findings(
    settings: HostSettings, role: RoleName, pair: PairFacts | None, anchor: str, public_key: str, clock: datetime
) -> list[Finding]:
    """The findings about one pair: names, usage, chain, key, life.

    ``anchor`` is what the host trusts on the side of the role (PEM), ``public_key`` the fingerprint of the key's public
    half as the host has it (empty: not known), ``clock`` the host's.
    """
    title = f"{role} certificate"
    try:
        bundle = parse_pem_bundle(pair.pem) if pair else ()
    except CertificateError as error:
        return [failed(f"{title}: file", error.what, "the file was damaged or written by hand", _DEPLOY)]
    if not bundle:
        return [failed(f"{title}: file", "there is none", "it was removed, or deploy has not come so far", _DEPLOY)]
    leaf, want = bundle[0], _want(settings, role, anchor)
    return [
        _names(title, want, leaf),
        _usage(title, want, leaf),
        _chain(title, want, bundle, anchor, clock),
        _key(title, leaf, public_key),
        _life(title, settings, role, bundle, anchor, clock),
    ]


def _want(settings: HostSettings, role: RoleName, anchor: str) -> Want:
    elsewhere = settings.pki.source == "files"
    return want_for(
        role,
        fqdn=settings.member.fqdn,
        address=settings.member.address,
        usages=settings.pki.roles[role].usages,
        trust_anchor=anchor,
        service_name=settings.cluster.service_name,
        common_name=settings.pki.client_common_name if role == "client" and not elsewhere else None,
    )


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
    authorities = _authorities(bundle, anchor, clock)
    first = min([leaf, *authorities], key=lambda c: c.not_after)
    whose = "it" if first is leaf else f"the CA {first.title}"
    left = first.not_after - clock
    if left <= timedelta(0):
        return failed(
            check,
            f"{whose} expired at {utc(first.not_after)}, {span(left)} ago",
            "nothing renews the certificates: rotate_certs does not run, or Vault refuses it",
            "run rotate_certs --force; docs/rotation.md shows how to run it every night"
            if first is leaf
            else "make another CA (setup_pki), then run deploy",
        )
    text = f"until {leaf.not_after:%Y-%m-%d}, {span(leaf.not_after - clock)} left"
    if authorities:
        ca = min(authorities, key=lambda c: c.not_after)
        text += f"; CA {ca.title} until {ca.not_after:%Y-%m-%d}"
        if ca.not_after - clock < timedelta(days=CA_DAYS):
            return warned(
                check,
                f"{text}, {span(ca.not_after - clock)} left",
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


def _authorities(bundle: Sequence[Certificate], anchor: str, clock: datetime) -> tuple[Certificate, ...]:
    try:
        return tuple((find_path(bundle, parse_pem_bundle(anchor), at=clock) or bundle)[1:])
    except CertificateError:
        return tuple(bundle[1:])


@dataclass(frozen=True)
class Knock:
    """A try at one of the host's ports with one of its certificates (``shown`` None: with none)."""

    side: Side
    port: int
    shown: RoleName | None
    let_in: bool

    @property
    def check(self) -> str:
        """The name of the check."""
        who = f"{self.shown} certificate" if self.shown else "no certificate"
        return f"{self.port} {'serves' if self.let_in else 'refuses'} {who}"


def knocks(settings: HostSettings, roles: Sequence[RoleName]) -> tuple[Knock, ...]:
    """Every certificate of the host, and none, at every port with TLS, and who is to be let in."""
    cluster = settings.cluster
    serve: Mapping[Side, set[RoleName]] = {
        "client": {"client", "server"} if "client" in settings.pki.roles["server"].usages else {"client"},
        "peer": {"peer"},
    }
    sides: list[tuple[Side, int]] = [("client", cluster.client_port)] if cluster.client_tls else []
    sides += [("peer", cluster.peer_port)] if cluster.peer_tls else []
    return tuple(Knock(side, port, shown, shown in serve[side]) for side, port in sides for shown in (*roles, None))


_ALERT = re.compile(r"alert ([a-z ]+?)(:|$)", re.MULTILINE)
_UNREADABLE = re.compile(r"could not (open|read|find)|unable to load|no such file", re.IGNORECASE)
_NO_CONNECTION = re.compile(
    r"connect:errno|Connection refused|No route to host|BIO_connect|BIO_lookup|timed out", re.IGNORECASE
)


def knock_finding(knock: Knock, rc: int, said: str, excuse: str = "") -> Finding:
    """The finding in what ``openssl s_client`` said; ``excuse`` is why a certificate too many may be let in."""
    status = re.search(r"^HTTP/1\.\d (\d+)", said, re.MULTILINE)
    alert = _ALERT.search(said)
    if status:
        return _let_in(knock, status[1], excuse)
    if "verify failed" in said or "verification failed" in said:
        return failed(
            knock.check,
            "what the port serves does not lead to the trust anchor on this host, or has another name",
            "the served certificate is not the one that lies here, or the CA was changed half-way",
            "run deploy",
        )
    if _NO_CONNECTION.search(said):
        return failed(
            knock.check,
            "no connection to the port from the host itself",
            "etcd does not run, or the name of this host resolves to another address",
            "see the checks of service and names, and etcd's log on this host",
        )
    if rc in (124, 143) and not alert:
        return failed(
            knock.check,
            "no answer in time",
            "etcd waits for a quorum that is not there, or hangs",
            "see the check of members, and etcd's log on this host",
        )
    if _UNREADABLE.search(said):
        return failed(
            knock.check,
            "openssl cannot read the certificate or its key",
            "a file of the pair is missing or damaged",
            "see the checks of this certificate; run deploy",
        )
    if not alert and "verify return:1" not in said:
        # Whoever is refused has seen the server's certificate before.
        return failed(
            knock.check,
            f"no proof of a refusal: {last_lines(said) or 'openssl said nothing'}",
            "openssl is too old or too small for the question, or the connection broke",
            "run it again; ask by hand with openssl s_client on the host",
        )
    how = f"refused: {alert[1].strip()}" if alert else "refused: the connection was closed"
    if not knock.let_in:
        return Finding(knock.check, True, how)
    return failed(
        knock.check,
        how,
        "the certificate is expired, revoked, of another CA than the port trusts, or not for clients",
        "see the checks of this certificate, and etcd's log on this host; run deploy",
    )


def _let_in(knock: Knock, code: str, excuse: str) -> Finding:
    if knock.let_in:
        return Finding(knock.check, True, f"answered HTTP {code}")
    if excuse:
        return warned(knock.check, "it was let in", excuse, "set pki.trust: separate and run deploy")
    return failed(
        knock.check,
        f"it was let in (HTTP {code})",
        "client-cert-auth is off, or trusted-ca-file holds more than the CA of this side",
        "compare /etc/etcd/conf.yml and the files of trust anchors with the inventory, then run deploy",
    )


def health_finding(said: str | None, why: str = "") -> Finding:
    """The finding in the answer of ``/health``; ``said`` None: it could not be asked, for the reason ``why``."""
    check = "/health"
    if said is None:
        return skipped(check, why)
    body = re.search(r'\{[^{}]*"health"[^{}]*\}', said)
    if body is None:
        return failed(
            check,
            "no answer in time",
            "etcd refuses this host's client certificate, waits for a quorum that is not there, or hangs",
            "see the checks of this port and of the members",
        )
    if re.search(r'"health":\s*"?true', body[0]):
        return Finding(check, True, body[0])
    return failed(check, body[0], "an alarm is raised, or there is no leader", "see the checks of alarms and leader")
