"""From what was seen of a cluster to the next single step by which a host becomes its member anew. Pure.

The order is that of etcd's own documentation for a member that is lost: its old entry is removed *first* (a member that
is added counts for the quorum before it exists; etcd refuses to add while one of three is down), then the host is added
as a learner, starts with an empty data directory and ``initial-cluster-state: existing``, gets all data from the
leader, and is promoted. A learner has no vote: as long as it is one, it cannot cost the cluster its quorum.

Each step can be told from the cluster's list and what lies on the host, so that a run which was ended anywhere is
continued by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import ExpectedMember, Member
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.member_changes import RECOVER, unfit
from etcdfleet.etcd.membership import same_urls
from etcdfleet.etcd.wal import DataIds


@dataclass(frozen=True)
class Place:
    """The host that is to hold the member: what lies there, and whether etcd runs.

    ``data_unreadable`` says why it cannot be told whose data are there, ``marked`` that a marker is there, ``removed``
    that data of a member that was removed are kept there. ``gone`` is the name or the hexadecimal id of an entry that
    this host is to take the place of, where that has another name. ``foreign`` says what is there that this project has
    not set up, or elsewhere than the inventory says: nothing of that may be stopped, moved or deleted.
    """

    host: str
    member: ExpectedMember
    data: DataIds | None = None
    data_unreadable: str = ""
    marked: bool = False
    removed: bool = False
    running: bool = False
    gone: str = ""
    foreign: str = ""

    @property
    def left_over(self) -> bool:
        """Whether anything of a member lies there."""
        return self.data is not None or bool(self.data_unreadable) or self.marked


@dataclass(frozen=True)
class RemoveEntry:
    """Take this member off the list. ``leads``: it is the leader, which moves its leadership away before."""

    entry: Member
    leads: bool = False


@dataclass(frozen=True)
class SetAside:
    """Stop etcd on the host, and move what is left of a member there out of the way; it is kept."""


@dataclass(frozen=True)
class AddLearner:
    """Put the host on the list, as a learner."""


@dataclass(frozen=True)
class JoinCluster:
    """Install, certificates, configuration; start with ``existing``; promote it once it has caught up."""

    entry: Member


Step = RemoveEntry | SetAside | AddLearner | JoinCluster


def next_step(place: Place, cluster: Cluster) -> Step | Refusal | None:
    """Return the next step, why there must be none, or None where the host is a healthy member with a vote.

    ``cluster`` is how the others see it: asked through one of them, with their statuses and healths, and those of the
    host's own member, where it answers.
    """
    if cluster.members is None:
        what = f"no other member gives the member list{f' ({cluster.no_list})' if cluster.no_list else ''}"
        remedy = f"where there has never been a cluster, run deploy; {RECOVER}"
        return Refusal(f"nothing was changed: {what}", (place.host,), remedy)
    mine, refusal = _entry_of(place, cluster)
    if refusal:
        return refusal
    others = [entry for entry in cluster.entries if entry != mine]
    if mine and _is_well(place, mine, cluster):
        return (
            None
            if not mine.learner
            else _unless(unfit(place.host, place.member.name, others, cluster), JoinCluster(mine))
        )
    step = _wanted(place, mine, cluster)
    return _unless(unfit(place.host, place.member.name, others, cluster), step)


def is_new(place: Place, cluster: Cluster) -> bool:
    """Return whether a host of the inventory is to become a member of its cluster by a deploy, which asks nothing.

    It is not in the list, or a learner there that has not got its vote yet; nothing of another member lies on it, and
    the list has no member that the inventory lacks: that may be this one under another name. A host whose member was
    removed is none of these, as long as what was moved aside is there: its line in the inventory may be forgotten.
    """
    if cluster.members is None or cluster.matched.extra:
        return False
    entry = next((entry for wanted, entry in cluster.matched.pairs if wanted.name == place.member.name), None)
    if entry is None:
        return not place.left_over and not place.removed
    begun = place.data is not None and place.data.member_id == entry.id
    return entry.learner and (begun or not (place.left_over or entry.started))


def course(place: Place, cluster: Cluster) -> tuple[Step, ...] | Refusal:
    """Return all steps that lead from what was seen to a member with a vote, for a run that only says them."""
    step = next_step(place, cluster)
    if isinstance(step, Refusal):
        return step
    steps: list[Step] = [step] if step else []
    if isinstance(step, RemoveEntry) and place.left_over:
        steps.append(SetAside())
    if isinstance(step, RemoveEntry | SetAside):
        unstarted = isinstance(step, SetAside) and _entry_of(place, cluster)[0]
        steps += [] if unstarted else [AddLearner()]
    if step and not isinstance(step, JoinCluster):
        steps.append(JoinCluster(Member(0, place.member.name, (place.member.peer_url,), (), learner=True)))
    return tuple(steps)


def _wanted(place: Place, mine: Member | None, cluster: Cluster) -> Step:
    if mine is None:
        return SetAside() if place.left_over else AddLearner()
    begun = place.data is not None and place.data.member_id == mine.id and not place.data_unreadable
    if not mine.started:
        if not same_urls(mine.peer_urls, (place.member.peer_url,)):
            return RemoveEntry(mine)
        return SetAside() if place.left_over and not begun else JoinCluster(mine)
    if mine.learner and begun and same_urls(mine.peer_urls, (place.member.peer_url,)):
        return JoinCluster(mine)  # it has not caught up yet
    return RemoveEntry(mine, leads=cluster.leader[0] == mine.id and mine.id in cluster.by_id)


def _entry_of(place: Place, cluster: Cluster) -> tuple[Member | None, Refusal | None]:
    """Return the entry that the host is to hold, or takes the place of: by name, by peer URL, or as it was named."""
    if place.gone:
        named = [entry for entry in cluster.entries if place.gone in (entry.name, hex_id(entry.id))]
        own = cluster.entry(place.member.name)
        if named and own and named[0] != own:
            what = (
                f"{place.member.name} is a member itself ({hex_id(own.id)}), and cannot take the place of {place.gone}"
            )
            return None, Refusal(what, (place.host,), "remove the other one: runbooks/remove_member.py")
        return (named[0] if named else own), None
    for wanted, entry in cluster.matched.pairs:
        if wanted.name == place.member.name:
            return entry, None
    extra = cluster.matched.extra
    if extra:
        names = " or ".join(entry.name or hex_id(entry.id) for entry in extra)
        return None, Refusal(
            f"{place.member.name} is no member yet, and the cluster has a member that the inventory lacks: {names}",
            (place.host,),
            f"say whose place it takes: --instead-of {extra[0].name or hex_id(extra[0].id)}; or put that one back into"
            " the inventory",
        )
    return None, None


def _is_well(place: Place, mine: Member, cluster: Cluster) -> bool:
    """Return whether the member of the host is one: with its data, in touch with the others, holding what they hold."""
    status = cluster.by_id.get(mine.id)
    if status is None or not mine.started or not same_urls(mine.peer_urls, (place.member.peer_url,)):
        return False
    if place.gone and mine.name != place.member.name:
        return False
    if place.data is None or place.data_unreadable or place.data.member_id != mine.id:
        return False
    corrupt = mine.id in cluster.alarms.get("CORRUPT", ())
    odd = cluster.divergence is not None and cluster.divergence.concerns(mine.id)
    return not corrupt and not odd and (mine.learner or not cluster.sickness(mine))


def _unless(refusal: Refusal | None, step: Step) -> Step | Refusal:
    return refusal or step
