"""The run of ``runbooks/rotate_certs.py``: which task runs on which hosts, in which order."""

from __future__ import annotations

from collections.abc import Mapping

from etcdfleet.certs.rotation import (
    AllAtOnce,
    MemberPair,
    NothingDue,
    OneByOne,
    Refused,
    RotationPlan,
    plan_rotation,
    sentence,
)
from etcdfleet.cli import Run
from etcdfleet.runners import RollingRunner, TogetherRunner
from tasks.lock import take_locks
from tasks.rollout import bring_up
from tasks.rotation import Decided, decide, replace_expired, rotate_member
from tasks.trust import STEP as TRUST
from tasks.trust import end_trust, no_longer_needed, spread_trust

Clusters = Mapping[str, tuple[str, ...]]
Plans = Mapping[str, RotationPlan]


def rotate(run: Run) -> list[str]:
    """Carries out all steps but the last; gives the hosts to be verified. Failures are recorded in ``run.record``."""
    clusters = take_locks(run, run.clusters)
    members = _decide(run, clusters)
    plans = {cluster: _plan(run, cluster, members) for cluster in clusters}
    new_ca = bool(run.options.extra["ca"])
    going: Clusters = {
        name: hosts for name, hosts in clusters.items() if not _left_alone(run, name, plans[name], new_ca)
    }
    if new_ca:
        going = spread_trust(run, going)
    else:
        run.record.skip(run.hosts, (TRUST, "start"), "no other CA")
    due = _replace(run, {name: plans[name] for name in going}, members)
    if new_ca:
        _end(run, going)
        return [host for hosts in going.values() for host in hosts]
    return due


def _decide(run: Run, clusters: Clusters) -> dict[str, MemberPair]:
    extra = run.options.extra
    hosts = [host for names in clusters.values() for host in names]
    if not hosts:
        return {}
    results = run.step(
        "decide",
        decide,
        only=hosts,
        force=extra["force"],
        chosen=tuple(extra["only"] or ()),
        new_ca=extra["ca"],
    )
    members: dict[str, MemberPair] = {}
    for host, result in results.items():
        outcome = None if result.failed else result[0].result
        if isinstance(outcome, Decided) and outcome.member:
            members[host] = outcome.member
            if run.options.check or run.options.verbose:
                run.say("\n".join(f"{host}  {sentence(*each)}" for each in outcome.member.decisions.items()))
    return members


def _plan(run: Run, cluster: str, members: Mapping[str, MemberPair]) -> RotationPlan:
    found = [members[host] for host in run.clusters[cluster] if host in members]
    # Members that were left out on purpose still count for the others' health, which each gate asks them for.
    absent = [host for host in run.clusters[cluster] if host not in run.good_hosts]
    return plan_rotation(
        found,
        size=len(run.fleet.clusters[cluster]),
        absent=absent,
        allow_degraded=run.options.extra["allow_degraded"],
    )


def _left_alone(run: Run, cluster: str, plan: RotationPlan, new_ca: bool) -> bool:
    """Whether there is nothing to do in a cluster, or nothing may be done; that is recorded."""
    if isinstance(plan, Refused):
        run.record.protect(cluster, plan.what, plan.remedy, where=cluster)
        run.record.skip_rest(run.clusters[cluster], f"stopped to protect cluster {cluster}")
        return True
    if isinstance(plan, NothingDue) and not new_ca:
        run.record.skip_rest(run.clusters[cluster], "nothing is due")
        return True
    return False


def _replace(run: Run, plans: Plans, members: Mapping[str, MemberPair]) -> list[str]:
    """Replaces what is due; gives the hosts that were to have new certificates."""
    together = {name: plan.hosts for name, plan in plans.items() if isinstance(plan, AllAtOnce)}
    orders = {name: plan.hosts for name, plan in plans.items() if isinstance(plan, OneByOne)}
    due = {host: members[host].due for hosts in (*together.values(), *orders.values()) for host in hosts}
    workers = run.options.forks or 20
    for cluster, plan in plans.items():
        if isinstance(plan, AllAtOnce):
            run.record.warn(cluster, f"{plan.why}: all get new ones at once")
    if together:
        hosts = [host for names in together.values() for host in names]
        runner = TogetherRunner(together, num_workers=workers)
        run.step("rotate", replace_expired, only=hosts, runner=runner, due=due)
    if orders:

        def not_reached(host: str, failed: str) -> None:
            run.record.skip(host, "rotate", f"not touched, since {failed} failed")

        hosts = [host for names in orders.values() for host in names]
        rolling = RollingRunner(orders, num_workers=workers, not_reached=not_reached)
        run.step("rotate", rotate_member, only=hosts, runner=rolling, due=due)
    idle = [host for name in plans for host in run.clusters[name] if host not in due]
    run.record.skip(idle, "rotate", "nothing is due here")
    if not run.options.extra["ca"]:
        run.record.skip(idle, "verify", "nothing is due here")
    return list(due)


def _end(run: Run, clusters: Clusters) -> None:
    """The last pass of a new CA: those of before are trusted no longer, by a rolling restart."""
    sound = {name: hosts for name, hosts in clusters.items() if all(host in run.good_hosts for host in hosts)}
    hosts = [host for names in sound.values() for host in names]
    if hosts:
        run.step(TRUST, end_trust, only=hosts, final=no_longer_needed(run, sound))
        bring_up(run, sound)
