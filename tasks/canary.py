"""The note on a host that its member is a canary: it runs the next version, and the others are held back."""

from __future__ import annotations

from nornir.core.task import Result, Task

from etcdfleet.etcd.canary import KEY, Hold, hold_in
from etcdfleet.host.paths import ESTABLISHED
from etcdfleet.outcome import done
from tasks.marker import marker_file
from tasks.observe import site_of


def hold_back(task: Task, hold: Hold) -> Result:
    """Note in the marker of this host that its member is a canary. Raises `RemoteError`."""
    site = site_of(task)
    noted = site.observe().facts.established
    if not noted or hold_in(noted, task.host.name) == hold or task.is_dry_run():
        return done(task, hold.told())
    site.place([marker_file({**noted, KEY: hold.noted()})], what="noting that the other members are held back")
    return done(task, hold.told(), [f"{ESTABLISHED} notes that the others are held on etcd {hold.old}"])


def end_hold(task: Task) -> Result:
    """Take the note of a canary out of the marker of this host, where there is one. Raises `RemoteError`."""
    site = site_of(task)
    noted = site.observe().facts.established or {}
    if KEY not in noted or task.is_dry_run():
        return done(task, "no member is held back")
    content = {name: value for name, value in noted.items() if name != KEY}
    site.place([marker_file(content)], what="noting that no member is held back any more")
    return done(task, "no member is held back any more", [f"{ESTABLISHED} no longer notes a canary"])
