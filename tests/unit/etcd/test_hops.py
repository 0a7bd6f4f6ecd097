"""By which versions a cluster gets to the one that is wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus, Member, MemberList
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.hops import Course, Supply, plan_hops, unfit
from etcdfleet.etcd.upgrades import MemberVersion

ALL = ("3.5.33", "3.6.14", "3.7.1")


def member(host: str, version: str, **more: object) -> MemberVersion:
    return replace(MemberVersion(host, version, version, data=True), **more)  # type: ignore[arg-type]


def three(*versions: str) -> list[MemberVersion]:
    return [member(host, version) for host, version in zip("abc", versions * 3, strict=False)]


def supply(*versions: str, by: str = "release archive", **architectures: str) -> list[Supply]:
    return [Supply(host, architectures.get(host, "amd64"), by, versions) for host in "abc"]


def versions(course: Course | Refusal) -> list[str]:
    assert isinstance(course, Course), course
    return [hop.version for hop in course.hops]


@pytest.mark.parametrize(
    ("running", "offered", "target", "cluster", "hops"),
    [
        # The whole way, with a stop in each minor version.
        (three("3.4.23"), ALL, "3.7.1", "3.4.0", ["3.5.33", "3.6.14", "3.7.1"]),
        (three("3.4.23"), ALL, "3.6.14", "3.4.0", ["3.5.33", "3.6.14"]),
        (three("3.4.23"), ALL, "3.5.33", "3.4.0", ["3.5.33"]),
        (three("3.5.33"), ALL, "3.7.1", "3.5.0", ["3.6.14", "3.7.1"]),
        (three("3.6.14"), ALL, "3.7.1", "", ["3.7.1"]),
        # Below the patch release from which the next may be entered: a stop in the same minor version.
        (three("3.5.16"), ALL, "3.6.14", "3.5.0", ["3.5.33", "3.6.14"]),
        (three("3.6.4"), ("3.6.11", "3.7.1"), "3.7.1", "3.6.0", ["3.6.11", "3.7.1"]),
        (three("3.5.16", "3.5.33", "3.5.33"), ALL, "3.6.14", "3.5.0", ["3.5.33", "3.6.14"]),
        # Of several that will do the newest; none that some host cannot have.
        (three("3.4.23"), ("3.5.16", "3.5.32", "3.5.33", "3.5.9", "3.6.14"), "3.6.14", "", ["3.5.33", "3.6.14"]),
        # From a floor on nothing comes between; a target within the minor version needs nothing either.
        (three("3.5.32"), ("3.6.14",), "3.6.14", "3.5.0", ["3.6.14"]),
        (three("3.5.16"), ("3.5.33",), "3.5.33", "3.5.0", ["3.5.33"]),
        # In the middle of a hop: that one first, with what runs already, even where a newer one is offered.
        (three("3.5.33", "3.5.33", "3.6.14"), (*ALL, "3.6.16"), "3.7.1", "3.5.0", ["3.6.14", "3.7.1"]),
        (three("3.5.33", "3.6.14", "3.6.14"), ALL, "3.6.14", "3.5.0", ["3.6.14"]),
        (three("3.5.33", "3.6.4", "3.6.4"), ALL, "3.7.1", "3.5.0", ["3.6.14", "3.7.1"]),
        (three("3.6.14", "3.7.1", "3.7.1"), ALL, "3.7.1", "3.6.0", ["3.7.1"]),
        # One is down: what is installed beside its data counts.
        ([*three("3.5.33")[:2], member("c", "", installed="3.5.33")], ALL, "3.6.14", "3.5.0", ["3.6.14"]),
        # A distribution brings one version.
        (three("3.4.23"), ("3.5.16",), "3.5.16", "3.4.0", ["3.5.16"]),
        # It is there.
        (three("3.7.1"), (), "3.7.1", "3.7.0", []),
    ],
)
def test_hops(
    running: list[MemberVersion], offered: tuple[str, ...], target: str, cluster: str, hops: list[str]
) -> None:
    assert versions(plan_hops(running, supply(*offered), target, cluster)) == hops


def test_each_hop_says_why_for_whom_and_until_when_there_is_a_way_back() -> None:
    course = plan_hops(three("3.5.16", "3.5.33", "3.5.33"), supply(*ALL), "3.6.14", "3.5.0")
    assert isinstance(course, Course)
    first, second = course.hops
    assert (first.hosts, second.hosts) == (("a",), ("a", "b", "c"))
    assert "before 3.6, all members must run 3.5.32 or newer (etcd's upgrade guide upgrade_3_6" in first.why
    assert first.back.startswith("at any time")
    assert second.back.startswith("as long as one member runs 3.5, by deploy.py with install.version: 3.5.33;")
    lines = course.told()
    assert lines[0].startswith("from etcd 3.5.16 and 3.5.33 to 3.6.14 in 2 hops; before each hop: a verified backup")
    assert lines[1].startswith("1. 3.5.33 for a: ")
    assert any("raft logs and databases are read" in line for line in lines)
    assert course.words == "3.5.16 and 3.5.33 → 3.5.33 → 3.6.14"


def test_an_early_3_5_is_advised_against() -> None:
    course = plan_hops(three("3.4.23"), supply("3.5.1"), "3.5.1")
    assert isinstance(course, Course)
    assert any("can lose what it has confirmed" in note for note in course.notes)


@pytest.mark.parametrize(
    ("running", "offers", "target", "what", "remedy"),
    [
        # What must come between is not offered: which version, for which hosts, and how to get it.
        (
            three("3.5.16"),
            supply("3.6.14"),
            "3.6.14",
            "before 3.6, all members must run 3.5.32 or a newer 3.5 (etcd's upgrade guide upgrade_3_6",
            "build_etcd.py 3.5.32 --arch amd64",
        ),
        (three("3.5.33"), supply("3.5.33", "3.7.1"), "3.7.1", "before 3.7, all members must run 3.6.11", "3.6.11"),
        (
            three("3.4.23"),
            [*supply(*ALL)[:2], Supply("c", "arm", "release archive", ("3.6.14", "3.7.1"))],
            "3.7.1",
            "none for c (arm; release archive has 3.6.14 and 3.7.1)",
            "add install.releases.3.5.32.arm",
        ),
        (
            three("3.5.33"),
            [*supply(*ALL)[:2], Supply("c", "arm", "release archive", ("3.5.33",))],
            "3.6.14",
            "etcd 3.6.14 is not offered for c (arm;",
            "add install.releases.3.6.14.arm",
        ),
        # A distribution alone never leads there.
        (
            three("3.4.23"),
            supply("3.5.16", by="apt", c="arm"),
            "3.6.14",
            "none for a (amd64; apt has 3.5.16)",
            "apt cannot bring it (Debian has nothing newer than 3.5, on no architecture): set install.method: archive",
        ),
        # Back: not this way, or none at all.
        (
            three("3.5.33"),
            supply("3.4.23", *ALL),
            "3.4.23",
            "does not start below the cluster's version",
            "Back by a snapshot",
        ),
        (three("3.5.33"), supply("3.5.16"), "3.5.16", "a newer patch release than 3.5.16", "install.version: 3.5.16"),
        (
            three("3.4.23", "3.5.16", "3.4.23"),
            supply("3.4.23"),
            "3.4.23",
            "the way from it goes up",
            "while one member runs 3.4, the others go back by",
        ),
        (three("3.5.33", "3.7.1", "3.7.1"), supply(*ALL), "3.7.1", "one minor version at a time", "install.version"),
        # In the middle of a hop that must not have begun.
        (three("3.5.16", "3.6.14", "3.6.14"), supply(*ALL), "3.6.14", "runs etcd 3.5.16: before 3.6", "3.5.32"),
        # What is not known, or no cluster.
        (three("3.5.33"), supply(*ALL), "latest", "'latest' is no release", "three numbers"),
        (three("3.5.33"), supply(*ALL), "4.0.0", "only the way between versions of etcd 3", "choose"),
        ([member(host, "", data=False) for host in "abc"], supply(*ALL), "3.7.1", "no cluster yet", "deploy.py"),
        ([*three("3.5.33")[:2], member("c", "", data=False)], supply(*ALL), "3.7.1", "c holds no member yet", "join"),
        ([*three("3.5.33")[:2], member("c", "", installed="")], supply(*ALL), "3.7.1", "which etcd c runs", "status"),
    ],
)
def test_refusals(running: list[MemberVersion], offers: list[Supply], target: str, what: str, remedy: str) -> None:
    refusal = plan_hops(running, offers, target)
    assert isinstance(refusal, Refusal)
    assert what in refusal.what
    assert remedy in refusal.remedy


LISTED = MemberList(9, tuple(Member(number, f"m{number}", (), ("https://x",)) for number in (1, 2, 3)))


def seen(**changes: object) -> Cluster:
    statuses = tuple(
        replace(EndpointStatus(f"https://m{number}", number, 9, "3.5.33", 1, 1, 1, 2, 20, 20, 7), **changes)  # type: ignore[arg-type]
        for number in (1, 2, 3)
    )
    return Cluster((), LISTED, statuses)


@pytest.mark.parametrize(
    ("cluster", "what"),
    [
        (seen(), ""),
        (Cluster((), LISTED, seen().statuses[:2]), ""),  # a hop starts what is down
        (Cluster(no_list="no answer"), "no member gives the member list (no answer)"),
        (seen(errors=("memberID:1 alarm:NOSPACE ",)), "the alarm NOSPACE is raised"),
        (
            Cluster((), LISTED, (*seen().statuses[:2], replace(seen().statuses[2], revision=3))),
            "not hold the same data",
        ),
        (replace(seen(), members=replace(LISTED, members=(*LISTED.members[:2], Member(3, "m3", (), ())))), "m3 joins"),
    ],
)
def test_a_cluster_that_must_not_be_upgraded_now(cluster: Cluster, what: str) -> None:
    refusal = unfit(cluster)
    assert (refusal is None) if not what else (refusal is not None and what in refusal.what)
