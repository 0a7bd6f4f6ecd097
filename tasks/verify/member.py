"""Proof that a member and its cluster are what the inventory says, from the host by etcdctl and from here by TLS."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.consequences import causes_first, remedies, told
from etcdfleet.checks.findings import Finding, held_against
from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.answers import (
    EndpointStatus,
    parse_hashkv,
    parse_health,
    parse_member_list,
    parse_status,
    parsed,
    unanswered,
)
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.etcdctl import all_endpoints
from etcdfleet.etcd.expected import expected_members
from etcdfleet.etcd.ids import hex_id
from etcdfleet.host.paths import UNPROVEN
from etcdfleet.outcome import StepOutcome
from etcdfleet.remote import CommandResult
from etcdfleet.settings.models import HostSettings
from tasks.alarms import end_full_alarm, stands
from tasks.certificates.place import certificate_facts
from tasks.observe import Observed, Site, site_of
from tasks.verify.knocks import refused_as_client
from tasks.verify.scripts import cluster_commands, refusal_commands
from tasks.verify.tls import peer_trusted_as_client, placed_leaves, refusal, served_findings


def verify(task: Task, without: Mapping[str, Collection[str]] | None = None, as_wanted: Collection[str] = ()) -> Result:
    """Verifies the member on this host and, as this host sees it, its whole cluster; changes nothing but the note that
    certificates of a run that was ended are not proven yet, and the alarm of a full database.

    ``without`` names, by cluster, members that are known to be down, and are not asked; ``as_wanted`` are clusters all
    of whose members run with the inventory's settings: there the alarm NOSPACE is ended where all have room again.
    Result: ``result`` is a `StepOutcome` whose facts name each check with its evidence. Raises `VerificationError` with
    all that failed.
    """
    site, ended = site_of(task), ""
    may_end = site.settings.cluster.name in as_wanted and not task.is_dry_run()

    def hopeless(bad: Sequence[Finding]) -> bool:
        """Where the alarm may be ended, one host does it, and the others wait for that."""
        nonlocal ended
        if may_end and not ended:
            ended = end_full_alarm(site, bad, timeouts.ETCDCTL_PATIENT)
        return stands(bad) and not may_end

    left_out = (without or {}).get(site.settings.cluster.name, ())
    checked, bad = prove(site, timeouts.SETTLE, left_out, hopeless=hopeless)
    if bad:
        raise VerificationError(
            told(bad),
            where=site.settings.name,
            remedy=remedies(bad) or "see etcd's log on this host",
        )
    if site.observe().facts.unproven and not task.is_dry_run():
        site.remote.run(f"rm -f {UNPROVEN}", check="noting that the certificates are proven")
    facts = status_facts(site, checked.findings, checked.status)
    summary = f"{len(checked.findings)} checks passed"
    outcome = StepOutcome(summary, (ended,) if ended else (), tuple(checked.warnings), facts)
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


@dataclass(frozen=True)
class Checked:
    """All findings about a member and its cluster, the member's own status, and what is worth a warning."""

    findings: Sequence[Finding]
    status: EndpointStatus | None
    warnings: Sequence[str]


def prove(
    site: Site,
    seconds: float,
    without: Collection[str] = (),
    already: Sequence[Finding] = (),
    *,
    hopeless: Callable[[Sequence[Finding]], bool] = lambda _: False,
) -> tuple[Checked, list[Finding]]:
    """Checks again until all is well but for what was so ``already``, for at most this time; then what is not well.

    ``hopeless`` says of what is not well that waiting does not help.
    """
    end = time.monotonic() + seconds
    while True:
        checked = check_all(site, without)
        bad = held_against(checked.findings, already)
        if not bad or time.monotonic() > end or hopeless(bad):
            return checked, bad
        time.sleep(1)
        site.forget()


def check_all(site: Site, without: Collection[str] = ()) -> Checked:
    """Looks once. Members named in ``without`` are not asked, and nothing is expected of them."""
    seen, seconds = site.observe(), timeouts.ETCDCTL_PATIENT
    openssl = seen.facts.has_openssl
    settings = replace(site.settings, members=tuple(m for m in site.settings.members if m.name not in without))
    asked = cluster_commands(settings, seconds=seconds) | refusal_commands(settings, openssl=openssl)
    answers = site.remote.batch(asked, parallel=True, timeout=6 * seconds)
    cluster = cluster_of(settings, answers, without)
    findings = [service_finding(seen, settings.member.name)]
    findings += cluster_checks(cluster, quota_bytes=settings.cluster.quota_bytes)
    warnings = []
    for role in refused_as_client(settings):
        heard, finding = refusal(role, answers, openssl=openssl)
        if role == "peer" and heard.kind == "answered" and (reason := peer_trusted_as_client(settings, seen)):
            warnings.append(reason)
        else:
            findings.append(finding)
    if settings.preflight.controller_reaches_members:
        findings += served_findings(settings, placed_leaves(settings, seen), seen)
    return Checked(causes_first(findings), cluster.by_name.get(settings.member.name), warnings)


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
    healths = parsed(parse_health, health.stdout, health.stderr) or ()
    return replace(found, healths=healths, hashes=parsed(parse_hashkv, hash_line, "") or ())


def service_finding(seen: Observed, name: str) -> Finding:
    """The service of the member of this name runs and starts at boot."""
    ok = seen.service.running and seen.service.enabled
    said = f"{'running' if seen.service.running else 'not running'}, " + (
        "enabled at boot" if seen.service.enabled else "not enabled at boot"
    )
    return Finding(
        "service", ok, f"{said} ({seen.service.detail})", "" if ok else "run deploy", fault=said, about=(name,)
    )
