"""The snapshot of a cluster, by which plan, gates, checks and status judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.overview.cluster import overview
from etcdfleet.checks.overview.data import Machine, MemberView
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, ExpectedMember, Member, MemberList
from etcdfleet.etcd.cluster import MAX_LAG, Cluster
from etcdfleet.etcd.gates import may_restart

IDS = {"a": 1, "b": 2, "c": 3, "d": 4}
FULL = "Active Alarm(s): NOSPACE "


def peer(name: str) -> str:
    return f"https://{name}:2380"


def client(name: str) -> str:
    return f"https://{name}:2379"


def inventory(names: str) -> tuple[ExpectedMember, ...]:
    return tuple(ExpectedMember(name, peer(name), client(name)) for name in names)


def entry(who: str, **more: Any) -> Member:
    return replace(Member(IDS[who], who, (peer(who),), (client(who),)), **more)


def status(name: str, **more: Any) -> EndpointStatus:
    return replace(EndpointStatus(client(name), IDS[name], 9, "3.5.1", 1, 1, 1, 4, 5000, 5000, 10), **more)


def health(name: str, error: str = "", took: float = 0.01) -> EndpointHealth:
    return EndpointHealth(client(name), not error, took, error)


def look(answer: str = "abc", wanted: str = "abc", listed: str = "abc", **more: Any) -> Cluster:
    """The members of ``answer`` answer, and all is well; ``status_b`` and the like replace one answer."""
    statuses = {name: more.pop(f"status_{name}", status(name)) for name in answer}
    healths = {name: more.pop(f"health_{name}", health(name)) for name in answer}
    entries = tuple(more.pop(f"entry_{name}", entry(name)) for name in listed)
    cluster = Cluster(inventory(wanted), MemberList(9, entries), tuple(statuses.values()), tuple(healths.values()))
    return replace(cluster, **more)


CASES: Mapping[str, tuple[Cluster, Mapping[str, object]]] = {
    "all is well": (
        look(),
        {"voters": 3, "quorum": 2, "alive": 3, "leader": (1, 4), "unheard_leader": 0, "late": {}, "alarms": {}}
        | {"moving": "", "diverged": "", "serving": "abc"},
    ),
    "one is silent": (look("ab"), {"alive": 2, "quorum": 2, "moving": "", "unheard_leader": 0}),
    "no list": (look(members=None), {"voters": 3, "quorum": 2, "entries": ()}),
    "the list counts, not the inventory": (look(listed="abcd"), {"voters": 4, "quorum": 3, "alive": 3}),
    "a learner has no vote": (
        look("abcd", "abcd", "abcd", entry_d=entry("d", learner=True), status_d=status("d", learner=True)),
        {"voters": 3, "quorum": 2, "alive": 3},
    ),
    "a leader that was not heard lives while others read quickly": (
        look("bc"),
        {"unheard_leader": 1, "presumed_leader": 1, "alive": 3, "moving": ""},
    ),
    "no longer once reads wait": (
        look("bc", health_b=health("b", took=3.0), health_c=health("c", took=3.0)),
        {"unheard_leader": 1, "presumed_leader": 0, "alive": 2, "moving": "the leader did not answer"},
    ),
    "who serves knows the leader": (
        look(status_c=status("c", leader_id=3, term=9), health_c=health("c", "timed out")),
        {"leader": (1, 4), "serving": "ab", "moving": "an election was under way"},
    ),
    "the newer term on equal votes": (look("ab", status_b=status("b", leader_id=2, term=5)), {"leader": (2, 5)}),
    "no leader": (look("a", status_a=status("a", leader_id=0)), {"leader": (0, 4), "moving": ""}),
    "a quorum without a leader": (look("ab", status_b=status("b", leader_id=0)), {"moving": "there was no leader"}),
    "far behind": (
        look(status_b=status("b", raft_applied=4999 - MAX_LAG)),
        {"late": {2: MAX_LAG + 1}, "moving": "a member was behind the others"},
    ),
    "as far behind as may be": (look(status_b=status("b", raft_applied=5000 - MAX_LAG)), {"late": {}}),
    "other data": (
        look(status_c=status("c", revision=3)),
        {"moving": "members did not hold the same data"},
    ),
    "a full database takes part": (
        look(status_a=status("a", errors=("memberID:2 alarm:NOSPACE ",)), health_b=health("b", FULL)),
        {"alarms": {"NOSPACE": (2,)}, "serving": "abc"},
    ),
    "corrupt data do not": (look(health_b=health("b", "Active Alarm(s): NOSPACE CORRUPT ")), {"serving": "ac"}),
}


@pytest.mark.parametrize("case", CASES)
def test_one_look(case: str) -> None:
    cluster, wanted = CASES[case]
    serving = "".join(name for name in "abcd" if any(s.member_id == IDS[name] for s in cluster.serving))
    for what, value in wanted.items():
        actual = getattr(cluster, what)
        assert (serving if what == "serving" else actual() if callable(actual) else actual) == value, what


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (entry("b"), "b"),
        (entry("b", name="old-b"), "b"),  # the same peer URL: renamed in the inventory
        (entry("b", peer_urls=("https://elsewhere:2380",)), "b"),
        (entry("b", name="x", peer_urls=("https://x:2380",)), "x"),
        (entry("b", name="", peer_urls=("https://x:2380",)), "member 2"),
    ],
)
def test_a_member_has_the_name_that_the_inventory_gives_it(listed: Member, names: str) -> None:
    cluster = look("ac", entry_b=listed)
    assert cluster.name(2) == names
    assert cluster.entry(names) == listed


def test_what_a_host_says_of_its_own_member_is_found_by_its_name() -> None:
    local = {name: status(name, endpoint="https://127.0.0.1:2379") for name in "abc"}
    cluster = Cluster.asked_locally(inventory("abc"), None, local, {"b": health("b")})
    assert {name: answer.member_id for name, answer in cluster.by_name.items()} == {"a": 1, "b": 2, "c": 3}
    assert [answer.member_id for answer in cluster.serving] == [2]


def test_the_scheme_and_a_slash_make_no_difference() -> None:
    cluster = look(health_b=replace(health("b"), endpoint="http://b:2379/"))
    assert len(cluster.serving) == 3
    assert not cluster.sickness(entry("b"))


def test_a_renamed_member_is_not_one_of_the_others() -> None:
    """It may be restarted though it is sick itself, and the others may not meanwhile."""
    cluster = look(entry_b=entry("b", name="old-b"), health_b=health("b", "timed out"))
    assert may_restart(cluster, "b") is None
    assert may_restart(cluster, "a") == "b is not healthy: timed out"


def test_the_judges_agree_on_how_many_can_be_lost() -> None:
    """A leader that this machine does not reach is alive, and a member that the inventory lacks has a vote."""
    for cluster, spare in ((look("bc"), 1), (look(listed="abcd"), 0), (look("ab"), 0)):
        evidence = cluster_checks(cluster)[0].evidence
        views = [
            MemberView(
                member.name,
                member,
                problem="" if member.name in cluster.by_name else "no route to host",
                machine=Machine(True, True) if member.name in cluster.by_name else None,
                status=cluster.by_name.get(member.name),
                health=cluster.health_by_name.get(member.name),
                members=cluster.members,
            )
            for member in cluster.expected
        ]
        assert overview("x", views, cluster.expected).can_lose == spare
        told = (
            ("none of them could be lost", "if one more is lost, the cluster takes no writes")
            if not spare
            else ("1 more",)
        )
        assert any(text in evidence for text in told), evidence
