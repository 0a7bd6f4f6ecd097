"""A full database takes writes again: a snapshot, history away where it must be, room, the alarm ended, a write.

What is to be done is decided in ``etcdfleet/etcd/space.py``, by what is there: a run that was ended anywhere is
continued by the next one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.space import MakeRoom, Means, freed_by, make_room, still_full
from etcdfleet.program.run import Run
from plays import defragment, members
from plays.options import RepairOptions
from tasks.alarms import end_alarm
from tasks.compact import compact, see_means
from tasks.defragment import await_copy
from tasks.members.change import noted
from tasks.verify.member import verify


def take_writes_again(run: Run[RepairOptions], cluster: Cluster) -> None:
    """Make room in the databases of a cluster with the alarm NOSPACE, and end that."""
    names = {member.name: member.member.name for member in run.members}
    means = _means(run, names)
    plan = members.accept(run, make_room(cluster, means))
    first = run.hosts[0]
    if run.check:
        _say(run, plan)
        return
    if plan.defragment:
        _save(run, cluster, plan)
        if plan.compact:
            run.step("compact", compact, on=[first])
            if run.failed:
                run.leave("the alarm stays, since history could not be compacted")
        run.skip(
            "compact", "one for the cluster" if plan.compact else "enough is free without it", on=run.pending("compact")
        )
        defragment.carry_out(run, members.accept(run, freed_by(_look(run), means)))
        if run.failed:
            run.leave(f"the alarm stays, since {', '.join(run.failed)} has no room yet")
    run.skip(("snapshot", "compact", defragment.STEP), "there is room", on=run.pending(defragment.STEP))
    if refusal := still_full(_look(run), means):
        run.protect(refusal.what, refusal.remedy)
    quota = min(own.quota_bytes for own in means.values())
    run.step("alarm", end_alarm, on=[first], quota=quota, token=secrets.token_hex(6))
    if run.failed:
        run.leave("the database does not take writes yet")
    run.skip("alarm", "one for the cluster", on=run.pending("alarm"))
    run.step("verify", verify)


def _means(run: Run[RepairOptions], names: Mapping[str, str]) -> dict[str, Means]:
    """Return what the members have to work with, by name, once no defragmentation is under way."""
    seen: dict[str, Means] = run.ask(see_means)
    if busy := [host for host, means in seen.items() if means.room.copying is not None]:
        run.step(defragment.STEP, await_copy, on=busy)
        seen |= run.ask(see_means, on=busy)
    return {names[host]: means for host, means in seen.items()}


def _look(run: Run[RepairOptions]) -> Cluster:
    return members.see(run, [member.name for member in run.members])


def _save(run: Run[RepairOptions], cluster: Cluster, plan: MakeRoom) -> None:
    question = f"the database is full: {plan.words}; clients of each wait meanwhile. Go on?"
    members.save_first(run, run.cluster, question, cluster, run.hosts, members.folder_of(run), "snapshot")
    run.skip("snapshot", "one for the cluster", on=run.pending("snapshot"))


def _say(run: Run[RepairOptions], plan: MakeRoom) -> None:
    """Say what would be done without --check."""
    first = run.hosts[:1]
    if plan.defragment:
        run.warn(f"without --check: {plan.words}; this is asked for")
        run.step("snapshot", noted, on=first, summary="would be taken", change="a snapshot comes to this machine")
        if plan.compact:
            run.step("compact", compact, on=first)
        run.step(
            defragment.STEP,
            noted,
            summary="would be done",
            change="the database is defragmented, if that frees anything",
        )
    run.step("alarm", end_alarm, on=first, quota=0, token="")
    for step in ("snapshot", "compact", defragment.STEP, "alarm", "verify"):
        run.skip(step, "nothing is changed with --check", on=run.pending(step))
