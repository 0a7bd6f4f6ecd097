"""What clients were told by a cluster, and whether a store that is linearizable could have told it. Pure.

Each key is a register: it is written with values that are unique in the whole history, compared and swapped, and read.
etcd says with every answer at which revision of the store the value was written (``mod_revision``), so that a history
can be judged without a search: what was acknowledged has its place in the order already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["write", "swap", "read"]
Outcome: TypeAlias = Literal["ok", "refused", "unknown"]
"""``ok``: it was carried out. ``refused``: it was not, and never will be. ``unknown``: the answer never came."""


@dataclass(frozen=True)
class Call:
    """One call of a client: what it asked of which member, when (seconds of one clock), and what it was told.

    ``value`` is what was written, or what a read returned (empty: no such key). ``revision`` is where that value stands
    in the order of all writes of the store (``mod_revision``; 0 for a key that is not there). A ``swap`` writes only
    where the key's revision is ``expected``.
    """

    client: str
    member: str
    kind: Kind
    key: str
    start: float
    end: float
    outcome: Outcome
    value: str = ""
    revision: int = 0
    expected: int = 0

    @property
    def writes(self) -> bool:
        """Whether the call may have changed the key."""
        return self.kind != "read" and self.outcome != "refused"


@dataclass(frozen=True)
class Stored:
    """A key as one member holds it at the end: its value, the revision of its last write, how often it was written."""

    value: str
    revision: int
    version: int


Finals: TypeAlias = Mapping[str, Mapping[str, Stored]]
"""By member, what it holds at the end, by key."""


def violations(calls: Iterable[Call], finals: Finals) -> list[str]:
    """Return what no linearizable store could have told these clients; nothing for a sound history.

    ``finals`` were read from every member once no call was under way.
    """
    history = sorted(calls, key=lambda call: call.start)
    return [
        *_differing(history, finals),
        *_phantoms(history, finals),
        *_lost(history, finals),
        *_broken_swaps(history),
        *_out_of_order(history),
        *_stale(history),
    ]


def _differing(history: Sequence[Call], finals: Finals) -> list[str]:
    """Two values at one revision of a key, or two keys at one revision: members that went separate ways."""
    told: dict[int, dict[tuple[str, str], str]] = defaultdict(dict)
    for call in history:
        if call.outcome == "ok" and call.revision:
            told[call.revision].setdefault((call.key, call.value), f"{call.client} through {call.member}")
    for member, keys in finals.items():
        for key, stored in keys.items():
            told[stored.revision].setdefault((key, stored.value), f"{member} at the end")
    found = [
        f"revision {revision} is " + ", and ".join(f"{key}={value} ({who})" for (key, value), who in written.items())
        for revision, written in told.items()
        if len(written) > 1
    ]
    held = {member: sorted(keys.items()) for member, keys in finals.items()}
    for (one, some), (other, others) in pairwise(held.items()):
        if some != others:
            lacking = [f"{key}={stored.value}" for key, stored in {*some} ^ {*others}]
            found.append(f"{one} and {other} do not hold the same at the end: {', '.join(sorted(lacking)[:5])}")
    return found


def _phantoms(history: Sequence[Call], finals: Finals) -> list[str]:
    """Values that were read and never written, or whose writing was refused."""
    asked = {(call.key, call.value) for call in history if call.writes}
    read = [(call.key, call.value, f"read through {call.member}") for call in history if _tells_value(call)]
    read += [(key, held.value, f"held by {name}") for name, keys in finals.items() for key, held in keys.items()]
    return [f"{key}={value}, {how}, was never written" for key, value, how in read if (key, value) not in asked]


def _lost(history: Sequence[Call], finals: Finals) -> list[str]:
    """Acknowledged writes that a member's store cannot contain: a key that is older, or was written too few times."""
    acknowledged: dict[str, list[Call]] = defaultdict(list)
    possible: dict[str, int] = defaultdict(int)
    for call in history:
        if call.writes:
            possible[call.key] += 1
            if call.outcome == "ok":
                acknowledged[call.key].append(call)
    found = []
    for member, keys in finals.items():
        for key, calls in acknowledged.items():
            last, stored = max(calls, key=lambda call: call.revision), keys.get(key, Stored("", 0, 0))
            if stored.revision < last.revision:
                found.append(f"{member} holds {key} of revision {stored.revision}; {_told(last)} was acknowledged")
            elif not len(calls) <= stored.version <= possible[key]:
                found.append(
                    f"{member} has written {key} {stored.version} times; {len(calls)} writes were acknowledged,"
                    f" {possible[key] - len(calls)} may have happened"
                )
    return found


def _broken_swaps(history: Sequence[Call]) -> list[str]:
    """Swaps that took place although another write stands between what they expected and what they wrote."""
    written: dict[str, list[int]] = defaultdict(list)
    for call in history:
        if call.outcome == "ok" and call.revision:
            written[call.key].append(call.revision)
    return [
        f"{_told(call)} swapped revision {call.expected}, but {call.key} was written at {between[0]}"
        for call in history
        if call.kind == "swap" and call.outcome == "ok"
        if (between := [revision for revision in written[call.key] if call.expected < revision < call.revision])
    ]


def _out_of_order(history: Sequence[Call]) -> list[str]:
    """Writes that stand before others which had been acknowledged when they began."""
    found: list[str] = []
    ended = sorted((call for call in history if _acknowledged(call)), key=lambda call: call.end)
    newest: Call | None = None
    at = 0
    for call in filter(_acknowledged, history):
        while at < len(ended) and ended[at].end < call.start:
            newest = max(newest or ended[at], ended[at], key=lambda each: each.revision)
            at += 1
        if newest and call.revision < newest.revision:
            found.append(f"{_told(call)} stands before {_told(newest)}, which had been acknowledged when it began")
    return found


def _stale(history: Sequence[Call]) -> list[str]:
    """Reads that return less than what had been told to any client when they began."""
    found: list[str] = []
    for key in dict.fromkeys(call.key for call in history):
        told = [call for call in history if call.key == key and call.outcome == "ok"]
        ended = sorted(told, key=lambda call: call.end)
        newest: Call | None = None
        at = 0
        for call in told:
            while at < len(ended) and ended[at].end < call.start:
                newest = max(newest or ended[at], ended[at], key=lambda each: each.revision)
                at += 1
            if call.kind == "read" and newest and call.revision < newest.revision:
                found.append(f"{_told(call)} is stale: {_told(newest)} was known when it began")
    return found


def _acknowledged(call: Call) -> bool:
    return call.kind != "read" and call.outcome == "ok"


def _tells_value(call: Call) -> bool:
    return call.kind == "read" and call.outcome == "ok" and call.revision > 0


def _told(call: Call) -> str:
    return f"{call.kind} of {call.key}={call.value} at revision {call.revision} ({call.client} through {call.member})"


@dataclass(frozen=True)
class Gaps:
    """How well clients were served: the longest that each waited for a call that worked, and how often they retried."""

    calls: int
    unanswered: int
    longest: float
    """The longest time without a call that worked, of any client, in seconds."""
    most_retries: int
    """The most calls in a row that did not work, of any client."""


def gaps(calls: Iterable[Call]) -> Gaps:
    """Return how the service was, as each client saw it. A swap that lost against another client has worked."""
    by_client: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.start):
        by_client[call.client].append(call)
    longest, most, failed = 0.0, 0, 0
    for own in by_client.values():
        since, retries = own[0].start, 0
        for call in own:
            if _served(call):
                longest, since, retries = max(longest, call.end - since), call.end, 0
            else:
                failed, retries = failed + 1, retries + 1
                most = max(most, retries)
        longest = max(longest, own[-1].end - since)
    return Gaps(sum(map(len, by_client.values())), failed, longest, most)


def _served(call: Call) -> bool:
    return call.outcome == "ok" or (call.kind == "swap" and call.outcome == "refused" and call.revision > 0)
