"""Databases are defragmented, one member after the other, the leader last.

Who, in which order, and why not, is decided in ``etcdfleet/etcd/defragmentation.py``. It is decided by what is there,
so a run that was ended anywhere is continued by the next one; what etcd had begun then, it has finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etcdfleet.etcd.defragmentation import Defragmentation, Limits, Room, defragmentation
from etcdfleet.program.run import Run
from etcdfleet.program.runners import RollingRunner
from etcdfleet.text import mib
from plays import members
from plays.options import RepairOptions
from tasks.defragment import await_copy, cannot_defragment, defragment, see_room
from tasks.members.change import noted

STEP = "defragment"


def by_thresholds(run: Run[RepairOptions]) -> None:
    """Defragment those members of the run for which it is worth while by the inventory."""
    rooms = see_rooms(run)
    names = {member.name: member.member.name for member in run.members}
    limits = {
        names[member.name]: Limits(
            member.repair.defragment_free_percent, member.repair.defragment_free_bytes, member.cluster.quota_bytes
        )
        for member in run.members
        if member.name in rooms
    }
    cluster = members.see(run, [member.name for member in run.members])
    by_name = {names[host]: room for host, room in rooms.items()}
    plan = members.accept(run, defragmentation(cluster, limits, by_name, every=run.own.force))
    carry_out(run, plan)


def see_rooms(run: Run[Any]) -> dict[str, Room]:
    """Return what the disks of the run's databases have, once no defragmentation is under way on them, by host."""
    rooms: dict[str, Room] = run.ask(see_room)
    if busy := [host for host, room in rooms.items() if room.copying is not None]:
        run.step(STEP, await_copy, on=busy)
        rooms |= run.ask(see_room, on=busy)
    return rooms


def carry_out(run: Run[Any], plan: Defragmentation) -> None:
    """Defragment as was decided; the first member on which it fails is the last one that is touched."""
    hosts = {member.member.name: member.name for member in run.members}
    if plan.warning:
        run.warn(plan.warning)
    for name, why in plan.idle.items():
        run.step(STEP, noted, on=[hosts[name]], summary=why)
    for name, why in plan.no_room.items():
        run.step(STEP, cannot_defragment, on=[hosts[name]], why=why)
    order = [hosts[name] for name in plan.order]
    _confirm_alone(run, order, plan.frees)
    runner = RollingRunner(
        order, not_reached=lambda host, failed: run.skip(STEP, f"not begun, since {failed} failed", on=[host])
    )
    run.step(STEP, defragment, on=order, runner=runner)


def _confirm_alone(run: Run[Any], order: list[str], frees: Mapping[str, int]) -> None:
    """Ask before the only member of a cluster is defragmented; leave the cluster unless that is confirmed."""
    if len(run.members) > 1 or not order:
        return
    size = mib(sum(frees.values()))
    what = f"{order[0]} is the only member: clients wait while its database is defragmented, which frees {size}"
    if run.check:
        run.warn(f"{what}; without --check this is asked for", order[0])
    elif not run.agreed(f"{what}. Go on?"):
        run.protect(
            f"not defragmented, since this was not confirmed: {what}",
            "run again when it suits, and say yes or add --yes",
            where=order[0],
        )
