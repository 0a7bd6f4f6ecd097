"""The run of ``runbooks/rotate_certs.py``: which task runs on which hosts, in which order."""

from __future__ import annotations

from collections.abc import Mapping

from etcdfleet.certs.rotation import MemberPair, NothingDue, OneByOne, Refused, RotationPlan, plan_rotation
from etcdfleet.program.main import Run
from tasks.handover import keep_clients
from tasks.lock import take_locks
from tasks.replacing import Clusters, Plans, Without, carry_out
from tasks.revocation import Revoked, refresh_crl, revoke_replaced
from tasks.rollout import bring_up
from tasks.rotation import After, Decided, decide
from tasks.start import restart_member
from tasks.trust import STEP as TRUST
from tasks.trust import end_trust, keep_untrusted, no_longer_needed, spread_trust


def rotate(run: Run) -> tuple[list[str], Without]:
    """Carries out all steps up to ``verify``; gives the hosts to be verified, and the members to do without.

    Failures are recorded in ``run.record``.
    """
    clusters = take_locks(run, run.clusters)
    members = _decide(run, clusters)
    plans = {cluster: _plan(run, cluster, members) for cluster in clusters}
    new_ca = bool(run.options.extra["ca"])
    going: Clusters = {
        name: hosts for name, hosts in clusters.items() if not _left_alone(run, name, plans[name], members, new_ca)
    }
    if new_ca:
        going = spread_trust(run, going)
        server = [
            name for name, hosts in going.items() if any("server" in members[h].due for h in hosts if h in members)
        ]
        asked = {name: going[name] for name in server}
        kept = keep_clients(run, asked, ready=bool(run.options.extra["clients_ready"]))
        going = {name: hosts for name, hosts in going.items() if name in kept or name not in asked}
    else:
        one_by_one = {name: hosts for name, hosts in going.items() if isinstance(plans[name], OneByOne)}
        trusted = keep_untrusted(run, one_by_one)
        going = {name: hosts for name, hosts in going.items() if name in trusted or name not in one_by_one}
        run.record.skip(run.hosts, TRUST, "no other CA")
    without = {name: tuple(plan.sick) for name, plan in plans.items() if isinstance(plan, OneByOne) and name in going}
    due = _replace(run, {name: plans[name] for name in going}, members, without)
    if new_ca:
        _end(run, going)
        return [host for hosts in going.values() for host in hosts], without
    _restart(run, going, due)
    return [*due, *(host for host in members if host not in due and _to_prove(run, members, host))], without


def revoke(run: Run) -> None:
    """After all is proven: revokes what was replaced, where that is asked for, and keeps etcd's revocation lists."""
    asked = bool(run.options.extra["revoke"])
    waiting = [host for host in run.good_hosts if run.record.record.hosts[host].steps["revoke"].status is None]
    hosts = [host for host in waiting if asked or run.fleet.hosts[host].pki.revoke]
    revoked: dict[str, str] = {}
    if hosts:
        for host, result in run.step("revoke", revoke_replaced, only=hosts).items():
            outcome = None if result.failed else result[0].result
            if isinstance(outcome, Revoked) and outcome.changes:
                revoked[host] = outcome.client_set
    run.record.skip([host for host in waiting if host not in hosts], "revoke", "not asked for")
    lists = [host for host in waiting if host in run.good_hosts and run.fleet.hosts[host].pki.crl]
    if lists:
        run.step("crl", refresh_crl, only=lists, refused=revoked)
    run.record.skip([host for host in waiting if host not in lists], "crl", "pki.crl is off")
    for cluster, chosen in run.clusters.items():
        left = [host.name for host in run.fleet.clusters[cluster] if host.name not in lists and host.pki.crl]
        if left and any(host in revoked for host in chosen) and not run.options.check:
            run.record.warn(
                cluster, f"{', '.join(left)} did not get the new revocation list: run rotate_certs.py for all of it"
            )


def _restart(run: Run, clusters: Clusters, due: list[str]) -> None:
    """With --restart, the members that have new certificates are restarted, as after a changed setting."""
    if not run.options.extra["restart"]:
        run.record.skip(run.hosts, "start", "etcd reads certificates without a restart")
    elif run.options.check:
        if due:
            run.step("start", restart_member, only=due)
    else:
        bring_up(run, clusters)


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
        revoke=bool(extra["revoke"]),
    )
    members: dict[str, MemberPair] = {}
    for host, result in results.items():
        outcome = None if result.failed else result[0].result
        if isinstance(outcome, Decided) and outcome.member:
            members[host] = outcome.member
    if members and (run.options.check or run.options.verbose):
        from etcdfleet.report.show.rotation_table import due_lines

        found = {name: [members[host] for host in hosts if host in members] for name, hosts in clusters.items()}
        run.say("\n".join(["", *due_lines(found, run.terminal.width), ""]))
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


def _left_alone(run: Run, cluster: str, plan: RotationPlan, members: Mapping[str, MemberPair], new_ca: bool) -> bool:
    """Whether there is nothing to do in a cluster, or nothing may be done; that is recorded."""
    if isinstance(plan, Refused):
        run.record.protect(cluster, plan.what, plan.remedy, where=cluster)
        run.record.skip_rest(run.clusters[cluster], f"stopped to protect cluster {cluster}")
        return True
    if isinstance(plan, NothingDue) and not new_ca:
        sound = [host for host in run.clusters[cluster] if host in run.good_hosts]
        for host in sound:
            if host in members and (problem := members[host].problem):
                run.record.warn(host, f"no certificate is due, but its member is not healthy: {problem}")
        run.record.skip(sound, (TRUST, "rotate", "start"), "nothing is due")
        run.record.skip([host for host in sound if not _unproven(members, host)], "verify", "nothing is due")
        return True
    return False


def _unproven(members: Mapping[str, MemberPair], host: str) -> bool:
    """Whether a run that was ended has left certificates there that are still to be proven."""
    return host in members and members[host].unproven


def _to_prove(run: Run, members: Mapping[str, MemberPair], host: str) -> bool:
    """Whether that is for this run to do: the host's cluster was not left alone, nor the host since another failed."""
    return _unproven(members, host) and run.record.record.hosts[host].steps["verify"].status is None


def _replace(run: Run, plans: Plans, members: Mapping[str, MemberPair], without: Without) -> list[str]:
    """Replaces what is due; gives the hosts that were to have new certificates."""
    untouched = set[str]()

    def not_reached(host: str, failed: str) -> None:
        run.record.skip(host, ("rotate", "verify"), f"not touched, since {failed} failed")
        untouched.add(host)

    after = After(restart=bool(run.options.extra["restart"]), revoke=bool(run.options.extra["revoke"]))
    due = carry_out(run, "rotate", plans, members, without, after=after, not_reached=not_reached)
    idle = [host for name in plans for host in run.clusters[name] if host not in due]
    run.record.skip(idle, "rotate", "nothing is due here")
    if not run.options.extra["ca"]:
        run.record.skip([host for host in idle if not _unproven(members, host)], "verify", "nothing is due here")
    return [host for host in due if host not in untouched]


def _end(run: Run, clusters: Clusters) -> None:
    """The last pass of a new CA: those of before are trusted no longer, by a rolling restart."""
    sound = {name: hosts for name, hosts in clusters.items() if all(host in run.good_hosts for host in hosts)}
    hosts = [host for names in sound.values() for host in names]
    if hosts:
        run.step(TRUST, end_trust, only=hosts, final=no_longer_needed(run, sound))
        bring_up(run, sound)
