"""etcd's own job by which a cluster gives up what the minor version before cannot read."""

from __future__ import annotations

import json
import time

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.downgrades import still_newer
from etcdfleet.etcd.etcdctl import all_endpoints, etcdctl
from etcdfleet.outcome import done
from tasks.lock import still_ours
from tasks.observe import Site, site_of


def enable_downgrade(task: Task, target: str) -> Result:
    """Have the cluster give up what ``target`` cannot read, by the etcdctl of this host; wait until all members have.

    Raises `RemoteError` where etcd refuses that, and `VerificationError` where a member does not get there: then the
    job is still enabled, and is gone on with by the next run.
    """
    site = site_of(task)
    told = f"the cluster gives up what etcd {target} cannot read (etcdctl downgrade enable {target})"
    if task.is_dry_run():
        return done(task, "would go back", [told])
    still_ours(task)
    endpoints = all_endpoints(site.settings)
    for words in ("validate", "enable"):
        site.remote.run(
            etcdctl(site.settings, f"downgrade {words} {target}", endpoints, seconds=timeouts.ETCDCTL_PATIENT),
            check=f"etcdctl downgrade {words} {target}",
            remedy="see what etcd says, and its log; nothing was changed",
        )
    end = time.monotonic() + timeouts.CATCH_UP
    while left := _still_newer(site, target):
        if time.monotonic() > end:
            raise VerificationError(
                f"{left} of {len(endpoints)} members still have data that etcd {target} may not read",
                where=site.settings.name,
                remedy=f"see etcd's logs; etcdctl downgrade cancel goes back, and running again goes on to {target}",
            )
        time.sleep(1)
    return done(task, "all members can go back", [told])


def _still_newer(site: Site, target: str) -> int:
    endpoints = all_endpoints(site.settings)
    asked = site.remote.run(etcdctl(site.settings, "-w json endpoint status", endpoints))
    try:
        versions = [str(one["Status"].get("storageVersion", "")) for one in json.loads(asked.stdout)]
    except (ValueError, TypeError, KeyError, AttributeError):
        return len(endpoints)
    return still_newer(versions, target) + max(0, len(endpoints) - len(versions))
