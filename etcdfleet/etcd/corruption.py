"""Which member holds other data than the rest, and whether a program may say so: pure decisions.

Two things tell. The hash of the key space at one revision, where members were compacted at the same one, shows a value
that a disk or a fault has changed. The revision at a raft index (`etcdfleet.etcd.equal`) shows a member that lacks what
the others share, which the hash does not. Those that agree with each other must be a majority of all votes: then they
are right, and one that is not among them is replaced. Else a person decides which data count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus, Member
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.equal import divergence
from etcdfleet.text import listed

PERSON = (
    "a person has to decide which data count: take a snapshot of each member (etcdctl snapshot save), compare them, and"
    " restore the cluster from one (docs/repair.md, Data that differ)"
)


@dataclass(frozen=True)
class Verdict:
    """Who holds the same data, by name, and who does not; ``bad`` is empty where all do. ``why`` is what was seen.

    ``silent``: that one does not answer, so nothing is known of its data.
    """

    agree: tuple[str, ...]
    bad: str = ""
    why: str = ""
    silent: bool = False


def judge(cluster: Cluster) -> Verdict | Refusal:
    """Return which member holds other data than the majority, told from statuses and hashes of one look."""
    voters = [entry for entry in cluster.entries if not entry.learner]
    hosts = tuple(cluster.name(entry.id) for entry in cluster.entries)
    if not voters:
        return Refusal(f"no member gives the member list ({cluster.no_list})", hosts, "see etcd's log on the hosts")
    answering = [entry for entry in voters if entry.id in cluster.by_id]
    agree = _largest(cluster, answering)
    names = tuple(cluster.name(entry.id) for entry in agree)
    if 2 * len(agree) <= len(voters):
        told = "; ".join(_seen(cluster, entry) for entry in answering) or "nobody answers"
        what = f"no majority of the {len(voters)} members is known to hold the same data ({told})"
        return Refusal(what, hosts, PERSON)
    outside = [entry for entry in voters if entry not in agree]
    if len(outside) > 1:
        what = f"{listed([cluster.name(entry.id) for entry in outside])} do not hold what the majority holds"
        remedy = "one at a time can be replaced: stop etcd on all of these but one, then run again, for each of them"
        return Refusal(what, hosts, remedy)
    if not outside:
        return Verdict(names)
    bad = outside[0]
    why = _seen(cluster, bad) if bad in answering else f"{cluster.name(bad.id)} does not answer"
    told = "; ".join([why, *(_seen(cluster, entry) for entry in agree)])
    return Verdict(names, cluster.name(bad.id), told, silent=bad not in answering)


def hashes_differ(cluster: Cluster) -> bool:
    """Return whether the hashes of one look show different data: those of members compacted at the same revision."""
    by_compaction: dict[int, set[int]] = {}
    for one in cluster.hashes:
        by_compaction.setdefault(one.compact_revision, set()).add(one.hash)
    return any(len(found) > 1 for found in by_compaction.values())


def _largest(cluster: Cluster, answering: Iterable[Member]) -> list[Member]:
    """Return the most members of which each is known to hold what each other one holds."""
    entries = list(answering)
    for size in range(len(entries), 0, -1):
        for group in combinations(entries, size):
            if all(_same(cluster, one, other) for one, other in combinations(group, 2)):
                return list(group)
    return []


def _same(cluster: Cluster, one: Member, other: Member) -> bool:
    """Return whether two members are known to hold the same data: without comparable hashes nothing is known."""
    first, second = cluster.by_id[one.id], cluster.by_id[other.id]
    if divergence((first, second)) is not None:
        return False
    mine, theirs = _hash(cluster, first), _hash(cluster, second)
    return mine is not None and mine == theirs


def _hash(cluster: Cluster, status: EndpointStatus) -> tuple[int, int] | None:
    found = next((one for one in cluster.hashes if one.endpoint == status.endpoint), None)
    return (found.hash, found.compact_revision) if found else None


def _seen(cluster: Cluster, entry: Member) -> str:
    status = cluster.by_id[entry.id]
    digest = _hash(cluster, status)
    told = f"hash {digest[0]:08x}" if digest else "no hash"
    return f"{cluster.name(entry.id)} has revision {status.revision} at raft index {status.raft_applied}, {told}"
