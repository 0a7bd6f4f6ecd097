"""Whether one member may be taken down now, whether it is back, and who should lead meanwhile: pure decisions.

All answers are given by host (`view.by_host`), and were asked for at about the same time. A write changes the raft
index between two answers, so indexes are compared with a tolerance, in entries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.view import EndpointHealth, EndpointStatus, MemberList

MAX_LAG = 1000
"""Entries that a member may be behind the most advanced one: far below the 5000 that a leader keeps for slow followers
(``DefaultSnapshotCatchUpEntries`` in ``server.go``), far above what such hosts write between two answers."""


def may_restart(
    host: str,
    hosts: Sequence[str],
    members: MemberList | None,
    healths: Mapping[str, EndpointHealth],
    statuses: Mapping[str, EndpointStatus],
    max_lag: int = MAX_LAG,
) -> str | None:
    """Return why ``host``'s member must not be taken down now, or None.

    ``hosts`` are all hosts of the cluster. Every *other* member must have started, be healthy, agree on leader and
    term, and have applied what the most advanced one has. The member itself may be in any state. A cluster of one has
    no others, and of two loses its quorum for the time of the restart: both are allowed, there is no other way.
    """
    others = [other for other in hosts if other != host]
    if not others:
        return None
    if members is None:
        return "no member could tell the member list"
    if len(members.members) != len(hosts):
        return f"the cluster has {len(members.members)} members, the inventory {len(hosts)}"
    own = statuses.get(host)
    for member in members.members:
        if member.learner:
            return f"{member.name or hex_id(member.id)} is a learner, and does not count for the quorum"
        if not member.started and not (own and own.member_id == member.id):
            return f"{member.name or hex_id(member.id)} has never started"
    return _trouble(others, others, healths, statuses, max_lag)


def caught_up(
    host: str,
    hosts: Sequence[str],
    healths: Mapping[str, EndpointHealth],
    statuses: Mapping[str, EndpointStatus],
    max_lag: int = MAX_LAG,
) -> str | None:
    """Return why ``host``'s member is not fully back yet, or None: healthy, in agreement with all others, caught up."""
    return _trouble((host,), hosts, healths, statuses, max_lag)


def _trouble(
    judged: Sequence[str],
    compared: Sequence[str],
    healths: Mapping[str, EndpointHealth],
    statuses: Mapping[str, EndpointStatus],
    max_lag: int,
) -> str | None:
    for host in judged:
        health, status = healths.get(host), statuses.get(host)
        if status is None:
            return f"{host} does not answer"
        if health is None or not (health.healthy or _only_full(health)):
            return f"{host} is not healthy: {health.error if health and health.error else 'no answer'}"
        if not status.leader_id:
            return f"{host} knows of no leader"
        if any("CORRUPT" in error for error in status.errors):
            return f"{host} reports corrupt data"
    known = {host: statuses[host] for host in compared if host in statuses}
    for host in judged:
        status = statuses[host]
        for other, theirs in known.items():
            if theirs.cluster_id != status.cluster_id:
                return f"{host} and {other} are in different clusters"
            if (theirs.leader_id, theirs.term) != (status.leader_id, status.term):
                return f"{host} and {other} do not agree on leader and term"
        lag = max(theirs.raft_index for theirs in known.values()) - status.raft_applied
        if lag > max_lag:
            return f"{host} is {lag} entries behind"
    return None


def _only_full(health: EndpointHealth) -> bool:
    # 3.5 calls a member with this alarm unhealthy. It takes part in the quorum all the same, and a restart with a
    # larger quota is one of the ways out.
    return health.error.strip() == "Active Alarm(s): NOSPACE"


def next_leader(
    host: str,
    healths: Mapping[str, EndpointHealth],
    statuses: Mapping[str, EndpointStatus],
    pending: Collection[str],
    restarted: Collection[str] = (),
) -> str | None:
    """Return the host to move the leadership to before ``host`` goes down, or None if there is no good one or no need.

    A healthy follower with the same leader and term, not waiting for a restart itself; one that already was restarted
    before others, then the most advanced. (``etcdctl move-leader`` takes its member id in hexadecimal, and must be
    sent to the leader's endpoint.)
    """
    own = statuses.get(host)
    if own is None or own.leader_id != own.member_id:
        return None
    fit = [
        other
        for other, status in statuses.items()
        if other != host
        and other not in pending
        and not status.learner
        and (status.leader_id, status.term) == (own.leader_id, own.term)
        and other in healths
        and healths[other].healthy
    ]
    return max(
        fit, key=lambda other: (other in restarted, statuses[other].raft_applied, -fit.index(other)), default=None
    )
