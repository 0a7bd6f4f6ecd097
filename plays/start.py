"""The step ``start``: members of a new cluster start together, changed members of a live one one after the other.

What to do is decided in ``etcdfleet/etcd/plan.py``; what happens on a host is in ``tasks/start.py``. What contradicts
itself or the inventory stops the cluster before anything is touched.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from etcdfleet.errors import Refusal
from etcdfleet.etcd.equal import CONFIRMATIONS, PAUSE_SECONDS, divergence
from etcdfleet.etcd.start_model import Bootstrap, Join, Nothing, Plan, Readdress, Rolling
from etcdfleet.program.run import Run
from etcdfleet.program.runners import RollingRunner, TogetherRunner
from plays.interruption import confirm_interruption
from plays.readdress import readdress
from tasks.planning import MemberSeen, is_settled, plan_cluster, read_member
from tasks.start import keep_running, restart_member, start_member

STEP = "start"
ROUNDS = 4
"""After each start the cluster is looked at and planned anew; this many times at most."""


def look_ahead(run: Run[Any]) -> frozenset[str]:
    """Leave a cluster whose start would be refused anyway, before anything is changed on its hosts.

    What is on the hosts contradicts itself or the inventory: data lost, data of another cluster, another member list.
    Returns the hosts that are to begin a new cluster.
    """
    if _settled(run):
        return frozenset()
    plan, _ = _settle(run)
    return frozenset(plan.hosts) if isinstance(plan, Bootstrap) else frozenset()


def bring_up(run: Run[Any], *, due: Collection[str] = (), only_restart: bool = False, programs: bool = False) -> None:
    """Carry out the step ``start``, or leave the cluster where that is refused.

    Restarts that clients notice are asked for before. With --check nothing was placed, so no host says that it is due
    for a restart: ``due`` names those on which something would be changed that needs one. With ``only_restart``,
    members without data are left for later: they may lack their certificates. With ``programs``, members whose program
    is due get it when it is their turn (`tasks.programs`).
    """
    plan: Plan = Nothing()
    reads: dict[str, MemberSeen] = {}
    before_joins: set[str] = set()
    if not _settled(run):
        plan, reads, before_joins = _start(run, only_restart=only_restart, programs=programs)
    if isinstance(plan, Rolling) and not plan.start_first:
        _restart(run, plan.order, reads, programs=programs)
    idle = run.pending(STEP)
    restarts = [host for host in idle if host in due]
    confirm_interruption(run, restarts, reads)
    run.step(STEP, restart_member, on=restarts)
    # The cluster of those that were started before others joined is complete only now.
    unmarked = [] if run.check else [host for host in run.good if host in before_joins]
    run.step(STEP, keep_running, on=[*(host for host in idle if host not in due), *unmarked])


def _start(run: Run[Any], *, only_restart: bool, programs: bool) -> tuple[Plan, dict[str, MemberSeen], set[str]]:
    """Start what does not run, until nothing is left to start.

    Returns the last plan, what was seen, and the hosts that were started before others joined.
    """
    before_joins: set[str] = set()
    for _ in range(ROUNDS):
        plan, reads = _settle(run, programs=programs)
        if only_restart and isinstance(plan, Bootstrap | Join):
            plan = Nothing()
        hosts = _to_start(plan)
        if not hosts:
            break
        if isinstance(plan, Rolling) and plan.joining:
            before_joins.update(hosts)
        run.step(STEP, start_member, on=hosts, runner=TogetherRunner(), plan=plan, programs=programs)
        if run.check:
            break
    return plan, reads, before_joins


def _restart(run: Run[Any], order: Sequence[str], reads: Mapping[str, MemberSeen], *, programs: bool) -> None:
    confirm_interruption(run, order, reads)
    runner = RollingRunner(
        order, not_reached=lambda host, failed: run.skip(STEP, f"not restarted, since {failed} failed", on=[host])
    )
    run.step(STEP, restart_member, on=order, runner=runner, programs=programs)


def _refuse(run: Run[Any], plan: Refusal) -> None:
    """Leave the cluster: nothing of it may be touched."""
    if run.failed:
        # What stood against a start without failures was found before anything was changed: it is these that are
        # missing, and their failures say why.
        run.leave(f"{run.cluster} is not started without {', '.join(run.failed)}: {plan.what}")
    run.protect(plan.what, plan.remedy, where=", ".join(plan.hosts))


def _settled(run: Run[Any]) -> bool:
    """Return whether, as far as was read, every chosen member runs with all that it should: no need to ask etcd."""
    settled = run.ask(is_settled)
    return all(settled.get(host) for host in run.hosts)


def _settle(run: Run[Any], *, programs: bool = False) -> tuple[Plan, dict[str, MemberSeen]]:
    """Return the plan of a cluster whose members are where the inventory has them; before, those that are not go there.

    Leaves the cluster where the plan is to touch nothing.
    """
    plan, reads = _plan(run, programs=programs)
    for _ in range(ROUNDS):
        if not isinstance(plan, Readdress):
            break
        readdress(run, plan.hosts)
        plan, reads = _plan(run, programs=programs)
    if isinstance(plan, Readdress):
        run.leave(f"{', '.join(plan.hosts)} was brought to another address {ROUNDS} times: something changes it back")
    if isinstance(plan, Refusal):
        _refuse(run, plan)
    return plan, reads


def _to_start(plan: Plan) -> tuple[str, ...]:
    if isinstance(plan, Bootstrap | Join):
        return plan.hosts
    return plan.start_first if isinstance(plan, Rolling) else ()


def _plan(run: Run[Any], *, programs: bool = False) -> tuple[Plan, dict[str, MemberSeen]]:
    """Read all hosts that this run may touch, and decide what to do. Returns what was seen of each host, too."""
    reads: dict[str, MemberSeen] = run.ask(read_member)
    for _ in range(CONFIRMATIONS):
        # Where members seem to hold different data, one look may be wrong about that.
        if not divergence(one.answers.status for one in reads.values() if one.answers.status):
            break
        time.sleep(PAUSE_SECONDS)
        reads |= run.ask(read_member, on=reads)
    return plan_cluster(run.members, reads, frozenset(run.hosts), frozenset(run.good), programs=programs), reads
