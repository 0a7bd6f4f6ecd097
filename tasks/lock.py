"""One run at a time for a cluster: a lock on the hosts of its members, for as long as this run lasts."""

from __future__ import annotations

import logging
import threading

from nornir.core.task import Result, Task

from etcdfleet.errors import FleetError, ProtectionError
from etcdfleet.host.lock import (
    BEAT,
    BEAT_SECONDS,
    PATIENCE_SECONDS,
    SILENCE_SECONDS,
    LockInfo,
    hold_script,
    read_answer,
)
from etcdfleet.host.paths import WORKING
from etcdfleet.remote import Held
from etcdfleet.remote.host import CONNECT_TIMEOUT
from etcdfleet.session import Session, session_of
from tasks.observe import site_of

log = logging.getLogger(__name__)
_first = threading.Lock()


def take_lock(task: Task, info: LockInfo, *, break_lock: bool = False) -> Result:
    """Take the lock on one host until the session ends. Result: None, or who works on it (`AtWork`).

    Commands that an earlier run has left at work there are waited for, `PATIENCE_SECONDS` at most.

    A host that cannot be reached, or has no ``flock``, is no reason to stop: Result is why, as text.
    """
    try:
        site = site_of(task)
        hold = site.remote.hold(hold_script(info, break_lock=break_lock), timeout=PATIENCE_SECONDS + CONNECT_TIMEOUT)
        other = read_answer(hold.first)
    except (FleetError, ValueError) as error:
        log.warning("%s: no lock could be taken: %s", task.host.name, error)
        return Result(task.host, result=error.what if isinstance(error, FleetError) else str(error))
    if not isinstance(other, str):
        hold.release()
        return Result(task.host, result=other)
    site.remote.keep_open(WORKING)
    _keep(session_of(task.nornir.config), task.host.name, hold)
    if site.seen and site.seen.facts.lock_count != other:
        site.forget()  # read while another run worked here
    return Result(task.host, result=None)


def still_ours(task: Task) -> None:
    """Raise `ProtectionError` when the lock that this run took on the host has ended: another run may work there."""
    hold = session_of(task.nornir.config).locks.get(task.host.name)
    if hold and hold.ended:
        raise ProtectionError(
            "this run's lock on the host has ended: another run broke it (--break-lock), or nothing was heard of this "
            f"run for {SILENCE_SECONDS} s",
            where=task.host.name,
            remedy="check whether another run works on the cluster; if none does, run again",
        )


def _keep(session: Session, host: str, hold: Held) -> None:
    """Give signs of life for all locks of the session until it ends, then let go of them."""
    with _first:
        begun = bool(session.locks)
        session.locks[host] = hold
    if begun:
        return
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            for hold in list(session.locks.values()):
                hold.send(BEAT)

    def let_go() -> None:
        stop.set()
        for hold in session.locks.values():
            hold.release()

    threading.Thread(target=beat, name="lock", daemon=True).start()
    session.at_end(let_go)
