"""One look at a cluster: its members by the inventory, its running member list, and what each member answered. Pure.

The plan of a start, the gates of a restart, the checks of a deploy and of verify.py, and status.py judge by it, so they
cannot disagree about which entry of the list is whose, who leads, who serves, which alarms are raised, who is behind
and how many votes are a quorum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from etcdfleet.etcd.alarms import raised, takes_part
from etcdfleet.etcd.answers import (
    SLOW_READ,
    EndpointHealth,
    EndpointStatus,
    ExpectedMember,
    HashKV,
    Member,
    MemberList,
    address,
    by_host,
)
from etcdfleet.etcd.equal import Divergence, divergence
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.membership import Matched, match
from etcdfleet.etcd.versions import newer

QUOTA_WARNING = 0.8
"""From this share of the quota on, the database size is a finding. At the quota, etcd accepts no more writes."""
MAX_LAG = 1000
"""Entries that a member may be behind the most advanced one: far below the 5000 that a leader keeps for slow followers
(``DefaultSnapshotCatchUpEntries`` in ``server.go``), far above what such hosts write between two answers."""
DIFFERENT = "members did not hold the same data"


@dataclass(frozen=True)
class Cluster:
    """A cluster as one look has shown it.

    ``expected`` are the members of the inventory that are to be judged; without them, members have the list's names.
    ``members`` is None when there was no list, and ``no_list`` says why. The answers were asked for at about the same
    time, each under the client URL of its member; ``hashes`` all at one revision. ``unanswered`` says by client URL why
    there is no status.
    """

    expected: tuple[ExpectedMember, ...] = ()
    members: MemberList | None = None
    statuses: tuple[EndpointStatus, ...] = ()
    healths: tuple[EndpointHealth, ...] = ()
    hashes: tuple[HashKV, ...] = ()
    unanswered: Mapping[str, str] = field(default_factory=dict)
    no_list: str = ""

    @classmethod
    def asked_locally(
        cls,
        expected: Iterable[ExpectedMember],
        members: MemberList | None,
        statuses: Mapping[str, EndpointStatus],
        healths: Mapping[str, EndpointHealth],
    ) -> Cluster:
        """From answers by the member's name that each host gave about its own member, under an address of its own."""
        expected = tuple(expected)
        urls = {member.name: member.client_url for member in expected}
        return cls(
            expected,
            members,
            tuple(replace(status, endpoint=urls[name]) for name, status in statuses.items()),
            tuple(replace(health, endpoint=urls[name]) for name, health in healths.items()),
        )

    # ---- who is who ----

    @property
    def entries(self) -> tuple[Member, ...]:
        """The entries of the member list; none when there was no list."""
        return self.members.members if self.members else ()

    @cached_property
    def matched(self) -> Matched:
        """Which entry is which member of the inventory: by name, else by peer URL."""
        return match(self.expected, self.entries)

    def entry(self, name: str) -> Member | None:
        """Return the entry of the member with this name, as `name` gives it."""
        return next((entry for entry in self.entries if self.name(entry.id) == name), None)

    @cached_property
    def _names(self) -> dict[int, str]:
        names = {entry.id: entry.name for entry in self.entries if entry.name}
        names |= {entry.id: member.name for member, entry in self.matched.pairs}
        return {status.member_id: name for name, status in self.by_name.items()} | names

    def name(self, member_id: int) -> str:
        """Return the member's name in the inventory, else in the list, else its id."""
        return self._names.get(member_id) or f"member {hex_id(member_id)}"

    def knows(self, member_id: int) -> bool:
        """Return whether a member with this id has answered or is in the list."""
        return member_id in self.by_id or any(entry.id == member_id for entry in self.entries)

    # ---- who said what ----

    @cached_property
    def by_id(self) -> dict[int, EndpointStatus]:
        """What each member said of itself, by its id."""
        return {status.member_id: status for status in self.statuses}

    @cached_property
    def by_name(self) -> dict[str, EndpointStatus]:
        """What answered at the client URL of each member of the inventory, whichever member that is."""
        return by_host(self.statuses, self._urls)

    @cached_property
    def health_by_name(self) -> dict[str, EndpointHealth]:
        """The health at the client URL of each member of the inventory."""
        return by_host(self.healths, self._urls)

    @cached_property
    def hash_by_name(self) -> dict[str, HashKV]:
        """The hash from the client URL of each member of the inventory."""
        return by_host(self.hashes, self._urls)

    @property
    def _urls(self) -> dict[str, str]:
        return {member.name: member.client_url for member in self.expected}

    def sickness(self, entry: Member) -> str:
        """Return why a linearizable read through this member of the list did not work; empty if it did."""
        urls = {address(url) for url in entry.client_urls}
        asked = [health for health in self.healths if address(health.endpoint) in urls]
        if not asked:
            return "no answer"
        return next((health.error or "no answer" for health in asked if not takes_part(health)), "")

    @cached_property
    def serving(self) -> tuple[EndpointStatus, ...]:
        """The members through which a linearizable read worked: they are in touch with a leader and a majority."""
        well = {address(health.endpoint) for health in self.healths if takes_part(health)}
        return tuple(status for status in self.statuses if address(status.endpoint) in well)

    # ---- votes and leader ----

    @property
    def voters(self) -> int:
        """How many members have a vote: by the list, which counts, else by the inventory."""
        return sum(not entry.learner for entry in self.entries) if self.members else len(self.expected)

    @property
    def quorum(self) -> int:
        """How many of them must live."""
        return self.voters // 2 + 1

    @property
    def alive(self) -> int:
        """How many voters are known to live: those that answered, and a leader whose followers serve."""
        return sum(not status.learner for status in self.statuses) + bool(self.presumed_leader)

    @cached_property
    def leader(self) -> tuple[int, int]:
        """Id of the leader (0 for none), and the term: as most of those say that serve, or answer, if none serves."""
        counts = Counter((s.leader_id, s.term) for s in self.serving or self.statuses if s.leader_id)
        if counts:
            return max(counts, key=lambda pair: (counts[pair], pair[1]))
        return 0, max((status.term for status in self.statuses), default=0)

    @property
    def unheard_leader(self) -> int:
        """The id of a leader that was not asked or did not answer; 0 if it did, or there is none."""
        return 0 if self.leader[0] in self.by_id else self.leader[0]

    @property
    def reads_quickly(self) -> bool:
        """Whether a read that needs the leader worked at once: one that waited for an election works, too."""
        return any(takes_part(health) and health.took < SLOW_READ for health in self.healths)

    @property
    def presumed_leader(self) -> int:
        """The id of a leader that did not answer, though reads work; 0 if there is none.

        Members name a lost leader until another one is elected, and the read that was asked beside may have been served
        by that other one. So this leader is known to live only if it is still named when they are asked again, after
        the read.
        """
        return self.unheard_leader if self.reads_quickly else 0

    # ---- state ----

    @cached_property
    def alarms(self) -> dict[str, tuple[int, ...]]:
        """The ids of the members that raised an alarm, by its kind. Every member tells of all alarms."""
        return raised(self.statuses)

    @cached_property
    def going_back_to(self) -> str:
        """The minor version to which etcd's own job leads the cluster; empty without one, and where it is reached."""
        job = next((status.going_back_to for status in self.statuses if status.going_back_to), "")
        return job if job and any(newer(status.version, job) for status in self.statuses) else ""

    @property
    def ahead(self) -> int:
        """The highest index of the raft log."""
        return max((status.raft_index for status in self.statuses), default=0)

    @cached_property
    def late(self) -> dict[int, int]:
        """By how many entries members are behind, where that is more than `MAX_LAG`, by their id."""
        return {s.member_id: lag for s in self.statuses if (lag := self.ahead - s.raft_applied) > MAX_LAG}

    @cached_property
    def divergence(self) -> Divergence | None:
        """The members whose data cannot be the same."""
        return divergence(self.statuses)

    def diverged(self) -> str:
        """Return what was seen of that, for messages; empty if all data may be the same."""
        return self.divergence.told(lambda status: self.name(status.member_id)) if self.divergence else ""

    def different_since(self, before: Cluster) -> bool:
        """Return whether data differ, and will: no member has applied anything since that look, which is over.

        A look asks one member after the other, and may see them at different moments. Where nothing has moved between
        two of them, there was a moment at which all of this was so.
        """
        return self.moving() == DIFFERENT and _applied(before) == _applied(self)

    def moving(self) -> str:
        """Return what is going on among the members that answer and will be over soon; empty if nothing is."""
        if len(self.statuses) < self.quorum:
            return ""  # without a quorum nothing settles
        if any(not status.leader_id for status in self.statuses):
            return "there was no leader"
        if self.unheard_leader and not self.reads_quickly:
            return "the leader did not answer"
        if len({(status.leader_id, status.term) for status in self.statuses}) > 1:
            return "an election was under way"
        if self.late:
            return "a member was behind the others"
        if self.divergence:
            return DIFFERENT  # one look may be wrong about that: it is looked at again
        return ""


def _applied(cluster: Cluster) -> set[tuple[int, int, int, int]]:
    return {(s.member_id, s.term, s.raft_applied, s.revision) for s in cluster.statuses}
