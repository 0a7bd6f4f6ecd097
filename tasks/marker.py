"""What a host notes of the cluster that its member belongs to; what that says is in ``etcdfleet/etcd/marker.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nornir.core.task import Task

from etcdfleet.etcd.answers import MemberList
from etcdfleet.etcd.canary import KEY
from etcdfleet.etcd.marker import carried_over, marker
from etcdfleet.host.paths import ESTABLISHED
from etcdfleet.remote import RemoteFile
from tasks.observe import Site


def noted_of(site: Site, members: MemberList, of_others: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return what this host is to note of a cluster with this list. Raise `RemoteError`.

    Where it has noted nothing yet, what its members on other hosts have noted tells under which token it was begun.
    """
    observed = site.observe()
    token, version = site.settings.cluster.token, observed.in_force.version
    same = [
        {key: value for key, value in noted.items() if key != KEY}  # of that host alone
        for noted in of_others
        if noted.get("cluster_id") == members.cluster_id
    ]
    before = observed.facts.established or (same[0] if same else None)
    return marker(members, token=token, version=version, before=before)


def marker_file(noted: Mapping[str, Any]) -> RemoteFile:
    """Return the marker with this content."""
    return RemoteFile(ESTABLISHED, json.dumps(noted, indent=1, sort_keys=True).encode() + b"\n")


def renew_note(task: Task, site: Site) -> list[str]:
    """Complete a marker of an older version, and bring it to the version of etcd that runs; return what is changed.

    Nothing is done as long as a restart is due, after which another version may run. Raise `RemoteError`.
    """
    observed = site.observe()
    noted = observed.facts.established
    if noted is None or observed.facts.restart_pending or observed.service.outdated:
        return []
    content = carried_over(noted, token=site.settings.cluster.token, version=observed.in_force.version)
    if content is None:
        return []
    if not task.is_dry_run():
        site.place([marker_file(content)], what="noting what the cluster is")
    return [f"{ESTABLISHED} notes token and version of the cluster"]
