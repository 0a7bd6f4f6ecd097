"""A rotation: certificates that are due are replaced on a live cluster, or it moves to another CA, without downtime."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from etcdfleet.certs.rotation import MemberPair, NothingDue, OneByOne, RotationPlan, plan_rotation
from etcdfleet.errors import Refusal
from etcdfleet.program.run import Run
from plays import certificates, clients, lock, trust
from plays.options import RotateOptions
from plays.start import bring_up
from tasks.certificates.revoke import Revoked, refresh_crl, revoke_replaced
from tasks.certificates.rotate import Decided, decide
from tasks.certificates.trust import end_trust
from tasks.start import restart_member
from tasks.verify.member import verify

STEP = "rotate"
Members = Mapping[str, MemberPair]


def rotate(run: Run[RotateOptions], decided: MutableMapping[str, Members]) -> None:
    """Decide on all hosts, rotate, verify, revoke. What was decided is put into ``decided``, by cluster and host."""
    lock.take(run)
    decided[run.cluster] = members = _decide(run)
    plan = _plan(run, members)
    if isinstance(plan, Refusal):
        run.protect(plan.what, plan.remedy)
    if run.own.ca:
        proven = _move_to_new_ca(run, plan, members)
    elif isinstance(plan, NothingDue):
        proven = _nothing_due(run, members)
    else:
        proven = _renew(run, plan, members)
    if not run.check:
        without = tuple(plan.sick) if isinstance(plan, OneByOne) else ()
        run.step("verify", verify, on=proven, without=without)
    _revoke(run)


def _decide(run: Run[RotateOptions]) -> Members:
    own = run.own
    answers = run.step(
        "decide", decide, force=own.force, chosen=tuple(own.only or ()), new_ca=own.ca, revoke=own.revoke
    )
    return {host: answer.member for host, answer in answers.items() if isinstance(answer, Decided) and answer.member}


def _plan(run: Run[RotateOptions], members: Members) -> RotationPlan:
    # Members that were left out on purpose still count for the others' health, which each gate asks them for.
    return plan_rotation(
        [members[host] for host in run.hosts if host in members],
        size=len(run.members),
        absent=run.failed,
        allow_degraded=run.own.allow_degraded,
    )


def _nothing_due(run: Run[RotateOptions], members: Members) -> list[str]:
    for host in run.good:
        if host in members and (problem := members[host].problem):
            run.warn(f"no certificate is due, but its member is not healthy: {problem}", host)
    run.skip((trust.STEP, STEP, "start"), "nothing is due", on=run.good)
    unproven = _unproven(run, members)
    run.skip("verify", "nothing is due", on=[host for host in run.good if host not in unproven])
    return unproven


def _renew(run: Run[RotateOptions], plan: RotationPlan, members: Members) -> list[str]:
    """Replace what is due with certificates of the CA that members trust; the hosts that are to be verified."""
    if isinstance(plan, OneByOne):
        trust.keep_untrusted(run)
    run.skip(trust.STEP, "no other CA")
    due = _replace(run, plan, members)
    if not run.own.restart:
        run.skip("start", "etcd reads certificates without a restart")
    elif run.check:
        run.step("start", restart_member, on=due)
    else:
        bring_up(run)
    return [*due, *(host for host in _unproven(run, members) if host not in due)]


def _move_to_new_ca(run: Run[RotateOptions], plan: RotationPlan, members: Members) -> list[str]:
    """Make all members trust the new CA, show its certificates, then trust it alone. Return the hosts to verify."""
    trust.spread(run)
    if any("server" in member.due for member in members.values()):
        clients.keep(run, ready=run.own.clients_ready, option="--clients-ready")
    _replace(run, plan, members)
    if not run.failed:
        run.step(trust.STEP, end_trust, sides=trust.no_longer_needed(run))
        bring_up(run)
    return list(run.hosts)


def _replace(run: Run[RotateOptions], plan: RotationPlan, members: Members) -> list[str]:
    """Replace what is due; return the hosts that have new certificates, or were to have them when one failed."""
    replaced = {
        host: {role: f"{role} certificate is replaced" for role in member.due} for host, member in members.items()
    }
    own, skips = run.own, (STEP, "verify")
    due = certificates.carry_out(run, STEP, plan, replaced, skips=skips, restart=own.restart, revoke=own.revoke)
    idle = [host for host in run.hosts if host not in due]
    run.skip(STEP, "nothing is due here", on=idle)
    if not run.own.ca:
        unproven = [host for host in idle if host in members and members[host].unproven]
        run.skip("verify", "nothing is due here", on=[host for host in idle if host not in unproven])
    return due


def _unproven(run: Run[RotateOptions], members: Members) -> list[str]:
    """Return the hosts on which a run that was ended has left certificates that this run is to prove."""
    return [host for host in run.pending("verify") if host in members and members[host].unproven]


def _revoke(run: Run[RotateOptions]) -> None:
    """After all is proven: revoke what was replaced, where that is asked for, and keep etcd's revocation lists."""
    settings = {member.name: member for member in run.members}
    waiting = run.pending("revoke")
    hosts = [host for host in waiting if run.own.revoke or settings[host].pki.revoke]
    outcomes = run.step("revoke", revoke_replaced, on=hosts)
    revoked = {
        host: outcome.client_set
        for host, outcome in outcomes.items()
        if isinstance(outcome, Revoked) and outcome.changes
    }
    run.skip("revoke", "not asked for", on=[host for host in waiting if host not in hosts])
    lists = [host for host in waiting if host in run.good and settings[host].pki.crl]
    run.step("crl", refresh_crl, on=lists, refused=revoked)
    run.skip("crl", "pki.crl is off", on=[host for host in waiting if host not in lists])
    left = [member.name for member in run.members if member.name not in lists and member.pki.crl]
    if left and revoked and not run.check:
        run.warn(f"{', '.join(left)} did not get the new revocation list: run rotate_certs.py for all of it")
