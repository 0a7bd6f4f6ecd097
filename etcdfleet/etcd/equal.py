"""Whether members hold the same data, told from ``endpoint status`` alone: pure decisions.

Members apply the same raft log, and an entry moves the revision of the key space by one at most (a transaction, and
the end of a lease with all of its keys, count as one). So of two members, the one that has applied more has a revision
that is at least as high, and higher by no more than the entries that it has applied on top; with equal applied index,
revisions are equal. A member without the data that the others share breaks this at once, while its hash at the lowest
common revision, which `etcdctl endpoint hashkv` compares, is equal to theirs (measured with 3.4.23 and 3.5.16), and
etcd's own checks for corruption skip it.

etcd reads revision and applied index one after the other, and a member that has just started applies again what its
database holds already. So one look may show a difference that is none: a caller that acts on it asks again
(`CONFIRMATIONS`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from etcdfleet.etcd.answers import EndpointStatus

CONFIRMATIONS = 2
"""So many further looks must show a difference before it counts."""
DIVERGED = (
    "let no client read from the one that differs, and replace it: python runbooks/repair.py does so where a majority"
    " of the members agrees (docs/repair.md, Data that differ)"
)
"""What to do when members do not hold the same data."""
PAUSE_SECONDS = 0.5
"""Between two of these looks."""


@dataclass(frozen=True)
class Divergence:
    """Members whose data cannot be the same.

    ``odd`` are those that a majority of the members that answer differs from; empty where there is none.
    """

    differ: tuple[EndpointStatus, ...]
    odd: tuple[EndpointStatus, ...]

    def concerns(self, member_id: int) -> bool:
        """Return whether this member may be the one with the wrong data."""
        return any(status.member_id == member_id for status in self.odd or self.differ)

    def told(self, name: Callable[[EndpointStatus], str]) -> str:
        """Return what was seen, for messages; ``name`` gives the name of the member that a status is of."""
        revisions = ", ".join(
            f"{name(status)} has revision {status.revision} at raft index {status.raft_applied}"
            for status in sorted(self.differ, key=name)
        )
        odd = " and ".join(sorted(name(status) for status in self.odd))
        return f"{revisions}: {odd} does not hold what the majority holds" if odd else f"{revisions}: the data differ"


def divergence(statuses: Iterable[EndpointStatus]) -> Divergence | None:
    """Find the members of one cluster whose data cannot be the same; None when all may be."""
    asked = tuple({status.member_id: status for status in statuses}.values())
    pairs = [
        (one, other)
        for one, other in combinations(asked, 2)
        if one.cluster_id == other.cluster_id and not _may_be_equal(one, other)
    ]
    if not pairs:
        return None
    differ = tuple(status for status in asked if any(status in pair for pair in pairs))
    majority = len(asked) // 2 + 1
    odd = tuple(
        status
        for status in differ
        if sum(status in pair for pair in pairs) >= majority and _alone(status, pairs, asked)
    )
    return Divergence(differ, odd)


def _may_be_equal(one: EndpointStatus, other: EndpointStatus) -> bool:
    behind, ahead = sorted((one, other), key=lambda status: (status.raft_applied, status.revision))
    entries = ahead.raft_applied - behind.raft_applied
    return 0 <= ahead.revision - behind.revision <= entries


def _alone(
    status: EndpointStatus,
    pairs: Sequence[tuple[EndpointStatus, EndpointStatus]],
    asked: Sequence[EndpointStatus],
) -> bool:
    """Return whether those that it differs from are a majority that agrees among itself."""
    against = [other for other in asked if (status, other) in pairs or (other, status) in pairs]
    return not any((one, other) in pairs for one, other in combinations(against, 2))
