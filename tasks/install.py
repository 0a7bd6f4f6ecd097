"""etcd and etcdctl on the host, its user, its folders; never a running or lingering unconfigured etcd."""

from __future__ import annotations

from nornir.core.task import Result, Task

from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.etcd.versions import past_its_end
from etcdfleet.host.paths import CERTIFICATES, SETS
from etcdfleet.outcome import done
from etcdfleet.remote.scripts import script
from etcdfleet.settings.models import HostSettings
from tasks.observe import Observed, Site, site_of
from tasks.programs import hold, holding, program_due


def install(task: Task) -> Result:
    """Install etcd and etcdctl by the configured method, and make the user, the data directory and the folders.

    What replaces the program of a running member is only prepared: it takes its place in the rolling restart of the
    step ``start``, when it is this member's turn (`tasks.programs`). Raises `FleetError` when the installation fails.
    """
    site = site_of(task)
    observed, target = site.observe(), site.target
    due = program_due(site.packages, observed)
    missing = bool(site.packages.reason(observed.installed, observed.facts.architecture))
    later = "; to be exchanged when it is this member's turn" if observed.service.running else ""
    changes = [f"{site.packages.title}: {due}{later}"] if due else []
    changes += [held] if (held := holding(site)) else []
    openssl = needs_openssl(site.settings) and not observed.facts.has_openssl
    changes += ["openssl, which makes the private keys, is installed"] if openssl else []
    changes += folders_missing(observed, site)
    if changes and not task.is_dry_run():
        if missing and later:
            site.packages.prepare(target)
        elif missing:
            site.packages.install(target, site.service.prevent_autostart)
            site.forget()
        if openssl:
            site.packages.add(target, "openssl")
        folders = script(
            "user_and_folders", data_dir=site.settings.member.data_dir, certificates=CERTIFICATES, sets=SETS
        )
        site.remote.run(folders, check="making the user etcd and its folders")
        site.forget()
        hold(site)
        observed = site.observe()
    version = observed.in_force.version
    summary = f"etcd {version} by {site.packages.title}" if version else f"etcd by {site.packages.title}"
    facts = {"version": version} if version else {}
    # Said when it is installed, not in each run: who has it may have no other.
    old = past_its_end(version) if due and not later else ""
    return done(task, summary, changes, [old] if old else (), facts, restart=bool(due))


def needs_openssl(settings: HostSettings) -> bool:
    """Return whether private keys are made on the host."""
    return settings.pki.signs_requests and bool(needed_roles(settings))


def folders_missing(observed: Observed, site: Site) -> list[str]:
    """Return what of the user and the data directory is not as it should be, in words."""
    changes = []
    data = observed.facts.data
    if not observed.facts.has_user:
        changes.append("user etcd is made")
    if not data.exists:
        changes.append(f"{site.settings.member.data_dir} is made (0700, etcd)")
    elif (data.mode, data.owner) != ("700", "etcd"):
        changes.append(
            f"{site.settings.member.data_dir} gets mode 0700 and owner etcd (it has {data.mode}, {data.owner})"
        )
    return changes
