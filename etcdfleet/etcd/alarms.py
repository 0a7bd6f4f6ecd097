"""etcd's alarms: what a full database excuses and what it does not, when its alarm may be ended, and how. Pure.

One full member raises NOSPACE for all: until someone ends the alarm, the cluster takes reads, deletes, compactions and
changes of its members, and refuses writes (etcd's "Maintenance", space quota). Nothing ends it by itself, a restart
with a larger quota neither. ``etcdctl alarm disarm`` ends *all* alarms, CORRUPT included (``AlarmDisarm`` in
``client/v3/maintenance.go``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus
from etcdfleet.text import mib

ROOM_BYTES = 2 * 2**20
"""Below the quota by this much there is room for a write: the largest request that etcd takes has 1.5 MiB
(``max-request-bytes``), and its pages some more."""
ONLY_FULL = r"Active Alarm\(s\):( NOSPACE)+ *$"
"""What etcdctl from 3.5 on says of a member's health when reads work and NOSPACE is the only alarm, once for each
member that raised it (3.4 calls it healthy). A pattern for Python and for ``grep -E``."""
WAY_OUT = (
    "make room: python runbooks/repair.py, which defragments one member after the other, compacts history before where"
    " that is needed, and ends the alarm; or raise cluster.quota_bytes and run deploy, which restarts one member after"
    " the other and then ends it (docs/repair.md, A database that is full)"
)
DIFFERS = (
    "stop using this cluster; python runbooks/repair.py finds the member whose data differ from what the majority"
    " holds, replaces it and ends the alarm (docs/repair.md, Data that differ)"
)
CORRUPT_FIRST = "deal with the alarm CORRUPT first: etcdctl alarm disarm ends both"
_RAISED = re.compile(r"memberID:(\d+) alarm:(\w+)")
_ONLY_FULL = re.compile(ONLY_FULL)


def raised(statuses: Iterable[EndpointStatus]) -> dict[str, tuple[int, ...]]:
    """Return the ids of the members that raised an alarm, by its kind. Every member knows of all alarms."""
    by_kind: dict[str, dict[int, None]] = {}
    for status in statuses:
        for error in status.errors:
            for number, kind in _RAISED.findall(error):
                by_kind.setdefault(kind, {})[int(number)] = None
    return {kind: tuple(ids) for kind, ids in by_kind.items()}


def is_alarm(error: str) -> bool:
    """Return whether one of the ``errors`` in a member's status is an alarm."""
    return _RAISED.search(error) is not None


def only_full(health: EndpointHealth) -> bool:
    """Return whether a member is unhealthy for the alarm NOSPACE alone: a linearizable read through it worked."""
    return not health.healthy and _ONLY_FULL.fullmatch(health.error.strip()) is not None


def takes_part(health: EndpointHealth) -> bool:
    """Return whether the member reaches a leader and a majority, which a full database does not change."""
    return health.healthy or only_full(health)


def takes_part_script(health: str) -> str:
    """Return shell that succeeds where ``health`` (``etcdctl endpoint health``) tells what `takes_part` asks for."""
    return f"{{ said=$({health} 2>&1) || printf '%s\\n' \"$said\" | grep -qE '{ONLY_FULL}'; }}"


def has_room(size: int, quota: int) -> bool:
    """Return whether a database of ``size`` bytes takes a write at this quota."""
    return size + ROOM_BYTES <= quota


def may_end(statuses: Sequence[EndpointStatus], members: Collection[str], quota: int) -> str:
    """Return why the alarm NOSPACE must not be ended now; empty if it may.

    ``members`` are the client URLs of all members, each of which must have answered and run with a quota of
    ``quota`` bytes.
    """
    kinds = raised(statuses)
    if "NOSPACE" not in kinds:
        return "it is not raised"
    if set(kinds) - {"NOSPACE"}:
        return f"another alarm is raised: {', '.join(sorted(set(kinds) - {'NOSPACE'}))}"
    if silent := set(members) - {status.endpoint for status in statuses}:
        return f"no answer from {', '.join(sorted(silent))}"
    large = max((status.db_size for status in statuses), default=quota)
    if not has_room(large, quota):
        return f"the database has {mib(large)} of its quota of {mib(quota)}"
    return ""
