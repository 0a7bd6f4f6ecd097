"""Whether one member may be taken down now, whether it is back, and who should lead meanwhile: pure decisions.

All answers were asked for at about the same time. A write changes the raft index between two answers, so indexes are
compared with a tolerance, in entries.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from etcdfleet.etcd.alarms import raised
from etcdfleet.etcd.answers import Member
from etcdfleet.etcd.cluster import MAX_LAG, Cluster
from etcdfleet.etcd.ids import hex_id


def may_restart(cluster: Cluster, name: str) -> str | None:
    """Return why the member of this name must not be taken down now, or None.

    Every *other* member of the list must have started, be a voter, be healthy, agree on leader and term, and have
    applied what the most advanced one has; and no member that answers, itself included, may hold other data than the
    rest. Otherwise the member itself may be in any state. A cluster of one has no others, and
    one of two loses its quorum for the time of the restart: both are allowed, there is no other way.
    """
    mine = cluster.entry(name)
    if mine is None:
        return f"{name} is not in the member list"
    others = [entry for entry in cluster.entries if entry != mine]
    if newcomer := _newcomer(cluster, others):
        return newcomer
    if cluster.divergence:
        return f"members do not hold the same data: {cluster.diverged()}"
    return _trouble(cluster, others, others)


def caught_up(cluster: Cluster, name: str) -> str | None:
    """Return why the member of this name is not fully back yet, or None.

    It is back when it is healthy, agrees with all members that answer on leader and term, has applied what the most
    advanced of them has, and holds the same data.
    """
    mine = cluster.entry(name)
    if mine is None:
        return f"{name} is not in the member list"
    if cluster.divergence and cluster.divergence.concerns(mine.id):
        return f"{name} does not hold the same data as others: {cluster.diverged()}"
    return _trouble(cluster, [mine], cluster.entries)


def all_well(cluster: Cluster) -> str | None:
    """Return why a member must not be kept busy now, or None: every member must be a healthy voter that has caught up.

    An alarm CORRUPT of any member stands against it; a full database does not, being what is to be mended.
    """
    if cluster.members is None:
        return f"no member gives the member list{f' ({cluster.no_list})' if cluster.no_list else ''}"
    if newcomer := _newcomer(cluster, cluster.entries):
        return newcomer
    if "CORRUPT" in cluster.alarms:
        return "the alarm CORRUPT is raised: the data of members differ"
    if cluster.divergence:
        return f"members do not hold the same data: {cluster.diverged()}"
    return _trouble(cluster, cluster.entries, cluster.entries)


def _newcomer(cluster: Cluster, entries: Sequence[Member]) -> str | None:
    """Return which of these is not yet a member with a vote, or None."""
    for entry in entries:
        if entry.learner:
            return f"{cluster.name(entry.id)} is a learner, and does not count for the quorum"
        if not entry.started:
            return f"{cluster.name(entry.id)} has never started"
    return None


def _trouble(cluster: Cluster, judged: Sequence[Member], compared: Sequence[Member]) -> str | None:
    """Return why one of ``judged`` is not well, as far as that shows among those that it is compared with."""
    statuses = {entry.id: cluster.by_id[entry.id] for entry in compared if entry.id in cluster.by_id}
    expected = cluster.members.cluster_id if cluster.members else 0
    for entry in judged:
        name, status = cluster.name(entry.id), statuses.get(entry.id)
        if status is None:
            return f"{name} does not answer"
        if sickness := cluster.sickness(entry):
            return f"{name} is not healthy: {sickness}"
        if expected and status.cluster_id != expected:
            return f"{name} is in another cluster, {hex_id(status.cluster_id)}"
        if not status.leader_id:
            return f"{name} knows of no leader"
        if "CORRUPT" in raised((status,)):
            return f"{name} reports corrupt data"
        for other, theirs in statuses.items():
            if (theirs.leader_id, theirs.term) != (status.leader_id, status.term):
                return f"{name} and {cluster.name(other)} do not agree on leader and term"
        lag = max(theirs.raft_index for theirs in statuses.values()) - status.raft_applied
        if lag > MAX_LAG:
            return f"{name} is {lag} entries behind"
    return None


def move_leader_to(
    cluster: Cluster, leader_id: int, *, pending: Collection[str] = (), restarted: Collection[str] = ()
) -> Member | None:
    """Return the member to move the leadership to before the leader goes down, or None if there is no good one.

    Fit is a voter that answers, follows this very leader in the same term, and (by name) is not ``pending`` a restart
    itself. Of these, one that was ``restarted`` in this run, then the one that has applied most.
    ``etcdctl move-leader`` takes the id in hexadecimal and must be sent to the leader's endpoint.
    """
    own = cluster.by_id.get(leader_id)
    if own is None or own.leader_id != leader_id:
        return None
    fit = [
        (entry, status)
        for entry in cluster.entries
        if (status := cluster.by_id.get(entry.id)) and (status.leader_id, status.term) == (leader_id, own.term)
        if entry.id != leader_id and not entry.learner and entry.name not in pending
    ]
    best = max(fit, key=lambda pair: (pair[0].name in restarted, pair[1].raft_applied), default=None)
    return best[0] if best else None
