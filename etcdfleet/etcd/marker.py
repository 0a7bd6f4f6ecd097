"""The marker: what a host notes of the cluster that its member belongs to (``/etc/etcd/cluster.json``). Pure.

The identity of a cluster belongs to the cluster. What inventory and token lead to is its identity at its birth alone:
after the first member that was replaced, moved or restored it is history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etcdfleet.etcd.answers import MemberList
from etcdfleet.etcd.restore_record import carried_into
from etcdfleet.etcd.versions import minor_of

VERSION = 2
"""Of what the marker says. The first had the ids of cluster and members alone; an older deploy reads this one, too."""
Noted = Mapping[str, Any]


def marker(members: MemberList, *, token: str, version: str | None, before: Noted | None = None) -> dict[str, Any]:
    """Return what is to be noted of a cluster with this list.

    ``token`` is the inventory's, ``version`` that of etcd on the host. Of the same cluster, what was noted ``before``
    stays: the token that it was begun with, whatever the inventory says today, and how often it was restored. Where it
    was just restored, the record of that says both.
    """
    ids = {"cluster_id": members.cluster_id, "members": {member.name: member.id for member in members.members}}
    same = before if before and before.get("cluster_id") == members.cluster_id else {}
    same = same or carried_into(before, members.cluster_id)
    return _completed({**same, **ids}, token, version)


def carried_over(noted: Noted, *, token: str, version: str | None) -> dict[str, Any] | None:
    """Return what the marker of a running member is to say, where that is another thing than is ``noted``; else None.

    One of an older version gets what it lacks, and each follows etcd's minor version. One that cannot be read, or is of
    a version to come, is left alone.
    """
    if not isinstance(noted.get("cluster_id"), int) or not isinstance(noted.get("members"), Mapping):
        return None
    wanted = _completed(noted, token, version)
    return None if wanted == noted else wanted


def _completed(noted: Noted, token: str, version: str | None) -> dict[str, Any]:
    of_version = noted.get("version", 1)
    if isinstance(of_version, int) and of_version > VERSION:
        return dict(noted)
    usual = {"token": token, "restores": 0, "etcd": ""}
    return {**usual, **noted, "version": VERSION, "etcd": minor_of(version) or noted.get("etcd", "")}
