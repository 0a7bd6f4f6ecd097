"""What keys were before is taken out of the database, so that a full one has room."""

from __future__ import annotations

import time

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.configuration import quota_in
from etcdfleet.etcd.defragmentation import patience
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.etcd.space import Means
from etcdfleet.host.paths import CONFIG
from etcdfleet.outcome import done
from etcdfleet.remote import last_lines
from tasks.defragment import room_of
from tasks.lock import still_ours
from tasks.member import ask_cluster, ask_member
from tasks.observe import Site, site_of

_DONE_ALREADY = "has been compacted"
_PAUSE = 2.0
"""Seconds between two looks whether members still take something out: a slow card writes a part in one."""
_QUIET_LOOKS = 2
_MUCH = 8 * 2**20


def see_means(task: Task) -> Result:
    """See what a member's database has to work with: its `Means`. Raises `RemoteError`."""
    site = site_of(task)
    facts, wanted = site.observe().facts, site.settings.cluster.quota_bytes
    config = facts.files.get(CONFIG)
    there = quota_in(config.content if config else None)
    # While a restart is due, the smaller one may still be in force.
    quota = min(wanted, there or wanted) if facts.restart_pending else there or wanted
    means = Means(room_of(site), quota, wanted, on_32_bits=facts.architecture == "arm")
    return Result(task.host, result=means)


def compact(task: Task) -> Result:
    """Take away what keys were before the current revision, and wait until it is out of every member's database.

    What was compacted already is done. Raises `VerificationError`.
    """
    site = site_of(task)
    status = ask_member(site).status
    if status is None:
        raise VerificationError(
            "its member does not answer", where=site.settings.name, remedy="see etcd's log on this host"
        )
    change = f"history up to revision {status.revision} is compacted"
    if task.is_dry_run():
        return done(task, "would compact", [change])
    still_ours(task)
    seconds = patience(status)
    asked = etcdctl(
        site.settings, f"compact --physical {status.revision}", [local_endpoint(site.settings)], seconds=seconds
    )
    answer = site.remote.run(asked, timeout=seconds + 30)
    said = last_lines(answer.stderr or answer.stdout)
    if not answer.ok and _DONE_ALREADY not in said:
        raise VerificationError(
            f"history could not be compacted: {said}",
            where=site.settings.name,
            remedy="see etcd's log on this host, then run again: it goes on where it stopped",
        )
    _until_quiet(site)
    if not answer.ok:
        return done(task, "was compacted already")
    return done(task, f"compacted at revision {status.revision}", [change])


def _until_quiet(site: Site) -> None:
    """Wait until no member takes anything out any more: each does so by itself, after the one that was asked.

    One that holds much more than another has not begun yet, as a host with too much to do may not for many seconds:
    they hold the same data.
    """
    end, least, quiet = time.monotonic() + timeouts.CATCH_UP, dict[int, int](), 0
    while quiet < _QUIET_LOOKS and time.monotonic() < end:
        time.sleep(_PAUSE)
        try:
            members = ask_member(site).members
            cluster = ask_cluster(site, members) if members else Cluster()
        except FleetError:
            continue
        used = {status.member_id: status.db_size_in_use for status in cluster.statuses}
        falls = [number for number, size in used.items() if size < least.get(number, size + 1)]
        if falls:
            end, quiet = time.monotonic() + timeouts.CATCH_UP, 0
        elif max(used.values(), default=0) <= 2 * min(used.values(), default=0) + _MUCH:
            quiet += 1
        least |= used
