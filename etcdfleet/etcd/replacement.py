"""From what was seen of a cluster to the next single step by which a host becomes its member anew. Pure.

The order is that of etcd's own documentation for a member that is lost: its old entry is removed *first* (a member that
is added counts for the quorum before it exists; etcd refuses to add while one of three is down), then the host is added
as a learner, starts with an empty data directory and ``initial-cluster-state: existing``, gets all data from the
leader, and is promoted. A learner has no vote: as long as it is one, it cannot cost the cluster its quorum.

Each step can be told from the cluster's list and what lies on the host, so that a run which was ended anywhere is
continued by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import ExpectedMember, Member
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.membership import same_urls
from etcdfleet.etcd.versions import parse
from etcdfleet.etcd.wal import DataIds

RECOVER = (
    "without a majority no member can be removed or added: bring members back until there is one (see etcd's log on"
    " them), or restore the cluster from a snapshot (docs/hosts.md, Restore a cluster from a snapshot)"
)
HEAL = "bring the others back to health first (see etcd's log on them), then run again"


@dataclass(frozen=True)
class Place:
    """The host that is to hold the member: what lies there, and whether etcd runs.

    ``data_unreadable`` says why it cannot be told whose data are there, ``marked`` that a marker is there. ``gone`` is
    the name or the hexadecimal id of an entry that this host is to take the place of, where that has another name.
    """

    host: str
    member: ExpectedMember
    data: DataIds | None = None
    data_unreadable: str = ""
    marked: bool = False
    running: bool = False
    gone: str = ""

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
        return Refusal(f"nothing was changed: {what}", (place.host,), RECOVER)
    mine, refusal = _entry_of(place, cluster)
    if refusal:
        return refusal
    others = [entry for entry in cluster.entries if entry != mine]
    if mine and _is_well(place, mine, cluster):
        return None if not mine.learner else _unless(_unfit(place, others, cluster), JoinCluster(mine))
    step = _wanted(place, mine, cluster)
    return _unless(_unfit(place, others, cluster), step)


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


def _unfit(place: Place, others: Sequence[Member], cluster: Cluster) -> Refusal | None:
    """Return why the others must not be changed now: they have to carry the cluster without this member."""
    voters = [entry for entry in others if not entry.learner]
    if not voters:
        what = f"{place.member.name} is the only member of its cluster: what it has lost is nowhere else"
        remedy = "restore the cluster from a snapshot (docs/hosts.md, Restore a cluster from a snapshot)"
        return Refusal(what, (place.host,), remedy)
    well = [entry for entry in voters if entry.id in cluster.by_id and not cluster.sickness(entry)]
    quorum = len(voters) // 2 + 1
    if len(well) < quorum:
        sick = "; ".join(
            f"{cluster.name(entry.id)}: {cluster.sickness(entry)}" for entry in voters if entry not in well
        )
        return Refusal(
            f"nothing was changed: {len(well)} of the {len(voters)} other members are healthy, and {quorum} must be"
            f" ({sick})",
            (place.host,),
            RECOVER,
        )
    return _unsettled(place, others, well, cluster)


def _unsettled(place: Place, others: Sequence[Member], well: Sequence[Member], cluster: Cluster) -> Refusal | None:
    ids = {entry.id for entry in others}
    corrupt = [cluster.name(number) for number in cluster.alarms.get("CORRUPT", ()) if number in ids]
    if corrupt:
        what = f"{', '.join(corrupt)} reports corrupt data (alarm CORRUPT), and a new member would get its data"
        return Refusal(what, (place.host,), "replace that member first, as long as a majority of the others agrees")
    learners = [cluster.name(entry.id) for entry in others if entry.learner]
    if learners:
        what = f"{', '.join(learners)} is a learner already, and a cluster takes in one member at a time"
        return Refusal(what, (place.host,), f"finish that first: runbooks/replace_member.py {learners[0]}")
    joining = [cluster.name(entry.id) for entry in others if not entry.started]
    if joining:
        what = f"{', '.join(joining)} was added and has never started"
        return Refusal(what, (place.host,), f"finish that first: runbooks/replace_member.py {joining[0]}")
    statuses = [cluster.by_id[entry.id] for entry in well]
    if cluster.divergence and sum(cluster.divergence.concerns(entry.id) for entry in well) > 0:
        odd = {status.member_id for status in cluster.divergence.odd}
        if not odd or odd & {entry.id for entry in well}:
            what = f"the others do not hold the same data: {cluster.diverged()}"
            return Refusal(what, (place.host,), "see docs/hosts.md, A member with other data")
    minors = {(parse(status.version) or ())[:2] for status in statuses}
    if len(minors) > 1:
        versions = ", ".join(f"{cluster.name(status.member_id)} {status.version}" for status in statuses)
        what = f"the members run different versions of etcd ({versions})"
        return Refusal(what, (place.host,), "finish the upgrade first: run deploy for the members that are left")
    leaders = {(status.leader_id, status.term) for status in statuses}
    if len(leaders) > 1 or 0 in {leader for leader, _ in leaders}:
        return Refusal("an election is under way", (place.host,), "run again in a moment")
    return None
