"""What to start, what to restart, in which order, and when to keep the hands off: pure decisions about one cluster.

The only act that can destroy a cluster is starting a member *without data*: with ``initial-cluster-state: new`` it
takes part in a new log, and enough of them form a quorum that overrules the members that still have the old one
(``Cluster.Bootstrap`` and ``StartNode`` in ``server/etcdserver/bootstrap.go``, in 3.4 ``server.go``). etcd itself
guards only against the easy case: it asks its peers first and says "member ... has already been bootstrapped"
(``isMemberBootstrapped`` in ``cluster_util.go``), but if no peer answers it goes ahead. Starting a member that has its
data is safe, unless the others have begun such a new log already.

So a member without data is started only if one of these is *proved*:

1. No member has ever been part of a working cluster. No host has a marker, no member answers, **every** host was read,
   and every data directory there is holds this cluster's ids and a raft log that ends with its bootstrap entries, with
   no snapshot (`DataIds.has_past`): no entry was ever written by a leader, so there was never a quorum, so no client
   was ever promised anything. This alone is a first start (`Bootstrap`), with ``initial-cluster-state: new``.
2. A quorum of the other members answers now, and its member list says that this very member (same static id) has never
   joined. It joins them (`Join`), with ``initial-cluster-state: existing``: its log begins empty, so that it gets
   everything from the leader, and if the others are gone by then, etcd refuses to start.

Why rule 2 must not start with ``new``, measured with 3.4.23 and 3.5.16: members that were restored from a snapshot have
a log that is that of a bootstrap, and their key space is in the database alone. A third member that begins the same
bootstrap log without that database is taken for one that has caught up: it votes, is healthy, and answers linearizable
reads with an empty key space for ever.

The case to fear: two of three members have lost their data while the third is down. Each variant of it and what stops
it:

- the third host is off or was not read, or is not part of this run: rule 1 wants every host read, chosen and ready;
- the third host is on, its etcd stopped, its marker there: any marker on any host closes rule 1;
- the same without a marker (a cluster that was set up by hand, or a lost ``/etc``): its log has entries of a
  leader; a quorum had data once and has not now, so data were lost. A log that cannot be read to its end counts as
  such a log;
- the two have begun a log of a first start already (they booted): they count as empty, and nothing is started;
- its log ends with the bootstrap entries, because it was cut off ever since: then what it holds was never promised to
  any client, and the two that did work are gone with their data and markers; there is nothing left to overrule;
- the data are lost but a marker is left on any of the hosts: the marker closes rule 1; what such a marker does not
  name is a host that is new, which is not started either (`etcdfleet.etcd.newcomers`);
- the third answers, without a quorum (3.4 lists members from memory, also without one): rule 2 wants a quorum to
  answer;
- two members were restored from a snapshot, and the third holds data from before, or a log of a first start: nothing is
  started beside such data, since raft would believe them;
- two hosts booted with empty data directories and etcd started there before anyone looked: their list has never seen
  the third, though a marker says that it was a member; nothing is touched any more.

Measured with 3.4.23 and 3.5.1: two wiped members of three, started while the third is down, serve an empty key space
under the *same* cluster id and member ids. When the third comes back it joins them without an error, and from then on
different members answer with different keys.

All data and all markers lost on all hosts is the same as new hosts, and cannot be told from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus, ExpectedMember, MemberList
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.contradictions import (
    RESTORE,
    contradiction,
    data_differ,
    data_lost,
    quota_too_small,
)
from etcdfleet.etcd.ids import StaticIds
from etcdfleet.etcd.moving import moving, renamed
from etcdfleet.etcd.start_model import Bootstrap, Join, MemberState, Nothing, Plan, Readdress, Rolling, hosts_of


def plan_start(
    states: Sequence[MemberState],
    expected: Sequence[ExpectedMember],
    ids: StaticIds,
    member_list: MemberList | None = None,
    statuses: Mapping[str, EndpointStatus] | None = None,
    quota_bytes: int = 0,
) -> Plan:
    """Decide the start step of one cluster; see the module's text for what is never done.

    ``states`` has one entry per member of the inventory's cluster, in any order, whether or not chosen. ``expected``
    and ``ids`` (`static_ids`) describe the same members. ``member_list`` is the answer of any member, if one gave it.
    ``statuses`` by host tells the leader, who is restarted last, and what members hold; a difference between them must
    have been confirmed by further looks. ``quota_bytes`` is the wanted quota, 0 if it does not matter. Raises
    ``ValueError`` if states and expected members differ in names.
    """
    if sorted(state.name for state in states) != sorted(member.name for member in expected):
        raise ValueError("plan_start needs exactly one state per member of the inventory's cluster")
    statuses = statuses or {}
    names = {state.host: state.name for state in states}
    by_name = {names[host]: status for host, status in statuses.items()}
    cluster = Cluster.asked_locally(expected, member_list, by_name, {})
    leaderless = bool(statuses) and not any(status.leader_id for status in statuses.values())
    refusal = (
        contradiction(states, cluster, ids)
        or (renamed(states) if member_list is None or leaderless else None)
        or data_differ(states, cluster)
        or quota_too_small(states, statuses, quota_bytes)
    )
    if refusal:
        return refusal
    empty = [state for state in states if state.empty]
    quorum = len(states) // 2 + 1
    marked = any(state.established is not None for state in states if state.seen)
    if member_list and empty:
        # All of them are in the list as never started, under the ids that a first start gives them: rule 2.
        if sum(_leads(state, statuses) for state in states if state not in empty) >= quorum:
            return _join(states, empty)
        return _data_first(states, empty, quorum)
    if member_list is None and not marked:
        data = [state.data for state in states if state.seen and state.data]
        if not any(held.has_past(len(states)) for held in data) and not any(state.answering for state in states):
            return _first_start(states)
        if empty:
            return _data_first(states, empty, quorum)
    if member_list is None and empty:
        return _without_newcomers(states, empty, statuses)
    plan, elsewhere = _rolling(states, quorum, statuses), moving(states, cluster)
    if not (member_list and elsewhere):
        return plan
    if isinstance(plan, Rolling) and (first := {*plan.start_first}.difference(hosts_of(elsewhere))):
        return replace(plan, start_first=tuple(host for host in plan.start_first if host in first))
    return Readdress(restart_order(statuses, hosts_of(elsewhere)))


def _leads(state: MemberState, statuses: Mapping[str, EndpointStatus]) -> bool:
    """Return whether the member answers, as part of a quorum as far as its status tells."""
    status = statuses.get(state.host)
    return state.answering and (status is None or status.leader_id != 0)


def _first_start(states: Sequence[MemberState]) -> Plan:
    """Rule 1: nothing was ever promised to anybody."""
    todo = [s for s in states if not s.running or s.data is None or (s.restart_pending and not s.answering)]
    missing = [state for state in states if not state.ours]
    if missing:
        reasons = "; ".join(f"{state.host} {_why_not(state)}" for state in missing)
        return Refusal(
            "the members of a new cluster must be started together, for none is ready before a quorum is there:"
            f" {reasons}",
            hosts_of(missing),
            "let this run include all members of the cluster, and repair what failed on these hosts",
        )
    return Bootstrap(hosts_of(todo)) if todo else _restarts_or_nothing(states, {})


def _join(states: Sequence[MemberState], empty: Sequence[MemberState]) -> Plan:
    """Rule 2: the others work and wait for these, which have never joined."""
    missing = [state for state in empty if not state.ours]
    if missing:
        reasons = "; ".join(f"{state.host} {_why_not(state)}" for state in missing)
        return Refusal(
            f"the first start of this cluster is not complete, and cannot be completed now: {reasons}",
            hosts_of(missing),
            "let this run include these hosts, and repair what failed on them",
        )
    stopped = [state for state in states if state.ours and state.data and not state.running]
    return Rolling((), hosts_of(stopped), joining=hosts_of(empty)) if stopped else Join(hosts_of(empty))


def _data_first(states: Sequence[MemberState], empty: Sequence[MemberState], quorum: int) -> Plan:
    """Block where the cluster worked once, members have no data, and no quorum says whether they ever had.

    Those with data can be asked once they run; the others must wait for the answer.
    """
    if len(states) - len(empty) < quorum:
        evidence = "the data of another host show that it had a leader, or was restored, with a quorum's data"
        return data_lost(empty, evidence, RESTORE)
    plan = _rolling(states, quorum, {})
    if isinstance(plan, Rolling) and plan.start_first:
        return Rolling((), plan.start_first, joining=hosts_of(empty))
    if isinstance(plan, Refusal):
        return plan
    return Refusal(
        f"no data on {', '.join(hosts_of(empty))}, and no quorum of the others answers that could tell whether it had"
        " any",
        hosts_of(empty),
        "see etcd's log on the other members, get a quorum of them healthy, and run again",
    )


def _without_newcomers(
    states: Sequence[MemberState], new: Sequence[MemberState], statuses: Mapping[str, EndpointStatus]
) -> Plan:
    """Start the members of a cluster that is down, beside hosts that are new to it: only once it runs can these join.

    All others have their data, so that their start is safe, whatever these hosts turn out to be.
    """
    members = [state for state in states if state not in new]
    plan = _rolling(members, len(members) // 2 + 1, statuses)
    if isinstance(plan, Refusal) or (isinstance(plan, Rolling) and plan.start_first):
        return plan
    return Refusal(
        f"new to the cluster: {', '.join(hosts_of(new))} (neither data nor a marker there, and no marker names such a"
        " member, so nothing is lost); but no member answers that could take in a new one",
        hosts_of(new),
        "run deploy for the whole cluster, which starts members that are stopped; where they run, see etcd's log there",
    )


def _rolling(states: Sequence[MemberState], quorum: int, statuses: Mapping[str, EndpointStatus]) -> Plan:
    start = [state for state in states if state.ours and state.data and not state.running]
    might_run = sum(not state.seen or state.running or state in start for state in states)
    if start and might_run < quorum:
        stopped = [state for state in states if state.seen and not state.running and state not in start]
        reasons = "; ".join(f"{state.host} {_why_not(state)}" for state in stopped)
        return Refusal(
            f"{', '.join(hosts_of(start))} cannot become ready: {might_run} of {len(states)} members would run, a"
            f" quorum is {quorum} ({reasons})",
            hosts_of(stopped),
            "let this run include the stopped members, or start them",
        )
    if start:
        return Rolling((), hosts_of(start))
    return _restarts_or_nothing(states, statuses)


def _restarts_or_nothing(states: Sequence[MemberState], statuses: Mapping[str, EndpointStatus]) -> Plan:
    pending = [state for state in states if state.ours and state.running and state.restart_pending]
    if not pending:
        return Nothing()
    down = [state for state in states if state.seen and not state.running]
    if down:
        return Refusal(
            f"{', '.join(hosts_of(pending))} must be restarted, but {', '.join(hosts_of(down))} is not running, and"
            " members are taken down only while all others are healthy",
            hosts_of(down),
            "let this run include the stopped members, or start them",
        )
    return Rolling(restart_order(statuses, hosts_of(pending)))


def restart_order(statuses: Mapping[str, EndpointStatus], hosts: Sequence[str]) -> tuple[str, ...]:
    """Return ``hosts`` in restart order: first those that do not answer, then followers, the leader last.

    Restarting the leader costs an election, so it happens once, when all others already run what is new.
    """

    def rank(host: str) -> int:
        status = statuses.get(host)
        if status is None:
            return 0
        return 2 if status.leader_id and status.leader_id == status.member_id else 1

    return tuple(sorted(hosts, key=rank))


def _why_not(state: MemberState) -> str:
    if not state.chosen:
        return "is not part of this run"
    if not state.seen:
        return "could not be read"
    return "is not ready (an earlier step failed)" if not state.ready else "is stopped"
