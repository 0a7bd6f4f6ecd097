"""What a restore has left on hosts that must not be started as if nothing were the matter: pure rules."""

from __future__ import annotations

from collections.abc import Sequence

from etcdfleet.errors import Refusal
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.restore_record import record_of, under_way
from etcdfleet.etcd.start_model import MemberState, hosts_of


def restoring(observed: Sequence[MemberState]) -> Refusal | None:
    """Find a restore that was not completed: what lies on the hosts now is neither the old cluster nor the new one."""
    records = {state.host: record for state in observed if (record := under_way(state.established))}
    if not records:
        return None
    record = max(records.values(), key=lambda record: record.begun)
    return Refusal(
        f"a restore of this cluster is under way since {record.begun}, on {record.host} first: revision"
        f" {record.revision}, SHA-256 {record.snapshot[:12]}…",
        tuple(records),
        "complete it with the command that began it: python runbooks/restore.py FILE --cluster NAME (FILE is the same"
        " snapshot, or latest where it lies in the folder of snapshots)",
    )


def forgotten(observed: Sequence[MemberState]) -> Refusal | None:
    """Find hosts that were left out of a restore, and came back with the data from before it."""
    records = [record for state in observed if (record := record_of(state.established)) and record.done]
    latest = max(records, key=lambda record: record.done, default=None)
    if latest is None:
        return None
    of_others = [state for state in observed if _cluster_of(state) not in (0, latest.cluster_id)]
    if not of_others or not any(state.data and state.data.cluster_id == latest.cluster_id for state in observed):
        return None
    hosts = hosts_of(of_others)
    return Refusal(
        f"{', '.join(hosts)}: data from before the restore of this cluster, completed at {latest.done} on the others"
        f" (cluster {hex_id(latest.cluster_id)})",
        hosts,
        f"python runbooks/replace_member.py {hosts[0]} moves them aside, keeps them, and has the host join the restored"
        " cluster",
    )


def _cluster_of(state: MemberState) -> int:
    return state.data.cluster_id if state.data else _noted_cluster(state)


def _noted_cluster(state: MemberState) -> int:
    number = (state.established or {}).get("cluster_id")
    return number if isinstance(number, int) else 0
