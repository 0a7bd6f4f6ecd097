"""From what was seen of a cluster's hosts to the plan of its start: which member is whose, and what it is like now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nornir.core.task import Result, Task

from etcdfleet.etcd.answers import MemberList
from etcdfleet.etcd.configuration import PEER_URL, addresses_in, data_dir_in, quota_in, wanted_addresses
from etcdfleet.etcd.expected import expected_members
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.plan import plan_start
from etcdfleet.etcd.start_model import MemberState, Nothing, Plan
from etcdfleet.host.paths import CONFIG
from etcdfleet.settings.models import HostSettings
from tasks.configure import desired_files, differing
from tasks.member import MemberAnswers, ask_member
from tasks.observe import Observed, site_of
from tasks.programs import restart_reasons


@dataclass(frozen=True)
class MemberSeen:
    """What was read of a host, and what its member says."""

    observed: Observed
    answers: MemberAnswers


def read_member(task: Task) -> Result:
    """Read the host, and, if its etcd runs, what etcd says: a `MemberSeen`."""
    site = site_of(task)
    observed = site.observe()
    return Result(
        task.host, result=MemberSeen(observed, ask_member(site) if observed.service.running else MemberAnswers())
    )


def is_settled(task: Task) -> Result:
    """Return whether the member runs with the wanted configuration, in a cluster that was healthy once."""
    site = site_of(task)
    observed = site.observe()
    settled = (
        observed.service.running
        and observed.facts.established is not None
        and observed.facts.data.ids is not None
        and not restart_reasons(site.settings, observed, programs=True)
        and not differing(observed, desired_files(task, site, observed))
    )
    return Result(task.host, result=settled)


def plan_cluster(
    members: tuple[HostSettings, ...],
    reads: Mapping[str, MemberSeen],
    chosen: frozenset[str],
    good: frozenset[str],
    *,
    programs: bool = False,
) -> Plan:
    """Return the plan of one cluster by what was seen of its hosts; those not looked at count as unknown."""
    if not any(host.name in good and host.name in reads for host in members):
        return Nothing()
    first = members[0]
    expected = expected_members(first)
    ids = static_ids({member.name: [member.peer_url] for member in expected}, first.cluster.token)
    states = [
        _state(host, reads.get(host.name), host.name in chosen, host.name in good, programs=programs)
        for host in members
    ]
    return plan_start(
        states,
        expected,
        ids,
        _member_list(reads),
        {host: read.answers.status for host, read in reads.items() if read.answers.status},
        first.cluster.quota_bytes,
    )


def _state(host: HostSettings, read: MemberSeen | None, chosen: bool, good: bool, *, programs: bool) -> MemberState:
    if read is None:
        return MemberState(host.name, host.member.name, chosen=chosen, ready=good, seen=False)
    facts, service = read.observed.facts, read.observed.service
    file = facts.files.get(CONFIG)
    configuration = file.content if file else None
    there, wanted = addresses_in(configuration), wanted_addresses(host)
    return MemberState(
        host.name,
        host.member.name,
        data=facts.data.ids,
        data_unreadable=facts.data.unreadable,
        established=facts.established,
        running=service.running,
        answering=read.answers.status is not None,
        restart_pending=bool(restart_reasons(host, read.observed, programs=programs)),
        data_dir=host.member.data_dir,
        configured_dir=data_dir_in(configuration),
        data_elsewhere=facts.data_elsewhere,
        disk_absent=facts.place.absent,
        quota_bytes=quota_in(configuration),
        moves=bool(there) and there != wanted,
        renamed=bool(there) and there.get(PEER_URL) != wanted[PEER_URL],
        chosen=chosen,
        ready=good,
    )


def _member_list(reads: Mapping[str, MemberSeen]) -> MemberList | None:
    """Return the list of a member that knows of a leader, else of any: one that was cut off may have an old list."""
    answers = [read.answers for read in reads.values() if read.answers.members]
    answers.sort(key=lambda one: not (one.status and one.status.leader_id))
    return answers[0].members if answers else None
