"""Which version of etcd may take the place of another in a cluster."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.upgrades import MemberVersion, patch_downgrades, refuse_programs


def member(
    host: str, running: str = "", brings: str | None = None, installed: str = "", data: bool = True
) -> MemberVersion:
    return MemberVersion(host, running, installed or running, brings, "apt", data)


def three(running: str, brings: str | None, **more: str) -> list[MemberVersion]:
    return [member(host, running, brings, **more) for host in "abc"]  # type: ignore[arg-type]


OLD, NEW = "3.4.23", "3.5.1"


@pytest.mark.parametrize(
    ("members", "cluster"),
    [
        # Nothing is due, or there is no cluster yet.
        (three(NEW, None), ""),
        ([member(host, "", "9.9.9", data=False) for host in "abc"], ""),
        # One minor up, and within a minor, both ways; another way to install at the same version.
        (three(OLD, NEW), "3.4.0"),
        (three(NEW, "3.5.30"), "3.5.0"),
        (three("3.5.30", "3.5.16"), "3.5.0"),
        (three(NEW, NEW), "3.5.0"),
        # An upgrade that was interrupted goes on, or back: the cluster version is still the old one.
        ([member("a", NEW, None), member("b", OLD, NEW), member("c", OLD, NEW)], "3.4.0"),
        ([member("a", NEW, OLD), member("b", OLD, None), member("c", OLD, None)], "3.4.0"),
        ([member("a", NEW, OLD), member("b", OLD, None), member("c", OLD, None)], ""),
        # The last old member is down: the cluster version has not risen, which a member says.
        ([member("a", NEW, OLD), member("b", NEW, OLD), member("c", "", None, installed=OLD)], "3.4.0"),
        # From the patch release that the next minor asks for; an upgrade that was interrupted.
        (three("3.5.32", "3.6.14"), "3.5.0"),
        (three("3.6.11", "3.7.1"), "3.6.0"),
        ([member("a", "3.6.14", None), *three("3.5.33", "3.6.14")[1:]], "3.5.0"),
        ([member("a", "", "3.6.14", data=False), *three("3.6.14", None)[1:]], "3.6.0"),
        # All are stopped.
        ([member(host, "", NEW, installed=OLD) for host in "abc"], ""),
        # Data without any program beside them: etcd itself looks at the version of data.
        ([member(host, "", OLD) for host in "abc"], ""),
    ],
)
def test_what_is_allowed(members: list[MemberVersion], cluster: str) -> None:
    assert refuse_programs(members, cluster) is None


@pytest.mark.parametrize(
    ("members", "cluster", "what", "hosts"),
    [
        # Below the cluster's version, whether it was asked for or not.
        (three(NEW, OLD), "3.5.0", "does not start below the cluster's version (3.5)", "abc"),
        (three(NEW, OLD), "", "does not start below the cluster's version (3.5)", "abc"),
        ([member("a", NEW, OLD), *three(NEW, None)[1:]], "3.5.0", "bring etcd 3.4.23 to a, and", "a"),
        # A member that was stopped, or has no data, gets no older one either.
        ([member("a", "", OLD, installed=NEW), *three(NEW, None)[1:]], "3.5.0", "below the cluster's", "a"),
        ([member("a", "", OLD, data=False), *three(NEW, None)[1:]], "3.5.0", "below the cluster's", "a"),
        # Two run the new one, the third is down, and nobody can say that the version has not risen.
        ([member("a", NEW, OLD), member("b", NEW, OLD), member("c", "", None, installed=OLD)], "", "below", "ab"),
        # All are stopped: what is installed beside the data is the measure, the newest of it.
        ([member(host, "", OLD, installed=NEW) for host in "abc"], "", "3.5.1 was installed beside", "abc"),
        ([member("a", "", OLD, installed=NEW), member("b", "", None, installed=OLD)], "", "3.4.23 and 3.5.1", "a"),
        # A minor left out, from the oldest that runs; another major.
        (three(OLD, "3.6.4"), "3.4.0", "one minor version at a time", "abc"),
        ([member("a", NEW, "3.6.4"), member("b", OLD, None)], "3.4.0", "one minor version at a time", "a"),
        ([member(host, "", "3.6.4", installed=OLD) for host in "abc"], "", "one minor version at a time", "abc"),
        (three("3.7.1", "4.0.0"), "3.7.0", "one minor version at a time", "abc"),
        # Below the patch release from which the next minor may be entered, be it a member that this run leaves out.
        (three("3.5.16", "3.6.14"), "3.5.0", "before 3.6, all members must run 3.5.32 or a newer 3.5", "abc"),
        (three("3.6.4", "3.7.1"), "3.6.0", "before 3.7, all members must run 3.6.11 or a newer 3.6", "abc"),
        ([*three("3.5.33", "3.6.14")[:2], member("c", "3.5.31", None)], "3.5.0", "c runs etcd 3.5.31", "ab"),
        ([member(host, "", "3.6.14", installed="3.5.30") for host in "abc"], "", "runs etcd 3.5.30", "abc"),
        # Unknown ones.
        (three(NEW, ""), "3.5.0", "a version of etcd that cannot be read", "abc"),
        (three(NEW, "latest"), "3.5.0", "etcd latest, whose version cannot be read", "abc"),
        (three("weird", NEW), "", "runs etcd weird", "abc"),
    ],
)
def test_what_is_refused(members: list[MemberVersion], cluster: str, what: str, hosts: str) -> None:
    refusal = refuse_programs(members, cluster)
    assert refusal is not None
    assert what in refusal.what
    assert refusal.hosts == tuple(hosts)
    assert "install.version" in refusal.remedy


@pytest.mark.parametrize(
    ("runs", "brings", "cluster", "way"),
    [
        ("3.6.14", "3.5.33", "3.6.0", "etcdctl downgrade validate 3.5, then etcdctl downgrade enable 3.5"),
        ("3.7.1", "3.6.14", "3.7.0", '"storageVersion":"3.6.0"'),
        ("3.7.1", "3.5.33", "3.7.0", ""),
        ("3.5.33", "3.4.23", "3.5.0", ""),
    ],
)
def test_the_way_back_is_named_where_etcd_has_one(runs: str, brings: str, cluster: str, way: str) -> None:
    refusal = refuse_programs(three(runs, brings), cluster)
    assert refusal
    assert way in refusal.remedy
    assert ("downgrade enable" in refusal.remedy) == bool(way)
    assert 'docs/upgrade.md, "Back by a snapshot"' in refusal.remedy


def test_what_etcd_has_given_up_is_not_refused() -> None:
    assert refuse_programs(three("3.6.14", "3.5.33"), "3.5.0") is None
    assert refuse_programs([member("a", "3.5.33", None), *three("3.6.14", "3.5.33")[1:]], "3.5.0") is None


def test_going_back_within_a_minor_is_said() -> None:
    (warning,) = patch_downgrades([member("a", "3.5.30", "3.5.16"), member("b", "3.5.16", "3.5.30"), *three(OLD, None)])
    assert "a goes back from etcd 3.5.30 to 3.5.16" in warning
