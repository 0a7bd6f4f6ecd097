"""What stands against starting or restarting anything in a cluster: pure rules over what was seen of its members.

Each rule gives a `Refusal`, which says what contradicts what, on which hosts, and what a person can do. Why a start
could do harm is said in ``plan.py``, which asks these rules before it decides anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus, Member, MemberList
from etcdfleet.etcd.cluster import QUOTA_WARNING, Cluster
from etcdfleet.etcd.equal import DIVERGED
from etcdfleet.etcd.ids import StaticIds, hex_id, static_ids
from etcdfleet.etcd.membership import mismatches
from etcdfleet.etcd.moving import may_be_told
from etcdfleet.etcd.newcomers import newcomers
from etcdfleet.etcd.restore_signs import forgotten, restoring
from etcdfleet.etcd.start_model import MemberState, hosts_of
from etcdfleet.host.storage import ABSENT_REMEDY
from etcdfleet.text import mib

RESTORE = (
    "do not re-initialise them: bring back the data of a majority, or restore the cluster: python runbooks/restore.py"
    " --cluster NAME says from what, and what each loses"
)
_DISK_FIRST = (
    "first see whether their disk is mounted there (lsblk, /etc/fstab), and nothing else over them; then run again. If"
    " they are lost: "
)
DEFAULTS = static_ids({"default": ["http://localhost:2380"]}, "etcd-cluster")
"""The ids of every etcd that was started without a configuration (``NewConfig`` in ``embed/config.go``)."""
_FOREIGN = "find out whose data this is; move the data directory away only if you are sure that it is not needed"


def replacement(hosts: Sequence[str]) -> str:
    """Return what to do about members whose data are lost, while a majority of the others works."""
    it, then = ("them", f", then the same for {', '.join(hosts[1:])}") if len(hosts) > 1 else ("it", "")
    return (
        f"do not re-initialise {it}: python runbooks/replace_member.py {hosts[0]}{then} removes the old entry, and the"
        " host joins anew, with all data from the others"
    )


def contradiction(states: Sequence[MemberState], cluster: Cluster, ids: StaticIds) -> Refusal | None:
    """Return the first contradiction in what is on the hosts, the inventory and the running member list."""
    observed, member_list = [state for state in states if state.seen], cluster.members
    if refusal := restoring(observed):
        return refusal
    unreadable = [state for state in observed if state.data_unreadable]
    if unreadable:
        details = "; ".join(f"{state.host}: {state.data_unreadable}" for state in unreadable)
        whole = len(states) - len(unreadable)
        remedy = replacement(hosts_of(unreadable)) if whole >= len(states) // 2 + 1 else RESTORE
        return Refusal(
            f"the data directory cannot be read ({details})",
            hosts_of(unreadable),
            f"look at its disk first, and keep a copy of it; if the data cannot be read again: {remedy}",
        )
    return (
        _disk_absent(observed)
        or _by_default(observed, ids, member_list)
        or _moved(observed)
        or _clusters_differ(observed, member_list)
        or _member_twice(observed)
        or _two_lives(states)
        or _hollow_majority(states)
        or (_against_list(states, cluster, ids, member_list) if member_list else _against_markers(states, ids))
    )


def _disk_absent(observed: Sequence[MemberState]) -> Refusal | None:
    """Find a disk that came late or failed: its data are not lost; what lies beneath its mount point is not them."""
    waiting = [state for state in observed if state.disk_absent]
    if not waiting:
        return None
    told = ", ".join(f"{state.disk_absent} on {state.host}" for state in waiting)
    return Refusal(
        f"a disk with a member's data is not there: nothing is mounted on {told}",
        hosts_of(waiting),
        ABSENT_REMEDY.format(point=waiting[0].disk_absent),
    )


def _by_default(observed: Sequence[MemberState], ids: StaticIds, member_list: MemberList | None) -> Refusal | None:
    """Find an etcd that was started without any configuration, as packages do: a cluster of one, at localhost."""
    if ids.cluster_id == DEFAULTS.cluster_id:
        return None
    holders = [state for state in observed if state.data and state.data.cluster_id == DEFAULTS.cluster_id]
    if not holders and (member_list is None or member_list.cluster_id != DEFAULTS.cluster_id):
        return None
    concerned = holders or [state for state in observed if state.answering]
    where = ", ".join(f"{state.host}: {state.data_dir}" if state.data else state.host for state in concerned)
    return Refusal(
        f"an etcd that was started with its defaults, a cluster of its own with one member at localhost ({where})",
        hosts_of(concerned),
        "it cannot become a member of this cluster: stop it, and move its data out of the way (do not delete them"
        " before you know that they are not needed), then run again; to keep what is in it: docs/hosts.md, An etcd that"
        " is there already",
    )


def _moved(observed: Sequence[MemberState]) -> Refusal | None:
    """Another data directory in the inventory than the one with the data: a start there would be a loss of data."""
    copied = [
        s for s in observed if s.data and (s.data_elsewhere or (s.running and s.configured_dir not in ("", s.data_dir)))
    ]
    if copied:
        told = "; ".join(
            f"{s.host}: {s.data_dir}, and etcd has used {s.configured_dir or s.data_elsewhere}" for s in copied
        )
        return Refusal(
            f"member data that etcd has not used last lie where the inventory says ({told}): a member that starts with"
            " an old copy of its data breaks what it has promised to the others",
            hosts_of(copied),
            "put the old member.data_dir back; to move the data, see docs/hosts.md, Another data directory",
        )
    moved = [state for state in observed if state.data_elsewhere]
    if not moved:
        return None
    told = "; ".join(f"{state.host}: {state.data_elsewhere}, not {state.data_dir}" for state in moved)
    return Refusal(
        f"the data are not where the inventory says ({told})",
        hosts_of(moved),
        "put the old member.data_dir back, or move the data first: docs/hosts.md, Another data directory",
    )


def data_differ(states: Sequence[MemberState], cluster: Cluster) -> Refusal | None:
    """Find running members that do not hold the same data: one that joins or restarts may get the wrong ones."""
    divergence = cluster.divergence
    if divergence is None:
        return None
    by_name = {state.name: state.host for state in states}
    hosts = {status.member_id: by_name[name] for name, status in cluster.by_name.items()}
    return Refusal(
        f"members do not hold the same data: {divergence.told(lambda status: hosts[status.member_id])}",
        tuple(hosts[status.member_id] for status in divergence.odd or divergence.differ),
        DIVERGED,
    )


def quota_too_small(
    states: Sequence[MemberState], statuses: Mapping[str, EndpointStatus], quota: int
) -> Refusal | None:
    """Find a quota below what the database has already: the restart would end all writes (alarm NOSPACE)."""
    full = [
        (state, statuses[state.host].db_size)
        for state in states
        if state.host in statuses and state.quota_bytes and quota < state.quota_bytes
        if statuses[state.host].db_size >= quota * QUOTA_WARNING
    ]
    if not full:
        return None
    told = ", ".join(f"{state.host} {mib(size)}" for state, size in full)
    return Refusal(
        f"cluster.quota_bytes is lowered to {mib(quota)}, and the databases are too large for that ({told}):"
        " etcd would refuse all writes",
        hosts_of(state for state, _ in full),
        "leave the quota larger; or make the database smaller first: etcdctl compact, then python runbooks/repair.py"
        " --force",
    )


def _clusters_differ(observed: Sequence[MemberState], member_list: MemberList | None) -> Refusal | None:
    by_cluster: dict[int, list[str]] = {}
    hosts: list[str] = []
    for state in observed:
        sources = {"data": state.data.cluster_id if state.data else 0, "marker": _marked_cluster(state)}
        for source, cluster in sources.items():
            if cluster:
                by_cluster.setdefault(cluster, []).append(f"{source} of {state.host}")
                hosts.append(state.host)
    if member_list and member_list.cluster_id:
        by_cluster.setdefault(member_list.cluster_id, []).append("the member list of the running cluster")
    if len(by_cluster) < 2:
        return None
    if refusal := forgotten(observed):
        return refusal
    told = "; ".join(f"cluster {hex_id(cluster)}: {', '.join(where)}" for cluster, where in sorted(by_cluster.items()))
    return Refusal(
        f"data of more than one cluster ({told})",
        tuple(dict.fromkeys(hosts)),
        f"{_FOREIGN}; after a restore by hand, go on as docs/hosts.md says (Restore a cluster from a snapshot)",
    )


def _member_twice(observed: Sequence[MemberState]) -> Refusal | None:
    by_id: dict[int, list[MemberState]] = {}
    for state in observed:
        if state.data:
            by_id.setdefault(state.data.member_id, []).append(state)
    for number, holders in by_id.items():
        if len(holders) > 1:
            return Refusal(
                f"{' and '.join(hosts_of(holders))} hold the data of the same member {hex_id(number)} (a copied disk?)",
                hosts_of(holders),
                "stop the copy, remove its data, and have its host join anew: python runbooks/replace_member.py HOST",
            )
    return None


def _two_lives(states: Sequence[MemberState]) -> Refusal | None:
    """Find data from before or beside a restore next to restored data, under the same ids (the same token).

    Raft cannot tell them apart: a log of a first start passes for one that has caught up (see rule 2), and an old,
    longer one makes its member leader, which undoes the restore on the others without an error (measured with 3.4.23).
    Members that run together already are judged by what they hold (`etcdfleet.etcd.equal`).

    A member that joined, or whose log does not tell how it began, may have got its data from the restored ones, but
    only if one of these has run under a leader since the restore.
    """
    pairs = [(state, state.data) for state in states if state.seen and state.data]
    restored = [state for state, data in pairs if data.birth == "restore"]
    led = any(data.was_led(len(states)) for _, data in pairs if data.birth == "restore")
    others = [
        (state, data) for state, data in pairs if data.birth == "bootstrap" or (data.birth != "restore" and not led)
    ]
    if not others or not restored or all(state.answering for state in (*restored, *(state for state, _ in others))):
        return None
    hollow = [state for state, data in others if not data.has_past(len(states))]
    hosts, told = hosts_of(state for state, _ in others), ", ".join(hosts_of(restored))
    where = ", ".join(hosts)
    if len(hollow) == len(others):
        what = f"{where}: a log of a first start, which never held any data, next to restored data on {told}"
        why = "nothing was ever stored there"
    else:
        what = f"{where}: data from before the restore, under the same token, next to restored data on {told}"
        why = (
            "keep it until you know that it is not needed; if the restore was a mistake, move the restored data instead"
        )
    return Refusal(
        what,
        hosts,
        f"on {where}, stop etcd and move member/ out of the data directory ({why}); remove /etc/etcd/cluster.json there"
        f" and on {told}; then run again: an empty member gets everything from the others, or, where they know it as"
        " started, is replaced (docs/hosts.md, A host that lost its data)",
    )


def _hollow_majority(states: Sequence[MemberState]) -> Refusal | None:
    """Find members that began anew, enough to elect a leader among themselves, over the one that has the data."""
    pairs = [(state, state.data) for state in states if state.seen and state.data]
    hollow = [state for state, data in pairs if not data.has_past(len(states))]
    holders = hosts_of(state for state, data in pairs if data.has_past(len(states)))
    if not holders or len(hollow) < len(states) // 2 + 1:
        return None
    return Refusal(
        f"{', '.join(hosts_of(hollow))} have the log of a first start, without data, and are a majority, while the data"
        f" are on {', '.join(holders)}: started together, they could overrule it",
        hosts_of(hollow),
        f"start none of them; keep the data directory of {', '.join(holders)}: {RESTORE}",
    )


def _against_list(
    states: Sequence[MemberState], cluster: Cluster, ids: StaticIds, member_list: MemberList
) -> Refusal | None:
    by_name = {state.name: state for state in states}
    for kinds in (("missing",), ("name", "peer URL"), ("extra",)):
        differences = [one for one in mismatches(cluster.matched) if one.kind in kinds]
        if told := [one for one in differences if not (one.kind == "peer URL" and may_be_told(one, by_name, cluster))]:
            hosts = tuple(dict.fromkeys(by_name[one.member.name].host for one in told if one.member))
            return Refusal(
                "deploy changes no member, name or peer TLS of a running cluster, and no peer URL of a member that this"
                " run does not touch: " + "; ".join(one.what for one in told),
                hosts or hosts_of(states),
                "; ".join(dict.fromkeys(one.remedy for one in told)),
            )
    # Lost data first: only then is there anything to be said about one that is to join.
    pairs = sorted(cluster.matched.pairs, key=lambda pair: not pair[1].started)
    refusals = (_against_entry(by_name[member.name], entry, ids, member_list, states) for member, entry in pairs)
    return next(filter(None, refusals), None)


def _against_entry(
    state: MemberState, entry: Member, ids: StaticIds, member_list: MemberList, states: Sequence[MemberState]
) -> Refusal | None:
    if state.seen and state.data and state.data.member_id != entry.id:
        return Refusal(
            f"{state.host} holds data of member {hex_id(state.data.member_id)}, but the running cluster knows"
            f" {state.name} as {hex_id(entry.id)}",
            (state.host,),
            "its data are stale (the member was replaced) or another member's; to have it join anew, with the old data"
            f" moved aside: python runbooks/replace_member.py {state.host}",
        )
    if entry.learner and state.data and not state.answering:
        return Refusal(
            f"{state.name} is a learner that has not got its vote yet",
            (state.host,),
            f"python runbooks/replace_member.py {state.host} goes on with it",
        )
    if entry.started:
        return data_lost((state,), "the running cluster knows it as started") if state.empty else None
    if entry.id != ids.members.get(state.name) or member_list.cluster_id != ids.cluster_id:
        if not state.empty:
            return None
        return Refusal(
            f"{state.name} was added to the running cluster but has not joined it yet",
            (state.host,),
            f"python runbooks/replace_member.py {state.host} lets it join",
        )
    marked = [other for other in states if other.seen and other.established is not None]
    if marked:
        # A host that boots with an empty data directory starts etcd by itself; two of them make a cluster of that id.
        return Refusal(
            f"the running cluster has never seen {state.name}, but the marker on {', '.join(hosts_of(marked))} says"
            f" that {state.name} was part of it: members that lost their data have started a new cluster over the old"
            " one",
            (state.host,),
            f"do not start {state.name}: stop etcd on the others, keep every data directory, and restore the cluster"
            f" from a snapshot, or from the data of {state.name} if they are the only ones left (snapshot restore of"
            " member/snap/db with --skip-hash-check)",
        )
    return None


def _against_markers(states: Sequence[MemberState], ids: StaticIds) -> Refusal | None:
    new = newcomers(states)
    observed, members = [state for state in states if state.seen], len(states) - len(new)
    marked = [state for state in observed if state.established is not None]
    if marked:
        lost = [state for state in observed if state.data is None and state not in new]
        if lost:
            evidence = f"the marker on {', '.join(hosts_of(marked))} says that this cluster was healthy once"
            return data_lost(lost, evidence, "" if members - len(lost) > members // 2 else RESTORE)
        for state in marked:
            marker_id = _number(_map(_map(state.established).get("members")).get(state.name))
            if marker_id and state.data and state.data.member_id != marker_id:
                return Refusal(
                    f"{state.host} holds data of member {hex_id(state.data.member_id)}, but its marker says"
                    f" {hex_id(marker_id)}",
                    (state.host,),
                    f"{_FOREIGN}; if the member was replaced on purpose, remove its marker (/etc/etcd/cluster.json)",
                )
        return None
    for state in observed:
        if not state.data:
            continue
        if state.data.cluster_id != ids.cluster_id:
            return Refusal(
                f"{state.host} holds data of cluster {hex_id(state.data.cluster_id)}; this inventory's members and"
                f" token make cluster {hex_id(ids.cluster_id)}",
                (state.host,),
                f"{_FOREIGN}; if it is this cluster, its members, peer URLs or token changed in the inventory since;"
                " after a restore with a new token, set cluster.token to it (docs/hosts.md, Restore a cluster from a"
                " snapshot)",
            )
        if state.data.member_id != ids.members.get(state.name):
            return Refusal(
                f"{state.host} holds data of another member ({hex_id(state.data.member_id)}) of this cluster",
                (state.host,),
                "bring the disks, or the inventory's peer URLs, back to where they belong",
            )
    return None


def data_lost(lost: Sequence[MemberState], evidence: str, remedy: str = "") -> Refusal:
    """Refuse for members without data that had some; ``evidence`` tells from what that is known.

    Without a ``remedy``, a majority of the others has its data, and they can be replaced.

    A disk that is not mounted is the cheapest cause, and the one that must not end in a member that is given up.
    """
    hosts = ", ".join(hosts_of(lost))
    members = "a member" if len(lost) == 1 else "members"
    return Refusal(
        f"no data on {hosts}, {members} of an existing cluster ({evidence})",
        hosts_of(lost),
        f"{_DISK_FIRST}{remedy or replacement(hosts_of(lost))}",
    )


def _marked_cluster(state: MemberState) -> int:
    return _number(_map(state.established).get("cluster_id"))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
