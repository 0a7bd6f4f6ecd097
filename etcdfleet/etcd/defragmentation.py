"""Who is defragmented, in which order, and who is not, and why: pure decisions.

A defragmentation writes all that is in use into a new file beside the database, and puts it in its place. Its member
answers no client meanwhile, while it goes on to take part in the votes: no election follows, and the others serve. So
members go one after the other, only while all are well, and the leader goes last, after another has taken over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.cluster import QUOTA_WARNING, Cluster
from etcdfleet.etcd.gates import all_well
from etcdfleet.etcd.versions import parse
from etcdfleet.text import listed, mib

SPARE = 64 * 2**20
"""So much must be free beside the new file: etcd allocates the next segment of its log in one go (64 MB)."""
_GROWTH = 1.1
"""What is in use may grow while it is copied."""
_SLOWEST = 1 << 20  # bytes a second that are read and written on a slow card with an etcd at work
SETTLED_FIRST = "bring all members back to health first (status.py says what is wrong), then run again"


@dataclass(frozen=True)
class Limits:
    """From when on a member is due: this share of its file is free, and so many bytes; and the quota it runs with."""

    free_percent: int
    free_bytes: int
    quota_bytes: int


@dataclass(frozen=True)
class Room:
    """What the host has for a member's database: free bytes on its disk, copies that defragmentations make or left.

    ``copying`` is the size of a copy that etcd writes now, None if it writes none. ``left`` are files of a
    defragmentation that was cut off with its etcd: they are of no use.
    """

    free_bytes: int = 0
    copying: int | None = None
    left: tuple[str, ...] = ()
    left_bytes: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Defragmentation:
    """Who is defragmented, by the members' names: in this order, with how many bytes that frees.

    ``idle`` says of the others why it is not worth while, ``no_room`` why it cannot be done. ``warning`` is what is
    known about the running versions.
    """

    order: tuple[str, ...] = ()
    frees: Mapping[str, int] = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)
    no_room: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""


def read_room(text: str) -> Room:
    """Read what ``database_room.sh`` printed."""
    free, memory, copying, left = 0, 0, None, list[tuple[int, str]]()
    for line in text.splitlines():
        match line.split(" ", 2):
            case ["free", kib]:
                free = int(kib) * 1024
            case ["memory", kib]:
                memory = int(kib) * 1024
            case ["copying", size]:
                copying = int(size) + (copying or 0)
            case ["left", size, path]:
                left.append((int(size), path))
    return Room(free, copying, tuple(path for _, path in left), sum(size for size, _ in left), memory)


def defragmented(before: EndpointStatus, after: EndpointStatus) -> str:
    """Return why a member does not look as if it was defragmented between these two; empty if it does."""
    if after.member_id != before.member_id:
        return "another member answers than before"
    if after.db_size > max(before.db_size_in_use * 1.5, before.db_size_in_use + 16 * 2**20):
        return (
            f"its database still has {mib(after.db_size)} after it was defragmented, with {mib(after.db_size_in_use)}"
            " in use"
        )
    return ""


def free_in(status: EndpointStatus) -> int:
    """Return how many bytes of a member's file nothing is in."""
    return max(status.db_size - status.db_size_in_use, 0)


def not_due(status: EndpointStatus, limits: Limits) -> str:
    """Return why it is not worth while to defragment a member; empty if it is.

    From 80 % of the quota on, its share does not matter: what counts for the quota is the file.
    """
    free = free_in(status)
    percent = 100 * free // max(status.db_size, 1)
    told = f"{mib(free)} of {mib(status.db_size)} are free ({percent} %)"
    if free < limits.free_bytes:
        return f"{told}, less than {mib(limits.free_bytes)}"
    if percent < limits.free_percent and status.db_size < QUOTA_WARNING * limits.quota_bytes:
        return f"{told}, less than {limits.free_percent} %"
    return ""


def lacks_room(status: EndpointStatus, room: Room) -> str:
    """Return why the new file has no room on a member's disk; empty if it has."""
    needed = int(status.db_size_in_use * _GROWTH) + SPARE
    free = room.free_bytes + room.left_bytes
    if free >= needed:
        return ""
    return f"its disk has {mib(free)} free, and {mib(needed)} are needed for the new file beside the old one"


def patience(status: EndpointStatus) -> float:
    """Return how many seconds a defragmentation may take before its client gives up; etcd goes on even then."""
    return 60 + 2 * status.db_size_in_use / _SLOWEST


def defragmentation(
    cluster: Cluster,
    limits: Mapping[str, Limits],
    rooms: Mapping[str, Room],
    *,
    every: bool = False,
    must: Collection[str] = (),
) -> Defragmentation | Refusal:
    """Decide who is defragmented of the members in ``limits`` and ``rooms``, by their names.

    With ``every``, all that have anything to free are due, and those in ``must`` always. While none is due, it does not
    matter how the others are.
    """
    by_name = cluster.by_name
    hosts = tuple(limits)
    why = all_well(cluster)
    if why and (every or not by_name):
        return Refusal(f"nothing is defragmented: {why}", hosts, SETTLED_FIRST)
    order, idle, no_room = list[str](), dict[str, str](), dict[str, str]()
    for name, limit in limits.items():
        status = by_name.get(name)
        if status is None:
            idle[name] = "it does not answer"
        elif name not in must and (reason := _nothing(status) if every else not_due(status, limit)):
            idle[name] = reason
        elif short := lacks_room(status, rooms.get(name, Room())):
            no_room[name] = short
        else:
            order.append(name)
    if not order and not no_room:
        return Defragmentation(idle=idle, warning=why or "")
    if why:
        return Refusal(f"{listed(order + list(no_room))} should be defragmented, and {why}", hosts, SETTLED_FIRST)
    leader = cluster.leader[0]
    order.sort(key=lambda name: by_name[name].member_id == leader)
    return Defragmentation(
        tuple(order),
        {name: free_in(by_name[name]) for name in order},
        idle,
        no_room,
        known_faults(by_name[name].version for name in order),
    )


def _nothing(status: EndpointStatus) -> str:
    return "" if free_in(status) >= 2**20 else f"nothing is free in its {mib(status.db_size)}"


_LATE_SNAPSHOT = {4: (3, 4, 38), 5: (3, 5, 23), 6: (3, 6, 5)}


def known_faults(versions: Iterable[str]) -> str:
    """Return what is known of these versions that a defragmentation can run into; empty for nothing.

    Of a member that is behind so far that it is sent a snapshot while it is defragmented, the data may be damaged (etcd
    issue 20650). A 3.5 before 3.5.6 that ends in the midst may come back with another revision (14733).
    """
    cut_off, behind = set[str](), set[str]()
    for version in versions:
        numbers = parse(version)
        if numbers is None:
            continue
        if (3, 5, 0) <= numbers < (3, 5, 6):
            cut_off.add(version)
        if numbers < _LATE_SNAPSHOT.get(numbers[1], (0, 0, 0)):
            behind.add(version)
    told = []
    if cut_off:
        told.append(
            f"etcd {listed(sorted(cut_off))}: a member that ends while it is defragmented (power, kill) may come back"
            " with other data than the rest: verify.py shows it; 3.5.6 mends it"
        )
    if behind:
        told.append(
            f"etcd {listed(sorted(behind))}: a member that falls far behind while it is defragmented may be damaged: no"
            " large load meanwhile; 3.4.38, 3.5.23 and 3.6.5 mend it"
        )
    return "; ".join(told)
