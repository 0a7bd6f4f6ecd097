"""Members whose data differ: what tells, and the alarm CORRUPT, ended once the one with the wrong data is stopped."""

from __future__ import annotations

import time

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.outcome import done
from etcdfleet.remote import last_lines
from tasks.lock import still_ours
from tasks.observe import site_of
from tasks.verify.proof import cluster_of
from tasks.verify.scripts import cluster_commands

_LOOKS = 4
"""Members may be compacted between two hashes: these are not comparable, and are asked for again."""


def see_hashes(task: Task) -> Result:
    """Ask for the cluster as the member on this host sees it, with the hash of each at one revision: a `Cluster`.

    Each member reads all that is in its database for that.
    """
    try:
        site = site_of(task)
        commands = cluster_commands(site.settings, deep=True)
        for _ in range(_LOOKS):
            answers = site.remote.batch(commands, parallel=True, timeout=120)
            cluster = cluster_of(site.settings, answers)
            hashes = {(one.hash, one.compact_revision) for one in cluster.hashes}
            if len(hashes) == 1 and not cluster.divergence:
                break
            time.sleep(1)
    except FleetError as error:
        cluster = Cluster(no_list=error.what)
    return Result(task.host, result=cluster)


def end_corrupt_alarm(task: Task) -> Result:
    """End the alarm CORRUPT, through a member whose data are right. Raises `VerificationError`.

    An election may be under way, since the member with the wrong data has just been stopped.
    """
    site = site_of(task)
    change = "the alarm CORRUPT is ended"
    if task.is_dry_run():
        return done(task, "would end the alarm", [change])
    still_ours(task)
    here, end = [local_endpoint(site.settings)], time.monotonic() + timeouts.MEMBERSHIP
    asking = etcdctl(site.settings, "alarm disarm", here, seconds=timeouts.ETCDCTL)
    while True:
        answer = site.remote.run(asking)
        if answer.ok:
            return done(task, "no alarm is raised any more", [change])
        if time.monotonic() > end:
            raise VerificationError(
                f"the alarm CORRUPT could not be ended: {last_lines(answer.stderr or answer.stdout)}",
                where=site.settings.name,
                remedy="see etcd's log on this host, then run again: it goes on where it stopped",
            )
        time.sleep(1)
