"""What stands against a restore before it is begun, and what a person must know of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from etcdfleet.errors import Refusal
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.restore_model import Ground, Sight, Source, Wish
from etcdfleet.etcd.restore_tool import restore_tool
from etcdfleet.etcd.teardown import NOT_OURS
from etcdfleet.etcd.versions import minor_of, parse
from etcdfleet.text import mib

LOG_BYTES = 160 << 20
"""What a member needs beside its database: two segments of its log, which etcd writes in full before it uses them
(64 MiB each, ``SegmentSizeBytes``), and some more."""


def unfit_hosts(sight: Sight, wish: Wish) -> Refusal | None:
    """Return what stands against a restore on these hosts, whatever the snapshot is."""
    unread = tuple(host for host in sight.hosts if host not in sight.grounds and host not in wish.without)
    if unread:
        options = " ".join(f"--without {host}" for host in unread)
        return Refusal(
            f"nothing was changed: {', '.join(unread)} cannot be read, and etcd may run on there with the old data",
            unread,
            f"bring it up; if it is gone for good, take it out of the inventory; or leave it out for now: {options}."
            " If it comes back with its old data, etcd refuses it, since the restored cluster has another id; until"
            " then clients that still reach it may be served from the old data",
        )
    if there := tuple(host for host in sorted(wish.without) if host in sight.grounds):
        return Refusal(
            f"nothing was changed: {', '.join(there)} is to be left out, and can be reached",
            there,
            "leave out --without: what can be reached is stopped and joins anew; or take it out of the inventory",
        )
    if foreign := {host: ground.place.foreign for host, ground in sight.grounds.items() if ground.place.foreign}:
        told = "; ".join(f"{host}: {why}" for host, why in foreign.items())
        return Refusal(f"nothing was changed: {told}", tuple(foreign), NOT_OURS)
    if not sight.grounds:
        return Refusal("nothing was changed: no host of the cluster is left", sight.hosts, "leave fewer of them out")
    return None


def unfit_survivor(sight: Sight, wish: Wish) -> Refusal | None:
    """Return why the cluster must not be restored from the data of this host.

    A majority that works has more than any host alone, and nothing is lost then.
    """
    if refusal := unfit_hosts(sight, wish):
        return refusal
    host = wish.survivor
    if sight.cluster.serving:
        return Refusal(
            "nothing was changed: a majority of the cluster works, and has what its members have",
            (host,),
            "python runbooks/replace_member.py HOST brings a host back that lost its data; python runbooks/backup.py"
            " takes a snapshot",
        )
    ground = sight.grounds.get(host)
    if ground and ground.place.data and not ground.place.data_unreadable:
        return no_bump(sight, wish)  # before its etcd is stopped
    others = [name for name, each in sight.grounds.items() if each.place.data and name != host]
    why = ground.place.data_unreadable if ground else ""
    return Refusal(
        f"nothing was changed: no data of a member can be read on {host}{f' ({why})' if why else ''}",
        (host,),
        f"there are data on {', '.join(others)}"
        if others
        else "python runbooks/restore.py --cluster NAME says what else there is",
    )


def beside_survivor(sight: Sight, wish: Wish) -> Sequence[str]:
    """Return what a person must know before: which other member that answers has more than this one."""
    held = {
        host: status
        for host, ground in sight.grounds.items()
        if (status := sight.cluster.by_name.get(ground.place.member.name))
    }
    own = held.get(wish.survivor)
    more = [
        f"{host} has applied more (raft index {status.raft_applied}, and not {own.raft_applied})"
        for host, status in held.items()
        # Whatever the terms are: a member that was cut off raises its own, and has less.
        if host != wish.survivor and own and status.raft_applied > own.raft_applied
    ]
    silent = [
        host
        for host, ground in sight.grounds.items()
        if host != wish.survivor and ground.place.data and host not in held
    ]
    if silent:
        more.append(f"{', '.join(silent)} holds data, too, and does not answer: what it has more is lost")
    return more or ["no other host holds data"]


def unfit(sight: Sight, source: Source, wish: Wish) -> Refusal | None:
    """Return why this snapshot must not be restored on these hosts."""
    return (
        _another_cluster(source, wish)
        or _locked_out(source, wish)
        or _versions(sight, source)
        or _no_room(sight, source)
        or no_bump(sight, wish)
    )


def _another_cluster(source: Source, wish: Wish) -> Refusal | None:
    """Return why a snapshot of one cluster must not become the data of another: both must have been named."""
    if not source.cluster or source.cluster == (wish.clone or wish.cluster):
        return None
    if wish.clone:
        what = f"the snapshot is of cluster {source.cluster}, and not of {wish.clone}"
        return Refusal(f"nothing was changed: {what}", (), f"name a snapshot of {wish.clone}, or that cluster")
    return Refusal(
        f"nothing was changed: the snapshot is of another cluster, {source.cluster}",
        (),
        f"name a snapshot of {wish.cluster}; or add --clone {source.cluster}, and {wish.cluster} becomes a copy of it",
    )


def _locked_out(source: Source, wish: Wish) -> Refusal | None:
    """Return why the hosts would be locked out of what is restored: no member could join it."""
    if not source.auth or wish.user in source.roots:
        return None
    what = "nothing was changed: authentication is on in the snapshot, and "
    if not wish.user:
        what += "without TLS for clients (cluster.client_tls) nothing makes etcdctl on the hosts one of its users"
        return Refusal(what, (), "set cluster.client_tls: true, as in the cluster that the snapshot is of")
    what += f"{wish.user}, the user in the hosts' client certificates, has no role root in it"
    roots = ", ".join(source.roots)
    return Refusal(what, (), f"set pki.client_common_name to one that has: {roots}; then run again")


def _versions(sight: Sight, source: Source) -> Refusal | None:
    minors = {host: minor for host, ground in sight.grounds.items() if (minor := minor_of(ground.etcd))}
    if len(set(minors.values())) > 1:
        told = ", ".join(f"{host} {sight.grounds[host].etcd}" for host in minors)
        return Refusal(
            f"nothing was changed: the hosts would run different minor versions of etcd ({told})",
            tuple(minors),
            "let install.version or install.method bring them the same one, that of the snapshot"
            f"{f' ({source.minor})' if source.minor else ''}",
        )
    theirs = _number(source.minor)
    for host, minor in minors.items():
        ours, has = _number(minor), f"the snapshot is of etcd {source.minor}, and {host} has {sight.grounds[host].etcd}"
        if theirs > ours:
            return Refusal(
                f"nothing was changed: {has}, which is older",
                tuple(minors),
                f"install etcd {source.minor} on the hosts first (install.version, or install.method: archive)",
            )
        if source.minor and ours > (theirs[0], theirs[1] + 1):
            return Refusal(
                f"nothing was changed: {has}: a minor version must not be left out",
                tuple(minors),
                f"restore it with etcd {source.minor}, then upgrade one minor version after the other",
            )
    return None


def _number(minor: str) -> tuple[int, int]:
    numbers = parse(f"{minor}.0")
    return (numbers[0], numbers[1]) if numbers else (0, 0)


def _no_room(sight: Sight, source: Source) -> Refusal | None:
    first = first_host(sight, source)
    if first is not None:
        others = {host: ground.free for host, ground in sight.grounds.items() if host != first}
        short = {host: free for host, free in others.items() if free is not None and free < _needed(source)}
        if not short:
            return None
        needed = f"{mib(_needed(source))} for the restored data"
    else:
        short = {host: ground.free or 0 for host, ground in sight.grounds.items()}
        needed = f"{mib(_needed(source, first=True))} on one of them, for the snapshot and the restored data"
    told = ", ".join(f"{host} has {mib(free)}" for host, free in short.items())
    return Refusal(
        f"nothing was changed: there is no room for {needed} beside the old data, which are kept ({told})",
        tuple(short),
        "make room on the file system of the data directory; what earlier runs moved aside there (removed-TIME) may be"
        " copied elsewhere",
    )


def _needed(source: Source, *, first: bool = False) -> int:
    return source.size * (2 if first else 1) + LOG_BYTES


def first_host(sight: Sight, source: Source) -> str | None:
    """Return the host on which the snapshot is restored: the first one with room for it."""
    needed = _needed(source, first=True)
    fit = (host for host in sight.placed if (free := sight.grounds[host].free) is None or free >= needed)
    return next(fit, None)


def no_bump(sight: Sight, wish: Wish) -> Refusal | None:
    """Return why revisions cannot be raised, where that is wished for."""
    if not wish.bump:
        return None
    for host, ground in sight.grounds.items():
        tool = restore_tool(ground.etcd, etcdutl=True) if ground.etcd else None
        if tool and not isinstance(tool, str) and tool.no_bump:
            return Refusal(
                f"nothing was changed: {tool.no_bump} ({host})",
                (host,),
                "install a newer patch release on the hosts first; or add --no-bump-revision, and have clients that"
                " keep watches or caches read anew: restart them",
            )
    return None


def losses(sight: Sight, source: Source, wish: Wish, name: str) -> Sequence[str]:
    """Return what a person must know before a restore of the cluster of this name is begun: what is lost, and how."""
    told = []
    now = max((status.revision for status in sight.cluster.statuses), default=0)
    if now > source.revision:
        works = "works, and " if sight.cluster.serving else ""
        told.append(
            f"the cluster {works}is at revision {now}, the snapshot at {source.revision}: the {now - source.revision}"
            " changes since are lost"
        )
    elif now:
        told.append(f"the cluster is at revision {now}, the snapshot at {source.revision}")
    else:
        told.append("no member answers, so nothing tells how much newer the data on the hosts are than the snapshot")
    known = {number for ground in sight.grounds.values() if isinstance(number := _noted_id(ground), int)}
    if source.cluster and source.cluster != name:
        users = f", and so do its users ({', '.join(source.users)}) with their passwords" if source.users else ""
        told.append(f"{name.upper()} BECOMES A COPY OF ANOTHER CLUSTER, {source.cluster}: all of its keys come{users}")
    elif source.cluster_id and known and source.cluster_id not in known:
        told.append(
            f"the snapshot is of cluster {hex_id(source.cluster_id)}, and not of {hex_id(max(known))}: from before a"
            " restore, or of another one"
        )
    elif not source.cluster and source.peer_urls and not _ours(sight, source):
        told.append(f"none of the members in the snapshot is in the inventory ({', '.join(source.peer_urls)})")
    if "CORRUPT" in source.alarms:
        told.append("it was taken while the alarm CORRUPT was raised: what is in it may be wrong")
    missing = tuple(host for host in sight.hosts if host in wish.without)
    if 2 * len(missing) > len(sight.hosts):
        told.append(
            f"{', '.join(missing)} are a majority: if they are only cut off from here, they may serve the old data to"
            " clients that reach them"
        )
    elif missing:
        told.append(f"{', '.join(missing)} is left out; etcd refuses it should it come back with its old data")
    return told


def _noted_id(ground: Ground) -> object:
    return (ground.noted or {}).get("cluster_id")


def _ours(sight: Sight, source: Source) -> bool:
    urls = {url.rstrip("/") for url in source.peer_urls}
    return any(ground.place.member.peer_url.rstrip("/") in urls for ground in sight.grounds.values())
