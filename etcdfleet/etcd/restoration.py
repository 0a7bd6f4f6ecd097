"""From what was seen of a cluster's hosts to the next single step of its restore from a snapshot. Pure.

One way for all disasters: etcd stopped on all hosts, and started at boot no more; what is to be restored noted on each;
old data moved aside, and kept; the snapshot restored on *one* host, as a cluster of one member with a new token, which
is started and compared with the snapshot; then the others join it as learners do. So no member without data ever counts
for a quorum, and a forgotten member with old data is refused by etcd, whose cluster has another id.

Each step can be told from the hosts, so that a run which was ended anywhere is continued by the next one: the note on
the hosts (``restore_record.py``) says which restore is under way, and whose data lie in a directory tells whether they
are the old or the restored ones. Restored data are never moved or restored over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from etcdfleet.errors import Refusal
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.replacement import next_step as next_join
from etcdfleet.etcd.restore_fit import first_host, unfit, unfit_hosts
from etcdfleet.etcd.restore_model import Ground, Sight, Source, Wish
from etcdfleet.etcd.restore_record import RestoreRecord, is_only_record, record_of, under_way


@dataclass(frozen=True)
class Complete:
    """The cluster was restored from this very snapshot already: there is nothing to do but to verify it."""

    record: RestoreRecord


@dataclass(frozen=True)
class StopAll:
    """Stop etcd on these hosts, and let it start at boot no more."""

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class NoteRestore:
    """Note on these hosts that the restore is under way."""

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class MoveAside:
    """Move the old data on these hosts aside; they are kept."""

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class RestoreData:
    """Restore the snapshot on this host, where no data lie."""

    host: str


@dataclass(frozen=True)
class StartRestored:
    """Start the member with the restored data, compare it with the snapshot, and note its cluster."""

    host: str


@dataclass(frozen=True)
class BringIn:
    """Have this host join the restored cluster."""

    host: str


@dataclass(frozen=True)
class Finish:
    """Note on these hosts that the restore is complete."""

    hosts: tuple[str, ...]


Step = StopAll | NoteRestore | MoveAside | RestoreData | StartRestored | BringIn | Finish


def restore_of(sight: Sight, source: Source, wish: Wish) -> RestoreRecord | Complete | Refusal:
    """Return the restore that is under way or is to be begun, that it is complete, or why there must be none."""
    if refusal := unfit_hosts(sight, wish):
        return refusal
    if latest := under_way_on(sight):
        refusal = _another(latest, source, wish)
        # Of a run that began anew and was ended, this one is the continuation.
        if not wish.anew or not (refusal or isinstance(next_step(sight, latest), Refusal)):
            return refusal or latest
    ended = [record_of(ground.noted) for ground in sight.grounds.values()]
    same = [record for record in ended if record and record.done and record.snapshot == source.sha256]
    for record in [] if wish.anew else same:
        if any(_cluster_noted(ground) == record.cluster_id for ground in sight.grounds.values()):
            holding = tuple(host for host in sight.placed if _restored(sight.grounds[host], record))
            if refusal := _lost_again(sight, record, holding, wish):
                return refusal
            if holding:
                return Complete(record)
    # Also where a note says that it is complete, and all that was restored is gone again: nothing is restored over.
    return unfit(sight, source, wish) or _begin(sight, source, wish)


def under_way_on(sight: Sight) -> RestoreRecord | None:
    """Return the latest record of a restore that was not completed; None for none."""
    noted = [record for ground in sight.grounds.values() if (record := under_way(ground.noted))]
    return max(noted, key=lambda record: record.begun, default=None)


def done_from(sight: Sight, survivor: str) -> Complete | None:
    """Return whether the cluster that works was restored from the data of this host already."""
    cluster = sight.cluster
    for ground in sight.grounds.values():
        record = record_of(ground.noted)
        if record and record.done and record.survivor == survivor and cluster.members and cluster.serving:
            return Complete(record) if cluster.members.cluster_id == record.cluster_id else None
    return None


def next_step(sight: Sight, record: RestoreRecord) -> Step | Refusal | None:
    """Return the next step of this restore, why there must be none, or None where it is complete."""
    first = sight.grounds.get(record.host)
    if first is None:
        return Refusal(
            f"the restore goes on with {record.host}, which holds the restored data or is to hold them, and it cannot"
            " be read",
            (record.host,),
            f"bring {record.host} up, then run again; or begin anew with the hosts that are left: --anew --without"
            f" {record.host}",
        )
    if not _restored(first, record):
        return _until_restored(sight, record)
    if not first.place.running or _cluster_noted(first) != record.cluster_id:
        return StartRestored(record.host)
    if sight.cluster.members is None:
        return Refusal(
            f"the member with the restored data runs on {record.host}, and gives no member list"
            f"{f' ({sight.cluster.no_list})' if sight.cluster.no_list else ''}",
            (record.host,),
            "see etcd's log there; run again once it answers",
        )
    for host in sight.placed:
        if host == record.host:
            continue
        ground = sight.grounds[host]
        place = replace(ground.place, marked=ground.place.marked and not is_only_record(ground.noted))
        step = next_join(place, sight.cluster)
        if isinstance(step, Refusal):
            return step
        if step:
            return BringIn(host)
    left = tuple(host for host in sight.placed if not _is_done(sight.grounds[host], record))
    # The first host last: as long as its note says so, the restore is under way.
    return Finish(tuple(host for host in left if host != record.host) or left) if left else None


def _until_restored(sight: Sight, record: RestoreRecord) -> Step | Refusal:
    grounds = sight.grounds
    holding = tuple(host for host in sight.placed if _restored(grounds[host], record))
    if holding:
        return Refusal(
            f"the restored data of {record.host} are gone, and {', '.join(holding)} has joined it before",
            (record.host, *holding),
            f"see whether the disk of {record.host} is mounted there; if its data are lost: --anew begins anew",
        )
    if active := tuple(host for host in sight.placed if grounds[host].place.running or grounds[host].enabled):
        return StopAll(active)
    if unnoted := tuple(host for host in sight.placed if not _is_noted(grounds[host], record)):
        return NoteRestore(unnoted)
    if old := tuple(host for host in sight.placed if grounds[host].place.data or grounds[host].place.data_unreadable):
        return MoveAside(old)
    return RestoreData(record.host)


def _restored(ground: Ground, record: RestoreRecord) -> bool:
    data = ground.place.data
    return data is not None and data.cluster_id == record.cluster_id


def _is_noted(ground: Ground, record: RestoreRecord) -> bool:
    noted = under_way(ground.noted)
    return noted is not None and noted.token == record.token and is_only_record(ground.noted)


def _is_done(ground: Ground, record: RestoreRecord) -> bool:
    noted = record_of(ground.noted)
    return noted is not None and noted.token == record.token and bool(noted.done)


def _cluster_noted(ground: Ground) -> object:
    return (ground.noted or {}).get("cluster_id")


def _another(record: RestoreRecord, source: Source, wish: Wish) -> Refusal | None:
    """Return why what is wanted does not go on with the restore that is under way."""
    if record.snapshot != source.sha256:
        return Refusal(
            f"a restore of another snapshot is under way since {record.begun}: revision {record.revision}, SHA-256"
            f" {record.snapshot[:12]}…, on {record.host}",
            (record.host,),
            "name that snapshot, which completes it; or begin anew with this one: add --anew, what was restored so far"
            " is moved aside",
        )
    if wish.bump and wish.bump != record.bump:
        what = "a restore of this snapshot is under way, begun without --bump-revision"
        return Refusal(what, (record.host,), "leave that out, which completes it; or begin anew: add --anew")
    return None


def _lost_again(sight: Sight, record: RestoreRecord, holding: tuple[str, ...], wish: Wish) -> Refusal | None:
    """Return why a completed restore is not done again unasked: few members are left, with all that came after it.

    How many there are is what the markers beside the data say: hosts may be left out, now or when it was restored.
    """
    members = max((len((sight.grounds[host].noted or {}).get("members", ())) for host in holding), default=0)
    if not holding or 2 * len(holding) > members or sight.cluster.serving:
        return None
    return Refusal(
        f"the cluster was restored from this snapshot at {record.done}, and of its {members} members the data are seen"
        f" on {', '.join(holding)} alone, with what was written after the restore: no majority",
        holding,
        f"python runbooks/restore.py --from-member {holding[0]} --cluster {wish.cluster} brings back what is there;"
        " --anew restores the snapshot again, without what was written since",
    )


def _begin(sight: Sight, source: Source, wish: Wish) -> RestoreRecord:
    host = first_host(sight, source) or sight.placed[0]
    member = sight.grounds[host].place.member
    counts = [(ground.noted or {}).get("restores") for ground in sight.grounds.values()]
    counts += [record.restores for ground in sight.grounds.values() if (record := record_of(ground.noted))]
    return RestoreRecord(
        snapshot=source.sha256,
        token=wish.token,
        cluster_id=static_ids({member.name: [member.peer_url]}, wish.token).cluster_id,
        host=host,
        revision=source.revision,
        keys=source.keys,
        restores=max((count for count in counts if isinstance(count, int)), default=0) + 1,
        begun=wish.begun,
        bump=wish.bump,
        survivor=wish.survivor,
    )
