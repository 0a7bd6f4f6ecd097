"""The step ``start`` of a deploy: plans each cluster, then lets the tasks of ``tasks/start.py`` run in the right order.

Members of a new cluster start together, changed members of a live one are restarted one after the other, clusters
proceed side by side, and a contradiction stops its cluster before anything is touched.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nornir.core.task import AggregatedResult, Result, Task

from etcdfleet.errors import UsageError
from etcdfleet.etcd.answers import MemberList
from etcdfleet.etcd.configuration import data_dir_in, quota_in
from etcdfleet.etcd.equal import CONFIRMATIONS, PAUSE_SECONDS, divergence
from etcdfleet.etcd.expected import expected_members
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.interruption import interruption
from etcdfleet.etcd.plan import plan_start
from etcdfleet.etcd.start_model import Bootstrap, Join, MemberState, Nothing, Plan, Refuse, Rolling
from etcdfleet.host.paths import CONFIG
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.main import Run
from etcdfleet.program.runners import RollingRunner, TogetherRunner
from etcdfleet.settings.models import HostSettings
from tasks.configure import desired_files, same
from tasks.live import Live, look
from tasks.observe import Observed, site_of
from tasks.programs import restart_reasons
from tasks.start import keep_running, restart_member, start_member

STEP = "start"
ROUNDS = 4
"""After each start the cluster is looked at and planned anew; this many times at most."""


@dataclass(frozen=True)
class Seen:
    """What was read of a host in one look."""

    observed: Observed
    live: Live


@dataclass(frozen=True)
class Outlook:
    """What the step start will come to, as far as it can be told before anything is changed.

    ``refused`` are the clusters that were stopped, ``fresh`` the hosts that are to begin a new cluster.
    """

    refused: frozenset[str]
    fresh: frozenset[str]


def look_ahead(run: Run, clusters: Mapping[str, tuple[str, ...]]) -> Outlook:
    """Stops those clusters whose start would be refused anyway, before anything is changed on them.

    What is on the hosts contradicts itself or the inventory: data lost, data of another cluster, another member list.
    A plan that refuses no more than the start is left to `bring_up`.
    """
    settled = _settled(run)
    waiting = {cluster: hosts for cluster, hosts in clusters.items() if cluster not in settled}
    plans, _ = _plan(run, waiting)
    now = {cluster: plan for cluster, plan in plans.items() if not (isinstance(plan, Refuse) and plan.prepare)}
    refused = frozenset(cluster for cluster, plan in now.items() if _refused(run, cluster, plan))
    fresh = frozenset(host for plan in plans.values() if isinstance(plan, Bootstrap) for host in plan.hosts)
    return Outlook(refused, fresh)


def bring_up(
    run: Run,
    clusters: Mapping[str, tuple[str, ...]],
    *,
    due: Collection[str] = (),
    only_restart: bool = False,
    programs: bool = False,
) -> Mapping[str, tuple[str, ...]]:
    """Carries out the step ``start`` for these clusters; gives those that were not refused.

    Restarts that clients notice are asked for before. With --check nothing was placed, so no host says that it is due
    for a restart: ``due`` names those on which something would be changed that needs one. With ``only_restart``,
    members without data are left for later: they may lack their certificates. With ``programs``, members whose program
    is due get it when it is their turn (`tasks.programs`). Failures and refusals are recorded in ``run.record``.
    """
    waiting = dict(clusters)
    settled = _settled(run)
    unmarked: set[str] = set()
    for _ in range(ROUNDS):
        unsettled = {cluster: hosts for cluster, hosts in waiting.items() if cluster not in settled}
        plans, seen = _plan(run, unsettled, programs=programs)
        for cluster, plan in plans.items():
            if _refused(run, cluster, plan):
                del waiting[cluster]
        if only_restart:
            plans = {cluster: plan for cluster, plan in plans.items() if not isinstance(plan, Bootstrap | Join)}
        started = {cluster: hosts for cluster, plan in plans.items() if (hosts := _to_start(plan))}
        if not started:
            break
        unmarked |= {host for name, hosts in started.items() if _incomplete(plans[name]) for host in hosts}
        run.step(
            STEP,
            start_member,
            only=[host for hosts in started.values() for host in hosts],
            runner=TogetherRunner(started, num_workers=run.workers),
            plans=plans,
            programs=programs,
        )
        if run.options.check:
            break
    orders = {name: plan.order for name, plan in plans.items() if isinstance(plan, Rolling) and not plan.start_first}
    for name in [name for name, order in orders.items() if not _agreed(run, name, order, seen)]:
        del orders[name], waiting[name]
    if orders:
        run.step(
            STEP,
            restart_member,
            only=[host for order in orders.values() for host in order],
            runner=RollingRunner(
                orders,
                num_workers=run.workers,
                not_reached=lambda host, failed: run.record.skip(host, STEP, f"not restarted, since {failed} failed"),
            ),
            programs=programs,
        )
    idle = [host for hosts in waiting.values() for host in hosts if host in run.good_hosts and not _begun(run, host)]
    restarts = [host for host in idle if host in due]
    for cluster, hosts in waiting.items():
        _agreed(run, cluster, [host for host in hosts if host in restarts], seen)
    kept = [host for host in idle if host not in due]
    # These were started while others were still to join: only now is the cluster complete.
    kept += [host for host in run.good_hosts if host in unmarked and not run.options.check]
    for task, names in ((restart_member, restarts), (keep_running, kept)):
        if names:
            run.step(STEP, task, only=names)
    return waiting


def _agreed(run: Run, cluster: str, order: Sequence[str], seen: Mapping[str, Seen]) -> bool:
    """Whether members may be restarted: without a question where no client notices it. A no is recorded."""
    members = run.fleet.clusters[cluster]
    schemes = {
        host.name: found.live.status.endpoint.partition(":")[0]
        for host in members
        if (found := seen.get(host.name)) and found.live.status
    }
    wanted = "https" if members[0].cluster.client_tls else "http"
    what = interruption(len(members), order, schemes, wanted)
    if what and run.options.check:
        run.record.warn(cluster, f"{what}; without --check this is asked for")
    if not what or run.options.check:
        return True
    try:
        agreed = run.confirm(f"{cluster}: {what}. Go on?")
    except UsageError:  # no terminal to ask at
        agreed = False
    if not agreed:
        run.record.protect(
            cluster,
            f"not restarted, since this was not confirmed: {what}",
            "run again when it suits, and say yes or add --yes; until its next start etcd runs as before",
            where=", ".join(order),
        )
        run.record.skip_rest(run.clusters[cluster], f"{cluster} was not restarted, since it was not confirmed")
    return agreed


def _refused(run: Run, cluster: str, plan: Plan) -> bool:
    """Whether the plan is to touch nothing; if so, that is recorded."""
    if not isinstance(plan, Refuse):
        return False
    failed = [host for host in run.clusters[cluster] if host not in run.good_hosts]
    if failed:
        # What stood against a start without failures was found before anything was changed: it is these that are
        # missing, and their failures say why.
        run.record.skip_rest(
            run.clusters[cluster], f"{cluster} is not started without {', '.join(failed)}: {plan.what}"
        )
        return True
    run.record.protect(cluster, plan.what, plan.remedy, where=", ".join(plan.hosts))
    run.record.skip_rest(run.clusters[cluster], f"stopped to protect cluster {cluster}")
    return True


def _settled(run: Run) -> frozenset[str]:
    """Clusters where, as far as was read, every member runs with all that it should: no need to ask etcd."""
    good = run.good_hosts
    results = run.step("look", is_settled, only=good).items() if good else ()
    settled = {host for host, result in results if not result.failed and result[0].result}
    return frozenset(cluster for cluster, hosts in run.clusters.items() if settled.issuperset(hosts))


def is_settled(task: Task) -> Result:
    """Whether the member runs, with the configuration that is wanted, as part of a cluster that was healthy once."""
    site = site_of(task)
    seen = site.observe()
    settled = (
        seen.service.running
        and seen.facts.established is not None
        and seen.facts.data.ids is not None
        and not restart_reasons(site.settings, seen, programs=True)
        and all(same(file, seen.facts.files.get(file.path)) for file in desired_files(task, site, seen))
    )
    return Result(task.host, result=settled)


def due_for_restart(results: AggregatedResult) -> frozenset[str]:
    """The hosts on which a step has changed, or with --check would change, what etcd reads at its start."""
    outcomes = {host: result[0].result for host, result in results.items() if not result.failed}
    return frozenset(host for host, outcome in outcomes.items() if isinstance(outcome, StepOutcome) and outcome.restart)


def _begun(run: Run, host: str) -> bool:
    return run.record.record.hosts[host].steps[STEP].status is not None


def _to_start(plan: Plan) -> tuple[str, ...]:
    if isinstance(plan, Bootstrap | Join):
        return plan.hosts
    return plan.start_first if isinstance(plan, Rolling) else ()


def _incomplete(plan: Plan) -> bool:
    return isinstance(plan, Rolling) and bool(plan.joining)


def _plan(
    run: Run, clusters: Mapping[str, tuple[str, ...]], *, programs: bool = False
) -> tuple[dict[str, Plan], dict[str, Seen]]:
    """Looks at all hosts of the clusters that this run may touch, and decides for each cluster what to do.

    Gives what was seen of each host, too.
    """
    good = [host for hosts in clusters.values() for host in hosts if host in run.good_hosts]
    seen: dict[str, Seen] = {}
    for host, result in run.step("look", look, only=good).items() if good else ():
        if not result.failed:
            observed, live = result[0].result
            seen[host] = Seen(observed, live)
    _confirm_differences(run, clusters, seen)
    plans = {
        cluster: plan_cluster(
            run.fleet.clusters[cluster], seen, frozenset(hosts), frozenset(run.good_hosts), programs=programs
        )
        for cluster, hosts in clusters.items()
    }
    return plans, seen


def _confirm_differences(run: Run, clusters: Mapping[str, tuple[str, ...]], seen: dict[str, Seen]) -> None:
    """Where members seem to hold different data, asks them again: one look may be wrong about that."""
    for _ in range(CONFIRMATIONS):
        again = [
            host
            for hosts in clusters.values()
            if divergence(s for host in hosts if host in seen and (s := seen[host].live.status))
            for host in hosts
            if host in seen and host in run.good_hosts
        ]
        if not again:
            return
        time.sleep(PAUSE_SECONDS)
        for host, result in run.step("look", look, only=again).items():
            if not result.failed:
                observed, live = result[0].result
                seen[host] = Seen(observed, live)


def plan_cluster(
    members: tuple[HostSettings, ...],
    seen: Mapping[str, Seen],
    chosen: frozenset[str],
    good: frozenset[str],
    *,
    programs: bool = False,
) -> Plan:
    """The plan of one cluster out of what was seen of its hosts; hosts that were not looked at count as unknown."""
    if not any(host.name in good and host.name in seen for host in members):
        return Nothing()
    first = members[0]
    expected = expected_members(first)
    ids = static_ids({member.name: [member.peer_url] for member in expected}, first.cluster.token)
    states = [
        _state(host, seen.get(host.name), host.name in chosen, host.name in good, programs=programs) for host in members
    ]
    return plan_start(
        states,
        expected,
        ids,
        _member_list(seen, members),
        {host.name: found.live.status for host in members if (found := seen.get(host.name)) and found.live.status},
        first.cluster.quota_bytes,
    )


def _state(host: HostSettings, found: Seen | None, chosen: bool, good: bool, *, programs: bool) -> MemberState:
    if found is None:
        return MemberState(host.name, host.member.name, chosen=chosen, ready=good, seen=False)
    facts, service = found.observed.facts, found.observed.service
    file = facts.files.get(CONFIG)
    configuration = file.content if file else None
    return MemberState(
        host.name,
        host.member.name,
        data=facts.data.ids,
        data_unreadable=facts.data.unreadable,
        established=facts.established,
        running=service.running,
        answering=found.live.status is not None,
        restart_pending=bool(restart_reasons(host, found.observed, programs=programs)),
        data_dir=host.member.data_dir,
        configured_dir=data_dir_in(configuration),
        data_elsewhere=facts.data_elsewhere,
        disk_absent=facts.place.absent,
        quota_bytes=quota_in(configuration),
        chosen=chosen,
        ready=good,
    )


def _member_list(seen: Mapping[str, Seen], members: tuple[HostSettings, ...]) -> MemberList | None:
    """The list of a member that knows of a leader, else of any: one that was cut off may have an old list."""
    found = [seen[host.name].live for host in members if host.name in seen and seen[host.name].live.members]
    found.sort(key=lambda live: not (live.status and live.status.leader_id))
    return found[0].members if found else None
