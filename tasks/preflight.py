"""Everything that can be known to go wrong, found before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.drivers.certificates import needed_roles, source_of
from etcdfleet.drivers.packages import Installed
from etcdfleet.errors import FleetError, PreflightError
from etcdfleet.etcd.tls_settings import check_tls
from etcdfleet.host import preflight as checks
from etcdfleet.host.preflight import Trouble
from etcdfleet.host.preflight_others import other_problems, other_warnings
from etcdfleet.host.preflight_storage import place_problems, place_warnings
from etcdfleet.outcome import done
from etcdfleet.remote.scripts import script
from tasks.config_lint import config_findings, config_troubles, config_warnings
from tasks.configure import desired_files
from tasks.install import needs_openssl
from tasks.observe import Observed, Site, site_of
from tasks.programs import offered, program_due

SYNC_WRITES = 100
SYNC_BYTES = 2300
"""A synced write as etcd's documentation has it tested: 2300 bytes, about one entry of the write-ahead log."""


def preflight(task: Task, *, data_may_go: bool = False) -> Result:
    """Check that the host is what the inventory says and can become a member; change nothing.

    Checked: SSH and root, init system, distribution, architecture, clock, names, ports, an etcd that is there already,
    space, the data directory (links, mounts, the folders on the way, what is in it), the latency of synced writes
    (where no member has its data yet), whether an etcd that is wanted in the place of another can be had, what etcd
    makes of its configuration, and Vault with the token and the roles. With ``data_may_go``, data that cannot be read
    are no problem: the member is about to be replaced. Raises `RemoteError` when the host cannot be worked on, and
    `PreflightError` with everything that was found wrong, at once.
    """
    site = site_of(task)
    observed = site.observe()
    settings, facts = site.settings, observed.facts
    due = bool(program_due(site.packages, observed))
    installs = bool(site.packages.reason(observed.installed, facts.architecture))
    clock_problems, clock_warnings = checks.clock_problems(settings, facts)
    others = other_problems(settings.member.data_dir, facts.others, settings.init)
    troubles = [
        *checks.init_problem(settings, observed.init_fits),
        *checks.platform_problems(settings, facts),
        *clock_problems,
        *checks.name_problems(settings, facts),
        *(others or checks.port_problems(settings, facts, observed.service.pid)),
        *checks.space_problems(settings, facts, installs=installs),
        *place_problems(settings.member.data_dir, facts.place, settings.init, running=observed.service.running),
        *([] if data_may_go else checks.data_problems(settings, facts)),
    ]
    if needs_openssl(settings) and not facts.has_openssl and not site.packages.adds:
        remedy = f"install it{settings.pki.keys_without_openssl}"
        troubles.append(Trouble("openssl, which makes the private keys, is missing", remedy))
    told = [*clock_warnings, *checks.service_name_warning(settings, facts)]
    told += place_warnings(settings.member.data_dir, facts.place)
    told += other_warnings(facts.others, empty=facts.data.ids is None)
    warnings = [*site.remote.notes, *(_text(warning) for warning in told)]
    latencies: tuple[float, ...] = ()
    if not troubles and facts.data.ids is None:
        latencies = site.sync_latencies = sync_latencies(site)
        warnings += [_text(warning) for warning in checks.sync_warning(settings, latencies)]
    if roles := needed_roles(settings):
        try:
            source = source_of(task, settings)
            warnings += source.check(settings, facts, roles)
        except FleetError as error:
            troubles.append(Trouble(str(error).split("\n  remedy:")[0], error.remedy))
    try:
        check_tls(settings, observed.installed.version)
    except FleetError as error:
        troubles.append(Trouble(error.what, error.remedy))
    # Elsewhere the step `install` finds out by doing it: there is no member yet that it could hurt.
    if due and (task.is_dry_run() or observed.service.running or facts.data.ids):
        try:
            offered(site, observed)
        except FleetError as error:
            troubles.append(Trouble(str(error).split("\n  remedy:")[0], error.remedy))
    if troubles:
        raise refusal(settings.name, troubles)
    warnings += _configuration(task, site, observed)
    summary, reported = f"{facts.release or facts.distribution}, {facts.architecture}", _facts(observed)
    if latencies:
        reported["sync_p99_ms"] = round(checks.percentile(latencies, 0.99), 1)
        summary += f", a synced write takes {reported['sync_p99_ms']} ms"
    return done(task, summary, warnings=warnings, facts=reported)


def _configuration(task: Task, site: Site, observed: Observed) -> list[str]:
    """Return what etcd would ignore of its configuration: the one that is installed, and the one to come.

    A template that cannot be rendered is found here, not half-way (`UsageError`), and so is a configuration that etcd
    would not start with (`PreflightError`).
    """
    now, coming = observed.in_force, site.offered
    findings = config_findings(desired_files(task, site, observed), now.version or site.settings.install.version)
    troubles = config_troubles(findings)
    if coming and coming != now.version:
        files = desired_files(task, site, observed, program=Installed(coming, binary=site.packages.binary))
        findings = config_findings(files, coming)
        troubles += [trouble for trouble in config_troubles(findings) if trouble not in troubles]
    if troubles:
        raise refusal(site.settings.name, troubles)
    return config_warnings(site, findings)


def refusal(host: str, troubles: Sequence[Trouble]) -> PreflightError:
    """Join everything that was found in one error."""
    if len(troubles) == 1:
        return PreflightError(troubles[0].what, where=host, remedy=troubles[0].remedy)
    return PreflightError(
        f"{len(troubles)} things: " + "; ".join(f"({n}) {trouble.what}" for n, trouble in enumerate(troubles, 1)),
        where=host,
        remedy="; ".join(f"({n}) {trouble.remedy}" for n, trouble in enumerate(troubles, 1)),
    )


def sync_latencies(site: Site) -> tuple[float, ...]:
    """Return how long each of some synced writes to the data directory's file system took (milliseconds).

    Measured by ``dd`` on the host, which prints the time of its one write with the sync; empty if it does not.
    """
    writing = script(
        "sync_writes",
        data_dir=site.settings.member.data_dir,
        seconds=timeouts.SYNC_WRITES,
        writes=SYNC_WRITES,
        bytes=SYNC_BYTES,
    )
    result = site.remote.run(writing, timeout=120)
    return tuple(float(seconds) * 1000 for seconds in re.findall(r", ([0-9.e-]+) s", result.stdout))


def _text(warning: Trouble) -> str:
    return f"{warning.what}; {warning.remedy}" if warning.remedy else warning.what


def _facts(observed: Observed) -> dict[str, object]:
    facts = observed.facts
    return {
        "distribution": facts.release or facts.distribution,
        "architecture": facts.architecture,
        "clock_offset_seconds": facts.clock_offset,
        "has_member_data": facts.data.ids is not None,
    }
