"""Whether a whole cluster may be taken down, and what there is to be done. Pure.

The order: a snapshot while it still answers; all members stopped, and started at boot no more; then, once none runs on
any host, their data. A member that runs on alone would raise alarms, or with others like it elect anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.membership import match
from etcdfleet.etcd.replacement import Place

NOT_OURS = (
    "make the inventory say what is on the host (its cluster, its init system, member.data_dir), or take the host out "
    "of it; what this project has not set up is never touched"
)


@dataclass(frozen=True)
class Teardown:
    """What is to be done: the hosts on which etcd runs, and those on which data of a member lie.

    ``answers`` says that a member gives its data, ``strangers`` are members in the list that no host of the inventory
    holds: they are not touched.
    """

    running: tuple[str, ...]
    with_data: tuple[str, ...]
    answers: bool
    strangers: tuple[str, ...] = ()

    @property
    def warning(self) -> str:
        """What a person should know before; empty for nothing."""
        if not self.strangers:
            return ""
        return f"{', '.join(self.strangers)} in the member list is on no host of the inventory, and is not touched"


def teardown(
    hosts: Collection[str], places: Mapping[str, Place], cluster: Cluster, *, deletes: bool, without_snapshot: bool
) -> Teardown | Refusal:
    """Return what is to be done to take down the cluster on these hosts.

    ``places`` is what lies on each that could be read, ``cluster`` what its members say of it. With ``deletes`` no data
    are kept, so that a snapshot must be had of them unless ``without_snapshot`` says that none is wanted. Only where a
    majority works does one surely hold everything: a lone member may lack what those that are stopped hold.
    """
    if unread := [host for host in hosts if host not in places]:
        names = ", ".join(unread)
        return Refusal(
            f"nothing was changed: {names} cannot be read, and etcd may run on there",
            tuple(unread),
            "bring it up, or see with status.py why it cannot be reached; if it is gone for good, take it out of the "
            "inventory, then run again",
        )
    if foreign := {host: place.foreign for host, place in places.items() if place.foreign}:
        return Refusal(
            f"nothing was changed: {'; '.join(f'{host}: {why}' for host, why in foreign.items())}",
            tuple(foreign),
            NOT_OURS,
        )
    ids = {place.data.cluster_id: host for host, place in places.items() if place.data is not None}
    if len(ids) > 1:
        told = ", ".join(f"{host} those of {hex_id(number)}" for number, host in ids.items())
        return Refusal(
            f"nothing was changed: the hosts hold data of different clusters: {told}",
            tuple(ids.values()),
            "correct the inventory, so that each host is in the group of its own cluster; data that are of no use move "
            "aside: in the data directory, mv member member-old",
        )
    running = tuple(host for host, place in places.items() if place.running)
    with_data = tuple(host for host, place in places.items() if place.left_over)
    answers = bool(cluster.statuses)
    holding = tuple(host for host, place in places.items() if place.data or place.data_unreadable or place.removed)
    if deletes and holding and not cluster.serving and not without_snapshot:
        return Refusal(
            "nothing was changed: no majority of the members works, so no snapshot can be taken that surely holds all "
            f"of the data that are to be deleted on {', '.join(holding)}",
            holding,
            "leave out --delete-data: the data are kept on the hosts then; or start etcd with deploy.py; or, where a "
            "snapshot of all that matters is at hand, add --without-snapshot",
        )
    known = match(tuple(place.member for place in places.values()), cluster.entries)
    held = {entry.id for _, entry in known.pairs}
    strangers = tuple(cluster.name(entry.id) for entry in cluster.entries if entry.id not in held)
    return Teardown(running, with_data, answers, strangers)
