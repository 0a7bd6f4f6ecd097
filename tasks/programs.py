"""Which etcd a host starts, which one it should, and the change from one to the other when it is this member's turn.

A program is replaced within the rolling restart, behind its gate: a member that crashes or whose host reboots before
its turn comes up with the program that it had. Whatever can be done before lies beside it by then
(`etcdfleet.drivers.packages.Packages.prepare`).
"""

from __future__ import annotations

from typing import Any

from nornir.core.task import Task

from etcdfleet.drivers.packages import Packages, hold_change, packages_for
from etcdfleet.etcd.configuration import anchors_in
from etcdfleet.host.paths import CONFIG
from etcdfleet.settings.models import HostSettings
from tasks.configure import place_differing
from tasks.observe import Observed, Site

REPLACED = "etcd runs a program that was replaced since its start"
UNREADABLE = f"{CONFIG} is none that etcd could start with"
"""What it was started with is not known; the restart places a configuration that it can read."""


def program_due(packages: Packages[Any], observed: Observed) -> str:
    """Return why another program must be installed, or started, than is; empty when it is as the settings want it."""
    reason = packages.reason(observed.installed, observed.facts.architecture)
    started = observed.service.program
    if not reason and started and started != observed.installed.binary:
        return f"{started} is what the service starts, {observed.installed.binary} is wanted"
    return reason


def restart_reasons(settings: HostSettings, observed: Observed, *, programs: bool = False) -> tuple[str, ...]:
    """Return why a running etcd is due for a restart, in words; empty when it is not.

    With ``programs``, a program that is due counts: for a restart that exchanges it (`swap_program`).
    """
    reasons = dict.fromkeys(observed.facts.restart_pending.splitlines())
    if observed.service.outdated:
        reasons[REPLACED] = None
    file = observed.facts.files.get(CONFIG)
    if observed.facts.established is not None and anchors_in(file.content if file else None) is None:
        reasons[UNREADABLE] = None
    if programs and (why := program_due(packages_for(settings), observed)):
        reasons[why] = None
    return tuple(reasons) if observed.service.running else ()


def swap_program(task: Task, site: Site) -> str:
    """Put the wanted program in the place of the one in use if it is due; say so, or nothing.

    The files that depend on it follow: the unit or script that starts it, and the configuration for its version. The
    running etcd is not touched. Raises `FleetError`, with the program in use still in its place, when it fails.
    """
    observed = site.observe()
    due = program_due(site.packages, observed)
    if not due:
        return ""
    if site.packages.reason(observed.installed, observed.facts.architecture):
        site.packages.install(site.target, site.service.prevent_autostart)
        site.forget()
    hold(site)
    place_differing(task, site, site.observe().installed)
    return f"etcd {site.observe().installed.version} takes the place of what was installed"


def hold(site: Site) -> str:
    """Hold packages whose version is pinned, release those that no longer are; say what was done, or nothing."""
    text = holding(site)
    if text:
        if _wanted_hold(site) == "release":
            site.packages.release(site.target)
        else:
            site.packages.hold(site.target, site.observe().installed)
        site.forget()
    return text


def holding(site: Site) -> str:
    """Return what `hold` would do, in words; empty for nothing."""
    version = site.observe().installed.package
    verb = {"hold": "holds", "release": "no longer holds"}.get(_wanted_hold(site))
    return f"{site.packages.title} {verb} etcd at {version}" if verb else ""


def _wanted_hold(site: Site) -> str:
    wanted = site.settings.install.version
    return hold_change(wanted, site.observe().installed) if site.packages.holds else ""


def offered(site: Site, observed: Observed) -> str | None:
    """Return the version that would be in force after the change that is due; None if none is due, empty if unknown.

    Asked once in a run. Raises `FleetError`, with its words, when the installation would fail.
    """
    if not program_due(site.packages, observed):
        return None
    if not site.packages.reason(observed.installed, observed.facts.architecture):
        return observed.installed.version or ""
    if site.offered is None:
        site.offered = site.packages.offer(site.target)
    return site.offered
