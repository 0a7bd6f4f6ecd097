"""Whether a cluster is what the inventory says: pure judgement of etcdctl's answers, as one snapshot.

A member that does not answer is one finding, not many: what the members must agree on is asked of those that answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from etcdfleet.checks.consequences import causes_first, consequence, silence
from etcdfleet.checks.findings import Finding, failed, skipped
from etcdfleet.checks.learner import learner_finding, what_follows
from etcdfleet.etcd.alarms import DIFFERS, WAY_OUT, has_room, is_alarm, only_full, takes_part
from etcdfleet.etcd.answers import address
from etcdfleet.etcd.cluster import QUOTA_WARNING, Cluster
from etcdfleet.etcd.equal import DIVERGED
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.learners import learners
from etcdfleet.etcd.membership import Kind, mismatches
from etcdfleet.text import mib

_WHY_OTHER: Mapping[Kind, str] = {
    "name": "it was renamed in the inventory",
    "missing": "it was added to the inventory alone, or removed from the cluster by hand",
    "unstarted": "it was added, and its etcd has not joined since: a run was ended on the way, or it was done by hand",
    "learner": "it joins as a learner and has not got its vote yet: a run is at it, or was ended on the way",
    "peer URL": "the inventory was changed, or the member was given another URL by hand",
    "client URL": "the inventory was changed, or the member was given another URL by hand",
    "extra": "it was taken out of the inventory, or added to the cluster by hand",
}
NO_LEADER = "etcdserver: no leader"
"""What a member says in its status beside alarms when it has lost its leader: a matter of the check of the leader."""
_CAUSES: Mapping[str, str] = {
    "member list": "a member was added, removed or given other URLs by hand, or the inventory was changed",
    "health": "the member is cut off from the others, starts just now, or an alarm is raised",
    "one cluster": "members started with different tokens or initial member lists",
    "one leader": "members do not reach each other on the peer port, or there is no quorum",
    "one term": "elections go on: a slow disk, a lossy network, or an election time-out that is too short",
    "applied": "the member's disk or network is too slow for the load, or it has just come back",
    "alarms": "the database has reached its quota (NOSPACE), or the data of members differ (CORRUPT)",
    "equal data": "a fault of a disk or of etcd has let the members' data drift apart",
    "database size": "many or large values, or old revisions that were compacted and not defragmented",
}
"""The likely cause when a check fails, by its name."""


def cluster_checks(
    cluster: Cluster, *, quota_bytes: int = 2 * 1024**3, seconds: Mapping[str, float | None] | None = None
) -> tuple[Finding, ...]:
    """Return the findings about a cluster, causes first. ``quota_bytes`` is the configured one, else etcd's own.

    ``seconds`` is how long etcd has run, by the member's name, as far as that is known.
    """
    silent = [member for member in cluster.expected if member.name not in cluster.by_name]
    findings = [_all_answer(cluster)]
    if not cluster.by_name:
        return tuple(findings)
    leader, equal = _one_leader(cluster), _equal_data(cluster)
    listed, health = _member_list(cluster), _health(cluster)
    without_vote = learners(cluster, seconds or {})
    if cluster.members is None:
        deepest = "members answer" if cluster.alive < cluster.quorum else "" if leader.ok else "one leader"
        listed = consequence(listed, deepest) if deepest else listed
    if silent and not cluster.hashes and not equal.fault:
        names = ", ".join(sorted(member.name for member in silent))
        equal = skipped(equal.check, f"not compared, since {names} did not answer")
    if without_vote:
        findings.append(learner_finding(without_vote.values()))
        listed, health, equal = what_follows(cluster, without_vote, listed, health, equal)
    findings += [listed, health, _one_cluster(cluster), leader, _one_term(cluster), _applied(cluster)]
    findings += [_alarms(cluster), equal, _size(cluster, quota_bytes)]
    return tuple(causes_first(f if f.ok or f.cause else replace(f, cause=_CAUSES.get(f.check, "")) for f in findings))


def _all_answer(cluster: Cluster) -> Finding:
    check, count, quorum = "members answer", len(cluster.expected), cluster.quorum
    why = {address(url): reason for url, reason in cluster.unanswered.items()}
    silent = {
        member: why.get(address(member.client_url), "no answer")
        for member in cluster.expected
        if member.name not in cluster.by_name
    }
    answered, spare = count - len(silent), cluster.alive - quorum
    if not silent:
        return Finding(check, True, f"all {count}; {max(spare, 0) or 'none'} of them could be lost without harm")
    if spare < 0:
        state = f"{answered} of {count} answer, {quorum} are needed: the cluster takes no writes"
    elif spare == 0:
        state = f"{answered} of {count} answer: if one more is lost, the cluster takes no writes"
    else:
        state = f"{answered} of {count} answer; {spare} more could be lost"
    why_silent = [silence(member, reason) for member, reason in silent.items()]
    names = tuple(member.name for member in silent)
    return failed(
        check,
        "; ".join([state, *(f"{member.name}: {reason}" for member, reason in silent.items())]),
        "; ".join(dict.fromkeys(cause for cause, _ in why_silent)),
        "; ".join(dict.fromkeys(remedy for _, remedy in why_silent)),
        fault=f"silent: {', '.join(names)}",
        about=names if spare >= 0 else (),
    )


def _member_list(cluster: Cluster) -> Finding:
    check = "member list"
    if cluster.members is None:
        return failed(
            check,
            cluster.no_list,
            "without a leader and a quorum no member can say for certain who belongs to the cluster",
            "see etcd's log on this host",
        )
    if differences := mismatches(cluster.matched):
        return failed(
            check,
            "; ".join(one.what for one in differences),
            "; ".join(dict.fromkeys(_WHY_OTHER[one.kind] for one in differences)),
            "; ".join(dict.fromkeys(one.remedy for one in differences)),
            fault="; ".join(f"{one.kind} {one.member.name if one.member else one.what}" for one in differences),
        )
    return Finding(check, True, f"{len(cluster.expected)} members as in the inventory, all started, no learner")


def _health(cluster: Cluster) -> Finding:
    healths = cluster.health_by_name
    sick: dict[str, str] = {}
    for name in cluster.by_name:
        health = healths.get(name)
        if health is None or not takes_part(health):
            sick[name] = health.error if health and health.error else "no answer"
    if sick:
        told = "; ".join(f"{name}: {error}" for name, error in sick.items())
        return Finding("health", False, told, "see etcd's log on these hosts", about=tuple(sick))
    well = [healths[name] for name in cluster.by_name]
    slowest = max(health.took for health in well)
    evidence = f"all {len(well)} members answer a linearizable read, the slowest in {slowest * 1000:.1f} ms"
    # That they take no writes is a matter of the alarm, which is a check of its own.
    evidence += "; not healthy for etcd, as an alarm is raised" if any(map(only_full, well)) else ""
    return Finding("health", True, evidence)


def _same(
    check: str, values: Mapping[str, int], good: str, bad: Iterable[str], remedy: str, ok: bool = True
) -> Finding:
    """Judge that all members say the same, and that it is ``ok``; else tell who says what."""
    if ok and len(set(values.values())) == 1:
        return Finding(check, True, good)
    return Finding(check, False, "; ".join(bad), remedy, about=_odd(values))


def _one_cluster(cluster: Cluster) -> Finding:
    ids = {name: status.cluster_id for name, status in cluster.by_name.items()}
    listed = cluster.members.cluster_id if cluster.members else 0
    return _same(
        "one cluster",
        ids,
        f"cluster {hex_id(min(ids.values()))}",
        [f"{name}: cluster {hex_id(number)}" for name, number in ids.items()],
        "members of different clusters come from tokens or member lists that differed at the first start: compare"
        " cluster.token, and etcdctl member list on each host; remove no data before you know whose they are",
        ok=not listed or listed in ids.values(),
    )


def _one_leader(cluster: Cluster) -> Finding:
    """Judge that all follow one leader. Until enough heartbeats are missed, a leader that is gone is still followed."""
    leaders = {name: status.leader_id for name, status in cluster.by_name.items()}
    leader = next(iter(leaders.values()))
    follows = {name: cluster.name(number) if number else "no one" for name, number in leaders.items()}
    leader_known = cluster.knows(leader) if cluster.members else leader != 0
    finding = _same(
        "one leader",
        leaders,
        f"all follow {cluster.name(leader)}" if cluster.members else "all that answer follow the same leader",
        [f"{name} follows {leader}" for name, leader in follows.items()],
        "check whether all members reach each other on the peer port, and their logs",
        ok=leader_known,
    )
    if not finding.ok:
        return finding
    if cluster.alive < cluster.quorum:
        return failed(
            finding.check,
            f"{finding.evidence}, but without a quorum there is none",
            "too many members are lost",
            "bring members back; one of them will be elected",
        )
    if not cluster.unheard_leader:
        return finding
    if cluster.reads_quickly:
        # Left out of the inventory, or not reached from here: other checks say so.
        return replace(finding, evidence=f"{finding.evidence}, which did not answer here; reads through it work")
    return failed(
        finding.check,
        f"{finding.evidence}, which does not answer",
        "the leader has just been lost, and the others have not elected another one yet",
        "look again in a few seconds; without a quorum none will be elected: bring members back",
    )


def _one_term(cluster: Cluster) -> Finding:
    terms = {name: status.term for name, status in cluster.by_name.items()}
    return _same(
        "one term",
        terms,
        f"term {min(terms.values())}",
        [f"{name}: term {term}" for name, term in terms.items()],
        "an election is under way; if there is one again and again, see disk and network",
    )


def _applied(cluster: Cluster) -> Finding:
    behind = {name: cluster.ahead - status.raft_applied for name, status in cluster.by_name.items()}
    late = {name: behind[name] for name, status in cluster.by_name.items() if status.member_id in cluster.late}
    if late:
        told = "; ".join(f"{name} is {lag} entries behind" for name, lag in late.items())
        remedy = "wait and run verify again; a member that stays behind has a slow disk or network"
        return Finding("applied", False, told, remedy, about=tuple(late))
    return Finding("applied", True, f"all within {max(behind.values())} entries of index {cluster.ahead}")


def _odd(values: Mapping[str, int]) -> tuple[str, ...]:
    """Return the members that differ from a majority of those that answered; none where there is no majority."""
    for value in set(values.values()) - {0}:
        others = tuple(name for name, other in values.items() if other != value)
        if 2 * len(others) < len(values):
            return others
    return ()


def _alarms(cluster: Cluster) -> Finding:
    """Return the alarms by the members that raised them; all members tell of all, in an order that changes.

    A full database makes more members raise NOSPACE as clients write through them: that is still the same fault.
    """
    kinds = cluster.alarms
    reports = [f"{kind}, raised by {', '.join(sorted(map(cluster.name, ids)))}" for kind, ids in sorted(kinds.items())]
    reports += [
        f"{name}: {error.strip()}"
        for name, status in cluster.by_name.items()
        for error in status.errors
        if not is_alarm(error) and error.strip() != NO_LEADER
    ]
    if not reports:
        return Finding("alarms", True, "none")
    remedy = "see etcd's log on these hosts"
    if "NOSPACE" in kinds:
        remedy = WAY_OUT
    if "CORRUPT" in kinds:
        remedy = DIFFERS
    return Finding(
        "alarms", False, "; ".join(reports), remedy, fault=", ".join([*sorted(kinds), *reports[len(kinds) :]])
    )


def _equal_data(cluster: Cluster) -> Finding:
    """Also what hashes at the lowest common revision cannot show: a member that lacks what the others share."""
    if divergence := cluster.divergence:
        return failed(
            "equal data",
            cluster.diverged(),
            "a member began with an empty or an older database, or a fault of a disk or of etcd let the data drift"
            " apart",
            DIVERGED,
            fault="differ",
            about=tuple(cluster.name(status.member_id) for status in divergence.odd or divergence.differ),
        )
    hashes, names = cluster.hash_by_name, list(cluster.by_name)
    missing = [name for name in names if name not in hashes]
    told = ", ".join(f"{name} {digest.hash:08x}" for name, digest in hashes.items())
    if missing:
        return Finding(
            "equal data",
            False,
            f"no hash from {', '.join(missing)}" + (f" ({told})" if told else ""),
            "ask again for the hash at a newer revision; see the logs of the members that do not answer",
            about=tuple(missing),
        )
    if len({digest.compact_revision for digest in hashes.values()}) > 1:
        told = ", ".join(f"{name} {digest.compact_revision}" for name, digest in hashes.items())
        return Finding(
            "equal data", False, f"compacted at different revisions just now ({told}): not comparable", "ask again"
        )
    if len({digest.hash for digest in hashes.values()}) > 1:
        return Finding(
            "equal data",
            False,
            f"the members' key spaces differ: {told}",
            DIVERGED,
            fault="differ",
            about=_odd({name: digest.hash for name, digest in hashes.items()}),
        )
    return Finding("equal data", True, f"hash {next(iter(hashes.values())).hash:08x} on all {len(names)} members")


def _size(cluster: Cluster, quota: int) -> Finding:
    large = [
        f"{name}: {mib(status.db_size)} of {mib(quota)} ({mib(status.db_size_in_use)} in use)"
        for name, status in cluster.by_name.items()
        if status.db_size >= quota * QUOTA_WARNING
    ]
    if large:
        remedy = "raise cluster.quota_bytes and deploy, or delete keys"
        if any(has_room(status.db_size_in_use, status.db_size) for status in cluster.by_name.values()):
            remedy = f"python runbooks/repair.py --force frees what is not in use; else {remedy}"
        return Finding("database size", False, "; ".join(large), remedy, fault="large")
    size = max(status.db_size for status in cluster.by_name.values())
    return Finding("database size", True, f"at most {mib(size)} of {mib(quota)}")
