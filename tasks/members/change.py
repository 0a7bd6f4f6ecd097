"""Changes of a cluster's member list, each sent by a host whose own member works, and what they leave on a host."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import FleetError, ProtectionError, RemoteError
from etcdfleet.etcd.answers import ExpectedMember
from etcdfleet.etcd.etcdctl import etcdctl
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.readdressing import UpdateEntry
from etcdfleet.etcd.replacement import RemoveEntry
from etcdfleet.host.paths import ASIDE, CERTIFICATES, ESTABLISHED, ROLE_FOLDERS
from etcdfleet.outcome import done
from etcdfleet.remote import last_lines, outliving
from etcdfleet.remote.scripts import script
from tasks.lock import still_ours
from tasks.observe import Site, site_of

_NOT_YET = ("unhealthy cluster", "not enough started members", "leader changed", "timed out", "no leader")
"""Refusals that pass: etcd wants all peers to have been connected for five seconds (``HealthInterval`` in
``server/etcdserver/server.go``), which they have not been right after a start or an election."""
_GONE_ALREADY = "member not found"


def remove_entry(task: Task, step: RemoveEntry, other_leader: str = "") -> Result:
    """Take a member off the list, through the member on this host: result is why it failed, empty if it did not.

    ``other_leader`` is the hexadecimal id of the member that takes over the leadership before.
    """
    number = hex_id(step.entry.id)
    try:
        site = site_of(task)
        still_ours(task)
        if other_leader and step.entry.client_urls:
            asked = etcdctl(
                site.settings, f"move-leader {other_leader}", step.entry.client_urls[:1], seconds=timeouts.MOVE_LEADER
            )
            site.remote.run(asked)  # without it, the removal costs an election
        why = _send(site, f"member remove {number}", f"removing member {number}")
    except FleetError as error:
        why = error.what
    return Result(task.host, result="" if _GONE_ALREADY in why else why)


def add_learner(task: Task, member: ExpectedMember) -> Result:
    """Put a member on the list, as a learner: result is why it failed, empty if it did not."""
    try:
        site = site_of(task)
        still_ours(task)
        why = _send(site, f"member add {member.name} --learner --peer-urls={member.peer_url}", f"adding {member.name}")
    except FleetError as error:
        why = error.what
    return Result(task.host, result=why)


def update_entry(task: Task, step: UpdateEntry) -> Result:
    """Replace the peer URL of a member in the list: result is why it failed, empty if it did not."""
    number = hex_id(step.entry.id)
    try:
        site = site_of(task)
        still_ours(task)
        why = _send(site, f"member update {number} --peer-urls={step.url}", f"the new peer URL of member {number}")
    except FleetError as error:
        why = error.what
    return Result(task.host, result=why)


def noted(task: Task, summary: str, change: str = "") -> Result:
    """Tell the report about this host what was done, or seen, through another one."""
    return done(task, summary, [change] if change else [])


def _send(site: Site, command: str, what: str) -> str:
    """Send a change until etcd takes it or time is over; return why it was refused, empty where it was not."""
    end = time.monotonic() + timeouts.MEMBERSHIP
    while True:
        asked = etcdctl(site.settings, command, [site.here()], seconds=timeouts.ETCDCTL_PATIENT)
        answer = site.remote.run(asked)
        if answer.ok:
            return ""
        reason = last_lines(answer.stderr or answer.stdout) or f"exit code {answer.rc}"
        if not any(text in reason for text in _NOT_YET) or time.monotonic() > end:
            return f"{what}: {reason}"
        time.sleep(1)


def set_aside(task: Task) -> Result:
    """Stop etcd on this host, and move what is left of a member there out of the way. It is kept.

    The marker goes with the data: a member that starts without data is refused as long as it is there. Raises
    `RemoteError`, with nothing moved.
    """
    site = site_of(task)
    aside = _aside(site)
    if not task.is_dry_run():
        still_ours(task)
        _stop(site)
        _move(site, aside)
    return done(task, "old data are kept", [f"what was left of a member is moved to {aside}"])


def retire(task: Task, *, revoke: bool = False) -> Result:
    """Stop etcd on the host of a member that was removed, let it start at boot no more, and move its data aside.

    With ``revoke``, none of its certificates is in use any more either, so that they can be revoked. What is done is
    not done again. Raises `RemoteError`.
    """
    site = site_of(task)
    changes = [*stop_for_good(task, site), *put_data_away(task, site)]
    if revoke and not task.is_dry_run():
        out_of_use(site)
    return done(task, "etcd is stopped for good" if changes else "nothing is left of it", changes)


def stop_for_good(task: Task, site: Site) -> list[str]:
    """Stop etcd, and let it start at boot no more; return what is changed by that. Raises `RemoteError`."""
    service = site.observe().service
    changes = ["etcd is stopped"] if service.running else []
    changes += ["etcd is not enabled at boot any more"] if service.enabled else []
    if not task.is_dry_run():
        still_ours(task)
        if service.enabled:
            site.remote.run(site.service.disable, check="disabling etcd at boot")
        _stop(site)
    return changes


def must_be_stopped(task: Task, site: Site) -> None:
    """Raise `ProtectionError` where etcd runs, so that data are touched under none that someone has started meanwhile.

    Not with --check, where it was not stopped.
    """
    if not task.is_dry_run() and site.observe().service.running:
        raise ProtectionError("etcd runs again", where=task.host.name, remedy="see what has started it, then run again")


def put_data_away(task: Task, site: Site, *, keep_marker: bool = False) -> list[str]:
    """Move the data of a stopped member aside, with its marker; return what is changed.

    With ``keep_marker`` that is copied there, and stays as well. Raises `ProtectionError` where etcd runs, else
    `RemoteError`.
    """
    observed, aside = site.observe(), _aside(site)
    facts = observed.facts
    must_be_stopped(task, site)
    if facts.data.ids is None and not facts.data.unreadable and (keep_marker or facts.established is None):
        return []
    if not task.is_dry_run():
        still_ours(task)
        _move(site, aside, keep_marker=keep_marker)
    return [f"its data are moved to {aside}, and kept"]


def out_of_use(site: Site) -> None:
    """Take all certificates of a stopped member out of use, so that they can be revoked. Raises `RemoteError`."""
    folders = " ".join(f"{CERTIFICATES}/{folder}" for folder in ROLE_FOLDERS.values())
    site.remote.run(f"rm -f {folders}", check="taking its certificates out of use")
    site.forget()


def _aside(site: Site) -> str:
    return f"{site.settings.member.data_dir.rstrip('/')}/{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _move(site: Site, aside: str, *, keep_marker: bool = False) -> None:
    data_dir = site.settings.member.data_dir.rstrip("/")
    moving = script("set_aside", data_dir=data_dir, aside=aside, marker=ESTABLISHED, keep_marker=keep_marker)
    try:
        site.remote.run(moving, check=f"moving the data of {data_dir} aside")
    finally:
        site.forget()


def _stop(site: Site) -> None:
    try:
        stopped = site.remote.run(outliving(site.service.stop), timeout=timeouts.STOP)
    finally:
        site.forget()
    if site.observe().service.running:
        raise RemoteError(
            f"etcd could not be stopped: {last_lines(stopped.stderr or stopped.stdout) or 'it still runs'}",
            where=site.settings.name,
            remedy=f"stop it by hand: {site.service.stop}",
        )
