"""The running member list against the inventory: which entry is whose, and what differs. Pure functions.

A member is found by its name, and else by its peer URL: a new name in the inventory is the same member under another
name, not one that is missing and one too many. Taken for two, it leads a person to remove a healthy member.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from etcdfleet.etcd.answers import ExpectedMember, Member
from etcdfleet.etcd.ids import hex_id

Kind = Literal["name", "missing", "unstarted", "learner", "peer URL", "client URL", "extra"]
MOVED = (
    "if they are the same member with a new name and address, put the old member.name back into the inventory, and let "
    "deploy bring the member to its new address; remove nothing that works"
)
OTHER_URL = (
    "run deploy for the whole cluster, which brings the member to the address of the inventory (not to another "
    "cluster.peer_tls, nor a member that has not joined yet); or put the old member.fqdn, cluster.peer_port and "
    "cluster.peer_tls back"
)
COMPARE = (
    "run etcdctl member list on each host first: a host whose list is another one has a cluster of its own, and must "
    "not be added to this one. Others become members one after the other (python runbooks/replace_member.py NAME), or "
    "are taken out of the inventory"
)


@dataclass(frozen=True)
class Matched:
    """Which entry of the list is which member of the inventory, and what is left on either side."""

    pairs: tuple[tuple[ExpectedMember, Member], ...]
    missing: tuple[ExpectedMember, ...]
    extra: tuple[Member, ...]


@dataclass(frozen=True)
class Mismatch:
    """One difference, and what to do about it. ``member`` is the inventory's, None for an entry that it lacks."""

    kind: Kind
    what: str
    remedy: str
    member: ExpectedMember | None = None


def match(expected: Sequence[ExpectedMember], listed: Sequence[Member]) -> Matched:
    """Find each member's entry: all names first, then peer URLs among what is left."""
    left = list(listed)
    entries: dict[str, Member] = {}
    for same in (_same_name, _same_url):
        for wanted in expected:
            entry = next((one for one in left if wanted.name not in entries and same(wanted, one)), None)
            if entry is not None:
                entries[wanted.name] = entry
                left.remove(entry)
    pairs = tuple((wanted, entries[wanted.name]) for wanted in expected if wanted.name in entries)
    return Matched(pairs, tuple(wanted for wanted in expected if wanted.name not in entries), tuple(left))


def mismatches(matched: Matched) -> tuple[Mismatch, ...]:
    """Return all differences in the order of the inventory, then of the list."""
    differences = [difference for wanted, entry in matched.pairs for difference in _differences(wanted, entry)]
    for wanted in matched.missing:
        what = f"{wanted.name} is in the inventory and not a member of the cluster"
        differences.append(Mismatch("missing", what, lacking(matched), wanted))
    for entry in matched.extra:
        what = f"the cluster has a member {entry.name or '(unnamed)'} ({hex_id(entry.id)}) that the inventory lacks"
        differences.append(Mismatch("extra", what, MOVED if matched.missing else put_back(entry)))
    return tuple(differences)


def lacking(matched: Matched) -> str:
    """Return what to do about members of the inventory that the cluster lacks."""
    if matched.extra:
        return MOVED
    if len(matched.missing) > 1:
        return COMPARE
    return f"{_join(matched.missing[0])} makes it a member; or take it out of the inventory"


def put_back(entry: Member) -> str:
    """Return what to do about a member that the inventory lacks: it may be the healthiest of all."""
    return (
        "put its host back into the inventory; only if that host is gone for good: python runbooks/remove_member.py "
        f"--gone {entry.name or hex_id(entry.id)} --cluster NAME"
    )


def rename(entry: Member) -> str:
    """Return what to do about a member that the inventory gives another name."""
    return f"set member.name of this host to {entry.name} in the inventory: it is the same member, so remove nothing"


def _differences(wanted: ExpectedMember, entry: Member) -> Iterable[Mismatch]:
    if entry.name not in ("", wanted.name):
        what = f"{wanted.name} is called {entry.name} in the cluster (the peer URL is the same)"
        yield Mismatch("name", what, rename(entry), wanted)
    if not same_urls(entry.peer_urls, (wanted.peer_url,)):
        what = f"{wanted.name} has the peer URL {', '.join(entry.peer_urls)} in the cluster, not {wanted.peer_url}"
        yield Mismatch("peer URL", what, OTHER_URL, wanted)
    if not entry.started:
        what = f"{wanted.name} has never joined its cluster"
        yield Mismatch("unstarted", what, f"{_join(wanted)} lets it join", wanted)
    elif not same_urls(entry.client_urls, (wanted.client_url,)):
        told = ", ".join(entry.client_urls)
        what = f"{wanted.name} has the client URL {told} in the cluster, not {wanted.client_url}"
        yield Mismatch("client URL", what, "run deploy, which restarts it with the inventory's", wanted)
    if entry.learner:
        remedy = f"{_join(wanted)} gives it its vote, once it has caught up"
        yield Mismatch("learner", f"{wanted.name} is a learner: it has no vote", remedy, wanted)


def _join(member: ExpectedMember) -> str:
    return f"python runbooks/replace_member.py {member.name}"


def same_urls(some: Iterable[str], others: Iterable[str]) -> bool:
    """Return whether these are the same URLs, whatever their order and a slash at their end."""
    return {url.rstrip("/") for url in some} == {url.rstrip("/") for url in others}


def _same_name(wanted: ExpectedMember, entry: Member) -> bool:
    return entry.name == wanted.name


def _same_url(wanted: ExpectedMember, entry: Member) -> bool:
    return same_urls(entry.peer_urls, (wanted.peer_url,))
