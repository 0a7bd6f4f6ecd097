"""Whether a member may be brought to another address now: pure decisions about one member of a running cluster.

A member keeps its id and its data; what changes is where the others look for it (its peer URLs in the member list,
``member update``), where it listens, and the names in its certificates. While it restarts, the others carry the
cluster; when it was cut off already, since its old address is dead, they do so anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import ExpectedMember, Member
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.configuration import Addresses, names_of
from etcdfleet.etcd.gates import may_restart
from etcdfleet.etcd.member_changes import HEAL, unfit
from etcdfleet.etcd.membership import same_urls


@dataclass(frozen=True)
class UpdateEntry:
    """The peer URL of an entry of the member list is replaced by this one."""

    entry: Member
    url: str


def may_move(host: str, member: ExpectedMember, cluster: Cluster) -> Refusal | None:
    """Return why the member on ``host`` must not be brought to another address now, or None.

    A majority must be there that can take its peer URL into the list. One that is healthy is restarted only while all
    others are; one that is cut off may be, as long as the majority is.
    """
    mine = cluster.entry(member.name)
    if mine is None:
        why = cluster.no_list or "it is not in the member list"
        return Refusal(f"{member.name} cannot be brought to another address: {why}", (host,), HEAL)
    others = [entry for entry in cluster.entries if entry != mine]
    holder = next((entry for entry in others if _shares(entry.peer_urls, member.peer_url)), None)
    if holder is not None:
        return Refusal(
            f"{member.peer_url} is to be the peer URL of {member.name}, and is that of {cluster.name(holder.id)} now",
            (host,),
            "two members cannot change places at once: give one of them an address of its own first, and run deploy",
        )
    if no_majority := _no_majority(host, member, cluster, mine):
        return no_majority
    if reason := may_be_restarted(cluster, member.name):
        return Refusal(f"nothing was changed, because {reason}", (host,), HEAL)
    return unfit(host, member.name, others, cluster) if others else None


def may_be_restarted(cluster: Cluster, name: str) -> str | None:
    """Return why the member of this name must not be restarted at its new address now, or None."""
    mine = cluster.entry(name)
    if mine is None:
        return f"{name} is not in the member list"
    if _well(cluster, mine):
        return may_restart(cluster, name)
    return _majority_of_others(cluster, mine) or None


def update_of(member: ExpectedMember, cluster: Cluster) -> UpdateEntry | None:
    """Return what is to become of the member's entry; None where its peer URL is the wanted one."""
    mine = cluster.entry(member.name)
    if mine is None or same_urls(mine.peer_urls, (member.peer_url,)):
        return None
    return UpdateEntry(mine, member.peer_url)


def names_in_use(there: Addresses, member: ExpectedMember, cluster: Cluster) -> tuple[str, ...]:
    """Return the names and addresses by which others may still connect to the member until its restart.

    From its configuration on the host, and from the member list.
    """
    mine = cluster.entry(member.name)
    urls = (*mine.peer_urls, *mine.client_urls) if mine else ()
    listed: Addresses = {"list": frozenset(url.partition("://")[2].rstrip("/").lower() for url in urls)}
    return tuple(sorted(names_of(there) | names_of(listed)))


def _no_majority(host: str, member: ExpectedMember, cluster: Cluster, mine: Member) -> Refusal | None:
    voters = [entry for entry in cluster.entries if not entry.learner]
    well = [entry for entry in voters if _well(cluster, entry)]
    if len(well) >= cluster.quorum:
        return None
    old = ", ".join(mine.peer_urls)
    return Refusal(
        f"{member.name} is to be reached at {member.peer_url}, and {len(well)} of {len(voters)} members are healthy:"
        f" {cluster.quorum} must be, to take that into the member list",
        (host,),
        f"bring members back first (see etcd's log on them); where they do not find each other because an old name is"
        f" gone, let it lead to the host again until this is done ({old}: DNS, or /etc/hosts on all hosts of the"
        " cluster)",
    )


def _majority_of_others(cluster: Cluster, mine: Member) -> str:
    voters = [entry for entry in cluster.entries if not entry.learner]
    well = [entry for entry in voters if entry != mine and _well(cluster, entry)]
    return "" if len(well) >= cluster.quorum or len(voters) == 1 else "no majority of the others is healthy"


def _well(cluster: Cluster, entry: Member) -> bool:
    return entry.id in cluster.by_id and not cluster.sickness(entry)


def _shares(urls: Sequence[str], url: str) -> bool:
    return url.rstrip("/") in {one.rstrip("/") for one in urls}
