"""Judgement of a cluster of which not all members answer, and of what became of the probe key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.findings import Finding
from etcdfleet.checks.write_probe import probe_checks
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, ExpectedMember, HashKV, Member, MemberList
from etcdfleet.etcd.cluster import Cluster
from tasks.verify.proof import quiet, settled

NAMES = ("a", "b", "c")
IDS = {"a": 1, "b": 2, "c": 3}


def url(name: str) -> str:
    return f"https://{name}.home:2379"


EXPECTED = tuple(ExpectedMember(name, f"https://{name}.home:2380", url(name)) for name in NAMES)
LIST = MemberList(9, tuple(Member(IDS[m.name], m.name, (m.peer_url,), (m.client_url,)) for m in EXPECTED))
DEAD = "dial tcp 198.51.100.3:2379: connect: connection refused"


def answers(names: str = "abc", leader: int = 1, **changes: object) -> Cluster:
    statuses = tuple(EndpointStatus(url(n), IDS[n], 9, "3.5.1", 20480, 20480, leader, 4, 100, 100, 7) for n in names)
    found = Cluster(
        EXPECTED,
        LIST,
        statuses,
        tuple(EndpointHealth(url(n), n in names, 0.003, "" if n in names else DEAD) for n in NAMES),
        tuple(HashKV(url(n), 77, 7, -1) for n in names),
        {url(n): DEAD for n in NAMES if n not in names},
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def waiting(said: Cluster) -> Cluster:
    """The same, while reads wait for a leader."""
    return replace(said, healths=tuple(replace(h, healthy=False, error="timed out") for h in said.healths))


def bad(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings if not finding.ok}


def test_all_is_well() -> None:
    found = cluster_checks(answers())
    assert bad(found) == {}
    assert found[0].evidence == "all 3; 1 of them could be lost without harm"
    assert [finding.check for finding in found].count("member list") == 1


def test_one_that_is_silent_is_one_finding() -> None:
    found = bad(cluster_checks(answers("ab")))
    assert set(found) == {"members answer"}
    assert found["members answer"].evidence == (
        "2 of 3 answer: if one more is lost, the cluster takes no writes; c: " + DEAD
    )
    assert found["members answer"].cause
    assert list(answers("ab").by_name) == ["a", "b"]


def test_without_a_quorum() -> None:
    alone = answers("a", 0, members=None, no_list="etcdctl member list gave no answer")
    found = bad(cluster_checks(alone))
    assert set(found) == {"members answer", "member list", "one leader"}
    assert "1 of 3 answer, 2 are needed: the cluster takes no writes" in found["members answer"].evidence
    assert found["member list"].follows == "members answer"


def test_a_leader_that_has_not_noticed_that_it_is_alone() -> None:
    found = bad(cluster_checks(answers("a", 1)))
    assert set(found) == {"members answer", "one leader"}
    assert "all follow a, but without a quorum there is none" in found["one leader"].evidence


def test_nobody_answers() -> None:
    assert [finding.check for finding in cluster_checks(answers(""))] == ["members answer"]


def test_what_fails_has_its_likely_cause() -> None:
    full = answers()
    full = replace(full, statuses=tuple(replace(s, errors=("memberID:1 alarm:NOSPACE ",)) for s in full.statuses))
    found = bad(cluster_checks(full))
    assert set(found) == {"alarms"}
    assert "quota" in found["alarms"].cause


def test_a_leader_that_is_gone_is_none() -> None:
    found = bad(cluster_checks(waiting(answers("ab", leader=3))))
    assert set(found) == {"members answer", "one leader", "health"}
    assert "all follow c, which does not answer" in found["one leader"].evidence
    assert found["health"].follows == "one leader"


def test_a_leader_that_is_not_heard_here_lives_while_reads_work() -> None:
    found = {finding.check: finding for finding in cluster_checks(answers("ab", leader=3))}
    assert set(bad(tuple(found.values()))) == {"members answer"}
    assert found["one leader"].evidence == "all follow c, which did not answer here; reads through it work"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answers(), ""),
        (answers(""), ""),
        (answers("ab"), ""),
        (answers(leader=0), "there was no leader"),
        (answers("bc"), ""),  # it is not reached from here alone: reads that need it work
        (waiting(answers("bc")), "the leader did not answer"),
        (answers("b", leader=0), ""),  # nobody will be elected
    ],
)
def test_what_will_settle_by_itself(said: Cluster, words: str) -> None:
    assert said.moving() == words


@pytest.mark.parametrize(
    ("said", "count", "words"),
    [
        # The followers named the lost leader, and the read that was asked beside waited for no election any more.
        ([answers("ab", leader=3), answers("ab", leader=2)], 2, "all follow b"),
        ([answers("ab", leader=3)] * 2, 2, "all follow c, which did not answer here; reads through it work"),
        ([answers("ab", leader=3), waiting(answers("ab", leader=3)), answers("ab", leader=2)], 3, "all follow b"),
        # Another one in each look has not been seen twice.
        ([answers("bc"), answers("ab", leader=3), answers("ab", leader=3)], 3, "all follow c, which did not answer"),
        ([answers("ab", leader=2)], 1, "all follow b"),
    ],
)
def test_a_leader_that_is_silent_is_asked_about_again(
    monkeypatch: pytest.MonkeyPatch, said: list[Cluster], count: int, words: str
) -> None:
    asked = iter(said)
    monkeypatch.setattr("time.sleep", lambda _: None)
    found = settled(lambda: next(asked), quiet, 20)[-1]
    assert len(said) - len(list(asked)) == count
    assert found.moving() == ""
    evidence = {finding.check: finding.evidence for finding in cluster_checks(found)}
    assert evidence["one leader"].startswith(words)


def hollow(*, applied: int = 100, revision: int = 7, odd: str = "c", odd_revision: int = 2) -> Cluster:
    """The member ``odd`` has another revision at the same raft index."""
    return answers(
        statuses=tuple(
            replace(
                status,
                raft_index=applied,
                raft_applied=applied,
                revision=odd_revision if status.member_id == IDS[odd] else revision,
            )
            for status in answers().statuses
        )
    )


@pytest.mark.parametrize(
    ("said", "count"),
    [
        # Nothing has moved between two looks: there was a moment at which the data differed.
        ([hollow()] * 2, 2),
        # Something was written: either look may have met members at different moments.
        ([hollow(), hollow(applied=101), hollow(applied=102, revision=8), hollow(applied=102, revision=8)], 4),
        ([hollow(), hollow(odd_revision=3), hollow(odd_revision=3)], 3),
        ([hollow(), hollow(odd="b"), hollow(odd="b")], 3),
        ([hollow(), answers()], 2),
        # An election beside it is waited out.
        ([answers(leader=0)] * 3 + [hollow(), hollow()], 5),
    ],
)
def test_data_that_differ_are_looked_at_until_nothing_has_moved(
    monkeypatch: pytest.MonkeyPatch, said: list[Cluster], count: int
) -> None:
    asked = iter([*said, *[answers()] * 3])
    monkeypatch.setattr("time.sleep", lambda _: None)
    looks = settled(lambda: next(asked), quiet, 20)
    assert len(looks) == count
    assert looks[-1] == said[-1]


def test_two_leaders_and_a_laggard_will_settle() -> None:
    first, *rest = answers().statuses
    assert replace(answers(), statuses=(replace(first, leader_id=2), *rest)).moving() == "an election was under way"
    assert "behind" in replace(answers(), statuses=(replace(first, raft_applied=0, raft_index=9000), *rest)).moving()


GOOD = """\
lease||0|lease 70ce9cb47fc3b3a2 granted with TTL(60s)
put||0|OK
read|a|0|t0k
read|b|0|t0k
del||0|1
gone|b|0|
gone|a|0|
revoke||0|lease 70ce9cb47fc3b3a2 revoked
"""
NO_SPACE = '{"level":"warn"} Error: etcdserver: mvcc: database space exceeded '


def test_the_probe_key_came_and_went() -> None:
    (found,) = probe_checks(["a", "b"], ["c"], GOOD, "t0k")
    assert found.ok
    assert found.evidence == "written through this member, read and gone on a, b; not asked, since silent: c"


@pytest.mark.parametrize(
    ("line", "instead", "words", "cause"),
    [
        ("lease||0|lease 70ce9cb47fc3b3a2 granted with TTL(60s)", f"lease||1|{NO_SPACE}", "space exceeded", "quota"),
        ("put||0|OK", "put||1|Error: etcdserver: permission denied", "permission denied", "authentication"),
        ("read|b|0|t0k", "read|b|0|old", "b does not read what was written: 'old'", "quorum"),
        ("read|b|0|t0k", "", "b does not read what was written: no answer", "quorum"),
        ("gone|b|0|", "gone|b|0|t0k", "b still has the key", "quorum"),
        ("del||0|1", "del||1|Error: context deadline exceeded", "its lease ends within 60 s", "quorum"),
    ],
)
def test_a_probe_that_fails_says_where(line: str, instead: str, words: str, cause: str) -> None:
    assert line in GOOD
    (found,) = probe_checks(["a", "b"], [], GOOD.replace(line, instead), "t0k")
    assert not found.ok
    assert words in found.evidence
    assert cause in found.cause
    assert found.remedy
