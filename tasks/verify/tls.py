"""The TLS part of `tasks.verify.deep`: certificates on a host's disk, and which certificates its ports accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from etcdfleet.certs import Certificate, leads_to, parse_pem_bundle, readable
from etcdfleet.checks.findings import SERVED, Finding, skipped, warned
from etcdfleet.checks.knocks import (
    Heard,
    health_finding,
    heard_by_etcdctl,
    heard_by_openssl,
    knock_finding,
    knocks,
    proper_answered,
    refusal_finding,
)
from etcdfleet.checks.tls import certificate_findings
from etcdfleet.drivers.certificates import needed_roles, needed_sides
from etcdfleet.errors import CertificateError
from etcdfleet.etcd.tls_settings import offer_finding
from etcdfleet.host.tls_greetings import offered
from etcdfleet.host.tls_port import Served, look
from etcdfleet.remote import CommandResult
from etcdfleet.roles import RoleName, Side, side_of
from etcdfleet.settings.models import HostSettings
from tasks.certificates.anchors import trusted_besides, trusted_text
from tasks.certificates.issuing import other_issuers
from tasks.observe import Observed, Site
from tasks.verify.knocks import refused_as_client

PEER_AS_CLIENT = (
    "a peer's certificate is accepted as a client's (pki.trust: single): anyone with the peer key of any member may "
    "use the database; pki.trust: separate gives peers and clients a CA each, and deploy moves a live cluster there"
)
NOT_RUNNING = "etcd does not run on this host"


def tls_findings(
    site: Site, seen: Observed, said: Mapping[str, CommandResult], issuing: Mapping[Side, Certificate]
) -> list[Finding]:
    """Certificates on the disk, and who is let in at the ports; ``issuing`` are the CAs of today, as far as known."""
    settings, found = site.settings, list[Finding]()
    roles = needed_roles(settings)
    for role in roles:
        pair = seen.facts.pairs.get(role)
        key = said[f"{role} key"].text.partition(" ")[0] if f"{role} key" in said else ""
        known = key if seen.facts.has_openssl else (pair.key_fingerprint if pair else None) or ""
        anchor = trusted_text(seen, side_of(role)) or ""
        found += certificate_findings(settings, role, pair, anchor, known, seen.facts.clock_now)
    found += _anchors(site, seen)
    found += _issuers(seen, issuing)
    tries = knocks(settings, roles)
    if not seen.service.running:
        return [*found, *(skipped(knock.check, NOT_RUNNING) for knock in tries), health_finding(None, NOT_RUNNING)]
    if not seen.facts.has_openssl:
        found += [skipped(knock.check, "there is no openssl on the host to ask with") for knock in tries]
        found += [refusal(role, said, openssl=False)[1] for role in refused_as_client(settings)]
        return [*found, health_finding(None, "there is no openssl on the host to ask with")]
    heard = {}
    for knock in tries:
        answer = said[knock.name]
        heard[knock] = heard_by_openssl(answer.rc, answer.stdout + answer.stderr)
    answered = {knock.port for knock in tries if knock.let_in and heard[knock].kind == "answered"}
    for knock in tries:
        excuse = _excuse(settings, seen, knock.side, knock.shown)
        found.append(knock_finding(knock, heard[knock], excuse, proper=knock.port in answered))
    return [*found, _health(settings, said)]


def _anchors(site: Site, seen: Observed) -> list[Finding]:
    """The CAs that the host trusts on each side; a warning where nothing that it shows leads to one of these CAs."""
    found, besides = list[Finding](), trusted_besides(site, seen)
    for side in needed_sides(site.settings):
        check = f"{side} trust anchors"
        trusted = ", ".join(ca.title for ca in readable(trusted_text(seen, side))) or "none that can be read"
        if more := besides.get(side):
            names = ", ".join(repr(ca.title) for ca in more)
            found.append(
                warned(
                    check,
                    f"{trusted}; no certificate on the host leads to {names}",
                    "a change of CA is under way, or the previous CA was left trusted",
                    "rotate_certs --ca goes on with it, and completes it with --yes",
                )
            )
        else:
            found.append(Finding(check, True, trusted))
    return found


def _issuers(seen: Observed, issuing: Mapping[Side, Certificate]) -> list[Finding]:
    """Whether certificates on the host are of the CAs that issue today; nothing where Vault does not say which."""
    found, others = list[Finding](), other_issuers(seen, issuing)
    for side, authority in issuing.items():
        check = f"{side} CA in Vault"
        if side in others:
            found.append(
                warned(
                    check,
                    f"it issues by {authority.title!r} now, and certificates on the host are of {others[side]!r}",
                    "Vault was given another CA, or the inventory other mounts: a change of CA is due",
                    "rotate_certs --ca --check says what it will do, rotate_certs --ca does it",
                )
            )
        else:
            found.append(Finding(check, True, f"{authority.title!r}, which has issued what is on the host"))
    return found


def _health(settings: HostSettings, said: Mapping[str, CommandResult]) -> Finding:
    if "/health" in said:
        return health_finding(said["/health"].stdout)
    if not settings.cluster.client_tls:
        return health_finding(None, "clients have no TLS; etcdctl's check of health stands for it")
    return health_finding(
        None,
        "not of etcd 3.4, nor of a member that does not answer: 3.4 writes an entry into the raft log for each "
        "question, on which etcd 3.6 ends; etcdctl's check of health stands for it",
    )


def _excuse(settings: HostSettings, seen: Observed, side: Side, shown: RoleName | None) -> str:
    """Why the settings let a certificate in that they should not; empty if they do not."""
    if shown is None:
        return ""
    if settings.pki.trust == "single":
        return PEER_AS_CLIENT if side == "client" else "there is one CA for peers and clients (pki.trust: single)"
    if shown == "peer":
        return peer_trusted_as_client(settings, seen)
    pair = seen.facts.pairs.get(shown)
    leaf, trusted = readable(pair.pem if pair else None), readable(trusted_text(seen, "peer"))
    if leaf and trusted and leads_to(leaf, trusted, at=seen.facts.clock_now):
        return "while the previous CA is still trusted for peers, a client's certificate is accepted as a peer's"
    return ""


def seen_from_here(site: Site, seen: Observed) -> list[Finding]:
    """What the ports serve to this machine."""
    check = "served to the controller"
    if not site.settings.preflight.controller_reaches_members:
        return [skipped(check, "preflight.controller_reaches_members is false")]
    if not seen.service.running:
        return [skipped(check, NOT_RUNNING)]
    found = served_findings(site.settings, placed_leaves(site.settings, seen), seen)
    cause = "a firewall between this machine and the host, or another certificate in use than lies on its disk"
    return [
        *(finding if finding.ok else replace(finding, cause=cause) for finding in found),
        *_offers(site.settings),
    ]


def _offers(settings: HostSettings) -> list[Finding]:
    """Which versions of TLS and which cipher suites the ports offer to this machine."""
    cluster, member = settings.cluster, settings.member
    ports = [(cluster.client_port, cluster.client_tls), (cluster.peer_port, cluster.peer_tls)]
    return [
        offer_finding(port, offered(member.address, port, name=member.fqdn, wanted=cluster.suites), cluster.suites)
        for port, tls in ports
        if tls
    ]


def refusal(role: RoleName, answers: Mapping[str, CommandResult], *, openssl: bool) -> tuple[Heard, Finding]:
    """What became of the certificate of ``role`` as a client's, by the answers to `commands`, and the finding in it."""
    answer = answers[f"{role} as client"]
    said = answer.stdout + answer.stderr
    if not openssl:
        heard = heard_by_etcdctl(answer.rc, said)
        return heard, refusal_finding(role, heard, proper_answered(said))
    proper = answers["client as client"]
    control = heard_by_openssl(proper.rc, proper.stdout + proper.stderr)
    heard = heard_by_openssl(answer.rc, said)
    return heard, refusal_finding(role, heard, control.kind == "answered")


def peer_trusted_as_client(settings: HostSettings, seen: Observed) -> str:
    """Why a peer's certificate is accepted as a client's: what etcd trusts there says so. Empty if it does not."""
    if settings.pki.trust == "single":
        return PEER_AS_CLIENT
    pair = seen.facts.pairs.get("peer")
    leaf, trusted = readable(pair.pem if pair else None), readable(trusted_text(seen, "client"))
    if leaf and leads_to(leaf, trusted, at=seen.facts.clock_now):
        return "while the previous CA is still trusted for clients, a peer's certificate is accepted as a client's"
    return ""


def placed_leaves(settings: HostSettings, seen: Observed) -> dict[RoleName, Certificate]:
    """The certificates that lie on the host, of the roles that the settings use."""
    found: dict[RoleName, Certificate] = {}
    for role in needed_roles(settings):
        pair = seen.facts.pairs.get(role)
        try:
            if pair:
                found[role] = parse_pem_bundle(pair.pem)[0]
        except CertificateError:
            continue  # found elsewhere: the served one cannot be equal to it
    return found


def served_findings(settings: HostSettings, leaves: dict[RoleName, Certificate], seen: Observed) -> list[Finding]:
    """What both ports serve to this machine, and that they refuse who must be refused."""
    ports: list[tuple[RoleName, int, bool]] = [
        ("server", settings.cluster.client_port, settings.cluster.client_tls),
        ("peer", settings.cluster.peer_port, settings.cluster.peer_tls),
    ]
    findings = []
    for role, port, tls in ports:
        if tls:
            anchor = trusted_text(seen, side_of(role)) or ""
            served = look(settings.member.address, port, name=settings.member.fqdn, trust_anchor=anchor)
            found = port_findings(port, served, leaves.get(role))
            findings += [replace(finding, about=(settings.member.name,)) for finding in found]
    return findings


def port_findings(port: int, served: Served, placed: Certificate | None) -> list[Finding]:
    """The findings about one TLS port."""
    if served.certificate is None:
        remedy = "see etcd's log on this host"
        if not served.reachable:
            remedy = (
                "open this port on the host to this machine (firewall, VPN). Only where others reach it, and this "
                "machine is not meant to: preflight.controller_reaches_members: false"
            )
        return [Finding(f"{SERVED} {port}", False, served.problem, remedy)]
    same = placed is not None and served.certificate.fingerprint == placed.fingerprint
    number = served.certificate.serial
    return [
        Finding(
            f"{SERVED} {port}",
            same,
            f"serial {number}, valid until {served.certificate.not_after:%Y-%m-%d}"
            if same
            else f"serial {number} is served, {placed.serial if placed else 'none'} is placed",
            "" if same else "etcd reads leaves at each handshake: see its log on this host",
        ),
        _refused(f"no client certificate refused on {port}", served.without_certificate),
        _refused(f"plain http refused on {port}", served.plain_http),
    ]


def _refused(check: str, got: str) -> Finding:
    if got:
        return Finding(check, False, f"answered: {got}", "look at /etc/etcd/conf.yml on this host, then run deploy")
    return Finding(check, True, "refused")
