"""Clusters at a glance: what can be lost, who leads, and what is wrong or will be next. Pure functions.

Each host was asked about its own member at about the same time; here the answers of a cluster are put together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from etcdfleet.checks.overview.data import ClusterOverview, Concern, Level, MemberView
from etcdfleet.checks.overview.host import host_concerns, merge_concerns, unaskable, unreached
from etcdfleet.checks.overview.learner import learner_concern, learners_of
from etcdfleet.checks.versions import how_the_others_follow
from etcdfleet.etcd.alarms import CORRUPT_FIRST, DIFFERS, WAY_OUT, has_room
from etcdfleet.etcd.answers import SLOW_READ, EndpointStatus, ExpectedMember
from etcdfleet.etcd.canary import in_force
from etcdfleet.etcd.cluster import QUOTA_WARNING, Cluster
from etcdfleet.etcd.downgrades import unfinished
from etcdfleet.etcd.equal import DIVERGED
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.learners import Learner
from etcdfleet.etcd.membership import mismatches
from etcdfleet.etcd.versions import parse
from etcdfleet.text import mib

SOON_DAYS = 7.0
"""Certificates with less left are mentioned, due for renewal or not."""


def overview(
    name: str,
    views: Sequence[MemberView],
    expected: Sequence[ExpectedMember],
    *,
    election_seconds: float = 5.0,
    within_days: float = SOON_DAYS,
    backup: str = "",
    about_backups: Sequence[Concern] = (),
) -> ClusterOverview:
    """Return a cluster as its hosts were seen; ``expected`` are all members of the inventory, looked at or not.

    ``backup`` tells how old the newest backup is, ``about_backups`` what is wrong with them.
    """
    cluster = _snapshot(views, expected)
    gone = _gone(cluster, views)
    leader_id, term = cluster.leader
    leader_id = 0 if gone or not any(view.serves for view in views) else leader_id
    margin, can_lose, lost = _margin(views, cluster, leader_id)
    concerns = list(lost)
    concerns += _leadership(views, cluster, election_seconds, gone)
    concerns += _identity(views)
    concerns += _equal_data(views, cluster)
    concerns += _alarms(views, cluster)
    without_vote = learners_of(views, cluster)
    concerns += _members(views, cluster, without_vote)
    concerns += [learner_concern(host, learner) for host, learner in without_vote.items()]
    concerns += _progress(views, cluster, electing=bool(gone))
    concerns += _quota(views, cluster)
    lives, unseen = any(view.serves for view in views), all(view.machine is None for view in views)
    works = cluster.members.cluster_id if lives and cluster.members else 0
    for view in views:
        concerns += host_concerns(view, within_days, cluster_lives=lives, all_unseen=unseen, cluster_id=works)
    concerns += about_backups
    leader = _host(leader_id, views, cluster) if leader_id else ""
    names = {view.host: (view.host, *view.also) for view in views}
    concerns = [replace(one, remedy=one.remedy.replace("--cluster NAME", f"--cluster {name}")) for one in concerns]
    return ClusterOverview(
        name, tuple(views), margin, can_lose, leader, term, merge_concerns(concerns, names), without_vote, backup
    )


def _snapshot(views: Sequence[MemberView], expected: Sequence[ExpectedMember]) -> Cluster:
    """Return the list of a member that is in touch with the others, or else of any."""
    lists = sorted((view for view in views if view.members), key=lambda view: not view.serves)
    return Cluster.asked_locally(
        expected,
        lists[0].members if lists else None,
        {view.member.name: view.status for view in views if view.status},
        {view.member.name: view.health for view in views if view.health},
    )


def _gone(cluster: Cluster, views: Sequence[MemberView]) -> str:
    """Return the host of a leader that was lost while the others were asked; empty if there is none.

    Until an election begins, the others name the old leader, and a read that waits for the new one may succeed in the
    end. Where the leader's host, or etcd on it, cannot be asked, quick reads through others prove that it lives.
    """
    host = _silent_leader(cluster, views)
    return host.host if host and (_can_be_asked(host) or not cluster.reads_quickly) else ""


def presumed_leader(views: Sequence[MemberView]) -> bool:
    """Return whether only quick reads through others say that the leader lives, and its host cannot be asked. Then ask
    the members again, see `Cluster.presumed_leader`.
    """
    cluster = _snapshot(views, [view.member for view in views])
    host = _silent_leader(cluster, views)
    return host is not None and not _can_be_asked(host) and cluster.reads_quickly


def _silent_leader(cluster: Cluster, views: Sequence[MemberView]) -> MemberView | None:
    """Return the host of the leader, if it is among those looked at and its member did not answer."""
    if not cluster.serving or not cluster.unheard_leader:
        return None
    name = _host(cluster.unheard_leader, views, cluster)
    return next((view for view in views if view.host == name), None)


def _can_be_asked(view: MemberView) -> bool:
    return view.machine is not None and not unaskable(view.machine)


def _margin(views: Sequence[MemberView], cluster: Cluster, leader_id: int) -> tuple[str, int | None, list[Concern]]:
    """(margin in words, members that can be lost, concerns about it)."""
    voters, quorum = cluster.voters, cluster.quorum
    asked = [view for view in views if not (view.status and view.status.learner)]
    serving = sum(view.serves for view in asked)
    answering = sum(view.status is not None for view in asked)
    unasked = len(cluster.expected) - len(views)
    unknown = tuple(view.host for view in views if view.machine is None)
    hosts = tuple(view.host for view in views)
    if serving:
        # A leader that followers can read through lives, whether its own host could be asked or not.
        unheard = leader_id and leader_id not in cluster.by_id
        alive = serving + bool(unheard)
        if unasked > 0:
            return f"has a quorum; {unasked} of {voters} members not looked at", None, []
        if alive < quorum:
            return f"has a quorum, though only {alive} of {voters} members could be asked", None, []
        margin = alive - quorum
        text = f"{alive} of {voters} members serve, can lose {margin or 'none'}"
        barred = sum(view.machine is None and not unreached(view.problem) for view in asked)
        if barred and not unheard:
            text = f"{alive} of {voters} members serve, {barred} could not be asked"
            return f"{text}; can lose {margin or 'none'} of these", margin, []
        if margin or voters <= 2:
            return text, margin, []
        what = f"one more lost member stops the cluster: {alive} of {voters} serve, and {quorum} are needed"
        sick = tuple(view.host for view in asked if not view.serves)
        return text, 0, [Concern(Level.WRONG, what, sick or hosts, "bring the others back first")]
    if not any(view.machine and view.machine.deployed for view in views) and all(view.machine for view in views):
        return "not deployed", None, []
    if unasked > 0:
        text = f"no quorum seen: none of {len(views)} members serves, {unasked} not looked at"
        return text, None, []
    if len(unknown) == len(views):
        return "not known: no host could be asked from here", None, []
    if answering < quorum <= answering + len(unknown):
        text = f"not known: {len(unknown)} of {voters} hosts could not be asked from here"
        what = f"no quorum seen: {answering} of {voters} members answer, {quorum} are needed, and {len(unknown)}"
        what += " could not be asked from here"
        return text, None, [Concern(Level.UNKNOWN, what, hosts, "make these hosts reachable first, then look again")]
    if answering < quorum:
        text = f"no quorum: {answering} of {voters} answer"
        what = f"no quorum: {answering} of {voters} members answer, and {quorum} are needed to read or write"
        return text, None, [Concern(Level.BROKEN, what, hosts, "bring members back, whichever is easiest")]
    return f"no leader: {answering} of {voters} answer, none serves", None, []


def _leadership(views: Sequence[MemberView], cluster: Cluster, election_seconds: float, gone: str) -> Iterator[Concern]:
    answered = {view.status.member_id: view for view in views if view.status}
    hosts = tuple(view.host for view in answered.values())
    wait = f"look again in {2 * election_seconds:.0f} s; if it stays so, see network and clocks between the hosts"
    if not any(view.serves for view in views):
        followed = {view.status.leader_id for view in answered.values() if view.status} - {0}
        lost = [leader for leader in followed if leader not in answered]
        if len(answered) < cluster.quorum or not hosts:
            return  # said by the margin
        if lost:
            silent = [view.host for view in views if not view.status]
            # Without a list (the member that was asked for it is the one that was lost) it is who does not answer.
            only = not cluster.members and len(lost) == len(silent) == 1 and len(views) == len(cluster.expected)
            who = silent[0] if only else " and ".join(_host(leader, views, cluster) for leader in lost)
            what = f"leader just lost: {who} does not answer, an election is going on; no reads or writes meanwhile"
        elif followed:
            for view in answered.values():
                if view.status and view.status.learner:
                    continue  # through which etcd serves no reads
                what = f"it answers and knows its leader, and a read through it fails ({_no_read(view)})"
                remedy = "see etcd's log, disk and network of the host; run verify"
                yield Concern(Level.BROKEN, what, (view.host,), remedy)
            return
        else:
            what = "no leader: an election is going on; no reads or writes meanwhile"
        yield Concern(Level.BROKEN, what, hosts, wait)
        return
    if gone:
        what = f"leader just lost: {gone} does not answer, and the others waited for an election"
        yield Concern(Level.WRONG, what, hosts, wait)
        return
    for view in answered.values():
        if view.status and view.status.learner and view.status.leader_id:
            continue  # etcd serves no reads through a learner
        if not view.serves and view.status and "CORRUPT" not in cluster.alarms:
            cut = "knows of no leader" if not view.status.leader_id else "serves no reads"
            what = f"{cut}, while others do ({_no_read(view)}): it does not reach the other members"
            port = view.member.peer_url.rstrip("/").rpartition(":")[2]
            remedy = f"check that the members reach each other on port {port} (firewall), and etcd's log there"
            yield Concern(Level.BROKEN, what, (view.host,), f"{remedy}; run verify")
    leaders = {(v.status.leader_id, v.status.term) for v in answered.values() if v.status and v.serves}
    if len(leaders) > 1:
        told = ", ".join(sorted(f"{_host(leader, views, cluster)} in term {term}" for leader, term in leaders))
        what = f"members follow different leaders ({told}): there has just been an election"
        yield Concern(Level.SOON, what, hosts, wait)


def _no_read(view: MemberView) -> str:
    return (view.health.error if view.health else "") or "no answer"


def _identity(views: Sequence[MemberView]) -> Iterator[Concern]:
    clusters = Counter(view.status.cluster_id for view in views if view.status)
    if len(clusters) > 1:
        rare = min(clusters.values())
        hosts = tuple(v.host for v in views if v.status and clusters[v.status.cluster_id] == rare)
        told = ", ".join(f"{v.host} {hex_id(v.status.cluster_id)}" for v in views if v.status)
        yield Concern(
            Level.BROKEN,
            f"members belong to different clusters ({told})",
            hosts,
            "compare cluster.token, and etcdctl member list on each host: which of them has your data? Remove none "
            "before you know; deploy never deletes data",
        )


def _equal_data(views: Sequence[MemberView], cluster: Cluster) -> Iterator[Concern]:
    if divergence := cluster.divergence:
        hosts = {view.status.member_id: view.host for view in views if view.status}
        told = divergence.told(lambda status: hosts[status.member_id])
        wrong = tuple(hosts[status.member_id] for status in divergence.odd or divergence.differ)
        yield Concern(Level.BROKEN, f"members do not hold the same data: {told}", wrong, DIVERGED)


def _alarms(views: Sequence[MemberView], cluster: Cluster) -> Iterator[Concern]:
    """Return the concerns about alarms: all members know of all, and each is said of the one that raised it."""
    by_id = {view.status.member_id: view for view in views if view.status}
    for alarm, ids in cluster.alarms.items():
        raisers = [by_id[number] for number in ids if number in by_id]
        hosts = tuple(view.host for view in raisers or by_id.values())
        who = "" if raisers else f" on {', '.join(map(hex_id, ids))}"
        if alarm == "NOSPACE":
            used = max(raisers or by_id.values(), key=lambda view: view.status.db_size if view.status else 0)
            size = used.status.db_size if used.status else 0
            what = f"database full (alarm NOSPACE{who}): the cluster takes no more writes"
            what += f"; {mib(size)} of {mib(used.quota)} used"
            remedy = CORRUPT_FIRST if "CORRUPT" in cluster.alarms else _room(views)
            yield Concern(Level.BROKEN, what, hosts, remedy)
        elif alarm == "CORRUPT":
            what = f"data differ between members (alarm CORRUPT{who}): do not trust what this cluster says"
            yield Concern(Level.BROKEN, what, hosts, DIFFERS)
        else:
            yield Concern(Level.BROKEN, f"alarm {alarm}{who}", hosts, "see etcdctl alarm list and etcd's log")


def _room(views: Sequence[MemberView]) -> str:
    """Return what to do about a full database; its members have room by the quota that they run with."""
    sizes = [(view, view.status.db_size) for view in views if view.status]
    if any(not has_room(size, view.quota_bytes) for view, size in sizes):
        return WAY_OUT
    quotas = [view.machine.quota_bytes if view.machine else None for view, _ in sizes]
    if all(quota and has_room(size, quota) for quota, (_, size) in zip(quotas, sizes, strict=True)):
        return "there is room again: python runbooks/repair.py, or deploy for the whole cluster, ends the alarm"
    wanted = mib(max(view.quota_bytes for view in views))
    return (
        f"run deploy for the whole cluster: it restarts one member after the other with the quota of {wanted}, then "
        "ends the alarm"
    )


def _members(views: Sequence[MemberView], cluster: Cluster, without_vote: Mapping[str, Learner]) -> Iterator[Concern]:
    """Compare the member list with the inventory, but for what is said of members ``without_vote``."""
    if cluster.members is None:
        return
    hosts = tuple(view.host for view in views if view.members)
    host_of = {view.member.name: (view.host,) for view in views}
    said = {learner.name for learner in without_vote.values()}
    for mismatch in mismatches(cluster.matched):
        if mismatch.kind == "learner" and mismatch.member and mismatch.member.name in said:
            continue
        if mismatch.kind != "client URL":  # a member that is restarted gives itself the new one
            mine = host_of.get(mismatch.member.name, hosts) if mismatch.member else hosts
            yield Concern(Level.WRONG, mismatch.what, mine, mismatch.remedy)


def _progress(views: Sequence[MemberView], cluster: Cluster, *, electing: bool) -> Iterator[Concern]:
    for view in views:
        if view.health and view.health.healthy and view.health.took >= SLOW_READ and not electing:
            what = f"a read through it takes {view.health.took:.1f} s"
            yield Concern(Level.SOON, what, (view.host,), "look at load, disk and network of the host; run preflight")
    statuses = {view.host: view.status for view in views if view.status}
    for host, status in statuses.items():
        if status.member_id in cluster.late and not status.learner:
            what = f"is {cluster.late[status.member_id]} entries behind the others"
            yield Concern(
                Level.WRONG, what, (host,), "look again; a member that stays behind has a slow disk or network"
            )
    yield from _versions(views, cluster, statuses)


def _versions(
    views: Sequence[MemberView], cluster: Cluster, statuses: Mapping[str, EndpointStatus]
) -> Iterator[Concern]:
    versions = {status.version for status in statuses.values() if status.version}
    running = {host: status.version for host, status in statuses.items()}
    if hold := in_force((view.machine.held for view in views if view.machine), running):
        yield Concern(Level.SOON, hold.told(), tuple(statuses), hold.ways(), 500.0)
    elif (job := unfinished(cluster))[0]:
        yield Concern(Level.SOON, job[0], tuple(statuses), job[1], 500.0)
    elif len(versions) > 1:
        newest = max(versions, key=lambda text: parse(text) or (0, 0, 0))
        behind = tuple(host for host, status in statuses.items() if status.version not in ("", newest))
        what = f"members run different versions ({', '.join(sorted(versions))})"
        yield Concern(Level.SOON, what, behind, how_the_others_follow(newest), 500.0)


def _quota(views: Sequence[MemberView], cluster: Cluster) -> Iterator[Concern]:
    if "NOSPACE" in cluster.alarms:
        return
    for view in views:
        if view.status and view.status.db_size >= view.quota * QUOTA_WARNING:
            used, share = view.status.db_size_in_use, view.status.db_size / view.quota
            what = f"the database has {share:.0%} of its quota ({mib(view.status.db_size)} of {mib(view.quota)}, "
            what += f"{mib(used)} in use): at 100 % the cluster takes no more writes"
            remedy = "raise cluster.quota_bytes and deploy, or delete keys"
            if has_room(used, view.status.db_size):
                remedy = f"python runbooks/repair.py --force frees what is not in use; else {remedy}"
            yield Concern(Level.SOON, what, (view.host,), remedy)


def _host(member_id: int, views: Sequence[MemberView], cluster: Cluster) -> str:
    """Return the host of a member, or, where that is not among those looked at, its name or id."""
    by_id = {view.status.member_id: view.host for view in views if view.status}
    by_name = {view.member.name: view.host for view in views}
    return by_id.get(member_id) or by_name.get(name := cluster.name(member_id), name)
