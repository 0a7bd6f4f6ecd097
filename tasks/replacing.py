"""Pairs of live clusters are replaced one member at a time, whichever runbook does it; and how a deploy goes about it.

How to go about a cluster is decided in ``etcdfleet/certs/rotation.py``; what happens on a host is in
``tasks/rotation.py``. A deploy places pairs at once only where no member shows them yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nornir.core.task import Result, Task

from etcdfleet.certs import Renew
from etcdfleet.certs.rotation import AllAtOnce, MemberPair, OneByOne, Refused, RotationPlan, plan_rotation
from etcdfleet.drivers.certificates import needed_roles, needed_sides, source_of
from etcdfleet.program.main import Run
from etcdfleet.program.runners import RollingRunner, TogetherRunner
from etcdfleet.settings.base import RoleName, side_of
from tasks.anchors import is_live, named_anchors
from tasks.certificates import certificates, renewals
from tasks.observe import site_of
from tasks.rotation import NOTHING_MORE, After, Decided, decide, left_out, replace_expired, rotate_member

STEP = "certificates"
Clusters = Mapping[str, tuple[str, ...]]
Plans = Mapping[str, RotationPlan]
Roles = tuple[RoleName, ...]
Without = Mapping[str, tuple[str, ...]]
"""By cluster, the members without which the others are done (--allow-degraded)."""


def carry_out(
    run: Run,
    step: str,
    plans: Plans,
    members: Mapping[str, MemberPair],
    without: Without,
    *,
    after: After = NOTHING_MORE,
    not_reached: Callable[[str, str], None],
) -> dict[str, Roles]:
    """Replaces what is due in these clusters under the name ``step``; gives the roles of each host that were to be.

    ``not_reached`` is called with each host that was not touched, and the one whose failure is the reason.
    """
    together = {name: plan.hosts for name, plan in plans.items() if isinstance(plan, AllAtOnce)}
    orders = {name: plan.hosts for name, plan in plans.items() if isinstance(plan, OneByOne)}
    later = {name: plan.then for name, plan in plans.items() if isinstance(plan, AllAtOnce) and plan.then}
    due: dict[str, Roles] = {
        host: members[host].due for hosts in (*together.values(), *later.values(), *orders.values()) for host in hosts
    }
    for cluster, plan in plans.items():
        if isinstance(plan, AllAtOnce):
            run.record.warn(cluster, f"{plan.why}: new ones at once for {', '.join(plan.hosts)}")
        elif isinstance(plan, OneByOne) and plan.sick:
            _say_left_out(run, step, cluster, plan)
    said = {host: tuple(renewals(members[host].decisions)) for host in due} if step == STEP else {}
    if together:
        hosts = [host for names in together.values() for host in names]
        runner = TogetherRunner(together, num_workers=run.workers)
        run.step(step, replace_expired, only=hosts, runner=runner, due=due, after=after, said=said)
    for name, hosts_later in later.items():
        failed = [host for host in together[name] if host not in run.good_hosts]
        if failed:
            for host in hosts_later:
                not_reached(host, ", ".join(failed))
        else:
            orders[name] = hosts_later
    if orders:
        hosts = [host for names in orders.values() for host in names]
        rolling = RollingRunner(orders, num_workers=run.workers, not_reached=not_reached)
        run.step(step, rotate_member, only=hosts, runner=rolling, due=due, after=after, without=without, said=said)
    return due


def _say_left_out(run: Run, step: str, cluster: str, plan: OneByOne) -> None:
    """What is done without some members is said; a host that should have had new certificates has failed."""
    said = "; ".join(f"{name}: {why}" for name, why in plan.sick.items())
    run.record.warn(cluster, f"not all members are healthy; it goes on with the others (--allow-degraded): {said}")
    if plan.left_out:
        run.step(step, left_out, only=plan.left_out, why=plan.left_out)


def place_pairs(run: Run, clusters: Clusters) -> tuple[Clusters, Clusters]:
    """Carries out the step ``certificates`` of a deploy; gives the clusters that may go on, and those to be done later.

    A host that shows a pair to nobody gets it at once, all of them in parallel. What a running member shows is replaced
    one member at a time, each behind the gate, proven, and put back if it does not prove itself. Where a member does
    not run yet, or clients have another scheme than is wanted, that is done later: `replace_late`, after the start.
    """
    hosts = [host for names in clusters.values() for host in names if host in run.good_hosts]
    if not hosts:
        return clusters, {}
    shown = _shown(run, hosts)
    run.step(STEP, certificates, only=hosts, later=shown)
    if run.options.check or not shown:
        return clusters, {}
    due = {name: names for name, names in clusters.items() if any(host in shown for host in names)}
    late = {name: names for name, names in due.items() if _waits(run, names)}
    going = _replace(run, {name: names for name, names in due.items() if name not in late}, shown)
    return {name: names for name, names in clusters.items() if name not in due or name in late or name in going}, late


def replace_late(run: Run, clusters: Clusters, late: Clusters) -> Clusters:
    """After the start of ``clusters``: replaces what was to be done later. Gives the clusters that may go on."""
    waiting = {name: names for name, names in clusters.items() if name in late}
    hosts = [host for names in waiting.values() for host in names if host in run.good_hosts]
    shown = _shown(run, hosts) if hosts else {}
    if not shown:
        return clusters
    due = {name: names for name, names in waiting.items() if any(host in shown for host in names)}
    going = _replace(run, due, shown)
    return {name: names for name, names in clusters.items() if name not in due or name in going}


def _shown(run: Run, hosts: Sequence[str]) -> dict[str, Roles]:
    results = run.step("look at certificates", shown_and_due, only=hosts).items()
    found = {host: result[0].result for host, result in results if not result.failed}
    return {host: roles for host, roles in found.items() if roles}


def shown_and_due(task: Task) -> Result:
    """The roles whose pair is to be replaced while the host's etcd shows it, and those that a run has left unproven.

    Result: a tuple of them. No round trip: it is decided from what is known of the host.
    """
    site = site_of(task)
    seen, source = site.observe(), source_of(task, site.settings) if needed_roles(site.settings) else None
    if source is None or not seen.service.running:
        return Result(task.host, result=())
    roles = [role for role in needed_roles(site.settings) if is_live(seen, side_of(role))]
    decisions = {role: source.decide(site.settings, seen.facts, source.want(site.settings, role)) for role in roles}
    due = tuple(r for r, decision in decisions.items() if isinstance(decision, Renew) or r in seen.facts.unproven)
    return Result(task.host, result=due)


def must_wait(task: Task) -> Result:
    """Whether the cluster cannot be judged before the step ``start``. Result: a bool.

    Its member was established and does not run, or has TLS on other sides than the inventory wants.
    """
    site = site_of(task)
    seen = site.observe()
    stopped = seen.facts.established is not None and not seen.service.running
    other = seen.service.running and set(named_anchors(seen)) != set(needed_sides(site.settings))
    return Result(task.host, result=stopped or other)


def _waits(run: Run, hosts: Sequence[str]) -> bool:
    good = [host for host in hosts if host in run.good_hosts]
    results = run.step("look at members", must_wait, only=good).values() if good else ()
    return any(result[0].result for result in results if not result.failed)


def _replace(run: Run, clusters: Clusters, shown: Mapping[str, Roles]) -> Clusters:
    """Replaces the pairs that members show, cluster by cluster; gives the clusters in which all went well."""
    hosts = [host for names in clusters.values() for host in names if host in run.good_hosts]
    results = run.step("look at members", decide, only=hosts, changing=True).items() if hosts else ()
    members: dict[str, MemberPair] = {}
    for host, result in results:
        found = None if result.failed else result[0].result
        if isinstance(found, Decided) and found.member and found.member.deployed:
            roles = shown.get(host, ())
            decisions = {role: each for role, each in found.member.decisions.items() if role in roles}
            members[host] = replace(found.member, decisions=decisions)
    plans: dict[str, RotationPlan] = {}
    going = dict(clusters)
    for name, names in clusters.items():
        failed = [host for host in names if host not in run.good_hosts]
        kept = [host for host in names if host in shown]
        plan = plan_rotation(
            [members[host] for host in names if host in members], size=len(run.fleet.clusters[name]), absent=failed
        )
        if failed:
            run.record.skip_rest(
                names, f"certificates of {', '.join(kept)} stay as they are: {', '.join(failed)} failed"
            )
            del going[name]
        elif isinstance(plan, Refused):
            run.record.protect(name, f"no certificate was replaced: {plan.what}", _HEAL, where=name)
            run.record.skip_rest(names, f"stopped to protect cluster {name}")
            del going[name]
        else:
            plans[name] = plan
    due = carry_out(run, STEP, plans, members, {}, not_reached=lambda _host, _failed: None)
    for name in plans:
        if failed := [host for host in clusters[name] if host in due and host not in run.good_hosts]:
            run.record.skip_rest(clusters[name], f"not touched, since {', '.join(failed)} failed")
            del going[name]
    return going


_HEAL = "bring the cluster back to health first (see the members' logs), then run again"
