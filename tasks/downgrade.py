"""etcd's own job by which a cluster gives up what the minor version before cannot read."""

from __future__ import annotations

import time
from collections.abc import Sequence

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.answers import EndpointStatus, parse_status, parsed
from etcdfleet.etcd.downgrades import not_ready
from etcdfleet.etcd.etcdctl import all_endpoints, etcdctl
from etcdfleet.outcome import done
from tasks.lock import still_ours
from tasks.observe import Site, site_of


def enable_downgrade(task: Task, target: str, *, under_way: bool = False) -> Result:
    """Have the cluster give up what ``target`` cannot read, by the etcdctl of this host; wait until all members have.

    Where the job is ``under_way`` already, or a run that was ended has begun it, it is not begun again; once it is
    ``under_way``, members that do not answer are not waited for, since they may be on their way already.

    Raises `RemoteError` where etcd refuses that, and `VerificationError` where a member does not get there: then the
    job is still enabled, and is gone on with by the next run.
    """
    site = site_of(task)
    told = f"the cluster gives up what etcd {target} cannot read (etcdctl downgrade enable {target})"
    if task.is_dry_run():
        return done(task, "would go back", [told])
    still_ours(task)
    endpoints = all_endpoints(site.settings)
    begun = under_way or _begun(site, endpoints, target)
    if not begun:
        for words, now in (("validate", "nothing was changed"), ("enable", "running again looks whether it has begun")):
            site.remote.run(
                etcdctl(site.settings, f"downgrade {words} {target}", endpoints, seconds=timeouts.ETCDCTL_PATIENT),
                check=f"etcdctl downgrade {words} {target}",
                remedy=f"see what etcd says, and its log; {now}",
            )
    end = time.monotonic() + timeouts.CATCH_UP
    while left := _not_ready(site, endpoints, target, all_answer=not under_way):
        if time.monotonic() > end:
            raise VerificationError(
                f"{left} of {len(endpoints)} members still have data that etcd {target} may not read",
                where=site.settings.name,
                remedy=f"see etcd's logs; etcdctl downgrade cancel goes back, and running again goes on to {target}",
            )
        time.sleep(1)
    return done(task, "all members can go back", [] if begun else [told])


def _begun(site: Site, endpoints: Sequence[str], target: str) -> bool:
    """Return whether the job that leads there is enabled; wait for the end of another one, which etcd ends itself."""
    end = time.monotonic() + timeouts.CATCH_UP
    while job := next((one.going_back_to for one in _ask(site, endpoints) if one.going_back_to), ""):
        if job == target:
            return True
        if time.monotonic() > end:
            raise VerificationError(
                f"etcd's job to go back to {job} does not end",
                where=site.settings.name,
                remedy="see etcd's logs; if no member runs a newer version any more, etcdctl downgrade cancel ends it",
            )
        time.sleep(1)
    return False


def _ask(site: Site, endpoints: Sequence[str]) -> tuple[EndpointStatus, ...]:
    asked = site.remote.run(etcdctl(site.settings, "-w json endpoint status", endpoints))
    return parsed(parse_status, asked.stdout, asked.stderr) or ()


def _not_ready(site: Site, endpoints: Sequence[str], target: str, *, all_answer: bool) -> int:
    statuses = _ask(site, endpoints)
    silent = max(0, len(endpoints) - len(statuses))
    return not_ready(statuses, target) + (silent if all_answer or not statuses else 0)
