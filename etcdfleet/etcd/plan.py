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
- the data are lost but a marker is left on any of the hosts: the marker closes rule 1;
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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etcdfleet.etcd.equal import DIVERGED, divergence
from etcdfleet.etcd.gates import caught_up as caught_up
from etcdfleet.etcd.gates import may_restart as may_restart
from etcdfleet.etcd.gates import move_leader_to as move_leader_to
from etcdfleet.etcd.ids import StaticIds, hex_id
from etcdfleet.etcd.limits import QUOTA_WARNING
from etcdfleet.etcd.view import EndpointStatus, ExpectedMember, Member, MemberList
from etcdfleet.etcd.wal import DataIds


@dataclass(frozen=True)
class MemberState:
    """What is known of one member of the inventory before the start step.

    ``seen`` is False if its host could not be read: then ``data``, ``established`` and ``running`` mean nothing.
    ``data`` is None if there is no segment in ``member/wal`` (which is what etcd itself goes by: ``wal.Exist``);
    ``data_unreadable`` says why the ids could not be read although there is one. ``established`` is the marker file's
    content (an unreadable marker is ``{}``, and still a marker). ``running``: the service manager has a process.
    ``answering``: its own etcd answered ``endpoint status``. ``restart_pending``: its configuration, unit, trust
    anchor or binary changed after the process started. ``data_dir`` is the wanted data directory,
    ``configured_dir`` that of the configuration on the host, and ``data_elsewhere`` the same if it is another one and
    has member data in it. ``quota_bytes`` is the quota in the configuration on the host. ``chosen``: part of this run.
    ``ready``: its earlier steps succeeded.
    """

    host: str
    name: str
    data: DataIds | None = None
    data_unreadable: str = ""
    established: Mapping[str, Any] | None = None
    running: bool = False
    answering: bool = False
    restart_pending: bool = False
    data_dir: str = ""
    configured_dir: str = ""
    data_elsewhere: str = ""
    quota_bytes: int | None = None
    chosen: bool = True
    ready: bool = True
    seen: bool = True

    @property
    def ours(self) -> bool:
        """Whether this run may touch the member."""
        return self.chosen and self.ready and self.seen

    @property
    def empty(self) -> bool:
        """Whether the host was read and has no data."""
        return self.seen and self.data is None


@dataclass(frozen=True)
class Bootstrap:
    """A first start: start (or restart, where a process hangs in it) the members of these hosts at the same time.

    Those without data start with ``initial-cluster-state: new``, and so do no others.
    """

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Join:
    """Start these members, which have no data, into the cluster of the others: ``initial-cluster-state: existing``.

    Observe and plan again afterwards.
    """

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Rolling:
    """Start all of ``start_first`` at the same time, observe and plan again; restart ``order`` one by one, gated.

    Only ``order`` of a plan with an empty ``start_first`` is to be carried out. ``joining`` are hosts without data that
    can join only once those of ``start_first`` run, so the cluster is not complete before.
    """

    order: tuple[str, ...]
    start_first: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nothing:
    """Everything that this run may touch runs, with its current configuration."""


@dataclass(frozen=True)
class Refuse:
    """Start and restart nothing: what contradicts what, on which hosts, and what a person can do.

    ``prepare`` says that files may be placed all the same: the person needs them there.
    """

    what: str
    hosts: tuple[str, ...]
    remedy: str
    prepare: bool = False


Plan = Bootstrap | Join | Rolling | Nothing | Refuse

_REPLACE = (
    "do not re-initialise it: remove the member and add it again by hand, which deploy does not do (docs/hosts.md, A"
    " host that lost its data: etcdctl member remove, member add)"
)
_RESTORE = (
    "do not re-initialise them: bring back the data of a majority, or restore the cluster from a snapshot"
    " (docs/hosts.md, Restore a cluster from a snapshot)"
)
_FOREIGN = "find out whose data this is; move the data directory away only if you are sure that nobody needs it"


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
    refusal = (
        _contradiction(states, expected, ids, member_list)
        or _data_differ(states, statuses)
        or _quota_too_small(states, statuses, quota_bytes)
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
        if not any(known.has_past(len(states)) for known in data) and not any(state.answering for state in states):
            return _first_start(states)
        if empty:
            return _data_first(states, empty, quorum)
    return _rolling(states, quorum, statuses)


def _leads(state: MemberState, statuses: Mapping[str, EndpointStatus]) -> bool:
    """Whether the member answers, as part of a quorum as far as its status tells."""
    status = statuses.get(state.host)
    return state.answering and (status is None or status.leader_id != 0)


# ---- contradictions -------------------------------------------------------------------------------------------------


def _contradiction(
    states: Sequence[MemberState], expected: Sequence[ExpectedMember], ids: StaticIds, member_list: MemberList | None
) -> Refuse | None:
    seen = [state for state in states if state.seen]
    unreadable = [state for state in seen if state.data_unreadable]
    if unreadable:
        details = "; ".join(f"{state.host}: {state.data_unreadable}" for state in unreadable)
        return Refuse(
            f"the data directory cannot be read ({details})", _hosts(unreadable), "repair or replace it: " + _REPLACE
        )
    return (
        _moved(seen)
        or _clusters_differ(seen, member_list)
        or _member_twice(seen)
        or _two_lives(states)
        or _hollow_majority(states)
        or (_against_list(states, expected, ids, member_list) if member_list else _against_markers(states, ids))
    )


def _moved(seen: Sequence[MemberState]) -> Refuse | None:
    """Another data directory in the inventory than the one with the data: a start there would be a loss of data."""
    copied = [
        s for s in seen if s.data and (s.data_elsewhere or (s.running and s.configured_dir not in ("", s.data_dir)))
    ]
    if copied:
        told = "; ".join(
            f"{s.host}: {s.data_dir}, and etcd has used {s.configured_dir or s.data_elsewhere}" for s in copied
        )
        return Refuse(
            f"member data that etcd has not used last lie where the inventory says ({told}): a member that starts with"
            " an old copy of its data breaks what it has promised to the others",
            _hosts(copied),
            "put the old member.data_dir back; to move the data, see docs/hosts.md, Another data directory",
        )
    moved = [state for state in seen if state.data_elsewhere]
    if not moved:
        return None
    told = "; ".join(f"{state.host}: {state.data_elsewhere}, not {state.data_dir}" for state in moved)
    return Refuse(
        f"the data are elsewhere than the inventory says ({told})",
        _hosts(moved),
        "put the old member.data_dir back, or move the data first: docs/hosts.md, Another data directory",
    )


def _data_differ(states: Sequence[MemberState], statuses: Mapping[str, EndpointStatus]) -> Refuse | None:
    """Members that run together and do not hold the same data: whoever joins or restarts may get the wrong ones."""
    asked = {state.host: statuses[state.host] for state in states if state.host in statuses}
    found = divergence(asked.values())
    if found is None:
        return None
    hosts = {status.member_id: host for host, status in asked.items()}
    return Refuse(
        f"members do not hold the same data: {found.told(lambda status: hosts[status.member_id])}",
        tuple(hosts[status.member_id] for status in found.odd or found.differ),
        DIVERGED,
    )


def _quota_too_small(
    states: Sequence[MemberState], statuses: Mapping[str, EndpointStatus], quota: int
) -> Refuse | None:
    """A quota that is lowered to what the database has already: the restart would end all writes (alarm NOSPACE)."""
    full = [
        (state, statuses[state.host].db_size)
        for state in states
        if state.host in statuses and state.quota_bytes and quota < state.quota_bytes
        if statuses[state.host].db_size >= quota * QUOTA_WARNING
    ]
    if not full:
        return None
    told = ", ".join(f"{state.host} {size / 2**20:.0f} MiB" for state, size in full)
    return Refuse(
        f"cluster.quota_bytes is lowered to {quota / 2**20:.0f} MiB, and the databases are too large for that ({told}):"
        " etcd would refuse all writes",
        _hosts(state for state, _ in full),
        "leave the quota larger; or make the database smaller first: etcdctl compact, then etcdctl defrag of one member"
        " after the other",
    )


def _clusters_differ(seen: Sequence[MemberState], member_list: MemberList | None) -> Refuse | None:
    found: dict[int, list[str]] = {}
    hosts: list[str] = []
    for state in seen:
        sources = {"data": state.data.cluster_id if state.data else 0, "marker": _marked_cluster(state)}
        for source, cluster in sources.items():
            if cluster:
                found.setdefault(cluster, []).append(f"{source} of {state.host}")
                hosts.append(state.host)
    if member_list and member_list.cluster_id:
        found.setdefault(member_list.cluster_id, []).append("the member list of the running cluster")
    if len(found) < 2:
        return None
    told = "; ".join(f"cluster {hex_id(cluster)}: {', '.join(where)}" for cluster, where in sorted(found.items()))
    return Refuse(
        f"data of more than one cluster ({told})",
        tuple(dict.fromkeys(hosts)),
        f"{_FOREIGN}; after a restore on purpose, go on as docs/hosts.md says (Restore a cluster from a snapshot)",
    )


def _member_twice(seen: Sequence[MemberState]) -> Refuse | None:
    by_id: dict[int, list[MemberState]] = {}
    for state in seen:
        if state.data:
            by_id.setdefault(state.data.member_id, []).append(state)
    for number, holders in by_id.items():
        if len(holders) > 1:
            return Refuse(
                f"{' and '.join(_hosts(holders))} hold the data of the same member {hex_id(number)} (a copied disk?)",
                _hosts(holders),
                "stop the copy and remove its data, then " + _REPLACE,
            )
    return None


def _two_lives(states: Sequence[MemberState]) -> Refuse | None:
    """Data from before a restore, or from beside it, next to restored data, under the same ids (the same token).

    Raft cannot tell them apart: a log of a first start passes for one that has caught up (see rule 2), and an old,
    longer one makes its member leader, which undoes the restore on the others without an error (measured with 3.4.23).
    Members that run together already are judged by what they hold (`etcdfleet.etcd.equal`).
    """
    seen = [(state, state.data) for state in states if state.seen and state.data]
    restored = [state for state, data in seen if data.birth == "restore"]
    others = [(state, data) for state, data in seen if data.birth == "bootstrap"]
    if not others or not restored or all(state.answering for state in (*restored, *(state for state, _ in others))):
        return None
    hollow = [state for state, data in others if not data.has_past(len(states))]
    hosts, told = _hosts(state for state, _ in others), ", ".join(_hosts(restored))
    where = ", ".join(hosts)
    if len(hollow) == len(others):
        what = f"{where}: a log of a first start, which never held any data, next to restored data on {told}"
        why = "nothing was ever stored there"
    else:
        what = f"{where}: data from before the restore, under the same token, next to restored data on {told}"
        why = (
            "keep it until you know that it is not needed; if the restore was a mistake, move the restored data instead"
        )
    return Refuse(
        what,
        hosts,
        f"on {where}, stop etcd, move member/ out of the data directory and remove /etc/etcd/cluster.json ({why}), then"
        " run again: an empty member gets everything from the others",
    )


def _hollow_majority(states: Sequence[MemberState]) -> Refuse | None:
    """Members that began anew, enough to elect a leader among themselves, over the one that has the data."""
    seen = [(state, state.data) for state in states if state.seen and state.data]
    hollow = [state for state, data in seen if not data.has_past(len(states))]
    holders = _hosts(state for state, data in seen if data.has_past(len(states)))
    if not holders or len(hollow) < len(states) // 2 + 1:
        return None
    return Refuse(
        f"{', '.join(_hosts(hollow))} have the log of a first start, without data, and are a majority, while the data"
        f" are on {', '.join(holders)}: started together, they could overrule it",
        _hosts(hollow),
        f"start none of them; keep the data directory of {', '.join(holders)}: {_RESTORE}",
    )


def _against_list(
    states: Sequence[MemberState], expected: Sequence[ExpectedMember], ids: StaticIds, member_list: MemberList
) -> Refuse | None:
    by_name = {state.name: state for state in states}
    entries: dict[str, Member] = {}
    for member in expected:
        state = by_name[member.name]
        entry = _entry(member, member_list)
        if entry is None:
            return Refuse(
                f"{member.name} is in the inventory but not a member of the running cluster",
                (state.host,),
                "deploy does not change the membership of a running cluster: add it with etcdctl member add, or take it"
                " out of the inventory",
            )
        if entry.name not in ("", member.name):
            return Refuse(
                f"the member at {member.peer_url} is called {entry.name} in the running cluster, {member.name} in the"
                " inventory",
                (state.host,),
                f"set the member's name in the inventory to {entry.name}",
            )
        if _urls(entry.peer_urls) != _urls((member.peer_url,)):
            return Refuse(
                f"{member.name} has the peer URL {', '.join(entry.peer_urls)} in the running cluster, {member.peer_url}"
                " in the inventory",
                (state.host,),
                "deploy does not change the peer URL, port or peer TLS of a running cluster: put the old values back,"
                " or change the member with etcdctl member update first",
            )
        entries[member.name] = entry
    extra = [entry for entry in member_list.members if entry not in entries.values()]
    if extra:
        told = ", ".join(f"{entry.name or '(unnamed)'} {hex_id(entry.id)}" for entry in extra)
        return Refuse(
            f"the running cluster has members that the inventory does not know: {told}",
            _hosts(states),
            "add them to the inventory, or remove them with etcdctl member remove",
        )
    found = [_against_entry(by_name[name], entry, ids, member_list, states) for name, entry in entries.items()]
    # Files are placed on one that was added only where nothing else is wrong.
    return min((refusal for refusal in found if refusal), key=lambda refusal: refusal.prepare, default=None)


def _entry(member: ExpectedMember, member_list: MemberList) -> Member | None:
    by_name = [entry for entry in member_list.members if entry.name == member.name]
    by_url = [entry for entry in member_list.members if _urls(entry.peer_urls) == _urls((member.peer_url,))]
    return next(iter(by_name + by_url), None)


def _against_entry(
    state: MemberState, entry: Member, ids: StaticIds, member_list: MemberList, states: Sequence[MemberState]
) -> Refuse | None:
    if state.seen and state.data and state.data.member_id != entry.id:
        return Refuse(
            f"{state.host} holds data of member {hex_id(state.data.member_id)}, but the running cluster knows"
            f" {state.name} as {hex_id(entry.id)}",
            (state.host,),
            "its data are stale (the member was replaced) or another member's: " + _REPLACE,
        )
    if entry.started:
        return _lost((state,), "the running cluster knows it as started") if state.empty else None
    if entry.id != ids.members.get(state.name) or member_list.cluster_id != ids.cluster_id:
        if not state.empty:
            return None
        return Refuse(
            f"{state.name} was added to the running cluster but has not joined it yet",
            (state.host,),
            "deploy does not join members, but etcd, certificates and configuration are in place: start it by hand with"
            " initial-cluster-state existing (docs/hosts.md, A host that lost its data), or remove it again",
            prepare=True,
        )
    marked = [other for other in states if other.seen and other.established is not None]
    if marked:
        # A host that boots with an empty data directory starts etcd by itself; two of them make a cluster of that id.
        return Refuse(
            f"the running cluster has never seen {state.name}, but the marker on {', '.join(_hosts(marked))} says that"
            f" {state.name} was part of it: members that lost their data have started a new cluster over the old one",
            (state.host,),
            f"do not start {state.name}: stop etcd on the others, keep every data directory, and restore the cluster"
            f" from a snapshot, or from the data of {state.name} if they are the only ones left (snapshot restore of"
            " member/snap/db with --skip-hash-check)",
        )
    return None


def _against_markers(states: Sequence[MemberState], ids: StaticIds) -> Refuse | None:
    seen = [state for state in states if state.seen]
    quorum = len(states) // 2 + 1
    marked = [state for state in seen if state.established is not None]
    if marked:
        lost = [state for state in seen if state.data is None]
        if lost:
            evidence = f"the marker on {', '.join(_hosts(marked))} says that this cluster was healthy once"
            return _lost(lost, evidence, _REPLACE if len(states) - len(lost) >= quorum else _RESTORE)
        for state in marked:
            known = _number(_map(_map(state.established).get("members")).get(state.name))
            if known and state.data and state.data.member_id != known:
                return Refuse(
                    f"{state.host} holds data of member {hex_id(state.data.member_id)}, but its marker says"
                    f" {hex_id(known)}",
                    (state.host,),
                    f"{_FOREIGN}; if the member was replaced on purpose, remove its marker (/etc/etcd/cluster.json)",
                )
        return None
    for state in seen:
        if not state.data:
            continue
        if state.data.cluster_id != ids.cluster_id:
            return Refuse(
                f"{state.host} holds data of cluster {hex_id(state.data.cluster_id)}; this inventory's members and"
                f" token make cluster {hex_id(ids.cluster_id)}",
                (state.host,),
                f"{_FOREIGN}; if it is this cluster, its members, peer URLs or token changed in the inventory since;"
                " after a restore with a new token, set cluster.token to it (docs/hosts.md, Restore a cluster from a"
                " snapshot)",
            )
        if state.data.member_id != ids.members.get(state.name):
            return Refuse(
                f"{state.host} holds data of another member ({hex_id(state.data.member_id)}) of this cluster",
                (state.host,),
                "bring the disks, or the inventory's peer URLs, back to where they belong",
            )
    return None


def _lost(lost: Sequence[MemberState], evidence: str, remedy: str = _REPLACE) -> Refuse:
    hosts = ", ".join(_hosts(lost))
    members = "a member" if len(lost) == 1 else "members"
    return Refuse(f"no data on {hosts}, {members} of an existing cluster ({evidence})", _hosts(lost), remedy)


# ---- what to do -----------------------------------------------------------------------------------------------------


def _first_start(states: Sequence[MemberState]) -> Plan:
    """Rule 1: nothing was ever promised to anybody."""
    todo = [s for s in states if not s.running or s.data is None or (s.restart_pending and not s.answering)]
    missing = [state for state in states if not state.ours]
    if missing:
        reasons = "; ".join(f"{state.host} {_why_not(state)}" for state in missing)
        return Refuse(
            "the members of a new cluster must be started together, for none is ready before a quorum is there:"
            f" {reasons}",
            _hosts(missing),
            "let this run include all members of the cluster, and repair what failed on these hosts",
        )
    return Bootstrap(_hosts(todo)) if todo else _restarts_or_nothing(states, {})


def _join(states: Sequence[MemberState], empty: Sequence[MemberState]) -> Plan:
    """Rule 2: the others work and wait for these, which have never joined."""
    missing = [state for state in empty if not state.ours]
    if missing:
        reasons = "; ".join(f"{state.host} {_why_not(state)}" for state in missing)
        return Refuse(
            f"the first start of this cluster is not complete, and cannot be completed now: {reasons}",
            _hosts(missing),
            "let this run include these hosts, and repair what failed on them",
        )
    stopped = [state for state in states if state.ours and state.data and not state.running]
    return Rolling((), _hosts(stopped), joining=_hosts(empty)) if stopped else Join(_hosts(empty))


def _data_first(states: Sequence[MemberState], empty: Sequence[MemberState], quorum: int) -> Plan:
    """The cluster worked once, some members have no data, and no quorum answers that could say whether they ever had.

    Those with data can be asked once they run; the others must wait for the answer.
    """
    if len(states) - len(empty) < quorum:
        evidence = "the data of another host show that it had a leader, or was restored, with a quorum's data"
        return _lost(empty, evidence, _RESTORE)
    plan = _rolling(states, quorum, {})
    if isinstance(plan, Rolling) and plan.start_first:
        return Rolling((), plan.start_first, joining=_hosts(empty))
    if isinstance(plan, Refuse):
        return plan
    return Refuse(
        f"no data on {', '.join(_hosts(empty))}, and no quorum of the others answers that could tell whether it had"
        " any",
        _hosts(empty),
        "see etcd's log on the other members, get a quorum of them healthy, and run again",
    )


def _rolling(states: Sequence[MemberState], quorum: int, statuses: Mapping[str, EndpointStatus]) -> Plan:
    start = [state for state in states if state.ours and state.data and not state.running]
    might_run = sum(not state.seen or state.running or state in start for state in states)
    if start and might_run < quorum:
        stopped = [state for state in states if state.seen and not state.running and state not in start]
        reasons = "; ".join(f"{state.host} {_why_not(state)}" for state in stopped)
        return Refuse(
            f"{', '.join(_hosts(start))} cannot become ready: {might_run} of {len(states)} members would run, a quorum"
            f" is {quorum} ({reasons})",
            _hosts(stopped),
            "let this run include the stopped members, or start them",
        )
    if start:
        return Rolling((), _hosts(start))
    return _restarts_or_nothing(states, statuses)


def _restarts_or_nothing(states: Sequence[MemberState], statuses: Mapping[str, EndpointStatus]) -> Plan:
    pending = [state for state in states if state.ours and state.running and state.restart_pending]
    if not pending:
        return Nothing()
    down = [state for state in states if state.seen and not state.running]
    if down:
        return Refuse(
            f"{', '.join(_hosts(pending))} must be restarted, but {', '.join(_hosts(down))} is not running, and members"
            " are taken down only while all others are healthy",
            _hosts(down),
            "let this run include the stopped members, or start them",
        )
    return Rolling(restart_order(statuses, _hosts(pending)))


def restart_order(statuses: Mapping[str, EndpointStatus], hosts: Sequence[str]) -> tuple[str, ...]:
    """Return ``hosts`` in restart order: first who does not answer (it serves nobody), then followers, the leader last.

    Restarting the leader costs an election, so it happens once, when everybody else already runs what is new.
    """

    def rank(host: str) -> int:
        status = statuses.get(host)
        if status is None:
            return 0
        return 2 if status.leader_id and status.leader_id == status.member_id else 1

    return tuple(sorted(hosts, key=rank))


# ---- small things ---------------------------------------------------------------------------------------------------


def marker(member_list: MemberList) -> dict[str, Any]:
    """Return what to write to ``/etc/etcd/cluster.json`` after verification (see `MemberState.established`)."""
    return {"cluster_id": member_list.cluster_id, "members": {member.name: member.id for member in member_list.members}}


def _why_not(state: MemberState) -> str:
    if not state.chosen:
        return "is not part of this run"
    if not state.seen:
        return "could not be read"
    return "is not ready (an earlier step failed)" if not state.ready else "is stopped"


def _hosts(states: Iterable[MemberState]) -> tuple[str, ...]:
    return tuple(state.host for state in states)


def _urls(urls: Iterable[str]) -> frozenset[str]:
    return frozenset(url.rstrip("/") for url in urls)


def _marked_cluster(state: MemberState) -> int:
    return _number(_map(state.established).get("cluster_id"))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
