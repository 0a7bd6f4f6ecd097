"""A member's database is defragmented, while all others serve.

Who, and in which order, is decided in ``etcdfleet/etcd/defragmentation.py``; one member after the other is seen to by
``plays/defragment.py``.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import ProtectionError, RemoteError, VerificationError
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.defragmentation import (
    SETTLED_FIRST,
    Room,
    defragmented,
    free_in,
    lacks_room,
    patience,
    read_room,
)
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.etcd.gates import all_well, move_leader_to
from etcdfleet.etcd.ids import hex_id
from etcdfleet.outcome import done
from etcdfleet.remote import last_lines
from etcdfleet.remote.scripts import script
from etcdfleet.text import mib, seconds_text
from tasks.lock import still_ours
from tasks.member import ask_cluster, ask_member
from tasks.observe import Site, site_of

MAKE_ROOM = "make room on the disk of the database (df -h on the host), then run again"
_LONGER = 30
"""Seconds more than etcdctl has are given to its call."""
_UNDER_WAY = 2
"""Seconds between two looks whether a defragmentation has ended."""


def see_room(task: Task) -> Result:
    """See what the disk of this member's database has: a `Room`. Raises `RemoteError`."""
    return Result(task.host, result=room_of(site_of(task)))


def await_copy(task: Task) -> Result:
    """Wait until a defragmentation that was begun elsewhere has ended: etcd finishes what it has begun.

    Raises `VerificationError` where it does not get on.
    """
    site = site_of(task)
    if task.is_dry_run():
        return done(task, "its database is being defragmented", warnings=["its database is being defragmented now"])
    began = time.monotonic()
    _until_copied(site)
    _until_well(site, timeouts.STABLE)
    return done(task, f"a defragmentation that was under way has ended, {seconds_text(time.monotonic() - began)} later")


def cannot_defragment(task: Task, why: str) -> Result:
    """Fail, with the reason why this member cannot be defragmented. Raises `VerificationError`."""
    raise VerificationError(f"not defragmented: {why}", where=task.host.name, remedy=MAKE_ROOM)


def defragment(task: Task) -> Result:
    """Defragment the member on this host, if all members are well and its disk has the room.

    A leader hands its leadership over before. It is waited for until the member is healthy and has what the others
    have. A call that etcd does not answer in time is not repeated: etcd goes on, and that is waited for. Raises
    `ProtectionError` where it must not be done, `VerificationError` where it failed.
    """
    site = site_of(task)
    if task.is_dry_run():
        status = ask_member(site).status
        frees = mib(free_in(status)) if status else "nothing known"
        return done(task, f"would free {frees}", [f"the database is defragmented, which frees {frees}"])
    still_ours(task)
    before, cluster = _fit(site)
    changes = []
    if moved := _hand_over(site, before, cluster):
        changes.append(moved)
    if left := _remove_left(site):
        changes.append(left)
    still_ours(task)
    seconds = _carry_out(site, before)
    after = _until_well(site, timeouts.STABLE)
    problem = defragmented(before, after)
    if problem:
        raise VerificationError(problem, where=site.settings.name, remedy=f"see etcd's log: {site.service.logs(100)}")
    told = f"{mib(before.db_size)} became {mib(after.db_size)} in {seconds_text(seconds)}"
    facts = {
        "db_size_before_bytes": before.db_size,
        "db_size_bytes": after.db_size,
        "defragmentation_seconds": round(seconds, 2),
    }
    return done(task, told, [*changes, f"the database is defragmented: {told}"], facts=facts)


def room_of(site: Site) -> Room:
    """Return what the host has for its member's database. Raise `RemoteError`."""
    looked = site.remote.run(
        script("database_room", data_dir=site.settings.member.data_dir), check="looking at the disk of the database"
    )
    return read_room(looked.stdout)


def _look(site: Site) -> tuple[EndpointStatus | None, Cluster]:
    answers = ask_member(site)
    if answers.members is None:
        return answers.status, Cluster(no_list=f"{site.settings.member.name} does not answer")
    return answers.status, ask_cluster(site, answers.members)


def _settled(site: Site, seconds: float, why_not: Callable[[Cluster], str | None]) -> tuple[EndpointStatus, Cluster]:
    """Return the member and its cluster once nothing stands against it. Raise `VerificationError`, saying what does."""
    end = time.monotonic() + seconds
    while True:
        status, cluster = _look(site)
        why = why_not(cluster) or ("" if status else f"{site.settings.member.name} does not answer")
        if status and not why:
            return status, cluster
        if time.monotonic() > end:
            raise VerificationError(why, where=site.settings.name)
        time.sleep(0.5)


def _fit(site: Site) -> tuple[EndpointStatus, Cluster]:
    """Return the member and its cluster if all is well and its disk has the room. Raise `ProtectionError`."""
    try:
        status, cluster = _settled(site, timeouts.SETTLE, all_well)
    except VerificationError as error:
        what = f"not defragmented, because {error.what}"
        raise ProtectionError(what, where=site.settings.name, remedy=SETTLED_FIRST) from error
    room = room_of(site)
    if room.copying is not None:
        raise ProtectionError(
            "its database is being defragmented already", where=site.settings.name, remedy="wait, and run again"
        )
    if short := lacks_room(status, room):
        raise ProtectionError(f"not defragmented: {short}", where=site.settings.name, remedy=MAKE_ROOM)
    return status, cluster


def _hand_over(site: Site, status: EndpointStatus, cluster: Cluster) -> str:
    """Have another member lead while this one is busy; say so, or nothing. Raise `ProtectionError` where none does.

    A cluster of one has no other member that could.
    """
    if cluster.leader[0] != status.member_id or cluster.voters == 1:
        return ""
    target = move_leader_to(cluster, status.member_id)
    reason = "no other member is fit to lead"
    if target is not None:
        endpoint = [local_endpoint(site.settings, tls=status.endpoint.startswith("https:"))]
        asked = etcdctl(site.settings, f"move-leader {hex_id(target.id)}", endpoint, seconds=timeouts.MOVE_LEADER)
        answer = site.remote.run(asked)
        reason = last_lines(answer.stderr or answer.stdout)

        def leads_yet(cluster: Cluster) -> str | None:
            return all_well(cluster) or ("it still leads" if cluster.leader[0] == status.member_id else None)

        try:
            _settled(site, timeouts.SETTLE, leads_yet)
        except VerificationError as error:
            reason = "; ".join(filter(None, (error.what, reason if not answer.ok else "")))
        else:
            return f"leadership moves to {cluster.name(target.id)}"
    raise ProtectionError(
        f"not defragmented, because it leads and does not hand the leadership over: {reason}",
        where=site.settings.name,
        remedy="see etcd's log on this host, then run again",
    )


def _remove_left(site: Site) -> str:
    """Remove what a defragmentation left that was cut off with its etcd; say so, or nothing."""
    room = room_of(site)
    if not room.left:
        return ""
    files = " ".join(map(shlex.quote, room.left))
    site.remote.run(f"rm -f {files}", check="removing what an earlier defragmentation left")
    return f"{mib(room.left_bytes)} are removed that an earlier defragmentation had left"


def _carry_out(site: Site, status: EndpointStatus) -> float:
    """Defragment, and return how many seconds it took. Raise `VerificationError` where etcd refuses or fails."""
    seconds, began = patience(status), time.monotonic()
    asked = etcdctl(site.settings, "defrag", [local_endpoint(site.settings)], seconds=seconds)
    try:
        answer = site.remote.run(asked, timeout=seconds + _LONGER)
    except RemoteError as error:
        if "did not end within" not in error.what:
            raise
        answer = None
    if answer is None or not answer.ok:
        said = last_lines(answer.stderr or answer.stdout) if answer else f"no answer within {seconds:.0f} s"
        if answer and "deadline exceeded" not in said:
            raise VerificationError(
                f"etcd could not defragment its database: {said}",
                where=site.settings.name,
                remedy=f"see etcd's log: {site.service.logs(100)}; nothing is lost by it",
            )
        _until_copied(site)  # it goes on: to ask again would make it begin anew
    return time.monotonic() - began


def _until_copied(site: Site) -> None:
    """Wait until no copy of the database is made any more. Raise `VerificationError` where it does not grow."""
    size, end = -1, time.monotonic() + timeouts.CATCH_UP
    while True:
        copying = room_of(site).copying
        if copying is None:
            return
        if copying != size:
            size, end = copying, time.monotonic() + timeouts.CATCH_UP
        if time.monotonic() > end:
            raise VerificationError(
                f"its defragmentation does not get on: the new file has had {mib(size)} for {timeouts.CATCH_UP} s",
                where=site.settings.name,
                remedy="see the host's disk (dmesg) and etcd's log; a restart of etcd ends it, and loses nothing",
            )
        time.sleep(_UNDER_WAY)


def _until_well(site: Site, seconds: float) -> EndpointStatus:
    """Return the member's answer once it is healthy again and has what the others have. Raise `VerificationError`."""
    try:
        return _settled(site, seconds, all_well)[0]
    except VerificationError as error:
        raise VerificationError(
            f"after its defragmentation, within {seconds:.0f} s, {error.what}",
            where=site.settings.name,
            remedy=f"see etcd's log: {site.service.logs(100)}; the others were not touched after this one",
        ) from error
