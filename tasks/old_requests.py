"""Requests of the old v2 API are left behind a raft snapshot, so that etcd 3.6 or 3.7 does not read them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.v2_entries import V2Entries
from etcdfleet.etcd.v2_residue import Residue, with_snapshots_at_once
from etcdfleet.host.paths import CONFIG, mark_restart_pending
from etcdfleet.outcome import done
from etcdfleet.remote import RemoteFile
from tasks.observe import Site, site_of
from tasks.start import restart_member
from tasks.upgrades import residue_of, v2_entries_of
from tasks.written_key import write_key


def leave_behind(task: Task, left: Mapping[str, Residue | V2Entries]) -> Result:
    """Restart one member so that it takes a raft snapshot at once, with all requests of the v2 API before it.

    It is restarted as by `tasks.start.restart_member`, behind the same gate, with a ``snapshot-count`` of 1. Its
    configuration is then as before; the next start follows it, and is noted as due. ``left`` has what was found on each
    host: all requests, or those of others than etcd itself. Raises `VerificationError` where such are left after the
    newest snapshot.
    """
    site = site_of(task)
    found = left[site.settings.name]
    count = found.count
    told = f"a raft snapshot is taken: {count} requests of the v2 API lie before it"
    if task.is_dry_run():
        return done(task, "would be restarted", ["etcd is restarted", told])
    there = site.observe().facts.files.get(CONFIG)
    if there is None:
        raise VerificationError(
            f"there is no {CONFIG}", where=site.settings.name, remedy="deploy the version that runs, then run again"
        )
    before = there.content
    site.place([RemoteFile(CONFIG, with_snapshots_at_once(before))], what="placing the configuration for a snapshot")
    site.forget()
    try:
        restarted = restart_member(task).result
    finally:
        pending = mark_restart_pending("the snapshot-count of 1 was for a moment")
        site.place([RemoteFile(CONFIG, before)], before=pending, what="placing the configuration as it was")
        site.forget()
    _await_snapshot(site, v2_entries_of if isinstance(found, V2Entries) else residue_of)
    return done(task, "restarted, with a raft snapshot", [*restarted.changes, told], facts=restarted.facts)


def _await_snapshot(site: Site, left_on: Callable[[Site], Residue | V2Entries]) -> None:
    end = time.monotonic() + timeouts.SETTLE
    while True:
        left = left_on(site)
        if not left.count:
            return
        write_key(site)
        if time.monotonic() > end:
            raise VerificationError(
                f"the raft log still holds {left.count} requests of the v2 API after the newest raft snapshot",
                where=site.settings.name,
                remedy="see etcd's log on this host (triggering snapshot), then run again",
            )
        time.sleep(1)
