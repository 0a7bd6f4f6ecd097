"""A member without a vote as one finding of verify, and what fails with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from etcdfleet.checks.consequences import consequence
from etcdfleet.checks.findings import Finding, failed
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.learners import Learner
from etcdfleet.etcd.membership import mismatches

LEARNER = "learner"
"""The check that fails where a member has no vote."""


def learner_finding(found: Iterable[Learner]) -> Finding:
    """Return what is to be said of these learners; one that comes nearer stays the same fault."""
    found = list(found)
    return failed(
        LEARNER,
        "; ".join(one.what for one in found),
        "; ".join(dict.fromkeys(one.why for one in found)),
        "; ".join(one.remedy(one.name) for one in found),
        fault=", ".join(f"{one.name}{' is overdue' if one.overdue else ''}" for one in found),
        about=tuple(one.name for one in found),
    )


def what_follows(
    cluster: Cluster, found: Mapping[str, Learner], listed: Finding, health: Finding, equal: Finding
) -> tuple[Finding, Finding, Finding]:
    """Mark what fails for these learners alone: etcd serves neither reads nor the list nor hashes through one."""
    differences = mismatches(cluster.matched) if cluster.members else ()
    alone = all(one.kind == "learner" and one.member and one.member.name in found for one in differences)
    if alone and not listed.ok and not listed.follows:
        listed = consequence(listed, LEARNER)
    # Data that differ are a fault of their own.
    health, equal = (
        consequence(one, LEARNER) if not one.fault and one.about and set(one.about) <= set(found) else one
        for one in (health, equal)
    )
    return listed, health, equal
