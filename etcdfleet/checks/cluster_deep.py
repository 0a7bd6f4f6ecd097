"""Deeper judgement of a cluster than `etcdfleet.checks.cluster`: whoever does not answer is one finding, not many.

Also read here: what became of a key that was written, read and deleted through every member.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from etcdfleet.checks.cluster import Finding, failed, member_list, skipped, verify
from etcdfleet.checks.consequences import causes_first, consequence, silence
from etcdfleet.etcd.alarms import WAY_OUT, takes_part
from etcdfleet.etcd.answers import (
    SLOW_READ,
    EndpointHealth,
    EndpointStatus,
    ExpectedMember,
    HashKV,
    MemberList,
    address,
    by_host,
)
from etcdfleet.etcd.equal import divergence
from etcdfleet.etcd.gates import MAX_LAG

RESERVED_PREFIX = "/etcdfleet/verify/"
"""Keys below it are written, read and deleted by verify; nobody else may use them."""
PROBE_TTL_SECONDS = 60
"""The life of the lease that probe keys hang on: a run that is killed leaves nothing for longer."""
CAUSES: Mapping[str, str] = {
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
"""The likely cause when a check of `etcdfleet.checks.cluster` fails, by its name."""


@dataclass(frozen=True)
class ClusterAnswers:
    """What the members said to one host. ``members`` is None when there was no list, and ``no_list`` says why."""

    members: MemberList | None
    statuses: tuple[EndpointStatus, ...]
    healths: tuple[EndpointHealth, ...]
    hashes: tuple[HashKV, ...]
    unanswered: Mapping[str, str]
    no_list: str = ""


def answering(expected: Sequence[ExpectedMember], answers: ClusterAnswers) -> tuple[ExpectedMember, ...]:
    """The members that answered."""
    found = by_host(answers.statuses, {member.name: member.client_url for member in expected})
    return tuple(member for member in expected if member.name in found)


def settling(answers: ClusterAnswers, count: int) -> str:
    """What is going on among the members that answer, of ``count``, and will be over soon; empty if nothing is."""
    if len(answers.statuses) < count // 2 + 1:
        return ""  # without a quorum nothing settles
    leaders = {status.leader_id for status in answers.statuses}
    if 0 in leaders:
        return "there was no leader"
    if _unheard_leader(answers) and not _reads_work(answers):
        return "the leader did not answer"
    if len(leaders) > 1 or len({status.term for status in answers.statuses}) > 1:
        return "an election was under way"
    ahead = max((status.raft_index for status in answers.statuses), default=0)
    if any(ahead - status.raft_applied > MAX_LAG for status in answers.statuses):
        return "a member was behind the others"
    if divergence(answers.statuses):
        return "members did not hold the same data"  # one look may be wrong about that: it is looked at again
    return ""


def cluster_checks(
    expected: Sequence[ExpectedMember], answers: ClusterAnswers, *, quota_bytes: int = 0
) -> tuple[Finding, ...]:
    """The findings about a cluster. What the members must agree on is asked of those that answer."""
    there = answering(expected, answers)
    found = [_all_answer(expected, there, answers)]
    if not there:
        return tuple(found)
    members = answers.members or MemberList(0, ())
    _, *agreed = verify(there, members, answers.statuses, answers.healths, answers.hashes, quota_bytes=quota_bytes)
    listed = member_list(expected, members)
    if answers.members is None:
        listed = failed(
            "member list",
            answers.no_list,
            "without a leader and a quorum no member can say for certain who belongs to the cluster",
            "see etcd's log on this host",
        )
        agreed = [_leader_without_list(answers, finding) for finding in agreed]
    agreed = [_leader_answers(answers, finding, expected) for finding in agreed]
    if answers.members is None:
        lacks_leader = any(finding.check == "one leader" and not finding.ok for finding in agreed)
        deepest = "members answer" if len(there) < len(expected) // 2 + 1 else "one leader" if lacks_leader else ""
        listed = consequence(listed, deepest) if deepest else listed
    if len(there) < len(expected) and not answers.hashes:
        silent = ", ".join(sorted({member.name for member in expected} - {member.name for member in there}))
        why = f"not compared, since {silent} did not answer"
        agreed = [skipped(f.check, why) if f.check == "equal data" and not f.fault else f for f in agreed]
    found += [
        replace(f, cause="" if f.ok else CAUSES.get(f.check, "")) if not f.cause else f for f in (listed, *agreed)
    ]
    return tuple(causes_first(found))


def _leader_without_list(answers: ClusterAnswers, finding: Finding) -> Finding:
    leaders = {status.leader_id for status in answers.statuses}
    if finding.check != "one leader" or len(leaders) != 1 or 0 in leaders:
        return finding
    return Finding(finding.check, True, "all that answer follow the same leader")


def presumed_leader(answers: ClusterAnswers) -> int:
    """The member id of a leader that did not answer, though reads work; 0 if there is none.

    Members name a lost leader until another one is elected, and the read that was asked beside may have been served by
    that other one. So this leader is known to live only if it is still named when they are asked again, after the read.
    """
    return _unheard_leader(answers) if _reads_work(answers) else 0


def _unheard_leader(answers: ClusterAnswers) -> int:
    """The member id of the leader of those that answer, if it was not asked or did not answer; 0 otherwise."""
    leaders = {status.leader_id for status in answers.statuses} - {0}
    if leaders & {status.member_id for status in answers.statuses}:
        return 0
    return max(leaders, default=0)


def _reads_work(answers: ClusterAnswers) -> bool:
    """Whether a read that needs the leader worked at once: it lives, wherever it is. One that waited for an election
    works, too, in the end."""
    return any(takes_part(health) and health.took < SLOW_READ for health in answers.healths)


def _leader_answers(answers: ClusterAnswers, finding: Finding, expected: Sequence[ExpectedMember]) -> Finding:
    """A leader that is gone is followed, and one without followers leads, until enough heartbeats are missed."""
    if finding.check != "one leader" or not finding.ok:
        return finding
    if len(answers.statuses) < len(expected) // 2 + 1:
        return failed(
            finding.check,
            f"{finding.evidence}, but without a quorum there is none",
            "too many members are lost",
            "bring members back; one of them will be elected",
        )
    if not _unheard_leader(answers):
        return finding
    if _reads_work(answers):
        # Left out of the inventory, or not reached from here: other checks say so.
        return replace(finding, evidence=f"{finding.evidence}, which did not answer here; reads through it work")
    return failed(
        finding.check,
        f"{finding.evidence}, which does not answer",
        "the leader has just been lost, and the others have not elected another one yet",
        "look again in a few seconds; without a quorum none will be elected: bring members back",
    )


def _all_answer(
    expected: Sequence[ExpectedMember], there: Sequence[ExpectedMember], answers: ClusterAnswers
) -> Finding:
    check, count, quorum = "members answer", len(expected), len(expected) // 2 + 1
    if len(there) == count:
        spare = count - quorum
        return Finding(check, True, f"all {count}; {spare or 'none'} of them could be lost without harm")
    why = {address(url): reason for url, reason in answers.unanswered.items()}
    silent = [f"{m.name}: {why.get(address(m.client_url), 'no answer')}" for m in expected if m not in there]
    spare = len(there) - quorum
    if spare < 0:
        state = f"{len(there)} of {count} answer, {quorum} are needed: the cluster takes no writes"
    elif spare == 0:
        state = f"{len(there)} of {count} answer: if one more is lost, the cluster takes no writes"
    else:
        state = f"{len(there)} of {count} answer; {spare} more could be lost"
    why_silent = [silence(m, why.get(address(m.client_url), "no answer")) for m in expected if m not in there]
    names = tuple(m.name for m in expected if m not in there)
    return failed(
        check,
        "; ".join([state, *silent]),
        "; ".join(dict.fromkeys(cause for cause, _ in why_silent)),
        "; ".join(dict.fromkeys(remedy for _, remedy in why_silent)),
        fault=f"silent: {', '.join(names)}",
        about=names if spare >= 0 else (),
    )


_ANSWER = re.compile(r"^(lease|put|read|del|gone|revoke)\|([^|]*)\|(\d+)\|(.*)$", re.MULTILINE)


def probe_checks(asked: Sequence[str], silent: Sequence[str], said: str, token: str) -> tuple[Finding, ...]:
    """The findings in what the script of the write probe said (``step|member|exit code|output`` a line).

    ``asked`` are the members that were to read the key, ``silent`` those that were left out since they do not answer.
    """
    check = "write, read, delete"
    steps = {(step, name): (int(code), text.strip()) for step, name, code, text in _ANSWER.findall(said)}
    if not steps:
        return (skipped(check, "the script said nothing that is understood"),)
    for step, words in (("lease", "a lease for the key"), ("put", "the write of the key")):
        code, text = steps.get((step, ""), (1, "no answer"))
        if code:
            return (failed(check, f"{words} through this member was refused: {_error(text)}", *_why(text)),)
    bad = []
    for name in asked:
        code, text = steps.get(("read", name), (1, "no answer"))
        if code or text != token:
            bad.append(f"{name} does not read what was written: {_error(text) if code else repr(text)}")
        code, text = steps.get(("gone", name), (1, "no answer"))
        if code or text:
            bad.append(f"{name} still has the key that was deleted" if not code else f"{name}: {_error(text)}")
    code, text = steps.get(("del", ""), (1, "no answer"))
    if code or text != "1":
        bad.append(f"the key was not deleted: {_error(text)} (its lease ends within {PROBE_TTL_SECONDS} s)")
    if bad:
        return (failed(check, "; ".join(bad), *_why("; ".join(bad))),)
    left = f"; not asked, since silent: {', '.join(silent)}" if silent else ""
    return (Finding(check, True, f"written through this member, read and gone on {', '.join(asked)}{left}"),)


def _error(text: str) -> str:
    """The reason in etcdctl's output, whose lines were joined."""
    reason = text.rpartition("Error: ")[2].strip()
    return reason[:200] or "no reason given"


def _why(text: str) -> tuple[str, str]:
    """Likely cause and remedy for a probe that failed."""
    if "space exceeded" in text:
        return (
            "the database has reached its quota (alarm NOSPACE)",
            WAY_OUT,
        )
    if any(words in text for words in ("permission denied", "user name is empty", "invalid auth token")):
        return (
            "authentication is on, and this host's client certificate is not root's",
            "run setup_auth, or correct pki.client_common_name; docs/auth.md",
        )
    return (
        "there is no quorum, no leader, or the member is cut off from the others",
        "see the checks of members, leader and health, and etcd's log on this host",
    )
