"""What status reads of a cluster's hosts, and what it reads again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nornir.core.task import Result, Task

from etcdfleet.backup.note import Drill, time_text
from etcdfleet.checks.overview.backup import Backups
from etcdfleet.checks.overview.data import MemberView
from etcdfleet.errors import RemoteError
from etcdfleet.program.run import Program
from etcdfleet.settings.backup import BackupSettings
from plays import status
from plays.options import StatusOptions
from tasks.status.read import HostRead
from tests.unit.checks.test_overview import down, listed, member
from tests.unit.support.fake_run import program_of
from tests.unit.support.site import settings
from tests.unit.support.snapshots import put

FLEET = {"a": "home", "b": "home", "c": "home"}
Reads = Callable[[str, int], MemberView]
NO_ISSUER: Any = None
LIST = listed()


def staged(monkeypatch: pytest.MonkeyPatch, reads: Reads) -> tuple[Program[Any], dict[str, int], list[str]]:
    """How often each host is read is counted; who is asked for the list of members is noted."""
    counts, asked = dict.fromkeys(FLEET, 0), list[str]()

    def read_host(task: Task, **_: Any) -> Result:
        host = task.host.name
        counts[host] += 1
        read = HostRead("read", view=reads(host, counts[host]))
        error = RemoteError("cannot be reached") if read.view.down else None
        return Result(task.host, result=read, failed=bool(error), exception=error)

    def list_members(task: Task) -> Result:
        asked.append(task.host.name)
        return Result(task.host, result=LIST)

    monkeypatch.setattr(status, "read_host", read_host)
    monkeypatch.setattr(status, "list_members", list_members)
    monkeypatch.setattr("time.sleep", lambda _: None)
    program = program_of(StatusOptions(), fleet=FLEET, member=lambda host: SimpleNamespace(name=host), steps=("read",))
    return program, counts, asked


def test_one_look_is_enough_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    program, counts, asked = staged(monkeypatch, lambda host, _: member(host))
    assert set(program.play(status.read_members, NO_ISSUER)["home"]) == set(FLEET)
    assert (counts, asked) == (dict.fromkeys(FLEET, 1), [])


def test_another_member_is_asked_for_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(host: str, _count: int) -> MemberView:
        return down("a") if host == "a" else replace(member(host, leader_id=ord("b")), members=None)

    program, _, asked = staged(monkeypatch, reads)
    views = program.play(status.read_members, NO_ISSUER)["home"]
    assert asked == ["b"]
    assert (views["b"].members, views["c"].members) == (LIST, None)
    assert views["a"].problem, "what kept it from being read"


def test_a_leader_whose_host_is_silent_is_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its followers named it, and the read beside was served by its successor."""

    def reads(host: str, count: int) -> MemberView:
        return down("a") if host == "a" else member(host, leader_id=ord("a" if count == 1 else "b"))

    program, counts, _ = staged(monkeypatch, reads)
    views = program.play(status.read_members, NO_ISSUER)["home"]
    assert counts == {"a": 1, "b": 2, "c": 2}, "a host that is down is not waited for twice"
    assert {view.status.leader_id for view in views.values() if view.status} == {ord("b")}


def test_members_that_seem_to_differ_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(host: str, count: int) -> MemberView:
        view = member(host)
        if host == "c" and count == 1 and view.status:
            return replace(view, status=replace(view.status, revision=8))
        return view

    program, counts, _ = staged(monkeypatch, reads)
    program.play(status.read_members, NO_ISSUER)
    assert counts == dict.fromkeys(FLEET, 2)


def test_backups_are_looked_at_by_their_notes(tmp_path: Path) -> None:
    def seen(folder: Path) -> Backups:
        ours = settings(backup=BackupSettings(folder=str(folder)), name="home")
        return status.backups_of(ours)

    assert seen(tmp_path) == Backups()
    night = datetime(2026, 11, 26, 2, tzinfo=UTC)
    drill = Drill(time_text(night + timedelta(hours=1)), "here", "3.5.1", good=True, says="")
    put(tmp_path, night, drill=drill)
    put(tmp_path, night + timedelta(days=1), damaged="its hash does not fit", drill=replace(drill, good=False))
    assert seen(tmp_path) == Backups(night, night + timedelta(hours=1), 1)
    (tmp_path / "none" / "home").parent.mkdir()
    (tmp_path / "none" / "home").write_text("")
    assert "cannot be read" in seen(tmp_path / "none").unreadable
