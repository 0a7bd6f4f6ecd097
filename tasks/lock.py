"""One run at a time for a cluster: a lock on the hosts of its members, for as long as this run lasts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from nornir.core.task import AggregatedResult, Result, Task

from etcdfleet.errors import FleetError, ProtectionError, UsageError
from etcdfleet.host.lock import BEAT, BEAT_SECONDS, SILENCE_SECONDS, LockInfo, hold_script, read_answer
from etcdfleet.program.main import Run
from etcdfleet.program.session import at_end
from etcdfleet.remote import Held, connect
from tasks.observe import Observed

log = logging.getLogger(__name__)
Clusters = Mapping[str, tuple[str, ...]]
_KEY = "etcdfleet_locks"


def take_locks(run: Run, clusters: Clusters) -> Clusters:
    """Takes the lock of these clusters until the run ends; gives those that were free. With --check none is taken.

    A cluster's lock is taken on all of its members that can be reached, those that this run leaves out included: so
    two runs on different hosts of a cluster exclude each other as well.
    """
    if run.options.check:
        return clusters
    members = {host.name: name for name in clusters for host in run.fleet.clusters[name]}
    info = LockInfo.of_this_run(run.record.record.runbook)
    everything = run.everything.filter(filter_func=lambda host: host.name in members)
    held: list[Held] = []
    taken: dict[str, tuple[str, LockInfo]] = {}
    results = everything.run(take_lock, name="lock", info=info, held=held)
    dead = _to_break(run, {host: found for host, found in _found(results).items() if isinstance(found, LockInfo)})
    others = everything.filter(filter_func=lambda host: host.name in dead)
    if dead:
        results.update(others.run(take_lock, name="lock", info=info, held=held, break_lock=True))
    for host, found in _found(results).items():
        if isinstance(found, LockInfo):
            taken.setdefault(members[host], (host, found))
        elif found and host in run.good_hosts:
            run.record.warn(host, f"no lock keeps other runs away from it: {found}")
    _keep(run, held)
    for name, (host, other) in taken.items():
        run.record.protect(
            name,
            f"{other} is working on it",
            "wait until that run has ended; if it is dead, its lock ends by itself within a minute, or with "
            "--break-lock at once (which asks first, unless --yes is given)",
            where=host,
        )
        run.record.skip_rest(clusters[name], f"somebody else works on {name}")
    return {name: hosts for name, hosts in clusters.items() if name not in taken}


def _found(results: AggregatedResult) -> dict[str, Any]:
    return {host: None if result.failed else result[0].result for host, result in results.items()}


def _to_break(run: Run, taken: Mapping[str, LockInfo]) -> frozenset[str]:
    """The hosts whose lock is to be ended: with --break-lock, once somebody has said that the other run is dead."""
    if not taken or not run.options.extra.get("break_lock"):
        return frozenset()
    said = "; ".join(dict.fromkeys(f"{info} is working on {host}" for host, info in taken.items()))
    try:
        agreed = run.confirm(f"{said}. Is that run dead, and shall its hold end?")
    except UsageError:  # nobody is there to answer
        agreed = False
    return frozenset(taken) if agreed else frozenset()


def take_lock(task: Task, info: LockInfo, held: list[Held], *, break_lock: bool = False) -> Result:
    """Takes the lock on one host, into ``held``. Result: None, or the `LockInfo` of whoever has it.

    A host that cannot be reached, or has no ``flock``, is no reason to stop: Result is why, as text.
    """
    try:
        remote = connect(task.host, task.nornir.config)
        hold = remote.hold(hold_script(info, break_lock=break_lock))
        other = read_answer(hold.first)
    except (FleetError, ValueError) as error:
        log.warning("%s: no lock could be taken: %s", task.host.name, error)
        return Result(task.host, result=error.what if isinstance(error, FleetError) else str(error))
    if isinstance(other, LockInfo):
        hold.release()
        return Result(task.host, result=other)
    held.append(hold)
    task.nornir.config.user_defined.setdefault(_KEY, {})[task.host.name] = hold
    seen = remote.cache.get("observed")
    if isinstance(seen, Observed) and seen.facts.lock_count != other:
        remote.cache.pop("observed")  # read while somebody else worked here
    return Result(task.host, result=None)


def still_ours(task: Task) -> None:
    """Raises `ProtectionError` when the lock that this run took on the host has ended: somebody else may work there."""
    hold = task.nornir.config.user_defined.get(_KEY, {}).get(task.host.name)
    if isinstance(hold, Held) and hold.ended:
        raise ProtectionError(
            "this run's lock on the host has ended: another run broke it (--break-lock), or nothing was heard of this "
            f"run for {SILENCE_SECONDS} s",
            where=task.host.name,
            remedy="see whether somebody else works on the cluster; when nobody does, run again",
        )


def _keep(run: Run, held: list[Held]) -> None:
    """Gives signs of life until the run ends, then lets go."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            for hold in held:
                hold.send(BEAT)

    def let_go() -> None:
        stop.set()
        for hold in held:
            hold.release()

    if held:
        threading.Thread(target=beat, name="lock", daemon=True).start()
        at_end(run.nornir.config, let_go)
