"""From what a cluster can be restored: all members' data, backups here and in the store. Nothing is changed.

What to say of them is decided in ``etcdfleet/etcd/restore_sources.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from etcdfleet.backup.offhost import OffHost
from etcdfleet.backup.source import LATEST, latest_of, source_of
from etcdfleet.backup.store import Snapshot, check, listed
from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.alarms import raised
from etcdfleet.etcd.restoration import under_way_on
from etcdfleet.etcd.restore_model import Ground, Sight, Source
from etcdfleet.etcd.restore_sources import Found, Held, Proposal, Scene, propose, to_complete
from etcdfleet.host.paths import ASIDE
from etcdfleet.program.run import Run
from plays import members
from plays.options import RestoreOptions
from tasks.members.held import read_held, tell_sources
from tasks.members.restore import read_ground

STEP = "sources"
_BACKUPS = 3
"""Backups of this machine that are read and offered, the newest."""


def from_data(run: Run[RestoreOptions]) -> Path:
    """Return the folder for snapshots of data that no etcd uses: however old those are, none is the latest backup."""
    return members.folder_of(run) / "from-data"


def store_of(run: Run[RestoreOptions]) -> OffHost | None:
    """Return the store off this machine, if there is one."""
    settings = run.members[0].backup
    return OffHost(settings.url, settings.recipients) if settings.url else None


def chosen(run: Run[RestoreOptions], sight: Sight) -> Source:
    """Return the snapshot that was asked for, checked; leave the cluster where it is no good one.

    ``latest`` is looked for in the store as well, where no folder of this machine has a good one.
    """
    own = run.own
    record = under_way_on(sight)
    # What a snapshot was taken of is moved aside by now.
    wanted = record.snapshot if record and (own.origin or not own.anew) else ""
    try:
        if own.snapshot not in (LATEST, ""):
            file = Path(own.snapshot)
            return source_of(file) if file.exists() or not _is_away(run) else _fetched(run, file.name)
        of = own.clone or run.cluster
        if own.snapshot == LATEST and not wanted and store_of(run) and not _any_here(run, of):
            return _fetched(run)
        folders = (*members.folders_of(run), from_data(run)) if wanted else members.folders_of(run)
        source, passed = latest_of(folders, of, wanted)
    except FleetError as error:
        run.protect(f"nothing was changed: {error.what}", error.remedy, where=error.where)
    for bad in passed:
        run.warn(f"passed over, since it is no good snapshot: {bad}")
    return source


def _any_here(run: Run[RestoreOptions], of: str) -> bool:
    """Return whether a folder of this machine has a good snapshot of a cluster. What is damaged is told."""
    for folder in members.folders_of(run):
        snapshots, bad = listed(folder, of)
        for one in bad:
            run.warn(f"passed over, since it is no good snapshot: {one}")
        for snapshot in snapshots:
            try:
                check(snapshot)
            except VerificationError as error:
                run.warn(f"passed over, since it is no good snapshot: {snapshot.path}: {error.what}")
            else:
                return True
    return False


def _is_away(run: Run[RestoreOptions]) -> bool:
    """Return whether a snapshot is asked for by its name alone, which may be that of a copy in the store."""
    return "/" not in run.own.snapshot and store_of(run) is not None


def _fetched(run: Run[RestoreOptions], name: str = "") -> Source:
    """Return a copy that is brought from the store to this machine; with --check, only tell it. Raise `FleetError`."""
    store, own, of = store_of(run), run.own, run.own.clone or run.cluster
    assert store is not None  # noqa: S101
    if run.check:
        copies = store.offered(of, name)
        what = f"{copies[0].path.name}, revision {copies[0].note.revision}" if copies else "none: there is no good one"
        run.warn(f"without --check: a copy is brought from {store.url} to this machine: {what}")
        run.leave("nothing is changed with --check")
    snapshot, passed = store.fetch(of, members.folders_of(run)[0], name=name, identity=own.identity)
    for bad in passed:
        run.warn(f"passed over, since it is no good copy: {store.url}/{bad}")
    run.warn(f"no snapshot on this machine was used: {snapshot.path} was brought from {store.url}")
    return source_of(snapshot.path)


def look(run: Run[RestoreOptions], *, versions: bool = False) -> Sight:
    """Return what lies on the hosts of the whole cluster, and the cluster as one of its members sees it."""
    hosts = tuple(member.name for member in run.members)
    grounds: dict[str, Ground] = run.ask_members(read_ground, on=run.hosts, versions=versions)
    running = [host for host in run.hosts if host in grounds and grounds[host].place.running]
    return Sight(hosts, grounds, members.see(run, running))


def find(run: Run[RestoreOptions]) -> Proposal:
    """Say from what the cluster can be restored, and what each source loses."""
    sight = look(run)
    found, notes = list[Found](), list[str]()
    if record := under_way_on(sight):
        proposal = to_complete(run.cluster, record, _file_of(run, record.snapshot))
    else:
        found = [*_of_members(run, sight), *_of_backups(run, notes)]
        proposal = propose(_scene(run, sight), found)
        proposal = replace(proposal, notes=(*proposal.notes, *notes))
    for host in run.hosts:
        mine = [one for one in found if one.where.partition(":")[0] == host and one.kind in ("member", "aside")]
        told = "it cannot be read" if host not in sight.grounds else "; ".join(map(_short, mine)) or "no data"
        first = host == run.hosts[0]
        facts = [asdict(offer) for offer in proposal.offers] if first else []
        run.step(STEP, tell_sources, on=[host], summary=told, sources=facts)
    run.program.record.skip_rest(run.hosts, "no source was named")
    return proposal


def _file_of(run: Run[RestoreOptions], sha256: str) -> str:
    """Return the snapshot of this machine with this hash, by its note; empty where there is none."""
    here = (one for folder in members.folders_of(run) for one in listed(folder, run.cluster)[0])
    return next((str(one.path) for one in here if one.note.sha256 == sha256), "")


def _short(one: Found) -> str:
    if one.held is None:
        return one.why
    place = "" if one.kind == "member" else f" in {one.where.rpartition('/')[2]}"
    return f"revision {one.held.revision}, raft index {one.held.index}{place}"


def _scene(run: Run[RestoreOptions], sight: Sight) -> Scene:
    grounds = sight.grounds
    markers = [(ground.noted or {}) for ground in grounds.values()]
    return Scene(
        run.cluster,
        works=bool(sight.cluster.serving),
        unread=tuple(host for host in sight.hosts if host not in grounds),
        lost=tuple(host for host in sight.placed if not grounds[host].place.data),
        markers=tuple(
            (number, int(noted.get("restores") or 0))
            for noted in markers
            if isinstance(number := noted.get("cluster_id"), int)
        ),
    )


def _of_members(run: Run[RestoreOptions], sight: Sight) -> Sequence[Found]:
    found = []
    told = {host: sight.cluster.by_name.get(ground.place.member.name) for host, ground in sight.grounds.items()}
    alarms = {kind: numbers for kind, numbers in raised(sight.cluster.statuses).items() if numbers}
    for host, status in told.items():
        if status:
            raised_there = tuple(kind for kind, numbers in alarms.items() if {0, status.member_id} & {*numbers})
            index = max(status.raft_index, status.raft_applied)
            held = Held(status.cluster_id, status.revision, status.raft_applied, index, raised_there)
            found.append(Found("member", host, held, runs=True))
    silent = [host for host, status in told.items() if status is None]
    for own, hosts in ((True, silent), (False, [host for host in told if host not in silent])):
        read: dict[str, dict[str, Held | str]] = run.ask_members(read_held, on=hosts, own=own) if hosts else {}
        for host, folders in read.items():
            data_dir = run.program.fleet.hosts[host].member.data_dir.rstrip("/")
            for folder, data in folders.items():
                aside = Found("aside", f"{host}:{folder}", taken=_moved(folder))
                one = Found("member", host) if folder == data_dir else aside
                found.append(replace(one, held=data) if isinstance(data, Held) else replace(one, why=data))
    return found


def _moved(folder: str) -> str:
    """Return when data were moved into this folder, by its name; empty where that does not say it."""
    try:
        when = datetime.strptime(folder.rpartition(ASIDE)[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return when.isoformat()


def _of_backups(run: Run[RestoreOptions], notes: list[str]) -> Sequence[Found]:
    """Return backups here and in the store; what could not be looked at is added to the notes."""
    here = list[Snapshot]()
    found = list[Found]()
    for folder in members.folders_of(run):
        try:
            snapshots, bad = listed(folder, run.cluster)
        except VerificationError as error:
            notes.append(f"{error.what} ({error.where})")
            continue
        here += snapshots
        found += [Found("backup", str(one.path), why=one.why) for one in bad]
    here.sort(key=lambda one: one.note.when, reverse=True)
    good = 0
    for one in here:
        if good == _BACKUPS:
            break
        try:
            found.append(_backup(check(one)))
            good += 1
        except VerificationError as error:
            found.append(Found("backup", str(one.path), why=error.what))
    if store := store_of(run):
        try:
            have = {one.path.name for one in here}
            away = [one for one in store.offered(run.cluster) if one.path.name.removesuffix(".age") not in have]
        except FleetError as error:
            notes.append(f"the store is not looked at: {error.what}; {error.remedy}")
        else:
            found += [_backup(one, store.url) for one in away[:1]]
    return found


def _backup(one: Snapshot, store: str = "") -> Found:
    note = one.note
    held = Held(int(note.cluster_id, 16), note.revision, note.raft_index, note.raft_index, note.alarms)
    encrypted = bool(note.stored and note.stored.encrypted)
    where = one.path.name if store else str(one.path)
    return Found("copy" if store else "backup", where, held, taken=note.taken, encrypted=encrypted, store=store)
