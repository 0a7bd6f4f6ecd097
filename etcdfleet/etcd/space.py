"""A full database (alarm NOSPACE): what makes room in it, and what must be raised where nothing does. Pure.

What is in use holds what keys were before, until that is compacted; what is free in the file counts for the quota until
it is defragmented. The alarm is ended last: before there is room on every member, the next write raises it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etcdfleet.errors import Refusal
from etcdfleet.etcd.alarms import ROOM_BYTES, has_room
from etcdfleet.etcd.cluster import QUOTA_WARNING, Cluster
from etcdfleet.etcd.defragmentation import SETTLED_FIRST, SPARE, Defragmentation, Limits, Room, defragmentation
from etcdfleet.etcd.gates import all_well
from etcdfleet.text import exact_size, listed, mib

_STEP = 64 * 2**20
_MOST = 8 * 2**30
_MOST_ON_32_BITS = 2**30


@dataclass(frozen=True)
class Means:
    """What a member has to work with: its disk, the quota it runs with, and that of the inventory."""

    room: Room
    quota_bytes: int
    wanted_bytes: int
    on_32_bits: bool = False


@dataclass(frozen=True)
class MakeRoom:
    """What is to be done before the alarm can be ended. ``compact``: what keys were before has to go."""

    compact: bool
    revision: int
    defragment: bool

    @property
    def words(self) -> str:
        """What a person should know before."""
        history = (
            f"what keys were before revision {self.revision} is taken away (compacted), and watches that are further"
            " behind have to begin anew; then "
        )
        return f"{history if self.compact else ''}members are defragmented, one after the other"


def make_room(cluster: Cluster, means: Mapping[str, Means]) -> MakeRoom | Refusal:
    """Decide how a full database gets room, by the members' names; all of the cluster must be in ``means``.

    History is taken away only where what is in use leaves too little of a quota.
    """
    members = tuple(member.name for member in cluster.expected)
    if others := sorted(set(cluster.alarms) - {"NOSPACE"}):
        return Refusal(f"another alarm is raised beside NOSPACE: {', '.join(others)}", members, "see etcd's log")
    if why := all_well(cluster):
        return Refusal(f"nothing was changed: the database is full, and {why}", members, SETTLED_FIRST)
    if missing := [name for name in members if name not in means or name not in cluster.by_name]:
        return Refusal(
            "nothing was changed: every member must have room before the alarm is ended, and"
            f" {listed(missing)} takes no part in this run",
            members,
            "run again for the whole cluster: --cluster in place of --limit",
        )
    known = {status.member_id for status in cluster.by_name.values()}
    if strangers := [cluster.name(entry.id) for entry in cluster.entries if entry.id not in known]:
        return Refusal(
            f"nothing was changed: {listed(strangers)} is in the member list and not in the inventory, so nothing tells"
            " whether it has room",
            members,
            "compare the inventory with etcdctl member list (verify.py names what differs)",
        )
    used = {name: cluster.by_name[name].db_size_in_use for name in members}
    compact = any(used[name] > QUOTA_WARNING * means[name].quota_bytes for name in members)
    full = any(not has_room(cluster.by_name[name].db_size, means[name].quota_bytes) for name in members)
    revision = max(cluster.by_name[name].revision for name in members)
    return MakeRoom(compact and full, revision, full)


def freed_by(cluster: Cluster, means: Mapping[str, Means]) -> Defragmentation | Refusal:
    """Decide who is defragmented for that: all that are near their quota, or have as much free as a write needs.

    What says how much is free is no reason to spare one: etcd counts what was compacted as free after the next writes
    only, and there are none. Of members with the same data, one may have room by a little, and the others none.
    """
    full = [
        name
        for name, status in cluster.by_name.items()
        if status.db_size > QUOTA_WARNING * means[name].quota_bytes
        or not has_room(status.db_size, means[name].quota_bytes)
    ]
    limits = {name: Limits(1, ROOM_BYTES, own.quota_bytes) for name, own in means.items()}
    return defragmentation(cluster, limits, {name: own.room for name, own in means.items()}, must=full)


def still_full(cluster: Cluster, means: Mapping[str, Means]) -> Refusal | None:
    """Return what must be done about members that have no room even now, after all that frees some."""
    sizes = {name: status.db_size for name, status in cluster.by_name.items()}
    if silent := [name for name in means if name not in sizes]:
        return Refusal(f"the alarm NOSPACE stays: {listed(silent)} does not answer", tuple(means), SETTLED_FIRST)
    full = [name for name, own in means.items() if not has_room(sizes[name], own.quota_bytes)]
    if not full:
        return None
    told = listed([f"{name} has {mib(sizes[name])} of {mib(means[name].quota_bytes)}" for name in full])
    what = f"the alarm NOSPACE stays: what is in use does not fit the quota ({told})"
    largest = max(sizes.values())
    if all(has_room(largest, own.wanted_bytes) for own in means.values()):
        wanted = mib(min(own.wanted_bytes for own in means.values()))
        remedy = (
            f"run deploy for the whole cluster: it restarts one member after the other with the quota of {wanted}, then"
            " ends the alarm"
        )
        return Refusal(what, tuple(means), remedy)
    needed = enough_quota(largest)
    against = [f"{name}: {why}" for name, own in means.items() if (why := cannot_bear(needed, largest, own))]
    raised = f"raise cluster.quota_bytes to {exact_size(needed)} or more and run deploy"
    if against:
        raised = f"{raised}, which these hosts do not bear ({'; '.join(against)})"
    else:
        raised = f"{raised}: all hosts bear it"
    return Refusal(what, tuple(means), f"{raised}; or delete keys (etcd takes that now, too) and run again")


def enough_quota(size: int) -> int:
    """Return the quota, in steps of 64 MiB, of which a database of this size leaves a fifth."""
    return -(-int(size / QUOTA_WARNING) // _STEP) * _STEP


def cannot_bear(quota: int, size: int, means: Means) -> str:
    """Return why a host cannot hold a database of that quota; empty if it can. ``size`` is what it has now."""
    if quota > _MOST:
        return f"{exact_size(_MOST)} is the most that etcd is made for"
    if means.on_32_bits and quota > _MOST_ON_32_BITS:
        return f"{exact_size(_MOST_ON_32_BITS)} is the most that is safe on 32 bits"
    lacking = quota - size + SPARE - means.room.free_bytes
    if lacking > 0:
        return f"its disk lacks {mib(lacking)}"
    if means.room.memory_bytes and quota > means.room.memory_bytes:
        return f"it has {mib(means.room.memory_bytes)} of memory, and a database that does not fit there is slow"
    return ""
