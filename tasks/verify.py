"""Proof that a member and its cluster are what the inventory says, from the host by etcdctl and from here by TLS."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.certs import Certificate, leads_to, parse_pem_bundle, readable
from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.consequences import causes_first, remedies, told
from etcdfleet.checks.findings import SERVED, Finding
from etcdfleet.checks.knocks import Heard, heard_by_etcdctl, heard_by_openssl, proper_answered, refusal_finding
from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.errors import CertificateError, FleetError, VerificationError
from etcdfleet.etcd.answers import (
    EndpointStatus,
    parse_hashkv,
    parse_health,
    parse_member_list,
    parse_status,
    unanswered,
)
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.etcdctl import all_endpoints, etcdctl, local_endpoint
from etcdfleet.etcd.expected import expected_members
from etcdfleet.etcd.ids import hex_id
from etcdfleet.host.paths import UNPROVEN
from etcdfleet.host.tls_port import Served, look
from etcdfleet.outcome import StepOutcome
from etcdfleet.remote import CommandResult
from etcdfleet.settings.base import RoleName, side_of
from etcdfleet.settings.models import HostSettings
from tasks.alarms import end_full_alarm, stands
from tasks.anchors import trusted_text
from tasks.certificates import certificate_facts
from tasks.knock_scripts import etcdctl_attempt, openssl_knock
from tasks.observe import Observed, Site, site_of

PEER_AS_CLIENT = (
    "a peer's certificate is accepted as a client's (pki.trust: single): whoever has the peer key of any member may "
    "use the database; pki.trust: separate gives peers and clients a CA each, and deploy moves a live cluster there"
)


def verify(task: Task, without: Mapping[str, Collection[str]] | None = None, as_wanted: Collection[str] = ()) -> Result:
    """Verifies the member on this host and, as this host sees it, its whole cluster; changes nothing but the note that
    certificates of a run that was ended are not proven yet, and the alarm of a full database.

    ``without`` names, by cluster, members that are known to be down, and are not asked; ``as_wanted`` are clusters all
    of whose members run with the inventory's settings: there the alarm NOSPACE is ended where all have room again.
    Result: ``result`` is a `StepOutcome` whose facts name each check with its evidence. Raises `VerificationError` with
    all that failed.
    """
    site = site_of(task)
    left_out = (without or {}).get(site.settings.cluster.name, ())
    end, ended = time.monotonic() + timeouts.SETTLE, ""
    while True:
        findings, status, warnings = check_all(site, left_out)
        bad = [finding for finding in findings if not finding.ok]
        may_end = site.settings.cluster.name in as_wanted and not task.is_dry_run()
        if bad and not ended and may_end:
            ended = end_full_alarm(site, bad, timeouts.ETCDCTL_PATIENT)
        # Where the alarm may be ended, one host does it, and the others wait for that.
        if not bad or time.monotonic() > end or (stands(bad) and not may_end):
            break
        time.sleep(1)
        site.forget()
    if bad:
        raise VerificationError(
            told(bad),
            where=site.settings.name,
            remedy=remedies(bad) or "see etcd's log on this host",
        )
    if site.observe().facts.unproven and not task.is_dry_run():
        site.remote.run(f"rm -f {UNPROVEN}", check="noting that the certificates are proven")
    facts = status_facts(site, findings, status)
    outcome = StepOutcome(f"{len(findings)} checks passed", (ended,) if ended else (), tuple(warnings), facts)
    return Result(task.host, result=outcome, changed=bool(ended))


def status_facts(site: Site, findings: Sequence[Finding], status: EndpointStatus | None) -> dict[str, object]:
    """The report's record of a verified member: each check, its certificates, and what it says of itself."""
    facts: dict[str, object] = {
        "checks": [finding.as_json() for finding in findings],
        "ssh_round_trips": site.remote.round_trips,
        "certificates": certificate_facts(site.settings, placed_leaves(site.settings, site.observe())),
    }
    if status:
        facts |= {
            "version": status.version,
            "member_id": hex_id(status.member_id),
            "cluster_id": hex_id(status.cluster_id),
            "leader": status.leader_id == status.member_id,
            "db_size_bytes": status.db_size,
            "revision": status.revision,
            "raft_term": status.term,
        }
    return facts


def check_all(site: Site, without: Collection[str] = ()) -> tuple[list[Finding], EndpointStatus | None, list[str]]:
    """All findings about the member and its cluster, the member's own status, and what is worth a warning.

    Members named in ``without`` are not asked, and nothing is expected of them.
    """
    seen = site.observe()
    asked = [member for member in site.settings.members if member.name not in without]
    settings = replace(site.settings, members=tuple(asked))
    openssl = seen.facts.has_openssl
    answers = site.remote.batch(
        commands(settings, openssl=openssl), parallel=True, timeout=6 * timeouts.ETCDCTL_PATIENT
    )
    findings, status = cluster_findings(settings, answers, without)
    findings.insert(0, service_finding(seen, settings.member.name))
    leaves = placed_leaves(site.settings, seen)
    warnings = []
    for role in refused_as_client(site.settings):
        heard, finding = refusal(role, answers, openssl=openssl)
        if role == "peer" and heard.kind == "answered" and (reason := peer_trusted_as_client(site.settings, seen)):
            warnings.append(reason)
        else:
            findings.append(finding)
    if site.settings.preflight.controller_reaches_members:
        findings += served_findings(site.settings, leaves, seen)
    return causes_first(findings), status, warnings


def commands(
    settings: HostSettings, *, seconds: float = timeouts.ETCDCTL_PATIENT, openssl: bool = True
) -> dict[str, str]:
    """What is asked on the host, side by side in one round trip, each call of etcdctl bounded to ``seconds``.

    ``openssl`` says whether it is there, to show certificates that must be refused; else etcdctl does that, too.
    """
    here, everybody = [local_endpoint(settings)], all_endpoints(settings)
    status = etcdctl(settings, "-w json endpoint status", everybody, seconds=seconds)
    hashes = etcdctl(settings, '-w json endpoint hashkv --rev="$rev"', everybody, seconds=seconds)
    found = {
        "members": etcdctl(settings, "-w json member list", here, seconds=seconds),
        "health": etcdctl(settings, "-w json endpoint health", everybody, seconds=seconds),
        # All hashes at one revision that every member has: a cluster that is written to differs from one moment to
        # the next.
        "status and hashes": f"""out=$({status}); rc=$?
echo "$out"
rev=$(echo "$out" | tr ',' '\\n' | sed -n 's/.*"revision":\\([0-9]*\\).*/\\1/p' | sort -n | head -n 1)
[ $rc = 0 ] && [ -n "$rev" ] || exit 1
found=$({hashes})
# An idle cluster is in time compacted up to its very last revision, of which only the present hash can be had.
[ "$found" != "[]" ] || {{ rev=0; found=$({hashes}); }}
echo "$found"
""",
    }
    roles = refused_as_client(settings)
    for role in ("client", *roles) if roles and openssl else ():
        # On the loop-back, as etcdctl's calls for this member alone: it depends on no name.
        found[f"{role} as client"] = openssl_knock(
            settings, "client", settings.cluster.client_port, role, address="127.0.0.1"
        )
    for role in () if openssl else roles:
        found[f"{role} as client"] = etcdctl_attempt(settings, role)
    return found


def refused_as_client(settings: HostSettings) -> tuple[RoleName, ...]:
    """The roles of the host whose certificates must be refused as a client's.

    With client TLS: that of the server, if it is for servers only; that of the peer, which separate trust sees to. With
    a single CA a peer's certificate is accepted, which is looked at to warn of it.
    """
    if not settings.cluster.client_tls:
        return ()
    server: tuple[RoleName, ...] = () if "client" in settings.pki.roles["server"].usages else ("server",)
    return (*server, "peer") if settings.cluster.peer_tls else server


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


def cluster_findings(
    settings: HostSettings, answers: dict[str, CommandResult], without: Collection[str] = ()
) -> tuple[list[Finding], EndpointStatus | None]:
    """The findings about the cluster in etcdctl's answers, and the status of the host's own member."""
    cluster = cluster_of(settings, answers, without)
    findings = cluster_checks(cluster, quota_bytes=settings.cluster.quota_bytes)
    return list(findings), cluster.by_name.get(settings.member.name)


def cluster_of(settings: HostSettings, answers: Mapping[str, CommandResult], without: Collection[str] = ()) -> Cluster:
    """The cluster in etcdctl's answers; one that cannot be read is as none. Members of ``without`` are left out."""
    asked, health, listed = answers["status and hashes"], answers["health"], answers["members"]
    # One line each; the second one only if the first has answers.
    status_line, _, hash_line = asked.stdout.strip().partition("\n")
    found = Cluster(tuple(expected_members(settings)), unanswered=unanswered(asked.stderr))
    try:
        members = parse_member_list(listed.stdout, listed.stderr)
        members = replace(members, members=tuple(one for one in members.members if one.name not in without))
        found = replace(found, members=members)
    except FleetError as error:
        found = replace(found, no_list=error.what)
    try:
        found = replace(found, statuses=parse_status(status_line, asked.stderr))
    except FleetError as error:
        found = replace(found, unanswered=dict.fromkeys(all_endpoints(settings), error.what))
    with suppress(FleetError):
        found = replace(found, healths=parse_health(health.stdout, health.stderr))
    with suppress(FleetError):
        found = replace(found, hashes=parse_hashkv(hash_line) if hash_line else ())
    return found


def service_finding(seen: Observed, name: str) -> Finding:
    """The service of the member of this name runs and starts at boot."""
    ok = seen.service.running and seen.service.enabled
    said = f"{'running' if seen.service.running else 'not running'}, " + (
        "enabled at boot" if seen.service.enabled else "not enabled at boot"
    )
    return Finding(
        "service", ok, f"{said} ({seen.service.detail})", "" if ok else "run deploy", fault=said, about=(name,)
    )


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
            continue  # found by whoever needs it: the served one cannot be equal to it
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
