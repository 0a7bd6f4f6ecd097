"""Which program restores, by the version of etcd and by what is on the host, and with which words."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.restore_tool import USUAL_BUMP, RestoredMember, RestoreTool, restore_tool, restore_words

MEMBER = RestoredMember("az-1", "https://etcd.az1.k8s.home:2380", "k8s-home-r1")


@pytest.mark.parametrize(
    ("version", "etcdutl", "program"),
    [
        ("3.4.23", False, "etcdctl"),
        ("3.4.45", True, "etcdctl"),  # that etcdutl is of another version
        ("3.5.1", False, "etcdctl"),
        ("3.5.16", True, "etcdutl"),
        ("3.6.0", True, "etcdutl"),
        ("3.7.1", True, "etcdutl"),
        (None, True, "etcdutl"),
    ],
)
def test_the_program(version: str | None, etcdutl: bool, program: str) -> None:
    tool = restore_tool(version, etcdutl=etcdutl)
    assert isinstance(tool, RestoreTool)
    assert tool.program == program


@pytest.mark.parametrize(
    ("version", "etcdutl", "why"),
    [
        ("3.6.0", False, "etcd 3.6.0 restores with etcdutl alone, and that is not there"),
        (None, False, "etcd of an unknown version restores with etcdutl alone, and that is not there"),
        ("3.3.27", True, "etcd 3.3.27 is older than 3.4, which is the oldest that can be restored"),
    ],
)
def test_there_is_none(version: str | None, etcdutl: bool, why: str) -> None:
    assert restore_tool(version, etcdutl=etcdutl) == why


@pytest.mark.parametrize(
    ("version", "first"),
    [
        ("3.4.23", "3.4.27"),
        ("3.4.26", "3.4.27"),
        ("3.4.27", ""),
        ("3.5.1", "3.5.10"),
        ("3.5.9", "3.5.10"),
        ("3.5.10", ""),
        ("3.5.30", ""),
        ("3.6.0", ""),
        ("3.7.1", ""),
    ],
)
def test_which_versions_raise_revisions(version: str, first: str) -> None:
    tool = restore_tool(version, etcdutl=version >= "3.6")
    assert isinstance(tool, RestoreTool)
    expected = f"etcd {version} cannot raise revisions at a restore: {first} is the first that can" if first else ""
    assert tool.no_bump == expected


def test_the_words() -> None:
    """The member is alone in its cluster: the others join it, and none can slip in without data."""
    assert restore_words(MEMBER) == [
        "--name=az-1",
        "--initial-cluster=az-1=https://etcd.az1.k8s.home:2380",
        "--initial-advertise-peer-urls=https://etcd.az1.k8s.home:2380",
        "--initial-cluster-token=k8s-home-r1",
    ]


def test_the_words_for_what_is_wanted_beside() -> None:
    bumped = RestoredMember("a", "http://a:2380", "t", bump=USUAL_BUMP)
    assert restore_words(bumped)[4:] == ["--bump-revision=1000000000", "--mark-compacted"]
    assert restore_words(RestoredMember("a", "http://a:2380", "t", without_hash=True))[4:] == ["--skip-hash-check"]
