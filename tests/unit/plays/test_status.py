"""What status reads of a cluster's hosts, and what it reads again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from nornir.core.task import Result, Task

from etcdfleet.checks.overview.data import MemberView
from etcdfleet.errors import RemoteError
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import Program
from plays import status
from plays.options import StatusOptions
from tests.unit.checks.test_overview import down, member
from tests.unit.support.fake_run import program_of

FLEET = {"a": "home", "b": "home", "c": "home"}
Reads = Callable[[str, int], MemberView]
NO_ISSUER: Any = None


def staged(monkeypatch: pytest.MonkeyPatch, reads: Reads) -> tuple[Program[Any], dict[str, int], list[str]]:
    """How often each host is read is counted; who is asked for the list of members is noted."""
    counts, listed = dict.fromkeys(FLEET, 0), list[str]()

    def read_host(task: Task, seen: dict[str, MemberView], **_: Any) -> Result:
        host = task.host.name
        counts[host] += 1
        seen[host] = reads(host, counts[host])
        if seen[host].down:
            raise RemoteError("cannot be reached")
        return Result(task.host, result=StepOutcome("read"))

    def list_members(task: Task, seen: dict[str, MemberView]) -> Result:  # noqa: ARG001
        listed.append(task.host.name)
        return Result(task.host, result=StepOutcome("asked"))

    monkeypatch.setattr(status, "read_host", read_host)
    monkeypatch.setattr(status, "list_members", list_members)
    monkeypatch.setattr("time.sleep", lambda _: None)
    program = program_of(StatusOptions(), fleet=FLEET, member=lambda host: SimpleNamespace(name=host), steps=("look",))
    return program, counts, listed


def test_one_look_is_enough_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    program, counts, listed = staged(monkeypatch, lambda host, _: member(host))
    assert set(program.play(status.read_members, NO_ISSUER)["home"]) == set(FLEET)
    assert (counts, listed) == (dict.fromkeys(FLEET, 1), [])


def test_another_member_is_asked_for_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(host: str, _count: int) -> MemberView:
        return down("a") if host == "a" else replace(member(host, leader_id=ord("b")), members=None)

    program, _, listed = staged(monkeypatch, reads)
    program.play(status.read_members, NO_ISSUER)
    assert listed == ["b"]


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
