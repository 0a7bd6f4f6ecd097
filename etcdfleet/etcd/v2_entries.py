"""Entries of the old v2 API in a raft log, etcd's own among them, on which etcd 3.7 may end at its start. Pure.

Until 3.5, members publish their names and URLs, and the cluster version, by requests of that API. etcd 3.6 reads these
(`etcdfleet.etcd.v2_residue` is about all others); 3.7 knows none any more, and panics: "unmarshal should never fail"
(``Apply`` in ``server/etcdserver/apply/apply.go``; k0smotron issue 1578). They stay in the log until a raft snapshot
lies behind them, which a quiet cluster may take after years. Tried with 3.5.33, 3.6.14 and 3.7.1: the first 3.7.1 of a
cluster that had begun with 3.5.33 panicked at each start, and with such a snapshot it did not. A cluster that had begun
with 3.4.23 went through once without; why is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.versions import parse
from etcdfleet.etcd.wal import Entry, fields_of

READS_NONE = (3, 7)
"""The first minor version that survives none."""
_METHODS = frozenset({b"GET", b"QGET", b"PUT", b"POST", b"DELETE", b"SYNC"})


@dataclass(frozen=True)
class V2Entries:
    """How many a host's log holds after its newest snapshot."""

    host: str
    count: int = 0


def count_v2(entries: Iterable[Entry], after: int) -> int:
    """Return how many of the entries after this raft index are requests of the v2 API."""
    return sum(entry.index > after and entry.normal and _is_v2(entry.data) for entry in entries)


def _is_v2(data: bytes) -> bool:
    """Request{2: Method}; in a request of the v3 API the second field is another such request, or not there."""
    try:
        return fields_of(data).get(2) in _METHODS
    except ValueError:
        return False


def enters_3_7(members: Iterable[MemberVersion]) -> tuple[str, ...]:
    """Return the hosts with data whose program would be the first that survives no such entry."""
    return tuple(
        member.host
        for member in members
        if member.data and (new := parse(member.brings)) and new[:2] >= READS_NONE
        if (now := parse(member.running or member.installed)) and now[:2] < READS_NONE
    )


def told_of_entries(found: Sequence[V2Entries]) -> str:
    """Return which raft logs must be left behind a snapshot before etcd 3.7, and why; empty for none."""
    hit = [f"{one.host}: {one.count}" for one in found if one.count]
    if not hit:
        return ""
    return (
        "the raft log holds entries of the old v2 API, which etcd 3.5 wrote, and etcd 3.7 may end on them"
        f" ({', '.join(hit)}): each of these members is restarted once more before, so that a raft snapshot lies behind"
        " them"
    )
