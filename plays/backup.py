"""Backups of a cluster: one is taken and proven, older ones go; or those that there are are listed, or read again.

A row of the run is a cluster: whichever of its members gives the snapshot. No lock is taken: nothing of the cluster is
changed, and a restart that another run carries out at the same time costs no more than another try at another member.
"""

from __future__ import annotations

from pathlib import Path

from etcdfleet.backup.fit import fit_for_backup
from etcdfleet.backup.note import Drill
from etcdfleet.backup.offhost import OffHost
from etcdfleet.backup.retention import Counts
from etcdfleet.backup.source import LATEST
from etcdfleet.backup.store import Newest, Snapshot
from etcdfleet.backup.thin import Read
from etcdfleet.errors import Refusal
from etcdfleet.program.run import Run
from plays import members
from plays.options import SNAPSHOTS, BackupOptions
from tasks.backup import (
    fetch_copy,
    find_newest,
    list_away,
    list_copies,
    look,
    none_drilled,
    none_fetched,
    none_taken,
    send_away,
    thin_out,
    verify_copies,
)
from tasks.members.drill import drill_here, drill_on_host, note_drill


def folder_of(run: Run[BackupOptions]) -> Path:
    """Return the folder of this machine for the cluster's backups."""
    if run.own.folder:
        return run.own.folder.expanduser()
    return Path(run.members[0].backup.folder or SNAPSHOTS)


def store_of(run: Run[BackupOptions]) -> OffHost | None:
    """Return the store off this machine, if there is one; with ``--folder`` there is none."""
    settings = run.members[0].backup
    return OffHost(settings.url, settings.recipients) if settings.url and not run.own.folder else None


def back_up(run: Run[BackupOptions]) -> None:
    """Take a backup of a cluster, and then remove those that are not wanted any more."""
    folder = folder_of(run)
    run.step("look", look, folder=folder)
    if run.failed:
        run.leave("nothing can be kept")
    _take(run, folder)
    settings = run.members[0].backup
    counts = Counts(settings.daily, settings.weekly, settings.monthly)
    run.step("retention", thin_out, folder=folder, counts=counts)
    if store := store_of(run):
        run.step("copies", send_away, folder=folder, store=store, counts=counts)
    else:
        run.skip("copies", "backup.url is not set")


def _take(run: Run[BackupOptions], folder: Path) -> None:
    cluster = members.see(run, [member.name for member in run.members])
    if run.check and not fit_for_backup(cluster):
        run.skip("snapshot", f"not with --check; {cluster.name(cluster.leader[0])} leads and would give it")
        return
    saved = members.save_proven(run, cluster, folder)
    if isinstance(saved, Refusal):
        run.step("snapshot", none_taken, why=saved.what, remedy=saved.remedy)
        run.leave("no backup was taken, so none is removed")
    if saved.note.alarms:
        run.warn(f"the alarm {', '.join(saved.note.alarms)} is in its backup, and in what is restored from that")


def drill(run: Run[BackupOptions]) -> None:
    """Restore the newest good backup for a trial, where etcd's programs of its version are, and compare."""
    folder = folder_of(run)
    run.step("look", look, folder=folder)
    found: Newest | None = run.ask(find_newest, folder=folder).get(run.cluster)
    if found is None:
        run.leave("there is no good backup")
    for bad in found.passed:
        run.warn(f"a newer one was passed over: {bad}")
    if run.check:
        run.skip("drill", f"not with --check; {found.snapshot.path.name} would be restored")
        return
    tried = _drill_somewhere(run, found.snapshot)
    if isinstance(tried, str):
        run.step("drill", none_drilled, why=tried)
        return
    run.step("drill", note_drill, snapshot=found.snapshot, drill=tried)


def _drill_somewhere(run: Run[BackupOptions], snapshot: Snapshot) -> Drill | str:
    """Return how it went on this machine, or else on the first host that can, the leader's last; or why on none."""
    here: Drill | str = run.ask(drill_here, snapshot=snapshot).get(run.cluster, "")
    if isinstance(here, Drill):
        return here
    hosts = {member.member.name: member.name for member in run.members}
    cluster = members.see(run, tuple(hosts.values()))
    leader = cluster.name(cluster.leader[0]) if cluster.leader[0] else ""
    reasons = [here]
    for name in sorted(hosts, key=lambda name: name == leader):
        answers = run.ask_members(drill_on_host, on=[hosts[name]], snapshot=snapshot)
        tried: Drill | str = answers.get(hosts[name], f"{hosts[name]} could not be reached")
        if isinstance(tried, Drill):
            return tried
        reasons.append(tried)
    return "; ".join(filter(None, reasons))


def read_again(run: Run[BackupOptions]) -> None:
    """Read all copies again."""
    run.step("verify", verify_copies, folder=folder_of(run), store=store_of(run))


def fetch(run: Run[BackupOptions]) -> None:
    """Bring a copy from the store to this machine."""
    settings, own = run.members[0].backup, run.own
    if not settings.url:
        run.step("fetch", none_fetched)
        return
    store = OffHost(settings.url, settings.recipients)
    wanted = "" if own.fetch in (None, LATEST) else own.fetch
    run.step("fetch", fetch_copy, folder=folder_of(run), store=store, wanted=wanted, identity=own.identity)


def list_them(run: Run[BackupOptions]) -> list[tuple[str, Read]]:
    """Return what there is, by where it is."""
    folder, store = folder_of(run), store_of(run)
    found = [(f"{folder / run.cluster}", run.step("look", list_copies, folder=folder).get(run.cluster, Read()))]
    if store:
        there = run.step("copies", list_away, store=store).get(run.cluster)
        found += [(f"{store.url}/{run.cluster}", there)] if there else []
    return found
