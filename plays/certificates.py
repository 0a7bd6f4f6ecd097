"""The step ``certificates`` of a deploy, and how pairs that a live cluster shows are replaced, for all runbooks.

How to go about a cluster is decided in ``etcdfleet/certs/rotation.py``; what happens on a host is in
``tasks/certificates/rotate.py``. A deploy places pairs at once only where no member shows them yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from etcdfleet.certs.rotation import AllAtOnce, MemberPair, NothingDue, OneByOne, RotationPlan, plan_rotation
from etcdfleet.errors import Refusal
from etcdfleet.program.run import Run
from etcdfleet.program.runners import RollingRunner, TogetherRunner
from etcdfleet.roles import RoleName
from tasks.certificates.place import certificates, must_wait, renewals, shown_and_due
from tasks.certificates.rotate import Decided, decide, left_out, replace_expired, rotate_member

STEP = "certificates"
Roles = tuple[RoleName, ...]
_HEAL = "bring the cluster back to health first (see the members' logs), then run again"


def place(run: Run[Any]) -> bool:
    """Carry out the step ``certificates`` of a deploy; whether something is left for after the start.

    A pair that is not in use yet is placed at once, all of them in parallel. What a running member shows is replaced
    one member at a time, each behind the gate, proven, and put back if it does not prove itself. Where a member does
    not run yet, or clients have another scheme than is wanted, that is done later: `replace_shown`, after the start.
    """
    shown = _shown(run)
    run.step(STEP, certificates, later=shown)
    if run.check or not shown:
        return False
    if any(run.ask(must_wait).values()):
        return True
    _replace(run, shown)
    return False


def replace_shown(run: Run[Any]) -> None:
    """Replace the pairs that are due and that running members show."""
    if shown := _shown(run):
        _replace(run, shown)


def _shown(run: Run[Any]) -> dict[str, Roles]:
    return {host: roles for host, roles in run.ask(shown_and_due).items() if roles}


def _replace(run: Run[Any], shown: Mapping[str, Roles]) -> None:
    """Replace the pairs that members show; the cluster is left unless all goes well."""
    members: dict[str, MemberPair] = {}
    for host, outcome in run.ask(decide, changing=True).items():
        if isinstance(outcome, Decided) and outcome.member and outcome.member.deployed:
            roles = shown.get(host, ())
            decisions = {role: each for role, each in outcome.member.decisions.items() if role in roles}
            members[host] = replace(outcome.member, decisions=decisions)
    if run.failed:
        kept = ", ".join(host for host in run.hosts if host in shown)
        run.leave(f"certificates of {kept} stay as they are: {', '.join(run.failed)} failed")
    plan = plan_rotation([members[host] for host in run.hosts if host in members], size=len(run.members), absent=[])
    if isinstance(plan, Refusal):
        run.protect(f"no certificate was replaced: {plan.what}", _HEAL)
    due = {host: renewals(member.decisions) for host, member in members.items()}
    carry_out(run, STEP, plan, due)
    if run.failed:
        run.leave(f"not touched, since {', '.join(run.failed)} failed")


def carry_out(
    run: Run[Any],
    step: str,
    plan: RotationPlan,
    due: Mapping[str, Mapping[RoleName, str]],
    *,
    skips: Sequence[str] = (),
    **follows: bool,
) -> list[str]:
    """Replace what is due by a plan, under the name ``step``; return the hosts whose turn came.

    ``skips`` are the steps that are left out on hosts whose turn did not come, because another has failed; ``follows``
    says what comes after (``restart`` and ``revoke`` of `rotate_member`).
    """
    if isinstance(plan, Refusal | NothingDue):
        return []
    order = plan.hosts if isinstance(plan, OneByOne) else plan.then
    hosts = list(dict.fromkeys((*plan.hosts, *order)))
    without: tuple[str, ...] = ()

    def not_reached(host: str, failed: str) -> None:
        run.skip(skips, f"not touched, since {failed} failed", on=[host])
        hosts.remove(host)

    if isinstance(plan, AllAtOnce):
        run.warn(f"{plan.why}: new ones at once for {', '.join(plan.hosts)}")
        run.step(step, replace_expired, on=plan.hosts, runner=TogetherRunner(), due=due, **follows)
        failed = [host for host in plan.hosts if host not in run.good]
        if failed:
            for host in order:
                not_reached(host, ", ".join(failed))
            return hosts
    else:
        without = tuple(plan.sick)
        _say_left_out(run, step, plan)
    runner = RollingRunner(order, not_reached=not_reached)
    run.step(step, rotate_member, on=order, runner=runner, due=due, without=without, **follows)
    return hosts


def _say_left_out(run: Run[Any], step: str, plan: OneByOne) -> None:
    """Say what is done without some members; a host that should have had new certificates has failed."""
    if not plan.sick:
        return
    sick = "; ".join(f"{name}: {why}" for name, why in plan.sick.items())
    run.warn(f"not all members are healthy; it goes on with the others (--allow-degraded): {sick}")
    for host, why in plan.left_out.items():
        run.step(step, left_out, on=[host], why=why)
