"""The hops of an upgrade on a host: what can be brought to it, and the proof that a hop has arrived."""

from __future__ import annotations

import time
from collections.abc import Sequence

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.drivers.packages import upstream_version
from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.hops import Supply, not_arrived
from etcdfleet.etcd.upgrades import VersionsSaid
from etcdfleet.outcome import done
from tasks.member import ask_member
from tasks.observe import site_of
from tasks.upgrades import versions_said


def look_at_supply(task: Task) -> Result:
    """Read which versions of etcd can be brought to the host, by its install method: a `Supply`."""
    site = site_of(task)
    try:
        versions = site.packages.versions(site.target)
    except FleetError:
        versions = ()  # the preflight says why
    chosen = site.settings.install.version
    wanted = upstream_version(chosen) if chosen else "".join(versions[:1])
    supply = Supply(site.settings.name, site.observe().facts.architecture, site.packages.title, versions, wanted)
    return Result(task.host, result=supply)


def tell_plan(task: Task, summary: str, lines: Sequence[str] = ()) -> Result:
    """Tell the report what is planned."""
    return done(task, summary, lines)


def prove_version(task: Task, version: str) -> Result:
    """Wait until the member runs a version, and says that its cluster and its storage are of that minor version.

    Raises `VerificationError` when that does not come. Where nothing on the host can ask, a warning says so.
    """
    site, end = site_of(task), time.monotonic() + timeouts.STABLE
    while True:
        status = ask_member(site).status
        running = status.version if status else ""
        said = versions_said(site, tls=site.settings.cluster.client_tls) if status else VersionsSaid()
        missing = not_arrived(version, running, said)
        if not missing:
            break
        if time.monotonic() > end:
            raise VerificationError(
                f"etcd {version} was to run, and within {timeouts.STABLE} s {missing}",
                where=site.settings.name,
                remedy="see status and etcd's log on the hosts, then run again: it goes on where it stopped",
            )
        time.sleep(1)
    untold = "" if said.cluster else "neither openssl nor another program on the host could ask for /version"
    words = f"etcd {version}" + (f", cluster version {said.cluster}" if said.cluster else "")
    words += f", storage version {said.storage}" if said.storage else ""
    return done(task, words, (), [untold] if untold else (), {"version": running})
