"""Whether the programs that a deploy would bring fit the cluster, asked before anything is changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from etcdfleet.errors import Refusal, RemoteError
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.canary import Hold
from etcdfleet.etcd.removed_members import NotedMembers
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.v2_entries import V2Entries
from etcdfleet.etcd.v2_residue import Residue
from etcdfleet.program.run import LeftError, Program
from plays import downgrade, flush, members, versions
from plays.options import MemberOptions
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
    monkeypatch: Any,
    running: str,
    brings: str | None,
    residue: Any = None,
    cluster: str = "",
    job: str = "",
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    stage = Stage(monkeypatch)
    stage.put(versions, "is_due", (brings is not None, True))
    stage.put(
        versions,
        "look_at_versions",
        lambda host: VersionsSeen(
            MemberVersion(host, running, running, brings, "archive", data=True), cluster=cluster, job=job
        ),
    )
    stage.put(versions, "read_residue", residue or (lambda host: Residue(host)))
    stage.put(versions, "read_noted_members", lambda host: NotedMembers(host, {1: "h1", 2: "h2"}))
    stage.put(flush, "read_member", member_seen)
    stage.put(flush, "leave_behind")
    stage.put(versions, "end_hold")
    stage.put(versions, "read_v2_entries", V2Entries)
    stage.put(downgrade, "enable_downgrade")
    monkeypatch.setattr(members, "see", lambda *_: SimpleNamespace(serving=True))
    monkeypatch.setattr(members, "save_proven", lambda *_: stage.ran.append(("backup", "")))
    return stage, program_of(
        MemberOptions(snapshot_dir=Path("snapshots")),
        fleet=dict.fromkeys(HOSTS, "home"),
        steps=["start"],
        member=member_settings,
        **options,
    )


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
    assert set(stage.given["leave_behind"]["left"]) == set(HOSTS)


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


HOLD = Hold("h1", "3.5.33", "3.6.14", "today")


def canary(monkeypatch: Any, brings: str, *, left_out: bool = False, **options: Any) -> tuple[Stage, Program[Any]]:
    """h1 runs 3.6.14 on trial, h2 is held back; what is due is what differs."""
    stage, _ = staged(monkeypatch, "", brings)
    running = {"h1": "3.6.14", "h2": "3.5.33", "h3": "3.5.33"}
    stage.put(versions, "is_due", lambda host: (running[host] != brings, True))

    def look(host: str) -> VersionsSeen:
        new = brings if running[host] != brings else None
        one = MemberVersion(host, running[host], running[host], new, "archive", data=True)
        return VersionsSeen(one, cluster="3.5.0", held=HOLD if host == "h1" else None)

    stage.put(versions, "look_at_versions", look)
    fleet = {"h2": "home"} if left_out else dict.fromkeys(HOSTS, "home")

    monkeypatch.setattr(versions, "client_url", lambda *_: "")
    monkeypatch.setattr(versions, "_others", lambda *_: [])
    return stage, program_of(
        MemberOptions(snapshot_dir=Path("snapshots")),
        fleet=fleet,
        left_out={"h1": "home"} if left_out else None,
        member=member_settings,
        **options,
    )


@pytest.mark.parametrize("left_out", [False, True])
def test_members_that_are_held_back_are_not_upgraded_by_a_deploy(monkeypatch: Any, left_out: bool) -> None:
    _, program = canary(monkeypatch, "3.6.14", left_out=left_out, yes=True)
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    (protection,) = program.record.record.protections
    assert "h1 runs etcd 3.6.14 as a canary since today" in protection.what
    assert "python runbooks/upgrade.py goes on" in protection.remedy


def test_an_upgrade_that_goes_on_may(monkeypatch: Any) -> None:
    _, program = canary(monkeypatch, "3.6.14")
    versions.refuse_unfit(run_of(program), goes_on=True)


@pytest.mark.parametrize(("answer", "goes_back"), [(True, True), (False, False), (None, False)])
def test_a_canary_goes_back_when_a_person_says_so(monkeypatch: Any, answer: bool | None, goes_back: bool) -> None:
    stage, program = canary(monkeypatch, "3.5.33", answer=answer)
    if goes_back:
        versions.refuse_unfit(run_of(program))
        assert stage.hosts("end_hold") == ["h1"]
        return
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert stage.hosts("end_hold") == []
    assert "h1 goes back from etcd 3.6.14" in program.record.record.protections[0].what


@pytest.mark.parametrize(("answer", "goes_back"), [(True, True), (None, False)])
def test_an_older_patch_release_is_asked_for(monkeypatch: Any, answer: bool | None, goes_back: bool) -> None:
    _, program = staged(monkeypatch, "3.5.33", "3.5.16", answer=answer)
    if goes_back:
        versions.refuse_unfit(run_of(program))
        assert "h1 goes back from etcd 3.5.33 to 3.5.16" in program.record.record.warnings[0].text
        return
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert "put what runs into install.version (3.5.33)" in program.record.record.protections[0].remedy


def test_entries_on_which_3_7_would_end_are_left_behind(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.6.14", "3.7.1")
    stage.put(versions, "read_v2_entries", lambda host: V2Entries(host, 5 if host == "h2" else 0))
    versions.refuse_unfit(run_of(program))
    assert stage.hosts("read_v2_entries") == list(HOSTS)
    assert stage.hosts("leave_behind") == ["h2"]
    assert stage.given["leave_behind"]["left"]["h2"] == V2Entries("h2", 5)
    assert "(h2: 5)" in program.record.record.warnings[0].text


def test_without_such_entries_no_member_is_restarted_before_3_7(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.6.14", "3.7.1")
    versions.refuse_unfit(run_of(program))
    assert (stage.hosts("leave_behind"), program.record.record.warnings) == ([], [])


def test_a_log_that_cannot_be_read_gets_no_3_7(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.6.14", "3.7.1")
    stage.put(versions, "read_v2_entries", lambda host: RemoteError("gone", where=host, remedy="see"))
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert not stage.hosts("leave_behind")


@pytest.mark.parametrize(("answer", "goes_on"), [(True, True), (False, False), (None, False)])
def test_the_step_down_that_etcd_has_a_job_for_is_asked_for(
    monkeypatch: Any, answer: bool | None, goes_on: bool
) -> None:
    stage, program = staged(monkeypatch, "3.6.14", "3.5.33", cluster="3.6.0", answer=answer)
    if goes_on:
        versions.refuse_unfit(run_of(program))
        assert stage.hosts("enable_downgrade") == ["h1"]
        assert stage.given["enable_downgrade"] == {"target": "3.5", "under_way": False}
        return
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert not stage.hosts("enable_downgrade")
    assert "etcdctl downgrade enable 3.5" in program.record.record.protections[0].remedy


def test_a_step_down_goes_on_where_a_run_that_was_ended_had_begun_it(monkeypatch: Any) -> None:
    """Nothing is asked again; no older program comes before all data are ready for it."""
    stage, program = staged(monkeypatch, "3.7.1", "3.6.14", cluster="3.6.0", job="3.6", answer=None)
    versions.refuse_unfit(run_of(program))
    assert stage.given["enable_downgrade"] == {"target": "3.6", "under_way": True}
    stage.put(downgrade, "enable_downgrade", RemoteError("not ready", where="h1", remedy="see"))
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))


def test_no_newer_version_comes_while_etcd_has_the_cluster_go_back(monkeypatch: Any) -> None:
    _, program = staged(monkeypatch, "3.6.14", "3.7.1", cluster="3.6.0", job="3.6", answer=True)
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    (told,) = program.record.record.protections
    assert "etcd's job to go back to 3.6 is under way, and h1, h2, h3 would get a newer version" in told.what
    assert "etcdctl downgrade cancel" in told.remedy


def test_a_step_down_that_etcd_does_not_get_ready_for_is_not_taken(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.6.14", "3.5.33", cluster="3.6.0", answer=True)
    stage.put(downgrade, "enable_downgrade", RemoteError("refused", where="h1", remedy="see"))
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))


@pytest.mark.parametrize(
    ("running", "brings", "saved", "before"),
    [
        ("3.4.23", "3.5.33", False, 1),
        ("3.5.33", "3.6.14", False, 1),
        ("3.5.33", "3.6.14", True, 0),
        ("3.5.32", "3.5.33", False, 0),
    ],
)
def test_a_backup_comes_before_another_minor_version(
    monkeypatch: Any, running: str, brings: str, saved: bool, before: int
) -> None:
    stage, program = staged(monkeypatch, running, brings)
    versions.refuse_unfit(run_of(program), saved=saved)
    assert stage.names.count("backup") == before


def test_a_backup_comes_before_what_is_restarted_for_it_and_before_a_step_down_once(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14", lambda host: Residue(host, 2))
    versions.refuse_unfit(run_of(program))
    assert stage.names.index("backup") < stage.names.index("leave_behind")
    stage, program = staged(monkeypatch, "3.6.14", "3.5.33", cluster="3.6.0", answer=True)
    versions.refuse_unfit(run_of(program))
    assert stage.names.count("backup") == 1
    assert stage.names.index("backup") < stage.names.index("enable_downgrade")


def test_without_a_backup_no_other_minor_version_comes(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.6.14", lambda host: Residue(host, 2))
    monkeypatch.setattr(members, "save_proven", lambda *_: Refusal("no room", (), "make room"))
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert not stage.hosts("leave_behind")
    assert "another minor version of etcd: no room" in program.record.record.protections[0].what


def test_with_check_and_where_none_can_be_taken_no_backup_is(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.4.23", "3.5.33", check=True)
    versions.refuse_unfit(run_of(program))
    assert "backup" not in stage.names
    stage, program = staged(monkeypatch, "3.4.23", "3.5.33")
    monkeypatch.setattr(members, "see", lambda *_: SimpleNamespace(serving=False))
    versions.refuse_unfit(run_of(program))
    assert "backup" not in stage.names
    assert "without a backup" in program.record.record.warnings[0].text


def test_a_step_down_without_such_a_job_is_refused_unasked(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, "3.5.33", "3.4.23", cluster="3.5.0", answer=True)
    with pytest.raises(LeftError):
        versions.refuse_unfit(run_of(program))
    assert not stage.hosts("enable_downgrade")
