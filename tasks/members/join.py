"""A host joins a running cluster: it starts as the learner that was added, catches up, and gets its vote."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.answers import EndpointStatus, MemberList
from etcdfleet.etcd.cluster import MAX_LAG, Cluster
from etcdfleet.etcd.etcdctl import etcdctl
from etcdfleet.etcd.ids import hex_id
from etcdfleet.host.paths import ESTABLISHED
from etcdfleet.outcome import done
from etcdfleet.remote import last_lines
from tasks.lock import still_ours
from tasks.marker import marker_file, noted_of
from tasks.member import ask_cluster, ask_member, ask_others
from tasks.observe import Site, site_of
from tasks.start import (
    not_healthy,
    note_established,
    place_readable,
    place_state,
    run_and_wait,
    wait_for_names,
    wait_until_caught_up,
)

TAKE_BACK = "run again: it goes on where this run stopped; or take the learner back: runbooks/remove_member.py"


@dataclass(frozen=True)
class Learner:
    """How far a learner has come, against its leader."""

    status: EndpointStatus
    leader: EndpointStatus

    @property
    def lag(self) -> int:
        """How many entries of the leader's log it has not applied."""
        return max(0, self.leader.raft_index - self.status.raft_applied)

    @property
    def ready(self) -> bool:
        """Whether it has caught up. etcd below 3.4.24 and 3.5.7 promotes one that has never started, too."""
        return self.lag <= MAX_LAG and self.status.leader_id == self.leader.member_id


def join_member(task: Task, noted: Sequence[Mapping[str, Any]] = ()) -> Result:
    """Start the member that was added, wait until it has caught up, and promote it if it is a learner.

    ``noted`` are the markers on the other hosts, from which its own one gets the identity of the cluster.
    Raises `VerificationError` when it does not come up or does not catch up: it is a learner then, which costs the
    cluster no vote, and the next run goes on from there.
    """
    site = site_of(task)
    if task.is_dry_run():
        return done(task, "would join the cluster", ["etcd joins the cluster"])
    still_ours(task)
    changes = []
    if not site.observe().service.running:
        if site.observe().facts.data.ids is None:
            place_state(task, site, "existing", _initial_cluster(site))
        place_readable(task, site)
        run_and_wait(site, site.service.start, ready=_answers(site))
        changes.append("etcd joins the cluster")
    promoted = _promote(task, site)
    if promoted:
        changes.append(promoted)
    members = wait_for_names(site)
    wait_until_caught_up(site)
    if site.observe().facts.established is None:
        note_established(task, site, members, noted)
        changes.append(f"{ESTABLISHED} notes the cluster's members")
    return done(task, "is a member with a vote", changes)


def _initial_cluster(site: Site) -> str:
    """Return the running cluster's list as etcd wants it from one that joins: every member, itself, and no other.

    Empty where that is what the inventory says, too.
    """
    members = ask_others(site)
    if members is None:
        raise VerificationError(
            "no other member gives the member list",
            where=site.settings.name,
            remedy="see etcd's log on the other hosts, and whether this host reaches their client ports; run again",
        )
    own, wanted = site.settings.member.name, site.settings.initial_cluster
    listed = [f"{entry.name or own}={url}" for entry in members.members for url in entry.peer_urls]
    return "" if sorted(listed) == sorted(wanted.split(",")) else ",".join(listed)


def _answers(site: Site) -> str:
    """Return shell that succeeds once the member answers at all: a learner serves no read that needs the leader."""
    status = etcdctl(site.settings, "endpoint status", [site.here(restarted=True)], seconds=timeouts.ETCDCTL_QUICK)
    return f"{status} >/dev/null 2>&1"


def _promote(task: Task, site: Site) -> str:
    """Give the member its vote once it has caught up; say so, or nothing where it has one."""
    end, best, reason = time.monotonic() + timeouts.CATCH_UP, -1, "it does not answer"
    began = time.monotonic()
    while True:
        learner = _look(site)
        if learner and not learner.status.learner:
            return ""
        if learner:
            reason = f"it is {learner.lag} entries behind"
            if learner.status.raft_applied + learner.status.db_size > best:
                # As long as it comes nearer, it has time: a slow card takes minutes for a large database.
                best, end = learner.status.raft_applied + learner.status.db_size, time.monotonic() + timeouts.CATCH_UP
            if learner.ready:
                still_ours(task)
                reason = _ask_for_promotion(site, learner)
                if not reason:
                    return f"the learner is promoted, {time.monotonic() - began:.0f} s after it answered"
        if time.monotonic() > end:
            error = not_healthy(site, f"the learner has not caught up: {reason}")
            raise VerificationError(error.what, where=error.where, remedy=f"{error.remedy}; {TAKE_BACK}")
        time.sleep(0.5)


def _ask_for_promotion(site: Site, learner: Learner) -> str:
    """Ask the leader itself: with authentication on, others could not until 3.5.28 (etcd issue 20874)."""
    asked = etcdctl(
        site.settings,
        f"member promote {hex_id(learner.status.member_id)}",
        [learner.leader.endpoint],
        seconds=timeouts.ETCDCTL_PATIENT,
    )
    answer = site.remote.run(asked)
    return "" if answer.ok else last_lines(answer.stderr or answer.stdout) or f"exit code {answer.rc}"


def _look(site: Site) -> Learner | None:
    own = ask_member(site).status
    members = ask_others(site) if own else None
    if own is None or members is None:
        return None
    cluster: Cluster = ask_cluster(site, members)
    leader = cluster.by_id.get(cluster.leader[0])
    return Learner(own, leader) if leader else None


def read_note(task: Task) -> Result:
    """Read what this host has noted of its cluster: the marker, or nothing. Raises `RemoteError`."""
    return Result(task.host, result=site_of(task).observe().facts.established)


def note_members(task: Task) -> Result:
    """Bring the marker on this host to the cluster's member list, where both are there and differ."""
    site = site_of(task)
    noted = site.observe().facts.established
    members: MemberList | None = ask_member(site).members if noted is not None else None
    if members is None or not all(entry.started for entry in members.members):
        return Result(task.host, result=False)
    wanted = noted_of(site, members)
    if wanted == noted:
        return Result(task.host, result=False)
    site.place([marker_file(wanted)], what="noting the cluster's members")
    return Result(task.host, result=True)
