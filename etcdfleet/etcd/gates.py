"""Whether one member may be taken down now, whether it is back, and who should lead meanwhile: pure decisions.

All answers were asked for at about the same time. A write changes the raft index between two answers, so indexes are
compared with a tolerance, in entries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from etcdfleet.etcd.alarms import takes_part
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, Member, MemberList, address
from etcdfleet.etcd.equal import divergence
from etcdfleet.etcd.ids import hex_id

MAX_LAG = 1000
"""Entries that a member may be behind the most advanced one: far below the 5000 that a leader keeps for slow followers
(``DefaultSnapshotCatchUpEntries`` in ``server.go``), far above what such hosts write between two answers."""


def may_restart(
    name: str,
    members: MemberList,
    statuses: Iterable[EndpointStatus],
    healths: Iterable[EndpointHealth],
    max_lag: int = MAX_LAG,
) -> str | None:
    """Return why the member of this name must not be taken down now, or None.

    Every *other* member of the list must have started, be a voter, be healthy, agree on leader and term, and have
    applied what the most advanced one has; and no member that answers, itself included, may hold other data than the
    rest. Otherwise the member itself may be in any state. A cluster of one has no others, and
    one of two loses its quorum for the time of the restart: both are allowed, there is no other way.
    """
    if name not in {member.name for member in members.members}:
        return f"{name} is not in the member list"
    others = [member for member in members.members if member.name != name]
    for member in others:
        if member.learner:
            return f"{_name(member)} is a learner, and does not count for the quorum"
        if not member.started:
            return f"{_name(member)} has never started"
    statuses = tuple(statuses)
    if found := divergence(statuses):
        return f"members do not hold the same data: {found.told(_named(members))}"
    return _trouble(others, others, statuses, healths, members.cluster_id, max_lag)


def caught_up(
    name: str,
    members: MemberList,
    statuses: Iterable[EndpointStatus],
    healths: Iterable[EndpointHealth],
    max_lag: int = MAX_LAG,
) -> str | None:
    """Return why the member of this name is not fully back yet, or None.

    It is back when it is healthy, agrees with all members that answer on leader and term, has applied what the most
    advanced of them has, and holds the same data.
    """
    judged = [member for member in members.members if member.name == name]
    if not judged:
        return f"{name} is not in the member list"
    statuses = tuple(statuses)
    found = divergence(statuses)
    if found and found.concerns(judged[0].id):
        return f"{name} does not hold the same data as others: {found.told(_named(members))}"
    return _trouble(judged, members.members, statuses, healths, members.cluster_id, max_lag)


def _trouble(
    judged: Sequence[Member],
    compared: Sequence[Member],
    statuses: Iterable[EndpointStatus],
    healths: Iterable[EndpointHealth],
    cluster_id: int,
    max_lag: int,
) -> str | None:
    answered = {status.member_id: status for status in statuses}
    known = [(member, answered[member.id]) for member in compared if member.id in answered]
    by_address = {address(health.endpoint): health for health in healths}
    for member in judged:
        status = answered.get(member.id)
        if status is None:
            return f"{_name(member)} does not answer"
        asked = [by_address[address(url)] for url in member.client_urls if address(url) in by_address]
        sick = [health for health in asked if not takes_part(health)]
        if sick or not asked:
            return f"{_name(member)} is not healthy: {sick[0].error if sick and sick[0].error else 'no answer'}"
        if cluster_id and status.cluster_id != cluster_id:
            return f"{_name(member)} is in another cluster, {hex_id(status.cluster_id)}"
        if not status.leader_id:
            return f"{_name(member)} knows of no leader"
        if any("CORRUPT" in error for error in status.errors):
            return f"{_name(member)} reports corrupt data"
        for other, theirs in known:
            if (theirs.leader_id, theirs.term) != (status.leader_id, status.term):
                return f"{_name(member)} and {_name(other)} do not agree on leader and term"
        lag = max(theirs.raft_index for _, theirs in known) - status.raft_applied
        if lag > max_lag:
            return f"{_name(member)} is {lag} entries behind"
    return None


def _named(members: MemberList) -> Callable[[EndpointStatus], str]:
    names = {member.id: _name(member) for member in members.members}
    return lambda status: names.get(status.member_id, hex_id(status.member_id))


def _name(member: Member) -> str:
    return member.name or f"member {hex_id(member.id)}"


def move_leader_to(
    leader_id: int,
    members: MemberList,
    statuses: Iterable[EndpointStatus],
    *,
    pending: Collection[str] = (),
    restarted: Collection[str] = (),
) -> Member | None:
    """Return the member to move the leadership to before the leader goes down, or None if there is no good one.

    Fit is a voter that answers, follows this very leader in the same term, and (by name) is not ``pending`` a restart
    itself. Of these, one that was ``restarted`` in this run, then the one that has applied most.
    ``etcdctl move-leader`` takes the id in hexadecimal and must be sent to the leader's endpoint.
    """
    answered = {status.member_id: status for status in statuses}
    own = answered.get(leader_id)
    if own is None or own.leader_id != leader_id:
        return None
    fit = [
        (member, answered[member.id])
        for member in members.members
        if member.id in answered and member.id != leader_id and not member.learner and member.name not in pending
    ]
    fit = [(m, status) for m, status in fit if (status.leader_id, status.term) == (leader_id, own.term)]
    best = max(fit, key=lambda pair: (pair[0].name in restarted, pair[1].raft_applied), default=None)
    return best[0] if best else None
