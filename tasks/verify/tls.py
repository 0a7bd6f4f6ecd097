"""The TLS part of verification: certificates on a host's disk, and which certificates its ports accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from etcdfleet.certs import Certificate, leads_to, parse_or_empty
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
from etcdfleet.checks.tls import certificate_findings, offer_finding
from etcdfleet.drivers.certificates import needed_roles, needed_sides
from etcdfleet.host.tls_greetings import offered
from etcdfleet.host.tls_port import Served, look
from etcdfleet.remote import CommandResult
from etcdfleet.roles import RoleName, Side, side_of
from etcdfleet.settings.models import HostSettings
from tasks.certificates.anchors import trusted_besides, trusted_text
from tasks.certificates.issuing import other_issuers
from tasks.observe import Observed, Site
from tasks.verify.scripts import refused_as_client

PEER_AS_CLIENT = (
    "a peer's certificate is accepted as a client's (pki.trust: single): anyone with the peer key of any member may "
    "use the database; pki.trust: separate gives peers and clients a CA each, and deploy moves a live cluster there"
)
OTHER_SIDE: Mapping[Side, Side] = {"peer": "client", "client": "peer"}
NOT_RUNNING = "etcd does not run on this host"


def tls_findings(
    site: Site, observed: Observed, answers: Mapping[str, CommandResult], issuing: Mapping[Side, Certificate]
) -> list[Finding]:
    """Judge certificates on the disk, and who is let in at the ports; ``issuing`` are today's CAs, as far as known."""
    settings, findings = site.settings, list[Finding]()
    roles = needed_roles(settings)
    for role in roles:
        pair = observed.facts.pairs.get(role)
        key = answers[f"{role} key"].text.partition(" ")[0] if f"{role} key" in answers else ""
        public_key = key if observed.facts.has_openssl else (pair.key_fingerprint if pair else None) or ""
        anchor = trusted_text(observed, side_of(role)) or ""
        findings += certificate_findings(settings, role, pair, anchor, public_key, observed.facts.clock_now)
    findings += _anchors(site, observed)
    findings += _issuers(observed, issuing)
    tries = knocks(settings, roles)
    why_not = "there is no openssl on the host to ask with" if not observed.facts.has_openssl else ""
    why_not = NOT_RUNNING if not observed.service.running else why_not
    if why_not:
        findings += [skipped(knock.check, why_not) for knock in tries]
        if observed.service.running:
            findings += [refusal(role, answers, openssl=False)[1] for role in refused_as_client(settings)]
    else:
        heard = {knock: _heard(answers[knock.check]) for knock in tries}
        answered = {knock.port for knock in tries if knock.let_in and heard[knock].kind == "answered"}
        for knock in tries:
            why = excuse(settings, observed, knock.side, knock.shown)
            findings.append(knock_finding(knock, heard[knock], why, proper=knock.port in answered))
    return [*findings, _health(settings, answers, why_not)]


def _anchors(site: Site, observed: Observed) -> list[Finding]:
    """Judge the CAs that the host trusts on each side; warn where nothing that it shows leads to one of them."""
    findings, besides = list[Finding](), trusted_besides(site, observed)
    for side in needed_sides(site.settings):
        check = f"{side} trust anchors"
        trusted = ", ".join(ca.title for ca in parse_or_empty(trusted_text(observed, side))) or "none that can be read"
        if side not in besides:
            findings.append(Finding(check, True, trusted))
            continue
        trusted += "; no certificate on the host leads to " + ", ".join(repr(ca.title) for ca in besides[side])
        cause = "a change of CA is under way, or the previous CA was left trusted"
        findings.append(warned(check, trusted, cause, "rotate_certs --ca goes on with it, and completes it with --yes"))
    return findings


def _issuers(observed: Observed, issuing: Mapping[Side, Certificate]) -> list[Finding]:
    """Judge whether certificates are of the CAs that issue today; find nothing where Vault does not say which."""
    findings, others = list[Finding](), other_issuers(observed, issuing)
    for side, authority in issuing.items():
        check = f"{side} CA in Vault"
        if side in others:
            findings.append(
                warned(
                    check,
                    f"it issues by {authority.title!r} now, and certificates on the host are of {others[side]!r}",
                    "Vault was given another CA, or the inventory other mounts: a change of CA is due",
                    "rotate_certs --ca --check says what it will do, rotate_certs --ca does it",
                )
            )
        else:
            findings.append(Finding(check, True, f"{authority.title!r}, which has issued what is on the host"))
    return findings


def _health(settings: HostSettings, answers: Mapping[str, CommandResult], why_not: str) -> Finding:
    if not settings.cluster.client_tls:
        why_not = why_not or "clients have no TLS; etcdctl's check of health stands for it"
    no_answer = (
        "not of etcd 3.4, nor of a member that does not answer: 3.4 writes an entry into the raft log for each "
        "question, on which etcd 3.6 ends; etcdctl's check of health stands for it"
    )
    return health_finding(answers["/health"].stdout if "/health" in answers else None, why_not or no_answer)


def excuse(settings: HostSettings, observed: Observed, side: Side, shown: RoleName | None) -> str:
    """Return why the settings let in a certificate that they should not: what etcd trusts. Empty if they do not."""
    if shown is None:
        return ""
    if settings.pki.trust == "single":
        return PEER_AS_CLIENT if side == "client" else "there is one CA for peers and clients (pki.trust: single)"
    own, other = side_of(shown), OTHER_SIDE[side_of(shown)]
    pair = observed.facts.pairs.get(shown)
    leaf, trusted = parse_or_empty(pair.pem if pair else None), parse_or_empty(trusted_text(observed, other))
    if leaf and leads_to(leaf, trusted, at=observed.facts.clock_now):
        return f"while the previous CA is still trusted for {other}s, a {own}'s certificate is accepted as a {other}'s"
    return ""


def seen_from_here(settings: HostSettings, observed: Observed) -> list[Finding]:
    """Judge what the ports serve to this machine, and which TLS versions and cipher suites they offer it."""
    check = "served to the controller"
    if not settings.preflight.controller_reaches_members:
        return [skipped(check, "preflight.controller_reaches_members is false")]
    if not observed.service.running:
        return [skipped(check, NOT_RUNNING)]
    cause = "a firewall between this machine and the host, or another certificate in use than lies on its disk"
    member, suites = settings.member, settings.cluster.suites
    return [
        *(finding if finding.ok else replace(finding, cause=cause) for finding in served_findings(settings, observed)),
        *(
            offer_finding(port, offered(member.address, port, name=member.fqdn, wanted=suites), suites)
            for port in _tls_ports(settings).values()
        ),
    ]


def _tls_ports(settings: HostSettings) -> dict[RoleName, int]:
    """Return the ports with TLS, by the role whose certificate they serve."""
    cluster = settings.cluster
    ports: dict[RoleName, int] = {"server": cluster.client_port} if cluster.client_tls else {}
    return ports | ({"peer": cluster.peer_port} if cluster.peer_tls else {})


def refusal(role: RoleName, answers: Mapping[str, CommandResult], *, openssl: bool) -> tuple[Heard, Finding]:
    """Return how the certificate of ``role`` fared as a client's, by the answers to `refusal_commands`."""
    answer = answers[f"{role} as client"]
    if openssl:
        heard, proper = _heard(answer), _heard(answers["client as client"]).kind == "answered"
    else:
        output = answer.stdout + answer.stderr
        heard, proper = heard_by_etcdctl(answer.rc, output), proper_answered(output)
    return heard, refusal_finding(role, heard, proper)


def _heard(answer: CommandResult) -> Heard:
    return heard_by_openssl(answer.rc, answer.stdout + answer.stderr)


def placed_leaves(settings: HostSettings, observed: Observed) -> dict[RoleName, Certificate]:
    """Return the certificates that lie on the host and can be read, of the roles that the settings use."""
    pairs = observed.facts.pairs
    bundles = {role: parse_or_empty(pairs[role].pem) for role in needed_roles(settings) if role in pairs}
    return {role: bundle[0] for role, bundle in bundles.items() if bundle}


def served_findings(settings: HostSettings, observed: Observed) -> list[Finding]:
    """Judge what both ports serve to this machine, and that they refuse who must be refused."""
    findings, member, leaves = list[Finding](), settings.member, placed_leaves(settings, observed)
    for role, port in _tls_ports(settings).items():
        anchor = trusted_text(observed, side_of(role)) or ""
        served = look(member.address, port, name=member.fqdn, trust_anchor=anchor)
        findings += [replace(one, about=(member.name,)) for one in port_findings(port, served, leaves.get(role))]
    return findings


def port_findings(port: int, served: Served, placed: Certificate | None) -> list[Finding]:
    """Return the findings about one TLS port."""
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
