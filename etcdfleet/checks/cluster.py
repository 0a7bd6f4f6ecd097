"""Whether a cluster is what the inventory says: pure verification of etcdctl's answers.

Every check gives one `Finding`, good or bad, so that a report can show what was looked at and what was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from etcdfleet.etcd.alarms import WAY_OUT, is_alarm, only_full, raised, takes_part
from etcdfleet.etcd.answers import (
    EndpointHealth,
    EndpointStatus,
    ExpectedMember,
    HashKV,
    MemberList,
    by_host,
)
from etcdfleet.etcd.equal import DIVERGED, divergence
from etcdfleet.etcd.gates import MAX_LAG
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.limits import QUOTA_WARNING
from etcdfleet.etcd.membership import Kind, mismatches
from etcdfleet.text import mib


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: whether it is well, what was seen, why it may be so, and what to do if it is not.

    With ``level`` warning it is well enough, and worth knowing; with skipped it could not be asked, and ``evidence``
    says why. ``fault`` tells one fault of a check from another where ``evidence`` cannot: it holds numbers that change
    from one look to the next, or what other causes change meanwhile. Empty: the evidence does. ``about`` names the
    members that it is about, none for the whole cluster; ``follows`` the check that failed and is the cause of it.
    """

    check: str
    ok: bool
    evidence: str
    remedy: str = ""
    cause: str = ""
    level: Literal["", "warning", "skipped"] = ""
    fault: str = ""
    about: tuple[str, ...] = ()
    follows: str = ""

    @property
    def status(self) -> Literal["ok", "warning", "failed", "skipped"]:
        """How it stands, in a word."""
        return (self.level or "ok") if self.ok else "failed"

    def as_json(self) -> dict[str, object]:
        """As in report.json."""
        return {
            "check": self.check,
            "ok": self.ok,
            "status": self.status,
            "evidence": self.evidence,
            "cause": self.cause,
            "remedy": self.remedy,
        }


def failed(check: str, evidence: str, cause: str, remedy: str, fault: str = "", about: tuple[str, ...] = ()) -> Finding:
    """Something is wrong."""
    return Finding(check, False, evidence, remedy, cause, fault=fault, about=about)


def warned(check: str, evidence: str, cause: str, remedy: str) -> Finding:
    """Something will be wrong, or could be better."""
    return Finding(check, True, evidence, remedy, cause, "warning")


def skipped(check: str, why: str) -> Finding:
    """It could not be asked."""
    return Finding(check, True, why, level="skipped")


_WHY_OTHER: Mapping[Kind, str] = {
    "name": "it was renamed in the inventory",
    "missing": "it was added to the inventory alone, or removed from the cluster by hand",
    "unstarted": "it was added by hand, and its etcd was not started since",
    "learner": "it was added as a learner by hand",
    "peer URL": "the inventory was changed, or the member was given another URL by hand",
    "client URL": "the inventory was changed, or the member was given another URL by hand",
    "extra": "it was taken out of the inventory, or added to the cluster by hand",
}
NO_LEADER = "etcdserver: no leader"
"""What a member says in its status beside alarms when it has lost its leader: a matter of the check of the leader."""
SERVED = "certificate served on"
"""How the checks begin that read a certificate back from a port."""


def held_against(findings: Iterable[Finding], before: Iterable[Finding]) -> list[Finding]:
    """What is not as it should be after a change, and not just as it was ``before``: that is no fault of the change.

    That a port shows the new certificate must be seen in any case.
    """

    def fault(finding: Finding) -> tuple[str, str]:
        return finding.check, finding.fault or finding.evidence

    known = {fault(finding) for finding in before if not finding.ok and not finding.check.startswith(SERVED)}
    return [finding for finding in findings if not finding.ok and fault(finding) not in known]


def verify(
    expected: Sequence[ExpectedMember],
    members: MemberList,
    statuses: Iterable[EndpointStatus],
    healths: Iterable[EndpointHealth],
    hashes: Iterable[HashKV],
    *,
    quota_bytes: int = 0,
    max_lag: int = MAX_LAG,
) -> tuple[Finding, ...]:
    """Return the findings about one cluster, in a fixed order: members, health, leader, raft, alarms, hashes, size.

    ``expected`` are the members that answered; who did not is a matter of `etcdfleet.checks.cluster_deep`.

    ``hashes`` must have been asked for at one and the same ``--rev``: a running cluster changes between two answers.
    ``quota_bytes`` is the configured quota, 0 for etcd's default of 2 GiB.
    """
    endpoints = {member.name: member.client_url for member in expected}
    by_status = by_host(statuses, endpoints)
    by_health = by_host(healths, endpoints)
    by_hash = by_host(hashes, endpoints)
    return (
        member_list(expected, members),
        _health(expected, by_health),
        *_agreement(by_status, members, max_lag),
        _alarms(by_status, {member.id: member.name or hex_id(member.id) for member in members.members}),
        _equal_data(by_status) or _equal_hashes(by_hash, [member.name for member in expected]),
        _size(by_status, quota_bytes or 2 * 1024**3),
    )


def member_list(expected: Sequence[ExpectedMember], members: MemberList) -> Finding:
    """The finding about the member list, by all members of the inventory."""
    if found := mismatches(expected, members.members):
        return Finding(
            "member list",
            False,
            "; ".join(one.what for one in found),
            "; ".join(dict.fromkeys(one.remedy for one in found)),
            "; ".join(dict.fromkeys(_WHY_OTHER[one.kind] for one in found)),
            fault="; ".join(f"{one.kind} {one.member.name if one.member else one.what}" for one in found),
        )
    return Finding("member list", True, f"{len(expected)} members as in the inventory, all started, no learner")


def _health(expected: Sequence[ExpectedMember], healths: Mapping[str, EndpointHealth]) -> Finding:
    sick: dict[str, str] = {}
    for member in expected:
        health = healths.get(member.name)
        if health is None or not takes_part(health):
            sick[member.name] = health.error if health and health.error else "no answer"
    if sick:
        told = "; ".join(f"{name}: {error}" for name, error in sick.items())
        return Finding("health", False, told, "see etcd's log on these hosts", about=tuple(sick))
    slowest = max((health.took for health in healths.values()), default=0.0)
    said = f"all {len(expected)} members answer a linearizable read, the slowest in {slowest * 1000:.1f} ms"
    # That they take no writes is a matter of the alarm, which is a check of its own.
    said += "; not healthy for etcd, as an alarm is raised" if any(map(only_full, healths.values())) else ""
    return Finding("health", True, said)


def _agreement(statuses: Mapping[str, EndpointStatus], members: MemberList, max_lag: int) -> tuple[Finding, ...]:
    known = {status.member_id: name for name, status in statuses.items()}
    known |= {member.id: member.name or known.get(member.id, hex_id(member.id)) for member in members.members}
    clusters = {status.cluster_id for status in statuses.values()} | ({members.cluster_id} - {0})
    leaders = {status.leader_id for status in statuses.values()}
    terms = {status.term for status in statuses.values()}
    ahead = max((status.raft_index for status in statuses.values()), default=0)
    behind = {name: ahead - status.raft_applied for name, status in statuses.items()}
    late = {name: f"{name} is {lag} entries behind" for name, lag in behind.items() if lag > max_lag}
    follows = {
        name: known.get(s.leader_id, hex_id(s.leader_id)) if s.leader_id else "nobody" for name, s in statuses.items()
    }

    def finding(check: str, ok: bool, good: str, bad: Iterable[str], about: tuple[str, ...], remedy: str) -> Finding:
        return Finding(check, ok, good if ok else "; ".join(bad), "" if ok else remedy, about=() if ok else about)

    return (
        finding(
            "one cluster",
            len(clusters) == 1,
            f"cluster {hex_id(min(clusters, default=0))}",
            [f"{name}: cluster {hex_id(status.cluster_id)}" for name, status in statuses.items()],
            _odd({name: status.cluster_id for name, status in statuses.items()}),
            "members of different clusters come from tokens or member lists that differed at the first start: compare"
            " cluster.token, and etcdctl member list on each host; remove no data before you know whose they are",
        ),
        finding(
            "one leader",
            len(leaders) == 1 and leaders <= set(known),
            f"all follow {next(iter(follows.values()), '')}",
            [f"{name} follows {whom}" for name, whom in follows.items()],
            _odd({name: status.leader_id for name, status in statuses.items()}),
            "see whether all members reach each other on the peer port, and their logs",
        ),
        finding(
            "one term",
            len(terms) == 1,
            f"term {min(terms, default=0)}",
            [f"{name}: term {status.term}" for name, status in statuses.items()],
            _odd({name: status.term for name, status in statuses.items()}),
            "an election is under way; if there is one again and again, see disk and network",
        ),
        finding(
            "applied",
            not late,
            f"all within {max(behind.values(), default=0)} entries of index {ahead}",
            late.values(),
            tuple(late),
            "wait and look again; a member that stays behind has a slow disk or network",
        ),
    )


def _odd(values: Mapping[str, int]) -> tuple[str, ...]:
    """The members that say something else than a majority of those that answered; none where there is no majority."""
    for value in set(values.values()) - {0}:
        others = tuple(name for name, other in values.items() if other != value)
        if 2 * len(others) < len(values):
            return others
    return ()


def _alarms(statuses: Mapping[str, EndpointStatus], names: Mapping[int, str]) -> Finding:
    """The alarms by the members that raised them; all members tell of all, in an order that changes.

    A full database makes more members raise NOSPACE as clients write through them: that is still the same fault.
    """
    kinds = raised(statuses.values())
    found = [
        f"{kind}, raised by {', '.join(sorted(names.get(number, hex_id(number)) for number in ids))}"
        for kind, ids in sorted(kinds.items())
    ]
    found += [
        f"{name}: {error.strip()}"
        for name, status in statuses.items()
        for error in status.errors
        if not is_alarm(error) and error.strip() != NO_LEADER
    ]
    if not found:
        return Finding("alarms", True, "none")
    remedy = "see etcd's log on these hosts"
    if "NOSPACE" in kinds:
        remedy = WAY_OUT
    if "CORRUPT" in kinds:
        remedy = (
            "stop using this cluster: find the member whose data differ, replace it (docs/hosts.md, A member with other"
            " data), then etcdctl alarm disarm"
        )
    return Finding("alarms", False, "; ".join(found), remedy, fault=", ".join([*sorted(kinds), *found[len(kinds) :]]))


def _equal_data(statuses: Mapping[str, EndpointStatus]) -> Finding | None:
    """What hashes at the lowest common revision cannot show: a member that lacks what the others share."""
    found = divergence(statuses.values())
    if found is None:
        return None
    names = {status.member_id: name for name, status in statuses.items()}
    return failed(
        "equal data",
        found.told(lambda status: names[status.member_id]),
        "a member began with an empty or an older database, or a fault of a disk or of etcd let the data drift apart",
        DIVERGED,
        fault="differ",
        about=tuple(names[status.member_id] for status in found.odd or found.differ),
    )


def _equal_hashes(hashes: Mapping[str, HashKV], names: Sequence[str]) -> Finding:
    missing = [name for name in names if name not in hashes]
    told = ", ".join(f"{name} {found.hash:08x}" for name, found in hashes.items())
    if missing:
        return Finding(
            "equal data",
            False,
            f"no hash from {', '.join(missing)}" + (f" ({told})" if told else ""),
            "ask again for the hash at a newer revision; see the logs of the members that do not answer",
            about=tuple(missing),
        )
    if len({found.compact_revision for found in hashes.values()}) > 1:
        told = ", ".join(f"{name} {found.compact_revision}" for name, found in hashes.items())
        return Finding(
            "equal data", False, f"compacted at different revisions just now ({told}): not comparable", "ask again"
        )
    if len({found.hash for found in hashes.values()}) > 1:
        return Finding(
            "equal data",
            False,
            f"the members' key spaces differ: {told}",
            DIVERGED,
            fault="differ",
            about=_odd({name: found.hash for name, found in hashes.items()}),
        )
    return Finding("equal data", True, f"hash {next(iter(hashes.values())).hash:08x} on all {len(names)} members")


def _size(statuses: Mapping[str, EndpointStatus], quota: int) -> Finding:
    large = [
        f"{name}: {mib(status.db_size)} of {mib(quota)} ({mib(status.db_size_in_use)} in use)"
        for name, status in statuses.items()
        if status.db_size >= quota * QUOTA_WARNING
    ]
    if large:
        return Finding(
            "database size",
            False,
            "; ".join(large),
            "raise cluster.quota_bytes and deploy, or make room: docs/hosts.md, A database that is full",
            fault="large",
        )
    size = max((status.db_size for status in statuses.values()), default=0)
    return Finding("database size", True, f"at most {mib(size)} of {mib(quota)}")
