"""Members whose ids a database of etcd 3.5 has among the removed ones although they live: 3.6 shuts them out. Pure.

etcd 3.5.26 and newer delete "zombies" from a member's database after each change of members that they apply
(``CleanupZombieMembersIfNeeded``, called by ``apply`` in ``server/etcdserver/server.go``), and note them in the bucket
``members_removed``. A zombie is what the database lists and the old v2 store does not. When a log is read again at a
start, that store is filled entry by entry, and changes that the database holds already are left out by its
``consistent_index``. etcd 3.4 saves that index with writes of keys, users and roles alone (``storeTxnWrite.End``, and
``saveConsistentIndex`` of auth, in ``mvcc`` and ``auth``): where none followed the last change of members, the
bootstrap included, 3.5 applies the change once more, finds the members of later entries in the database, and notes them
as removed. The later entries then add them again, and their notes stay.

3.5 does not read these notes, but the old store. 3.6 reads them (``readMembersFromBackend`` in
``server/storage/schema/membership.go``) and answers those members' peers with 410 Gone (``rafthttp/http.go``), upon
which they end themselves: "the member has been permanently removed from the cluster". Whether there is a raft snapshot
makes no difference, except that one taken by 3.4 saves the index, too. Tried with 3.4.23, 3.5.30, 3.5.33 and 3.6.14.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etcdfleet.errors import Refusal
from etcdfleet.etcd.bbolt import BrokenError, Database
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.versions import parse

_MEMBERS, _REMOVED = b"members", b"members_removed"


@dataclass(frozen=True)
class NotedMembers:
    """What the database on a host lists: the members, by id with their names, and the ids that were removed."""

    host: str
    members: Mapping[int, str] = field(default_factory=dict)
    removed: frozenset[int] = frozenset()

    @property
    def mistaken(self) -> dict[int, str]:
        """Members that are among the removed ones, by id with their names."""
        return {member: name for member, name in self.members.items() if member in self.removed}


def loses_members(runs: str, starts: str) -> bool:
    """Return whether a member that runs one version and starts with another next may note such members then.

    It does not where a key was written through it right before.
    """
    now, new = parse(runs), parse(starts)
    return bool(now and new and now[:2] < (3, 5) <= new[:2])


def noted_members(host: str, database: Database) -> NotedMembers:
    """Read what a database lists. Raises `BrokenError`, and what `Database` raises."""
    if _MEMBERS not in database.buckets or _REMOVED not in database.buckets:
        raise BrokenError("it has no bucket members or members_removed")
    try:
        members = {int(key, 16): str(json.loads(value).get("name", "")) for key, value in database.items(_MEMBERS)}
        removed = frozenset(int(key, 16) for key, _ in database.items(_REMOVED))
    except (ValueError, AttributeError, IndexError, struct.error) as error:
        raise BrokenError(f"its list of members cannot be read: {error}") from error
    if not members:
        raise BrokenError("it lists no member")
    return NotedMembers(host, members, removed)


def refuse_mistaken(noted: Sequence[NotedMembers]) -> Refusal | None:
    """Return why these hosts must not get etcd 3.6 or newer yet, or None."""
    found = [one for one in noted if one.mistaken]
    if not found:
        return None
    told = "; ".join(f"{one.host}: {', '.join(_named(one.mistaken))}" for one in found)
    return Refusal(
        "the database has members among the removed ones although they live, and etcd 3.6 would not let them in: they"
        f" would end themselves, and the cluster would lose its quorum ({told}). etcd 3.5.26 and newer do so on the"
        " data of a 3.4 to which no key was written after its members had changed last",
        tuple(one.host for one in found),
        f"with the 3.5 that runs, give {' and '.join(_renewed(found))} a new id, one after the other:"
        " remove_member.py HOST, then replace_member.py HOST; then run again",
    )


def _renewed(found: Sequence[NotedMembers]) -> list[str]:
    """Return who must come anew: one host whose database alone has such notes, else the members that it notes.

    A member that comes anew gets its data from a leader, with the notes in it; those of ids that are gone do no harm.
    """
    mistaken = {member: name for one in found for member, name in one.mistaken.items()}
    if len(found) == 1 and len(mistaken) > 1:
        return [found[0].host]
    return _named(mistaken)


def _named(members: Mapping[int, str]) -> list[str]:
    return sorted(name or hex_id(member) for member, name in members.items())
