"""When a cluster may go back by a minor version by etcd's own job: a pure decision about one cluster.

From 3.6 on, ``etcdctl downgrade enable`` has all members give up what the version before cannot read; the cluster
version falls at once, and the storage version of each member within seconds (``monitorStorageVersion`` in
``server/etcdserver/server.go``). Then one member after the other gets the older program, and with the last of them the
job is over. Source: etcd's guides ``downgrades/downgrade_3_6`` and ``downgrade_3_7``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.versions import parse

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


def still_newer(storage_versions: Iterable[str], target: str) -> int:
    """Return how many members have not given up yet what ``target`` cannot read."""
    return sum(parse(version) is None or version.rpartition(".")[0] != target for version in storage_versions)
