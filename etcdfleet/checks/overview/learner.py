"""What is to be said about members that have no vote yet: pure functions from what was seen to sentences."""

from __future__ import annotations

from collections.abc import Sequence

from etcdfleet.checks.overview.data import Concern, Level, MemberView
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.learners import Learner, learners


def learners_of(views: Sequence[MemberView], cluster: Cluster) -> dict[str, Learner]:
    """Return the members without a vote, by host."""
    seconds = {view.member.name: view.machine.seconds if view.machine else None for view in views}
    found = learners(cluster, seconds)
    return {view.host: found[view.member.name] for view in views if view.member.name in found}


def learner_concern(host: str, learner: Learner) -> Concern:
    """Return what is said of a learner: it works as one, unless it has had time enough and has not caught up."""
    level = Level.BROKEN if learner.overdue else Level.WRONG
    return Concern(level, learner.what, (host,), learner.remedy(host))
