"""Backups of a cluster: one is taken and proven, older ones go; or those that there are are listed, or read again.

A row of the run is a cluster: whichever of its members gives the snapshot. No lock is taken: nothing of the cluster is
changed, and a restart that another run carries out at the same time costs no more than another try at another member.
"""

from __future__ import annotations

from pathlib import Path

from etcdfleet.backup.fit import fit_for_backup
from etcdfleet.backup.retention import Counts
from etcdfleet.backup.thin import Read
from etcdfleet.program.run import Run
from plays import members
from plays.options import SNAPSHOTS, BackupOptions
from tasks.backup import list_copies, look, none_taken, thin_out, verify_copies


def folder_of(run: Run[BackupOptions]) -> Path:
    """Return the folder of this machine for the cluster's backups."""
    if run.own.folder:
        return run.own.folder.expanduser()
    return Path(run.members[0].backup.folder or SNAPSHOTS)


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


def _take(run: Run[BackupOptions], folder: Path) -> None:
    hosts = [member.name for member in run.members]
    cluster = members.see(run, hosts)
    unfit = fit_for_backup(cluster)
    if unfit:
        run.step("snapshot", none_taken, why=unfit.what, remedy=unfit.remedy)
        run.leave("no backup was taken, so none is removed")
    if run.check:
        run.skip("snapshot", f"not with --check; {cluster.name(cluster.leader[0])} leads and would give it")
        return
    saved = members.keep_snapshot(run, cluster, hosts, folder, "snapshot", purpose="backup")
    if isinstance(saved, str):
        run.step("snapshot", none_taken, why=saved)
        run.leave("no backup was taken, so none is removed")
    if saved.note.alarms:
        run.warn(f"the alarm {', '.join(saved.note.alarms)} is in its backup, and in what is restored from that")


def read_again(run: Run[BackupOptions]) -> None:
    """Read all copies again."""
    run.step("verify", verify_copies, folder=folder_of(run))


def list_them(run: Run[BackupOptions]) -> tuple[Path, Read]:
    """Return what there is, and where."""
    folder = folder_of(run)
    found: Read = run.step("look", list_copies, folder=folder).get(run.cluster, Read())
    return folder / run.cluster, found
