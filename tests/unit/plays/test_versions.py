"""Whether the programs that a deploy would bring fit the cluster, asked before anything is changed."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.errors import RemoteError
from etcdfleet.etcd.removed_members import NotedMembers
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.v2_residue import Residue
from etcdfleet.program.run import LeftError, Program
from plays import versions
from tasks.upgrades import VersionsSeen
from tests.unit.support.fake_run import Stage, program_of, run_of

HOSTS = ("h1", "h2")


def staged(
    monkeypatch: Any, running: str, brings: str | None, residue: Any = None, **options: Any
) -> tuple[Stage, Program[Any]]:
    stage = Stage(monkeypatch)
    stage.put(versions, "is_due", (brings is not None, True))
    stage.put(
        versions,
        "look_at_versions",
        lambda host: VersionsSeen(MemberVersion(host, running, running, brings, "archive", data=True)),
    )
    stage.put(versions, "read_residue", residue or (lambda host: Residue(host)))
    stage.put(versions, "read_noted_members", lambda host: NotedMembers(host, {1: "h1", 2: "h2"}))
    return stage, program_of(fleet=dict.fromkeys(HOSTS, "home"), **options)


@pytest.mark.parametrize(
    ("running", "brings", "read"),
    [
        ("3.5.33", "3.6.14", list(HOSTS)),
        ("3.6.14", "3.7.1", []),
        ("3.4.23", "3.5.33", []),
        ("3.5.33", None, []),
    ],
)
def test_logs_and_databases_are_read_before_the_step_to_3_6_alone(
    monkeypatch: Any, running: str, brings: str, read: list[str]
) -> None:
    stage, program = staged(monkeypatch, running, brings)
    versions.refuse_unfit(run_of(program))
    assert sorted(stage.hosts("read_residue")) == read
    assert sorted(stage.hosts("read_noted_members")) == read


@pytest.mark.parametrize(
    ("residue", "told"),
    [
        (lambda host: Residue(host, 2, "QGET /health") if host == "h2" else Residue(host), "h2: 2, the last is"),
        (lambda host: RemoteError("gone", where=host, remedy="see") if host == "h2" else Residue(host), ""),
    ],
)
def test_a_cluster_with_old_requests_or_a_log_that_cannot_be_read_is_left(
    monkeypatch: Any, residue: Any, told: str
) -> None:
    _, program = staged(monkeypatch, "3.5.33", "3.6.14", residue)
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert [told in one.what for one in program.record.record.protections] == [True] * bool(told)


def test_a_patch_release_from_which_the_next_minor_must_not_be_entered(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.16", "3.6.14")
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert not stage.hosts("read_residue")
    assert "3.5.32" in program.record.record.protections[0].what


def test_a_cluster_whose_members_would_shut_each_other_out_is_left(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14")
    stage.put(versions, "read_noted_members", lambda host: NotedMembers(host, {1: "h1", 2: "h2"}, frozenset({2})))
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert "h1: h2; h2: h2" in program.record.record.protections[0].what


def test_what_cannot_be_read_is_not_taken_for_good(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14")
    stage.put(versions, "read_noted_members", lambda host: RemoteError("gone", where=host, remedy="see"))
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert not program.record.record.protections
