"""Whether a cluster is in a state of which a backup is worth having. Pure.

A backup counts from the moment it is there, and pushes out older ones in time. So none is taken while it is not known
which data are the right ones: what a lone member has may lack what was confirmed to clients, and of members that differ
one is wrong. What such members hold is not lost by that: it lies on their disks.
"""

from __future__ import annotations

from etcdfleet.errors import Refusal
from etcdfleet.etcd.alarms import raised
from etcdfleet.etcd.cluster import Cluster


def fit_for_backup(cluster: Cluster) -> Refusal | None:
    """Return why no backup is to be taken of a cluster that was seen so; None if one is."""
    if cluster.members is None:
        why = cluster.no_list or "no member answers"
        return Refusal(f"none of its members gives a list of members: {why}", (), "see status, and start its members")
    if "CORRUPT" in raised(cluster.statuses):
        what = "a member found that its data differ from those of others (alarm CORRUPT), and may be the one that leads"
        return Refusal(what, _names(cluster), "run verify, and mend the cluster first; the last backups are kept")
    if cluster.divergence:
        what = f"its members hold different data: {cluster.diverged()}"
        return Refusal(what, _names(cluster), "run verify, and mend the cluster first; the last backups are kept")
    if not cluster.leader[0] or not cluster.serving:
        what = "it has no leader that a majority follows, so it is not known which member has all that was written"
        return Refusal(what, _names(cluster), "bring members back (status says which); the last backups are kept")
    return None


def _names(cluster: Cluster) -> tuple[str, ...]:
    return tuple(cluster.name(status.member_id) for status in cluster.statuses)
