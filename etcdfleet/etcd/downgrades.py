"""When a cluster may go back by a minor version by etcd's own job: a pure decision about one cluster.

From 3.6 on, ``etcdctl downgrade enable`` has all members give up what the version before cannot read; the cluster
version falls at once, and the storage version of each member within seconds (``monitorStorageVersion`` in
``server/etcdserver/server.go``). Then one member after the other gets the older program, and some seconds after the
last of them etcd ends the job (``CancelDowngradeIfNeeded``). Until then no other one can be begun, and the cluster
version does not rise again, whatever members run. Source: etcd's guides ``downgrades/downgrade_3_6`` and
``downgrade_3_7``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.versions import minor_of, newer, parse

FIRST = (3, 6)
"""The first minor version that can be left downwards like that."""


def downgrade_target(members: Sequence[MemberVersion], cluster_version: str) -> str:
    """Return the minor version to which a run would bring all members, where etcd's job leads there; else nothing.

    All members must run the cluster's version, and all must get the one before.
    """
    agreed = parse(cluster_version)
    if not agreed or agreed[:2] < FIRST or not members:
        return ""
    before = (agreed[0], agreed[1] - 1)
    all_run = all((now := parse(member.running)) and now[:2] == agreed[:2] for member in members)
    all_get = all((new := parse(member.brings)) and new[:2] == before for member in members)
    return f"{before[0]}.{before[1]}" if all_run and all_get else ""


def follows_job(members: Iterable[MemberVersion], job: str) -> bool:
    """Return whether a run takes a member where ``job`` leads, the target of etcd's job that is under way already."""
    return bool(job) and any(newer(one.running, job) and minor_of(one.brings) == job for one in members)


def refuse_turning(members: Sequence[MemberVersion], job: str) -> Refusal | None:
    """Return why members must not get a newer version than etcd's job leads to, or None.

    The cluster version would not follow them as long as the job is under way.
    """
    turning = [one.host for one in members if job and one.brings and newer(one.brings, job)]
    if not turning:
        return None
    left = any(newer(one.running, job) for one in members)
    remedy = _ways(job) if left else "etcd ends it within seconds: run again; etcdctl downgrade cancel ends it at once"
    return Refusal(f"{_told(job)}, and {', '.join(turning)} would get a newer version", tuple(turning), remedy)


def unfinished(cluster: Cluster) -> tuple[str, str]:
    """Return what to know of a job of etcd's that is under way, and what to do; empty if there is none."""
    job = cluster.going_back_to
    if not job:
        return "", ""
    left = sorted(cluster.name(one.member_id) for one in cluster.statuses if newer(one.version, job))
    return f"{_told(job)}, and a newer version runs on {', '.join(left)}", _ways(job)


def not_ready(statuses: Iterable[EndpointStatus], target: str) -> int:
    """Return how many members run a newer version and have not given up yet what ``target`` cannot read."""
    return sum(newer(one.version, target) and minor_of(one.storage) != target for one in statuses)


def _told(job: str) -> str:
    return f"etcd's job to go back to {job} is under way"


def _ways(job: str) -> str:
    return (
        f"install.version: a {job} and python runbooks/deploy.py for the whole cluster complete it; etcdctl downgrade"
        " cancel, on a host that runs the newer version, ends it, and then members may get that one again"
    )
