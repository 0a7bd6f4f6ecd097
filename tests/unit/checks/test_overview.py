"""What is said of a cluster as its hosts were seen: margins, leaders, and sentences, worst first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etcdfleet.checks.overview.cluster import overview, presumed_leader
from etcdfleet.checks.overview.data import ClusterOverview, Key, LastRun, Level, Life, Machine, MemberView
from etcdfleet.checks.overview.host import key_of, state_of
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, ExpectedMember, Member, MemberList
from etcdfleet.etcd.canary import Hold
from etcdfleet.text import span_text

NAMES = ("a", "b", "c")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
MACHINE = Machine(running=True, enabled=True, free_bytes=20 * 2**30)
TIMEOUT = "context deadline exceeded"


def expected(names: Sequence[str] = NAMES) -> list[ExpectedMember]:
    return [ExpectedMember(name, f"https://{name}.home:2380", f"https://{name}.home:2379") for name in names]


def listed(names: Sequence[str] = NAMES, *, learners: Sequence[str] = (), unstarted: Sequence[str] = ()) -> MemberList:
    return MemberList(
        77,
        tuple(
            Member(
                ord(name),
                "" if name in unstarted else name,
                (f"https://{name}.home:2380",),
                () if name in unstarted else (f"https://{name}.home:2379",),
                name in learners,
            )
            for name in names
        ),
    )


def status_of(name: str, **changes: Any) -> EndpointStatus:
    fields: dict[str, Any] = {"leader_id": ord("a"), "term": 3, "raft_index": 100, "raft_applied": 100} | changes
    return EndpointStatus("", ord(name), fields.pop("cluster_id", 77), fields.pop("version", "3.5.1"),
                          fields.pop("db_size", 20480), 16384,
                          fields.pop("leader_id"), fields.pop("term"), fields.pop("raft_index"),
                          fields.pop("raft_applied"), 9, **fields)  # fmt: skip


def member(
    name: str,
    *,
    machine: Machine = MACHINE,
    healthy: bool = True,
    took: float = 0.01,
    error: str = TIMEOUT,
    members: MemberList | None = None,
    **changes: Any,
) -> MemberView:
    """A member that answers."""
    health = EndpointHealth("", healthy, took, "" if healthy else error)
    status = status_of(name, **changes)
    return MemberView(
        name, expected((name,))[0], machine=machine, status=status, health=health, members=members or listed()
    )


def stopped(name: str) -> MemberView:
    machine = replace(MACHINE, running=False, service="inactive (dead)")
    return MemberView(name, expected((name,))[0], machine=machine, silent="nothing listens on port 2379")


def down(name: str) -> MemberView:
    return MemberView(name, expected((name,))[0], "cannot be reached by SSH: timed out", "check power")


def refused(name: str) -> MemberView:
    return MemberView(name, expected((name,))[0], "SSH login refused for user pi", "see its keys")


def seen(*views: MemberView, names: Sequence[str] = NAMES, **options: Any) -> ClusterOverview:
    return overview("k8s", views, expected(names), **options)


def told(found: ClusterOverview) -> list[str]:
    return [f"{one.level.name} {','.join(one.hosts)}: {one.what}" for one in found.concerns]


@pytest.mark.parametrize(
    ("lost", "others", "size", "who"),
    [
        (stopped("a"), "bc", 3, "a"),
        (down("a"), "bc", 3, "a"),
        (stopped("a"), "bcd", 5, "member 61"),  # e was not looked at, and may be it
        (member("a", leader_id=0), "bc", 3, ""),
    ],
)
def test_a_lost_leader_has_its_name_without_a_member_list(lost: MemberView, others: str, size: int, who: str) -> None:
    views = [replace(view, members=None) for view in (lost, *(member(name, **BEHIND) for name in others))]
    found = told(overview("k8s", views, expected("abcde"[:size])))
    assert any(f"leader just lost: {who} does not answer" in line for line in found) is bool(who)


@pytest.mark.parametrize(
    ("views", "presumed"),
    [
        ([down("a"), member("b"), member("c")], True),
        ([refused("a"), member("b"), member("c")], True),
        ([down("a"), member("b", took=1.5), member("c", took=1.5)], False),  # known to be lost: reads waited
        ([down("a"), member("b", leader_id=ord("b")), member("c", leader_id=ord("b"))], False),
        ([stopped("a"), member("b"), member("c")], False),  # known to be lost: its host says so
        ([member("b"), member("c")], False),  # --limit: the leader was not looked at
        ([member("a"), member("b"), down("c")], False),
        ([down("a"), down("b"), down("c")], False),
    ],
)
def test_a_leader_known_by_reads_alone_is_asked_about_again(views: list[MemberView], presumed: bool) -> None:
    assert presumed_leader(views) is presumed


def test_a_sound_cluster() -> None:
    found = seen(*map(member, NAMES))
    assert (found.margin, found.can_lose) == ("3 of 3 members serve, can lose 1", 1)
    assert (found.leader, found.term, found.concerns, found.needs_attention) == ("a", 3, (), False)


BEHIND: dict[str, Any] = {"leader_id": ord("a"), "healthy": False}
ELECTING: dict[str, Any] = {"leader_id": 0, "healthy": False}


@pytest.mark.parametrize(
    ("views", "margin", "can_lose", "leader", "sentence"),
    [
        ([member("a"), member("b"), stopped("c")], "2 of 3 members serve, can lose none", 0, "a",
         "BROKEN c: etcd does not run there (inactive (dead))"),
        ([member("a"), member("b"), down("c")], "2 of 3 members serve, can lose none", 0, "a",
         "BROKEN c: cannot be reached by SSH: timed out"),
        ([member("a", **ELECTING), stopped("b"), stopped("c")], "no quorum: 1 of 3 answer", None, "",
         "BROKEN a,b,c: no quorum: 1 of 3 members answer, and 2 are needed to read or write"),
        # What was not asked may work: it takes two that were asked and do not work to know that there is no quorum.
        ([member("a", **ELECTING), stopped("b"), down("c")], "not known: 1 of 3 hosts could not be asked from here",
         None, "", "UNKNOWN a,b,c: no quorum seen: 1 of 3 members answer, 2 are needed, and 1 could not be asked from"
         " here"),
        ([stopped("a"), stopped("b"), down("c")], "no quorum: 0 of 3 answer", None, "",
         "BROKEN a,b,c: no quorum: 0 of 3 members answer, and 2 are needed to read or write"),
        ([down("a"), down("b"), down("c")], "not known: no host could be asked from here", None, "",
         "UNKNOWN a,b,c: cannot be reached by SSH: timed out"),
        ([refused("a"), refused("b"), refused("c")], "not known: no host could be asked from here", None, "",
         "UNKNOWN a,b,c: SSH login refused for user pi"),
        ([member("a"), member("b"), refused("c")],
         "2 of 3 members serve, 1 could not be asked; can lose none of these", 0, "a",
         "UNKNOWN c: SSH login refused for user pi"),
        # The leader was killed: the others still name it, and no read comes through.
        ([stopped("a"), member("b", **BEHIND), member("c", **BEHIND)], "no leader: 2 of 3 answer, none serves",
         None, "",
         "BROKEN b,c: leader just lost: a does not answer, an election is going on; no reads or writes meanwhile"),
        # The same a moment later: the reads had waited for the new leader.
        ([stopped("a"), member("b", took=2.8), member("c", took=3.0)], "2 of 3 members serve, can lose none", 0, "",
         "WRONG b,c: leader just lost: a does not answer, and the others waited for an election"),
        ([member(name, **ELECTING) for name in NAMES], "no leader: 3 of 3 answer, none serves", None, "",
         "BROKEN a,b,c: no leader: an election is going on; no reads or writes meanwhile"),
        ([member(name, **BEHIND) for name in NAMES], "no leader: 3 of 3 answer, none serves", None, "",
         f"BROKEN a,b,c: it answers and knows its leader, and a read through it fails ({TIMEOUT})"),
        # One that is cut off from the others.
        ([member("a"), member("b"), member("c", **ELECTING)], "2 of 3 members serve, can lose none", 0, "a",
         f"BROKEN c: knows of no leader, while others do ({TIMEOUT}): it does not reach the other members"),
        # SSH to the leader's host fails, and quick reads through the others prove that it lives.
        ([down("a"), member("b"), member("c")], "3 of 3 members serve, can lose 1", 1, "a",
         "BROKEN a: cannot be reached by SSH: timed out"),
        ([down("a"), member("b", took=2.0), member("c", took=2.0)], "2 of 3 members serve, can lose none", 0, "",
         "WRONG b,c: leader just lost: a does not answer, and the others waited for an election"),
        ([member("a"), down("b"), down("c")], "has a quorum, though only 1 of 3 members could be asked", None, "a",
         "BROKEN b,c: cannot be reached by SSH: timed out"),
        ([member("a"), member("b"), member("c", cluster_id=5)], "3 of 3 members serve, can lose 1", 1, "a",
         "BROKEN c: members belong to different clusters (a 4d, b 4d, c 5)"),
        ([member("a"), member("b"), member("c", raft_applied=90, raft_index=5000)],
         "3 of 3 members serve, can lose 1", 1, "a", "WRONG c: is 4910 entries behind the others"),
    ],
)  # fmt: skip
def test_margin_leader_and_the_sentence(
    views: list[MemberView], margin: str, can_lose: int | None, leader: str, sentence: str
) -> None:
    found = seen(*views)
    assert (found.margin, found.can_lose, found.leader) == (margin, can_lose, leader)
    assert sentence in told(found), told(found)
    assert found.needs_attention
    assert all(one.remedy for one in found.concerns)
    assert [one.level for one in found.concerns] == sorted(one.level for one in found.concerns)


@pytest.mark.parametrize(
    ("names", "answering", "margin"),
    [("a", 1, "1 of 1 members serve, can lose none"), ("ab", 2, "2 of 2 members serve, can lose none"),
     ("abcd", 4, "4 of 4 members serve, can lose 1"), ("abcde", 5, "5 of 5 members serve, can lose 2"),
     ("abcde", 4, "4 of 5 members serve, can lose 1"), ("abcde", 3, "3 of 5 members serve, can lose none"),
     ("abcde", 2, "no quorum: 2 of 5 answer")],
)  # fmt: skip
def test_margins_of_other_sizes(names: str, answering: int, margin: str) -> None:
    has = answering >= len(names) // 2 + 1
    views = [
        member(name, members=listed(names), healthy=has, leader_id=ord("a") if has else 0)
        if at < answering
        else stopped(name)
        for at, name in enumerate(names)
    ]
    found = seen(*views, names=names)
    assert found.margin == margin
    assert found.needs_attention is (answering < len(names))


def test_hosts_that_were_not_chosen_are_no_lost_ones() -> None:
    found = seen(member("a"))
    assert (found.margin, found.can_lose, found.concerns) == ("has a quorum; 2 of 3 members not looked at", None, ())
    assert seen(stopped("a")).margin == "no quorum seen: none of 1 members serves, 2 not looked at"


def test_members_against_the_inventory() -> None:
    views = [member(name, members=listed("abx", learners="b")) for name in NAMES]
    found = told(seen(*views))
    assert "WRONG c: c is in the inventory and not a member of the cluster" in found
    assert "WRONG a,b,c: the cluster has a member x (78) that the inventory lacks" in found
    assert "WRONG b: b is a learner: it has no vote" in found
    views = [member(name, members=listed(unstarted="c")) for name in "ab"]
    assert "WRONG c: c has never joined its cluster" in told(seen(*views, stopped("c")))


NO_READ = "etcdserver: rpc not supported for learner"


@pytest.mark.parametrize(
    ("behind", "seconds", "leader", "level", "words", "remedy"),
    [
        (52310, 60.0, "a", Level.WRONG, "it is 52310 entries behind, 60.0 s after", "once it has caught up"),
        (3, 60.0, "a", Level.WRONG, "it is 3 entries behind, near enough", "replace_member.py c gives it its vote"),
        (52310, 7200.0, "a", Level.BROKEN, "it does not become fit for a vote", "remove_member.py c takes it back"),
        (52310, None, "a", Level.WRONG, "it is 52310 entries behind", "once it has caught up"),
    ],
)
def test_a_learner_is_told_once_with_its_lag_and_age(
    behind: int, seconds: float | None, leader: str, level: Level, words: str, remedy: str
) -> None:
    """etcd serves no reads through one: that says nothing of its network."""
    members = listed(learners="c")
    machine = replace(MACHINE, seconds=seconds)
    ahead: dict[str, Any] = {"raft_index": 60000, "raft_applied": 60000, "members": members}
    learner = member(
        "c", machine=machine, healthy=False, error=NO_READ, learner=True, leader_id=ord(leader),
        **ahead | {"raft_applied": 60000 - behind},
    )  # fmt: skip
    found = seen(member("a", **ahead), member("b", **ahead), learner)
    (concern,) = found.concerns
    assert (concern.level, concern.hosts) == (level, ("c",))
    assert words in concern.what
    assert remedy in concern.remedy
    assert state_of(learner) == "learner"
    assert found.learners["c"].behind == behind
    assert found.margin == "2 of 2 members serve, can lose none"


def test_a_learner_that_is_cut_off_or_stopped() -> None:
    members = listed(learners="c")
    cut = member("c", healthy=False, error=NO_READ, learner=True, leader_id=0, members=None)
    found = told(seen(member("a", members=members), member("b", members=members), cut))
    assert any(one.startswith("BROKEN c: knows of no leader") for one in found)
    assert any("it knows of no leader, and is 0 entries behind" in one for one in found)
    assert state_of(cut) == "no leader"
    found = told(seen(member("a", members=members), member("b", members=members), stopped("c")))
    assert "WRONG c: c is a learner: it has no vote; it does not answer" in found


@pytest.mark.parametrize(
    ("lives", "remedy"), [(True, "replace_member.py c, where it has lost its data or is new"), (False, "run deploy")]
)
def test_a_host_without_data_and_marker_has_lost_nothing(lives: bool, remedy: str) -> None:
    new = replace(stopped("c"), machine=replace(MACHINE, running=False, blank=True))
    others = [member(name, members=listed("ab")) if lives else stopped(name) for name in "ab"]
    (concern,) = [one for one in seen(*others, new).concerns if "the host is as a new one" in one.what]
    assert concern.hosts == ("c",)
    assert remedy in concern.remedy
    assert not any("are lost" in one.what for one in seen(*others, new).concerns)


MIB = 2**20


@pytest.mark.parametrize("raisers", ["b", "ab", "abc"])
@pytest.mark.parametrize(
    ("size", "running", "words", "remedy"),
    [
        (1024, [1024] * 3, "1024 MiB of 1024 MiB used", "raise cluster.quota_bytes and run deploy"),
        (1024, [None] * 3, "1024 MiB of 1024 MiB used", "raise cluster.quota_bytes and run deploy"),
        (1023, [1024] * 3, "1023 MiB of 1024 MiB used", "make room: python runbooks/repair.py"),
        (64, [64] * 3, "64 MiB of 64 MiB used", "run deploy for the whole cluster: it restarts one member after the"),
        (64, [64, 64, 1024], "MiB used", "with the quota of 1024 MiB, then ends the alarm"),
        (64, [1024, None, 1024], "MiB used", "with the quota of 1024 MiB, then ends the alarm"),
        (64, [1024] * 3, "64 MiB of 1024 MiB used", "there is room again: python runbooks/repair.py"),
        (1, [1024] * 3, "1.0 MiB of 1024 MiB used", "or deploy for the whole cluster, ends the alarm"),
    ],
)
def test_a_full_database(size: int, running: list[int | None], words: str, remedy: str, raisers: str) -> None:
    alarms = tuple(f"memberID:{ord(name)} alarm:NOSPACE " for name in raisers)
    full = "Active Alarm(s): " + "NOSPACE " * len(raisers)
    views = [
        member(
            name,
            machine=replace(MACHINE, quota_bytes=quota and quota * MIB),
            db_size=size * MIB,
            errors=alarms,
            healthy=False,
            error=full,
        )
        for name, quota in zip(NAMES, running, strict=True)
    ]
    found = seen(*views)
    first = found.concerns[0]
    assert (first.level, first.hosts) == (Level.BROKEN, tuple(raisers))
    assert "alarm NOSPACE" in first.what
    assert words in first.what
    assert remedy in first.remedy
    assert ("there is room" in first.remedy) == (running == [1024] * 3 and size <= 64)
    assert (found.can_lose, found.leader, len(found.concerns)) == (1, "a", 1)
    assert [state_of(view) for view in views] == ["full"] * 3


def test_members_of_different_versions() -> None:
    """Before, the remedy was "run deploy" alone, which upgrades nothing where a distribution has nothing newer."""
    mixed = seen(member("a"), member("b", version="3.5.16"), member("c"))
    (found,) = [concern for concern in mixed.concerns if "versions" in concern.what]
    assert found.what == "members run different versions (3.5.1, 3.5.16)"
    assert found.hosts == ("a", "c"), "those that are behind"
    assert "has no 3.5.16, upgrade that too, or ask for 3.5.16 first by install.method: archive" in found.remedy


def test_a_canary_is_told_with_the_way_back() -> None:
    hold = Hold("b", "3.5.1", "3.6.14", "2026-11-26 22:00 UTC")
    trial = replace(MACHINE, held=hold)
    (found,) = seen(member("a"), member("b", version="3.6.14", machine=trial), member("c")).concerns
    assert found.level is Level.SOON
    assert found.what.startswith("b runs etcd 3.6.14 as a canary since 2026-11-26 22:00 UTC, and the others are held")
    assert found.remedy.endswith("install.version: 3.5.1 and python runbooks/deploy.py, as long as one member runs 3.5")
    over = seen(*(member(name, version="3.6.14", machine=trial) for name in NAMES))
    assert over.concerns == ()


def test_a_full_database_with_corrupt_data_is_not_to_be_disarmed() -> None:
    alarms = (f"memberID:{ord('a')} alarm:NOSPACE ", f"memberID:{ord('b')} alarm:CORRUPT ")
    error = "Active Alarm(s): NOSPACE CORRUPT "
    found = seen(*(member(name, errors=alarms, healthy=False, error=error) for name in NAMES))
    full = next(concern for concern in found.concerns if "database full" in concern.what)
    assert full.remedy == "deal with the alarm CORRUPT first: etcdctl alarm disarm ends both"
    assert [state_of(view) for view in found.views] == ["corrupt"] * 3
    assert found.can_lose is None


def test_the_quota_that_counts_is_the_running_one() -> None:
    running = replace(MACHINE, quota_bytes=64 * MIB)
    assert (
        "94% of its quota (60 MiB of 64 MiB"
        in told(seen(*(member(n, machine=running, db_size=60 * MIB) for n in NAMES)))[0]
    )


def test_a_database_near_its_quota_and_corrupt_data() -> None:
    found = seen(member("a", db_size=900 * 2**20), member("b"), member("c"))
    assert found.concerns[0].what.startswith("the database has 88% of its quota (900 MiB of 1024 MiB, ")
    assert not found.needs_attention
    alarm = (f"memberID:{ord('c')} alarm:CORRUPT ",)
    found = seen(*(member(name, errors=alarm) for name in NAMES))
    assert found.concerns[0].hosts == ("c",)
    assert "CORRUPT" in found.concerns[0].what


def life(days: float, **changes: Any) -> Life:
    return replace(Life("peer", NOW + timedelta(days=days), days, serial="1"), **changes)


@pytest.mark.parametrize(
    ("machine", "level", "what"),
    [
        ({"enabled": False}, Level.WRONG, "etcd is not enabled at boot: the next boot takes the member down"),
        ({"clock_offset": -90.0}, Level.WRONG, "its clock is 90.0 s behind this machine's; the limit is 20 s"),
        ({"clock_offset": 2.5}, Level.SOON, "its clock is 2.5 s ahead of this machine's"),
        ({"drift": ("/etc/x",)}, Level.WRONG, "/etc/x differs from what deploy would write"),
        ({"drift": ("/etc/x", "/etc/y")}, Level.WRONG, "/etc/x, /etc/y differ from what deploy would write"),
        ({"restart_pending": "changed: /etc/x\nchanged: /etc/x"}, Level.WRONG,
         "etcd is due for a restart (changed: /etc/x)"),
        ({"lives": (life(3.0),)}, Level.SOON, "the peer certificate ends in 3.0 days (2026-11-27)"),
        ({"lives": (life(40.0, due=True),)}, Level.SOON,
         "the peer certificate ends in 40 days and is due (2027-01-03)"),
        ({"lives": (life(5.0, ca="Home CA"),)}, Level.SOON,
         "the CA 'Home CA' of the peer certificate ends in 5.0 days (2026-11-29)"),
        ({"lives": (life(100.0, ca="Home CA"),)}, Level.SOON,
         "the CA 'Home CA' of the peer certificate ends in 100 days (2027-03-04)"),
        ({"lives": (life(-2.0),)}, Level.BROKEN, "the peer certificate expired 2.0 days ago (2026-11-22 00:00 UTC)"),
        ({"lives": (Life("peer", problem="is missing"),)}, Level.BROKEN, "the peer certificate is missing"),
        ({"keys": (Key("peer", "is empty", broken=True),)}, Level.BROKEN,
         "the key of the peer certificate is empty: new connections with it fail"),
        ({"keys": (Key("server", "has mode 600 and owner root, instead of 600 and etcd"),)}, Level.WRONG,
         "the key of the server certificate has mode 600 and owner root, instead of 600 and etcd"),
        ({"free_bytes": 12 * 2**20}, Level.WRONG, "its disk has 12 MiB left, and etcd's next log file takes 64 MiB"),
        ({"free_bytes": 500 * 2**20}, Level.SOON,
         "its disk has 500 MiB left, and the database may grow by 1024 MiB to its quota"),
        ({"deployed": False, "running": False}, Level.WRONG, "nothing is deployed there"),
    ],
)  # fmt: skip
def test_sentences_about_a_host(machine: dict[str, Any], level: Level, what: str) -> None:
    view = replace(member("b"), machine=replace(MACHINE, **machine))
    found = seen(member("a"), view, member("c"))
    mine = [one for one in found.concerns if one.what == what]
    assert [(one.level, one.hosts) for one in mine] == [(level, ("b",))], told(found)
    assert mine[0].remedy
    assert found.needs_attention is (level is not Level.SOON)


def test_deploy_is_no_remedy_for_a_member_that_lost_everything() -> None:
    bare = [replace(stopped(name), machine=replace(MACHINE, deployed=False, running=False)) for name in NAMES]
    assert [one.remedy for one in seen(*bare).concerns] == ["run deploy"]
    remedies = [one.remedy for one in seen(member("a"), bare[1], member("c")).concerns]
    assert "run deploy" not in remedies
    assert any(f"replace_member.py {NAMES[1]}" in remedy for remedy in remedies)


def test_data_from_before_a_restore_are_said_with_the_command_that_brings_the_host_in() -> None:
    """Etcd refuses such a member, which is silent or without a leader; one of the same cluster is only silent."""
    for number, said in ((0x55, True), (77, False), (0, False)):
        old = replace(stopped("b"), machine=replace(MACHINE, cluster_id=number), silent=TIMEOUT)
        found = seen(member("a"), old, member("c"))
        mine = [one for one in found.concerns if "from before a restore" in one.what]
        assert bool(mine) is said
        assert any("does not answer" in one.what for one in found.concerns) is not said
        assert all("replace_member.py b" in one.remedy for one in mine)
    nobody = [replace(stopped(name), machine=replace(MACHINE, cluster_id=at)) for at, name in enumerate(NAMES, 5)]
    assert not any("from before a restore" in one.what for one in seen(*nobody).concerns)


def test_a_restore_that_is_under_way_is_said_in_place_of_what_follows_from_it() -> None:
    amid: dict[str, Any] = {"running": False, "data_lost": True, "restoring": "a restore is under way since then"}
    found = seen(*(replace(stopped(name), machine=replace(MACHINE, **amid)) for name in NAMES))
    (concern,) = [one for one in found.concerns if "a restore is under way" in one.what]
    assert concern.hosts == tuple(NAMES)
    assert "runbooks/restore.py FILE" in concern.remedy
    assert not any("its data are lost" in one.what for one in found.concerns)


def test_lost_data_are_said_with_the_command_that_replaces_the_member() -> None:
    lost = replace(stopped("b"), machine=replace(MACHINE, running=False, data_lost=True))
    (concern, *_) = [one for one in seen(member("a"), lost, member("c")).concerns if "its data are lost" in one.what]
    assert "replace_member.py b" in concern.remedy
    absent = replace(lost, machine=replace(MACHINE, running=False, data_lost=True, disk_absent="/mnt/ssd"))
    assert not any("its data are lost" in one.what for one in seen(member("a"), absent, member("c")).concerns)


@pytest.mark.parametrize(
    ("machine", "says", "remedy"),
    [
        ({"lives": (Life("client", problem="is missing"),)}, "etcdctl on the host has no client", "run rotate_certs"),
        (
            {"lives": (life(-1.0, role="client", ca="Home CA"),)},
            "etcdctl on the host has no client",
            "give the mount a new",
        ),
        ({"lives": (life(-1.0, role="client"),)}, "etcdctl on the host has no client", "run rotate_certs"),
        ({"keys": (Key("server", "is empty", broken=True),)}, "it has no server", "run rotate_certs"),
        ({"keys": (Key("server", "has another owner"),)}, "it has no server", "run deploy"),
    ],
)
def test_a_leader_that_cannot_be_asked_is_none_that_was_lost(machine: dict[str, Any], says: str, remedy: str) -> None:
    """The others read through it, and quickly: it leads as before."""
    view = replace(member("a"), status=None, health=None, machine=replace(MACHINE, **machine), silent="no certificate")
    found = seen(view, member("b"), member("c"))
    assert found.leader == "a"
    assert [one for one in told(found) if "leader just lost" in one or "does not answer" in one] == []
    asked = next(one for one in found.concerns if f"etcd runs and cannot be asked: {says}" in one.what)
    assert (asked.level, asked.hosts) == (Level.BROKEN, ("a",))
    assert asked.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("sha256", "noted", "mode", "problem"),
    [
        ("ab", "ab", "600 etcd", ""),
        ("ab", "", "644 root", ""),  # placed by hand: nobody said how it is to be
        ("", "ab", "", "is missing"),
        (hashlib.sha256(b"").hexdigest(), "ab", "600 etcd", "is empty"),
        ("cd", "ab", "600 etcd", "is not the one that was placed with it"),
        ("ab", "ab", "600 root", "has mode 600 and owner root, instead of 600 and etcd"),
    ],
)
def test_keys_that_are_not_as_they_were_placed(sha256: str, noted: str, mode: str, problem: str) -> None:
    found = key_of("peer", sha256, noted, mode)
    assert (found.problem if found else "") == problem


def test_a_ca_that_has_ended_is_not_to_be_changed_member_by_member() -> None:
    view = replace(member("b"), machine=replace(MACHINE, lives=(life(-2.0, ca="Home CA"),)))
    worst = seen(member("a"), view, member("c")).concerns[0]
    assert worst.what.startswith("the CA 'Home CA' of the peer certificate expired 2.0 days ago")
    assert "stop etcd on all members" in worst.remedy
    assert "--ca" not in worst.remedy


def test_days_decide_what_is_near_and_nearer_ends_come_first() -> None:
    view = replace(member("b"), machine=replace(MACHINE, lives=(life(20.0), life(9.0, role="client"))))
    assert seen(member("a"), view, member("c")).concerns == ()
    near = seen(member("a"), view, member("c"), within_days=30.0).concerns
    assert [one.days for one in near] == [9.0, 20.0]


def test_a_run_that_did_not_end_well_is_mentioned() -> None:
    run = LastRun("x", "deploy", NOW, "failed", failed=True)
    found = seen(replace(member("a"), last_run=run), member("b"), member("c"))
    assert told(found) == ["SOON a: the last run, deploy at 2026-11-24 00:00 UTC, failed there"]


def test_equal_sentences_of_several_hosts_are_one() -> None:
    wrong = replace(MACHINE, enabled=False)
    found = seen(*(member(name, machine=wrong) for name in NAMES))
    assert [one.hosts for one in found.concerns] == [("a", "b", "c")]


@pytest.mark.parametrize(
    ("view", "state"),
    [(member("a"), "serves"), (stopped("a"), "stopped"), (down("a"), "down"), (member("a", **ELECTING), "no leader"),
     (member("a", **BEHIND), "no reads"), (replace(down("a"), problem="SSH login refused"), "no access"),
     (replace(member("a"), status=None, health=None), "silent"), (member("a", learner=True), "learner"),
     (replace(stopped("a"), machine=Machine(False, False, deployed=False)), "not deployed")],
)  # fmt: skip
def test_the_state_in_a_word(view: MemberView, state: str) -> None:
    assert state_of(view) == state


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.14, "2.1 s"),
        (119, "119.0 s"),
        (720, "12 min"),
        (10800, "3 hours"),
        (259200, "3.0 days"),
        (8640000, "100 days"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_a_ca_that_is_being_changed_is_said_and_no_fault() -> None:
    machine = replace(MACHINE, besides=(("peer", "'New CA'"), ("client", "'New CA'")))
    (concern,) = seen(member("a", machine=machine), member("b", machine=machine), member("c")).concerns
    assert (concern.level, concern.hosts) == (Level.SOON, ("a", "b"))
    assert concern.what.startswith(
        "'New CA' is trusted for peers and clients, and no certificate on the host leads there"
    )
    assert concern.what.endswith("another CA is to be used, or the previous one was left trusted")
    assert "rotate_certs --ca" in concern.remedy


def test_where_all_data_are_lost_the_command_names_the_cluster() -> None:
    lost: dict[str, Any] = {"running": False, "data_lost": True}
    found = seen(*(replace(stopped(name), machine=replace(MACHINE, **lost)) for name in NAMES))
    remedies = [one.remedy for one in found.concerns if "its data are lost" in one.what]
    assert remedies
    assert all(f"runbooks/restore.py --cluster {found.name} says from what" in remedy for remedy in remedies)
