"""Whether a member may be taken out of its cluster for good, and what is left to do. Pure.

The order: a snapshot, the entry, then its service, so that no removed etcd is started again and again (it refuses its
data directory for ever), then what lies on its host. Told from the list and the host, as everything about members.
"""

from __future__ import annotations

from dataclasses import dataclass

from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.member_changes import HEAL, RECOVER, unfit
from etcdfleet.etcd.replacement import RemoveEntry


@dataclass(frozen=True)
class Removal:
    """What is to be done: the entry to be removed, if it is still there, and how many votes are left then."""

    step: RemoveEntry | None
    voters_left: int

    @property
    def warning(self) -> str:
        """What a person should know before; empty for nothing."""
        if self.step is None or self.step.entry.learner:
            return ""
        left = self.voters_left
        if left == 1:
            return "one member is left: it can lose nothing, and its disk has the only copy of the data"
        if left == 2:
            return "two members are left, and both must live: no member can be lost any more"
        if left % 2 == 0:
            return f"of the {left} that are left, {(left - 1) // 2} can be lost: no more than of {left - 1}"
        return ""


def removal(name: str, cluster: Cluster) -> Removal | Refusal:
    """Return what is to be done to remove a member, by its name in inventory or list, or its hexadecimal id.

    ``cluster`` is how the others see it. All members that are left must be healthy: a member that is sick may be the
    one that should go.
    """
    if cluster.members is None:
        what = f"no other member gives the member list{f' ({cluster.no_list})' if cluster.no_list else ''}"
        return Refusal(f"nothing was changed: {what}", (name,), RECOVER)
    mine = next(
        (entry for entry in cluster.entries if name in (cluster.name(entry.id), entry.name, hex_id(entry.id))), None
    )
    others = [entry for entry in cluster.entries if entry != mine]
    left = sum(not entry.learner for entry in others)
    if mine is None:
        return Removal(None, left)
    if not left:
        what = f"{name} is the only member of its cluster: without it there is no cluster and no data"
        return Refusal(what, (name,), "to take down the whole cluster: python runbooks/teardown.py --cluster NAME")
    if refusal := unfit(name, name, others, cluster):
        return refusal
    sick = [
        entry for entry in others if entry.id not in cluster.by_id or (not entry.learner and cluster.sickness(entry))
    ]
    if sick:
        told = ", ".join(cluster.name(entry.id) for entry in sick)
        return Refusal(f"nothing was changed: {told}, which would be left, is not healthy", (name,), HEAL)
    return Removal(RemoveEntry(mine, leads=cluster.leader[0] == mine.id and mine.id in cluster.by_id), left)


def not_well(name: str, other: str, cluster: Cluster) -> Refusal | None:
    """Return why a member must not be moved to the host ``other`` while it works: it does not.

    etcd refuses to add a member before one of three that is down was removed.
    """
    entry = cluster.entry(name)
    if cluster.members is None or entry is None or (entry.id in cluster.by_id and not cluster.sickness(entry)):
        return None
    return Refusal(
        f"{name} is not healthy ({cluster.sickness(entry)}): it cannot stay until another has taken its place",
        (name,),
        f"have the other take its place at once: python runbooks/replace_member.py {other} --instead-of {name}",
    )
