"""What a rotation of certificates does to a cluster: pure decisions over what was seen of its members."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from etcdfleet.certs.decide import Keep, Renew
from etcdfleet.certs.want import utc
from etcdfleet.errors import Refusal
from etcdfleet.roles import RoleName

ORDERED = "a new key was asked for (--force)"
NEVER_PROVEN = "it was placed by a run that was ended before it had proven it, and the member is not healthy"


@dataclass(frozen=True)
class MemberPair:
    """One member: its decisions by role, and what was seen of it. ``clock`` is its own.

    ``healthy`` says that it answers a linearizable read and agrees with the others; ``problem`` is why not. ``name`` is
    its name in etcd, and ``others_sick`` are the other members that it finds not healthy, by that name, and why.
    ``deployed`` is False for a host that never was a member, or was installed anew. ``unproven`` says that a run that
    was ended has placed certificates there, and they are not proven yet.
    """

    host: str
    decisions: Mapping[RoleName, Keep | Renew] = field(default_factory=dict)
    clock: datetime | None = None
    running: bool = True
    healthy: bool = True
    leader: bool = False
    problem: str = ""
    name: str = ""
    others_sick: Mapping[str, str] = field(default_factory=dict)
    deployed: bool = True
    unproven: bool = False

    @property
    def due(self) -> tuple[RoleName, ...]:
        """The roles whose certificate is to be replaced."""
        return tuple(role for role, decision in self.decisions.items() if isinstance(decision, Renew))

    @property
    def expired(self) -> bool:
        """Whether the members' connections to it fail because a certificate has run out, or is not there at all."""
        clock = self.clock
        if clock is None:
            return False
        ends = [
            decision.certificate.not_after if decision.certificate else None
            for role, decision in self.decisions.items()
            if isinstance(decision, Renew) and role != "client"
        ]
        return any(end is None or end < clock for end in ends)

    @property
    def stuck(self) -> bool:
        """Whether it cannot become healthy, or cannot be asked how it is, before it has a new pair.

        A pair that looks unusable may work all the same (nothing notes which key belongs to one that was placed by
        hand): while the member is healthy, there is no reason for haste. etcdctl on the host asks with the client's.
        """
        unusable = any(isinstance(decision, Renew) and decision.unusable for decision in self.decisions.values())
        return self.expired or (unusable and not self.healthy)


@dataclass(frozen=True)
class NothingDue:
    """All certificates of the cluster can stay."""


@dataclass(frozen=True)
class OneByOne:
    """The members with certificates that are due, in the order to take them: the leader last.

    ``sick`` are the members without which it is done, by their names in etcd, and why; ``left_out`` are the hosts among
    them whose certificates are due, and why.
    """

    hosts: tuple[str, ...]
    sick: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AllAtOnce:
    """The members that get new certificates together, without waiting for health: it cannot come back before.

    ``then`` are those with certificates that are due and can wait: one by one afterwards, each behind the gate.
    """

    hosts: tuple[str, ...]
    why: str
    then: tuple[str, ...] = ()


RotationPlan: TypeAlias = NothingDue | OneByOne | AllAtOnce | Refusal


def apply_options(decision: Keep | Renew, *, forced: bool, chosen: bool) -> Keep | Renew:
    """Apply what the user asked for: a new certificate although it is good, or not this role at all."""
    if not chosen and isinstance(decision, Renew) and decision.certificate is not None:
        return Keep(decision.certificate, decision.certificate.not_after)
    if forced and chosen and isinstance(decision, Keep):
        return Renew((ORDERED,), decision.certificate)
    return decision


def never_proven(
    decisions: Mapping[RoleName, Keep | Renew], unproven: Collection[str], *, healthy: bool
) -> dict[RoleName, Keep | Renew]:
    """Return the decisions; a pair that was left unproven stays on a healthy member only, where this run proves it."""
    return {
        role: Renew((NEVER_PROVEN,), decision.certificate, unusable=True)
        if isinstance(decision, Keep) and role in unproven and not healthy
        else decision
        for role, decision in decisions.items()
    }


def plan_rotation(
    members: Sequence[MemberPair], *, size: int, absent: Sequence[str] = (), allow_degraded: bool = False
) -> RotationPlan:
    """Return how to go about the certificates that are due in a cluster of ``size`` members.

    ``absent`` are members that were not looked at. In a healthy cluster one member is done after the other. Where a
    certificate has expired or is of no use, no gate could be passed: these members, and those that they make sick, get
    new ones at once, and the others follow one by one. A cluster that is unhealthy for another reason is left alone;
    with ``allow_degraded`` it is done one by one as long as a majority is healthy.
    """
    due = [member for member in members if member.due]
    if not due:
        return NothingDue()
    if new := [member.host for member in due if not member.deployed]:
        return Refusal(
            f"no etcd is deployed on {', '.join(new)} yet", tuple(new), "run deploy: it brings certificates, too"
        )
    stuck = [member for member in members if member.stuck]
    order = tuple(member.host for member in sorted(due, key=lambda member: member.leader))
    if stuck:
        names = ", ".join(member.host for member in stuck)
        waiting = frozenset(m.host for m in due if not m.stuck and (m.healthy or not m.running))
        return AllAtOnce(
            tuple(host for host in order if host not in waiting),
            f"certificates of {names} have expired or cannot be used, so nothing can be asked there, or members refuse "
            "each other",
            tuple(host for host in order if host in waiting),
        )
    by_name = {member.name or member.host: member for member in members}
    sick = {name: member.problem or "not healthy" for name, member in by_name.items() if not member.healthy}
    for member in members:
        if member.healthy:  # what one that is cut off says of the others is worth nothing
            sick |= {name: why for name, why in member.others_sick.items() if name not in by_name}
    problems = [f"{by_name[name].host if name in by_name else name}: {why}" for name, why in sick.items()]
    problems += [f"{name} was not read" for name in absent]
    if not problems:
        return OneByOne(order)
    healthy, quorum = size - len(sick), size // 2 + 1
    if allow_degraded and healthy >= quorum and any(member.healthy for member in members):
        left_out = {member.host: sick[name] for name, member in by_name.items() if name in sick and member.due}
        return OneByOne(tuple(host for host in order if host not in left_out), sick, left_out)
    if allow_degraded:
        remedy = f"bring members back first: {healthy} of {size} are healthy, and {quorum} are needed"
    else:
        remedy = "bring it back to health first; --allow-degraded goes on with the healthy ones, if they are a majority"
    if stopped := [member.host for member in members if not member.running]:
        remedy = f"deploy starts etcd on {', '.join(stopped)}; {remedy}"
    return Refusal("; ".join(problems), tuple(by_name[name].host for name in sick if name in by_name), remedy)


def describe(role: RoleName, decision: Keep | Renew) -> str:
    """Return what will be done with a certificate, why and when, for people."""
    if isinstance(decision, Keep):
        return f"{role}: good until {utc(decision.certificate.not_after)}, due from {utc(decision.renew_at)}"
    end = f" (until {utc(decision.certificate.not_after)})" if decision.certificate else ""
    return f"{role}: to be replaced{end}: {'; '.join(decision.reasons)}"
