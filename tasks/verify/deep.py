"""What runbooks/verify.py checks beside `tasks.verify.proof`: what a restart would meet, who is let in, and a write.

The judgement is in ``etcdfleet/checks/``. Here is what is asked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nornir.core.task import Task

from etcdfleet import timeouts
from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.consequences import causes_first
from etcdfleet.checks.findings import Finding, failed, skipped, warned
from etcdfleet.checks.host import (
    clock_findings,
    data_finding,
    drift_finding,
    key_mode_finding,
    log_findings,
    pending_finding,
    read_listing,
    service_finding,
    set_findings,
    space_finding,
)
from etcdfleet.checks.log import sightings
from etcdfleet.checks.versions import version_finding
from etcdfleet.checks.write_probe import probe_checks
from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.canary import hold_in
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.host import preflight
from etcdfleet.host.paths import CONFIG
from etcdfleet.remote import CommandResult
from etcdfleet.settings.models import HostSettings
from tasks.certificates.issuing import Issuing
from tasks.configure import desired_files, same, unified_diff
from tasks.observe import Observed, Site
from tasks.programs import restart_reasons
from tasks.verify.proof import Checked, cluster_of, quiet, settled
from tasks.verify.scripts import cluster_commands, host_commands, probe_script
from tasks.verify.tls import seen_from_here, tls_findings


@dataclass(frozen=True)
class Deep:
    """What a deep verification may do beside looking.

    With ``write`` (and not with ``--check``) a key under the reserved prefix, named after ``token``, is written through
    the member, read through every other one, and deleted. ``issuing`` asks Vault, which is not needed: where it
    answers, certificates of another CA than it issues with are a warning.
    """

    token: str = ""
    write: bool = True
    issuing: Issuing | None = None


def check_deeply(task: Task, site: Site, deep: Deep) -> Checked:
    """Look at the cluster once an election has been waited out, then at the host, then write through the member."""
    settings, name = site.settings, site.settings.member.name
    began, commands = time.monotonic(), cluster_commands(settings, deep=True)
    looks = settled(
        lambda: cluster_of(settings, site.remote.batch(commands, parallel=True, timeout=120)), quiet, timeouts.SETTLE
    )
    cluster, first = looks[-1], next(filter(None, (look.moving() for look in looks)), "")
    seconds = {name: site.observe().service.seconds}
    findings = [*cluster_checks(cluster, quota_bytes=settings.cluster.quota_bytes, seconds=seconds)]
    if first and not cluster.moving():
        findings.append(
            warned(
                "leader was there all the time",
                f"{first} when this run began; {time.monotonic() - began:.0f} s later all was settled",
                "the leader was lost or restarted just now, or elections come again and again",
                "if it is seen again, see etcd's log for why, and the disk and the network of the last leader",
            )
        )
    observed, status = site.observe(), cluster.by_name.get(name)
    answers = site.remote.batch(host_commands(site, observed, status.version if status else None), timeout=180)
    issuing = deep.issuing.of(settings) if deep.issuing else {}
    findings += [replace(finding, about=(name,)) for finding in tls_findings(site, observed, answers, issuing)]
    findings += _files(settings, observed, answers)
    findings += _here(settings, observed, status)
    findings.append(version_finding(cluster, hold_in(observed.facts.established, settings.name), settings.name, name))
    differences, diff = _drift(task, site, observed)
    findings += differences
    findings += [replace(finding, about=(name,)) for finding in seen_from_here(settings, observed)]
    findings += _write_probe(site, cluster, deep.token, write=deep.write and not task.is_dry_run())
    # Why etcd does not run comes before all that follows from it.
    findings = causes_first(findings)
    findings.sort(key=lambda finding: finding.check != "service" and not finding.check.startswith("log"))
    warnings = [f"{f.check}: {f.evidence}; {f.cause}; {f.remedy}" for f in findings if f.status == "warning"]
    return Checked(findings, status, warnings, diff)


def _files(settings: HostSettings, observed: Observed, answers: Mapping[str, CommandResult]) -> list[Finding]:
    """Judge the modes of keys, sets and data, and etcd's log."""
    listing = read_listing(answers["listing"].stdout)
    findings = [key_mode_finding(listing), *set_findings(settings, needed_roles(settings), listing)]
    others = [member.address for member in settings.members if member.name != settings.member.name]
    lines = sightings(
        answers["log"].stdout,
        members=others,
        own=("127.0.0.1", "::1", settings.member.address),
        gateway=_gateway(observed),
    )
    clock = observed.facts.clock_now if observed.facts.clock_offset else datetime.now(UTC)
    findings += log_findings(lines, clock=clock, running=observed.service.running)
    problems, warnings = preflight.clock_problems(settings, observed.facts)
    return findings + clock_findings(problems, warnings, observed.facts.clock_offset, answers["time"].stdout)


def _gateway(observed: Observed) -> bool:
    """Return whether the configuration on the host leaves etcd's gateway on, as it is where nothing is said."""
    file = observed.facts.files.get(CONFIG)
    return not (file and re.search(rb"^enable-grpc-gateway: *false\b", file.content, re.MULTILINE))


def _here(settings: HostSettings, observed: Observed, status: EndpointStatus | None) -> list[Finding]:
    """Judge what a restart of etcd or of the host would meet."""
    service = service_finding(observed.service, settings.member.name)
    if not service.ok and observed.facts.place.absent:
        service = replace(service, cause="it waits for the disk with its data", remedy="see data directory")
    elif not service.ok:
        service = replace(service, remedy="see etcd's log on this host; run deploy")
    free = observed.facts.free_bytes.get(settings.member.data_dir)
    return [
        service,
        data_finding(settings, observed.facts.data, observed.facts.place),
        space_finding(settings, free, status.db_size if status else 0),
        pending_finding(restart_reasons(settings, observed)),
        *_names(settings, observed),
    ]


def _names(settings: HostSettings, observed: Observed) -> list[Finding]:
    check = "names"
    if problems := preflight.name_problems(settings, observed.facts):
        remedies = "; ".join(dict.fromkeys(problem.remedy for problem in problems))
        return [failed(check, "; ".join(p.what for p in problems), "DNS or /etc/hosts was changed", remedies)]
    service = preflight.service_name_warning(settings, observed.facts)
    return [
        Finding(check, True, f"all {len(settings.members)} members resolve to their addresses"),
        *(warned("service name", w.what, "it is not in DNS, or not for all members", w.remedy) for w in service),
    ]


def _drift(task: Task, site: Site, observed: Observed) -> tuple[list[Finding], str]:
    """Compare the files that deploy would write with those on the host; return findings and a diff."""
    findings, diff = [], ""
    for file in desired_files(task, site, observed):
        there = observed.facts.files.get(file.path)
        text = "" if same(file, there) else unified_diff(there, file)
        findings.append(drift_finding(file.path, _difference(text) if there else "it is not there"))
        diff += text
    return sorted(findings, key=lambda finding: finding.ok), diff


def _difference(diff: str) -> str:
    """Return the first lines of a difference, and how many more there are. Nothing in these files is secret."""
    changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    if not changed:
        return f"mode and owner differ: {diff.partition(': ')[2].strip()}" if diff else ""
    shown = " | ".join(f"{line[:1]} {line[1:].strip()}" for line in changed[:2])
    more = f" (and {len(changed) - 2} more lines)" if len(changed) > 2 else ""
    return f"differs from what deploy would write: {shown}{more}"


def _write_probe(site: Site, cluster: Cluster, token: str, *, write: bool) -> list[Finding]:
    check, settings = "write, read, delete", site.settings
    if not write:
        return [skipped(check, "not asked for: --check and --no-write write nothing")]
    if settings.member.name not in cluster.by_name:
        return [skipped(check, "this member does not answer")]
    if settings.cluster.client_tls and "client" not in site.observe().facts.pairs:
        return [skipped(check, "there is no client certificate on this host")]
    names = [member.name for member in settings.members]
    without_vote = {name for name, status in cluster.by_name.items() if status.learner}
    if settings.member.name in without_vote:
        return [skipped(check, "this member is a learner: etcd serves neither reads nor writes through it")]
    silent = [name for name in names if name not in cluster.by_name]
    asked = [name for name in names if name in cluster.by_name and name not in without_vote]
    result = site.remote.run(probe_script(settings, asked, token), timeout=120)
    findings = probe_checks(asked, silent, result.stdout, token)
    return [finding if finding.ok else replace(finding, about=(settings.member.name,)) for finding in findings]
