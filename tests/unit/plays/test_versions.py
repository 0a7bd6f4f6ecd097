"""Whether the programs that a deploy would bring fit the cluster, asked before anything is changed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from etcdfleet.errors import RemoteError
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.removed_members import NotedMembers
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.v2_residue import Residue
from etcdfleet.program.run import LeftError, Program
from plays import flush, versions
from tasks.member import MemberAnswers
from tasks.planning import MemberSeen
from tasks.upgrades import VersionsSeen
from tests.unit.support.fake_run import Stage, program_of, run_of

HOSTS = ("h1", "h2", "h3")


def member_seen(host: str) -> MemberSeen:
    """The first host leads."""
    number = HOSTS.index(host) + 1
    status = EndpointStatus(f"https://{host}:2379", number, 9, "3.5.33", 1, 1, 1, 2, 5, 5, 3)
    return MemberSeen(cast(Any, None), MemberAnswers(status))


def member_settings(name: str) -> Any:
    return SimpleNamespace(name=name, cluster=SimpleNamespace(name="home", client_tls=True))


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
    stage.put(flush, "read_member", member_seen)
    stage.put(flush, "leave_behind")
    return stage, program_of(fleet=dict.fromkeys(HOSTS, "home"), steps=["start"], member=member_settings, **options)


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
        (lambda host: Residue(host, 2, "QGET /health", "/1/app") if host == "h2" else Residue(host), "(h2: /1/app)"),
        (lambda host: RemoteError("gone", where=host, remedy="see") if host == "h2" else Residue(host), ""),
    ],
)
def test_a_cluster_with_old_keys_or_a_log_that_cannot_be_read_is_left(
    monkeypatch: Any, residue: Any, told: str
) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14", residue)
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert [told in one.what for one in program.record.record.protections] == [True] * bool(told)
    assert not stage.hosts("leave_behind")


def test_requests_are_left_behind_before_anything_else_the_leader_last(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14", lambda host: Residue(host, 2, "QGET /health"))
    versions.refuse_unfit(run_of(program))
    assert stage.hosts("leave_behind") == ["h2", "h3", "h1"]
    assert set(stage.given["leave_behind"]["residues"]) == set(HOSTS)


def test_only_members_with_requests_are_restarted(monkeypatch: Any) -> None:
    residue = lambda host: Residue(host, 2 if host == "h1" else 0)  # noqa: E731
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14", residue)
    versions.refuse_unfit(run_of(program))
    assert stage.hosts("leave_behind") == ["h1"]


def test_no_version_is_brought_where_requests_are_left(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14", lambda host: Residue(host, 2))
    stage.put(flush, "leave_behind", lambda host: RemoteError("gone", where=host, remedy="see"))
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert stage.hosts("leave_behind") == ["h2"], "the first that fails is the last"


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
    assert "h1: h2; h2: h2; h3: h2" in program.record.record.protections[0].what


def test_what_cannot_be_read_is_not_taken_for_good(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14")
    stage.put(versions, "read_noted_members", lambda host: RemoteError("gone", where=host, remedy="see"))
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert not program.record.record.protections
