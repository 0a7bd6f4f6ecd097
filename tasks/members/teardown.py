"""What a cluster that is taken down leaves on a host: stopped for good, its data put away, what is ours removed.

Whether that may be is decided in ``etcdfleet/etcd/teardown.py``, and that no member runs on any host before the first
data are moved is seen to by ``plays/teardown.py``.
"""

from __future__ import annotations

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.drivers.packages import INSTALL_TIMEOUT, LIBRARY, RETIRE_ARCHIVE
from etcdfleet.host.paths import (
    ASIDE,
    CERTIFICATES,
    CONFIG,
    DATA_MOUNT,
    ESTABLISHED,
    ETCDCTL_ENVIRONMENT,
    RESTART_PENDING,
    RESTORING,
)
from etcdfleet.outcome import done
from etcdfleet.remote.scripts import script
from tasks.lock import still_ours
from tasks.members.change import must_be_stopped, out_of_use, put_data_away, stop_for_good
from tasks.observe import Site, site_of


def stop_host(task: Task) -> Result:
    """Stop etcd on this host, and let it start at boot no more. Raises `RemoteError`."""
    changes = stop_for_good(task, site_of(task))
    return done(task, "etcd is stopped for good" if changes else "it does not run", changes)


def put_host_away(task: Task, *, delete: bool = False, revoke: bool = False) -> Result:
    """Move the data on this host aside, or ``delete`` all data of members there, those that were moved aside included.

    With ``revoke``, its certificates are taken out of use. Nothing is touched under an etcd that runs, which someone
    may have started meanwhile: raises `ProtectionError` then, else `RemoteError`.
    """
    site = site_of(task)
    must_be_stopped(task, site)
    changes = _delete(task, site) if delete else put_data_away(task, site)
    if revoke and not task.is_dry_run():
        out_of_use(site)
    summary = ("data are deleted" if delete else "data are kept") if changes else "no data are left"
    return done(task, summary, changes)


def _delete(task: Task, site: Site) -> list[str]:
    facts, data_dir = site.observe().facts, site.settings.member.data_dir.rstrip("/")
    aside = any(name.startswith((ASIDE, RESTORING)) for name in facts.data.foreign)
    if facts.data.ids is None and not facts.data.unreadable and facts.established is None and not aside:
        return []
    if not task.is_dry_run():
        still_ours(task)
        deleting = script("delete_data", data_dir=data_dir, aside=ASIDE, restoring=RESTORING, marker=ESTABLISHED)
        try:
            site.remote.run(deleting, timeout=timeouts.STOP, check=f"deleting the data in {data_dir}")
        finally:
            site.forget()
    return [f"all data of members in {data_dir} are deleted"]


def remove_files(task: Task) -> Result:
    """Remove etcd's programs and all files of ours from this host, but for the data. Raises `RemoteError`.

    The user etcd stays, and so does all in these folders that is not ours.
    """
    site = site_of(task)
    observed, service = site.observe(), site.service
    files = [CONFIG, ESTABLISHED, DATA_MOUNT, ETCDCTL_ENVIRONMENT, *(file.path for file in service.files)]
    installed = observed.installed.version is not None
    placed = any(observed.facts.files.get(path) for path in files) or bool(observed.facts.pairs)
    changes = [f"etcd is removed ({site.packages.title})"] if installed else []
    changes += ["configuration, certificates and service are removed"] if placed else []
    if not task.is_dry_run():
        still_ours(task)
        removing = script(
            "remove_files",
            *files,
            *service.made,
            CERTIFICATES,
            LIBRARY,
            RESTART_PENDING,
            functions={"retire": f"{RETIRE_ARCHIVE}\n{site.packages.remove}", "reload": service.installed},
            configuration=CONFIG.rpartition("/")[0],
        )
        try:
            site.remote.run(
                removing,
                timeout=INSTALL_TIMEOUT,
                check="removing what is ours",
                remedy="see what it says, then run again: it goes on where it stopped",
            )
        finally:
            site.forget()
    return done(task, "removed" if changes else "nothing is left", changes)
