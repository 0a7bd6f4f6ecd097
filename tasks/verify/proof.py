"""A member and, as its host sees it, its whole cluster: asked by etcdctl and from here by TLS, and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from etcdfleet import timeouts
from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.consequences import causes_first
from etcdfleet.checks.findings import Finding, new_failures
from etcdfleet.checks.host import service_finding
from etcdfleet.checks.versions import mixed_minors
from etcdfleet.errors import FleetError
from etcdfleet.etcd.answers import (
    EndpointStatus,
    parse_hashkv,
    parse_health,
    parse_member_list,
    parse_status,
    parsed,
    unanswered,
)
from etcdfleet.etcd.canary import hold_in
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.etcdctl import all_endpoints
from etcdfleet.etcd.expected import expected_members
from etcdfleet.remote import CommandResult
from etcdfleet.settings.models import HostSettings
from tasks.observe import Site
from tasks.verify.scripts import cluster_commands, refusal_commands, refused_as_client
from tasks.verify.tls import excuse, refusal, served_findings

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Checked:
    """All findings about a member and its cluster, the member's own status, and what is worth a warning.

    ``diff`` shows how files on the host differ from what deploy would write, where that was looked at.
    """

    findings: Sequence[Finding]
    status: EndpointStatus | None
    warnings: Sequence[str] = ()
    diff: str = ""

    @property
    def bad(self) -> list[Finding]:
        """The findings that are not well."""
        return [finding for finding in self.findings if not finding.ok]


def settled(look: Callable[[], Seen], ended: Callable[[Sequence[Seen]], bool], seconds: float) -> Sequence[Seen]:
    """Look until that is ``ended``, or this time is over; return what each look has seen."""
    end, looks = time.monotonic() + seconds, [look()]
    while not ended(looks) and time.monotonic() <= end:
        time.sleep(1)
        looks.append(look())
    return looks


def quiet(looks: Sequence[Cluster]) -> bool:
    """Return whether nothing goes on among the members that is over soon.

    A leader that is known by reads alone must be named by two looks, see `Cluster.presumed_leader`. Data that differ
    are looked at again, too, but not for long when nothing is written.
    """
    *before, last = looks
    if before and last.different_since(before[-1]):
        return True
    leader = before[-1].presumed_leader if before and not before[-1].moving() else 0
    return not last.moving() and last.presumed_leader in (0, leader)


def prove(
    site: Site,
    seconds: float,
    without: Collection[str] = (),
    already: Sequence[Finding] = (),
    *,
    hopeless: Callable[[Sequence[Finding]], bool] = lambda _: False,
) -> tuple[Checked, list[Finding]]:
    """Check again until all is well but for what was so ``already``, for at most this time; then what is not well.

    ``hopeless`` says of what is not well that waiting does not help.
    """

    def ended(looks: Sequence[Checked]) -> bool:
        bad = new_failures(looks[-1].findings, already)
        if going_on := bool(bad) and not hopeless(bad):
            site.forget()
        return not going_on

    checked = settled(lambda: check(site, without), ended, seconds)[-1]
    return checked, new_failures(checked.findings, already)


def check(site: Site, without: Collection[str] = ()) -> Checked:
    """Look once. Members named in ``without`` are not asked, and nothing is expected of them."""
    observed, openssl = site.observe(), site.observe().facts.has_openssl
    settings = replace(site.settings, members=tuple(m for m in site.settings.members if m.name not in without))
    commands = cluster_commands(settings) | refusal_commands(settings, openssl=openssl)
    answers = site.remote.batch(commands, parallel=True, timeout=6 * timeouts.ETCDCTL_PATIENT)
    cluster = cluster_of(settings, answers, without)
    findings = [service_finding(observed.service, settings.member.name)]
    findings += cluster_checks(cluster, quota_bytes=settings.cluster.quota_bytes)
    hold = hold_in(observed.facts.established, settings.name)
    warnings = [told] if not hold and (told := mixed_minors(cluster)) else []
    for role in refused_as_client(settings):
        heard, finding = refusal(role, answers, openssl=openssl)
        if role == "peer" and heard.kind == "answered" and (reason := excuse(settings, observed, "client", role)):
            warnings.append(reason)
        else:
            findings.append(finding)
    if settings.preflight.controller_reaches_members:
        findings += served_findings(settings, observed)
    return Checked(causes_first(findings), cluster.by_name.get(settings.member.name), warnings)


def cluster_of(settings: HostSettings, answers: Mapping[str, CommandResult], without: Collection[str] = ()) -> Cluster:
    """Return the cluster in etcdctl's answers, without those of ``without``; an unreadable answer is as none."""
    asked, health, listed = answers["status and hashes"], answers["health"], answers["members"]
    # One line each; the second one only if the first has answers.
    status_line, _, hash_line = asked.stdout.strip().partition("\n")
    cluster = Cluster(
        tuple(expected_members(settings)),
        healths=parsed(parse_health, health.stdout, health.stderr) or (),
        hashes=parsed(parse_hashkv, hash_line, "") or (),
        unanswered=unanswered(asked.stderr),
    )
    try:
        members = parse_member_list(listed.stdout, listed.stderr)
        members = replace(members, members=tuple(one for one in members.members if one.name not in without))
        cluster = replace(cluster, members=members)
    except FleetError as error:
        cluster = replace(cluster, no_list=error.what)
    try:
        return replace(cluster, statuses=parse_status(status_line, asked.stderr))
    except FleetError as error:
        return replace(cluster, unanswered=dict.fromkeys(all_endpoints(settings), error.what))
