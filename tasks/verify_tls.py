"""The TLS part of `tasks.verify_deep`: certificates on a host's disk, and whom its ports let in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from etcdfleet.certs import Certificate, leads_to, readable
from etcdfleet.checks.findings import Finding, skipped, warned
from etcdfleet.checks.knocks import health_finding, heard_by_openssl, knock_finding, knocks
from etcdfleet.checks.tls import certificate_findings
from etcdfleet.drivers.certificates import needed_roles, needed_sides
from etcdfleet.etcd.tls_settings import offer_finding
from etcdfleet.host.tls_greetings import offered
from etcdfleet.remote import CommandResult
from etcdfleet.settings.base import RoleName, Side, side_of
from etcdfleet.settings.models import HostSettings
from tasks.anchors import trusted_besides, trusted_text
from tasks.issuing import other_issuers
from tasks.observe import Observed, Site
from tasks.verify import (
    PEER_AS_CLIENT,
    peer_trusted_as_client,
    placed_leaves,
    refusal,
    refused_as_client,
    served_findings,
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
