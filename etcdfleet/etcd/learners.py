"""Members that have no vote yet: how far they are behind, for how long, and what to do about them. Pure functions.

etcd does not tell since when a member is a learner, and nothing in its data directory does: etcd touches the folders at
each start (measured with 3.4.23 and 3.5.1), and not every ``stat`` tells when one was made. What every host tells is
how long its etcd has run: a learner has been one for so long at least.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etcdfleet.etcd.cluster import MAX_LAG, Cluster
from etcdfleet.text import counted, span_text

PATIENCE = 600.0
"""Seconds that a learner may take beside getting the database: for what clients write meanwhile, and an election."""
SLOWEST = 2**20
"""Bytes a second that a slow card or link still takes: so a database of 1 GiB has 17 minutes more."""
WHY_LATE = "its card is too slow for what clients write, its network to the others is cut, or its link is too small"


@dataclass(frozen=True)
class Learner:
    """A member without a vote.

    ``answers`` says that it does; ``behind`` is how many entries of the log it has not applied that the most advanced
    of the others has, None where it or all others do not answer. ``led`` says that it knows of a leader: one that is
    cut off later goes on naming its last one, since a learner asks for no election (measured), so that only its
    distance tells. ``seconds`` is how long its etcd has run; None where that is not known. ``size`` is that of the
    largest database of the cluster in bytes.
    """

    name: str
    behind: int | None = None
    answers: bool = False
    led: bool = False
    seconds: float | None = None
    size: int = 0

    @property
    def near(self) -> bool:
        """Whether it is as near to the others as one must be to get its vote."""
        return self.behind is not None and self.behind <= MAX_LAG and self.led

    @property
    def old(self) -> bool:
        """Whether it has had time enough to catch up."""
        return self.seconds is not None and self.seconds > PATIENCE + self.size / SLOWEST

    @property
    def overdue(self) -> bool:
        """Whether it has had time enough to catch up, and has not, as far as is known."""
        return self.old and not self.near and (self.behind is not None or not self.answers)

    @property
    def what(self) -> str:
        """What it is, in a sentence; and why that is so, where it should not be."""
        why = f" ({self.why})" if self.overdue else ""
        return f"{self.name} is a learner: it has no vote; {self.progress}{why}"

    @property
    def progress(self) -> str:
        """How far it has come, and in which time."""
        if self.behind is None:
            text = (
                "no other member answers that could tell how far it is behind" if self.answers else "it does not answer"
            )
        elif not self.led:
            text = f"it knows of no leader, and is {counted(self.behind, 'entry', 'entries')} behind"
        else:
            text = (
                f"it is {counted(self.behind, 'entry', 'entries')} behind{', near enough for one' if self.near else ''}"
            )
        if self.seconds is not None:
            text += f", {span_text(self.seconds)} after its etcd was started"
        return f"{text}: it does not become fit for a vote" if self.overdue else text

    @property
    def why(self) -> str:
        """Why that may be, in a clause."""
        if self.overdue and not self.led:
            return "it does not reach the other members, or they not it, on the peer port"
        if self.overdue:
            return WHY_LATE
        if self.answers and self.behind is None:
            return "the other members do not answer here"
        if self.near:
            return "a run is about to give it its vote, was ended before that, or it was added by hand"
        return "it gets the data from the others, and its vote once it has them"

    def remedy(self, host: str) -> str:
        """Return what to do; ``host`` is its name in the inventory."""
        go_on = f"python runbooks/replace_member.py {host}"
        if self.overdue:
            return (
                f"see etcd's log, disk and network of the host; then {go_on} goes on with it, or python"
                f" runbooks/remove_member.py {host} takes it back"
            )
        if self.near and self.old:
            return f"{go_on} gives it its vote, or says why not; python runbooks/remove_member.py {host} takes it back"
        return f"{go_on} gives it its vote{'' if self.near else ', once it has caught up'}"

    def facts(self) -> dict[str, int]:
        """Return what the report records of it."""
        facts = {} if self.behind is None else {"learner_behind_entries": self.behind}
        return facts if self.seconds is None else facts | {"learner_seconds": int(self.seconds)}


def learners(cluster: Cluster, seconds: Mapping[str, float | None]) -> dict[str, Learner]:
    """Return the learners of the inventory by name: those that say so themselves, and those of the list.

    ``seconds`` is for how long etcd has run, by the member's name, as far as that is known.
    """
    size = max((status.db_size for status in cluster.statuses), default=0)
    found = {}
    listed = {wanted.name for wanted, entry in cluster.matched.pairs if entry.learner and entry.started}
    for member in cluster.expected:
        status = cluster.by_name.get(member.name)
        ahead = max((one.raft_index for one in cluster.statuses if one != status), default=None)
        if status.learner if status else member.name in listed:
            found[member.name] = Learner(
                member.name,
                max(0, ahead - status.raft_applied) if status and ahead is not None else None,
                status is not None,
                bool(status and status.leader_id),
                seconds.get(member.name),
                size,
            )
    return found
