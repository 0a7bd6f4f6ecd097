"""Everything that `tasks.verify.member` proves, and more deeply: what runbooks/verify.py runs on each host.

The judgement is in ``etcdfleet/etcd/``: ``cluster_checks``, ``tls_checks``, ``host_checks``. Here is what is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import yaml
from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.certs import Certificate
from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.consequences import causes_first
from etcdfleet.checks.findings import Finding, failed, skipped, warned
from etcdfleet.checks.host import (
    clock_findings,
    data_finding,
    drift_findings,
    key_mode_findings,
    log_findings,
    pending_finding,
    read_listing,
    set_findings,
    space_finding,
)
from etcdfleet.checks.log import sightings
from etcdfleet.checks.write_probe import probe_checks
from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.errors import RemoteError, VerificationError
from etcdfleet.etcd.answers import (
    EndpointStatus,
)
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.host import preflight
from etcdfleet.host.paths import CONFIG
from etcdfleet.outcome import StepOutcome
from etcdfleet.remote import CommandResult
from etcdfleet.report.show.checklist import count_text
from etcdfleet.roles import Side
from etcdfleet.settings.load import settings_of
from etcdfleet.settings.models import HostSettings
from tasks.certificates.issuing import Issuing
from tasks.configure import desired_files, same, unified_diff
from tasks.observe import Observed, Site, site_of
from tasks.programs import restart_reasons
from tasks.verify.member import cluster_of, service_finding, status_facts
from tasks.verify.scripts import cluster_commands, host_commands, probe_script
from tasks.verify.tls import seen_from_here, tls_findings


def verify_deep(task: Task, token: str = "", write: bool = True, issuing: Issuing | None = None) -> Result:
    """Verifies the member on this host and, as this host sees it, its whole cluster.

    With ``write`` (and not with ``--check``) a key under the reserved prefix, named after ``token``, is written through
    this member, read through every other one, and deleted; nothing else is changed. Result: ``result`` is a
    `StepOutcome` whose facts name each check with its evidence, also when checks failed: then ``failed`` is true and
    ``exception`` a `VerificationError` with all of them. ``diff`` shows how files differ from what deploy would write.
    Needs no Vault; where it answers to ``issuing``, certificates of another CA than it issues with are a warning.
    """
    began = time.monotonic()
    if issuing:
        issuing.ask(settings_of(task.host))
    try:
        site = site_of(task)
        site.observe()
    except RemoteError as error:
        return _unreachable(task, error)
    findings, status, silent = _look(site, issuing.of(site.settings) if issuing else {})
    seen = site.observe()
    findings += _here(site, seen, status)
    differences, diff = _drift(task, site, seen)
    findings += differences
    findings += _about_host(site.settings, seen_from_here(site, seen))
    findings += _write_probe(site, status, silent, token, write=write and not task.is_dry_run())
    # Why etcd does not run comes before all that follows from it.
    findings = causes_first(findings)
    findings.sort(key=lambda finding: finding.check != "service" and not finding.check.startswith("log"))
    return _result(task, site, findings, status, diff, time.monotonic() - began)


def _result(
    task: Task, site: Site, findings: Sequence[Finding], status: EndpointStatus | None, diff: str, seconds: float
) -> Result:
    facts = status_facts(site, findings, status)
    facts["clock_offset_seconds"] = site.observe().facts.clock_offset
    facts["verify_seconds"] = round(seconds, 2)
    bad = [finding for finding in findings if not finding.ok]
    warnings = tuple(f"{f.check}: {f.evidence}; {f.cause}; {f.remedy}" for f in findings if f.status == "warning")
    outcome = StepOutcome(count_text([finding.status for finding in findings]), warnings=warnings, facts=facts)
    if not bad:
        return Result(task.host, result=outcome, diff=diff)
    error = VerificationError(
        f"{len(bad)} of {len(findings)} checks failed: " + ", ".join(finding.check for finding in bad),
        where=site.settings.name,
        remedy="each has its evidence, likely cause and remedy in the list of checks, and in the report",
    )
    return Result(task.host, result=outcome, diff=diff, failed=True, exception=error)


def _unreachable(task: Task, error: RemoteError) -> Result:
    """SSH does not come through: whether etcd's ports answer from here tells what is wrong."""
    from etcdfleet.host.tls_port import answers

    settings = settings_of(task.host)
    found = Finding("ssh", False, error.what, error.remedy)
    if settings.preflight.controller_reaches_members:
        ports = (settings.cluster.client_port, settings.cluster.peer_port)
        open_ports = [str(port) for port in ports if answers(settings.member.address, port, timeouts.PORT)]
        cause = (
            f"etcd's port {' and '.join(open_ports)} answers: the host is up, and SSH alone does not come through"
            if open_ports
            else "etcd's ports do not answer from here either: the host is off, or cut off from the network"
        )
        found = replace(found, cause=cause)
    facts = {"checks": [found.as_json()]}
    what = f"{error.what}; {found.cause}" if found.cause else error.what
    failure = VerificationError(what, where=error.where or settings.name, remedy=error.remedy)
    return Result(task.host, result=StepOutcome("not reached", facts=facts), failed=True, exception=failure)


def _look(
    site: Site, issuing: Mapping[Side, Certificate]
) -> tuple[list[Finding], EndpointStatus | None, tuple[str, ...]]:
    """The findings of one look at cluster and host, after an election has been waited out; the member's own status, and
    the members that do not answer."""
    settings = site.settings
    began, asked = time.monotonic(), cluster_commands(settings, seconds=timeouts.ETCDCTL, apart=True)
    cluster, moving, first = settled(lambda: cluster_of(settings, site.remote.batch(asked, parallel=True, timeout=120)))
    seen = site.observe()
    findings = list(cluster_checks(cluster, quota_bytes=settings.cluster.quota_bytes))
    if first and not moving:
        findings.append(
            warned(
                "leader was there all the time",
                f"{first} when this run began; {time.monotonic() - began:.0f} s later all was settled",
                "the leader was lost or restarted just now, or elections come again and again",
                "if it is seen again, see etcd's log for why, and the disk and the network of the last leader",
            )
        )
    status = cluster.by_name.get(settings.member.name)
    said = site.remote.batch(host_commands(site, seen, status.version if status else None), timeout=180)
    findings += _about_host(settings, tls_findings(site, seen, said, issuing))
    findings += _files(site, seen, said)
    return findings, status, tuple(member.name for member in cluster.expected if member.name not in cluster.by_name)


def settled(ask: Callable[[], Cluster]) -> tuple[Cluster, str, str]:
    """Asks until nothing goes on among the members that is over soon, or `timeouts.SETTLE` have passed.

    Gives the last answers, what goes on in them, and what went on in the first ones; both are empty if nothing does.
    """
    began, first, presumed = time.monotonic(), "", 0
    while True:
        cluster = ask()
        moving, leader = cluster.moving(), cluster.presumed_leader
        if (not moving and leader in (0, presumed)) or time.monotonic() - began > timeouts.SETTLE:
            return cluster, moving, first
        first = first or moving
        presumed = 0 if moving else leader
        time.sleep(1 if moving else 0)


def _about_host(settings: HostSettings, findings: Sequence[Finding]) -> list[Finding]:
    """The findings as such about the member of this host."""
    return [replace(finding, about=(settings.member.name,)) for finding in findings]


def _files(site: Site, seen: Observed, said: Mapping[str, CommandResult]) -> list[Finding]:
    """Modes of keys, sets and data; etcd's log."""
    listing = read_listing(said["listing"].stdout)
    found = key_mode_findings(listing) + set_findings(site.settings, needed_roles(site.settings), listing)
    others = [member.address for member in site.settings.members if member.name != site.settings.member.name]
    known = sightings(
        said["log"].stdout,
        members=others,
        own=("127.0.0.1", "::1", site.settings.member.address),
        gateway=_gateway(seen),
    )
    clock = seen.facts.clock_now if seen.facts.clock_offset else datetime.now(UTC)
    found += log_findings(known, clock=clock, running=seen.service.running)
    problems, warnings = preflight.clock_problems(site.settings, seen.facts)
    return found + clock_findings(problems, warnings, seen.facts.clock_offset, said["time"].stdout)


def _gateway(seen: Observed) -> bool:
    """Whether the configuration on the host turns etcd's gateway on (etcd does so by itself where nothing is said)."""
    file = seen.facts.files.get(CONFIG)
    try:
        found = yaml.safe_load(file.content) if file else None
    except yaml.YAMLError:
        return True
    return not isinstance(found, dict) or found.get("enable-grpc-gateway", True) is not False


def _here(site: Site, seen: Observed, status: EndpointStatus | None) -> list[Finding]:
    """What a restart of etcd or of the host would meet."""
    settings = site.settings
    service = service_finding(seen, settings.member.name)
    if not service.ok:
        cause = "it was stopped or has crashed" if not seen.service.running else "it was disabled, or never enabled"
        remedy = "see etcd's log on this host; run deploy"
        if seen.facts.place.absent:
            cause, remedy = "it waits for the disk with its data", "see data directory"
        service = replace(service, cause=cause, remedy=remedy)
    free = seen.facts.free_bytes.get(settings.member.data_dir)
    return [
        service,
        data_finding(settings, seen.facts.data, seen.facts.place),
        space_finding(settings, free, status.db_size if status else 0),
        pending_finding(restart_reasons(settings, seen)),
        *_names(settings, seen),
    ]


def _names(settings: HostSettings, seen: Observed) -> list[Finding]:
    check = "names"
    if problems := preflight.name_problems(settings, seen.facts):
        remedies = "; ".join(dict.fromkeys(problem.remedy for problem in problems))
        return [failed(check, "; ".join(p.what for p in problems), "DNS or /etc/hosts was changed", remedies)]
    found = Finding(check, True, f"all {len(settings.members)} members resolve to their addresses")
    service = preflight.service_name_warning(settings, seen.facts)
    return [
        found,
        *(warned("service name", w.what, "it is not in DNS, or not for all members", w.remedy) for w in service),
    ]


def _drift(task: Task, site: Site, seen: Observed) -> tuple[list[Finding], str]:
    """The files that deploy would write, against those on the host; and how they differ, as a diff."""
    differences, alike, diff = {}, [], ""
    for file in desired_files(task, site, seen):
        there = seen.facts.files.get(file.path)
        if same(file, there):
            alike.append(file.path)
            continue
        text = unified_diff(there, file)
        changed = [line for line in text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        if there is None:
            differences[file.path] = "it is not there"
        elif changed:
            differences[file.path] = f"differs from what deploy would write: {_short(changed)}"
        else:
            differences[file.path] = f"mode and owner differ: {text.partition(': ')[2].strip()}"
        diff += text
    return drift_findings(differences, alike), diff


def _short(changed: Sequence[str]) -> str:
    """The first lines of a difference, and how many more there are. Nothing in these files is secret."""
    shown = " | ".join(f"{line[:1]} {line[1:].strip()}" for line in changed[:2])
    return f"{shown} (and {len(changed) - 2} more lines)" if len(changed) > 2 else shown


def _write_probe(
    site: Site, status: EndpointStatus | None, silent: Sequence[str], token: str, *, write: bool
) -> list[Finding]:
    check = "write, read, delete"
    if not write:
        return [skipped(check, "not asked for: --check and --no-write write nothing")]
    if status is None:
        return [skipped(check, "this member does not answer")]
    if needed_roles(site.settings) and not seen_client(site):
        return [skipped(check, "there is no client certificate on this host")]
    names, mine = [m.name for m in site.settings.members if m.name not in silent], site.settings.member.name
    said = site.remote.run(probe_script(site.settings, names, token), timeout=120)
    found = probe_checks(names, silent, said.stdout, token)
    return [finding if finding.ok or finding.about else replace(finding, about=(mine,)) for finding in found]


def seen_client(site: Site) -> bool:
    """Whether there is what etcdctl on the host proves with who it is, where it must."""
    return not site.settings.cluster.client_tls or "client" in site.observe().facts.pairs
