"""A member goes to another address step by step, and a run that was ended is continued by the next one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.errors import Refusal, VerificationError
from etcdfleet.etcd.answers import ExpectedMember
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.start_model import Nothing, Plan, Readdress
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import members, readdress, start, trusted
from plays.options import MemberOptions
from tests.unit.etcd import test_replacement as table
from tests.unit.support.fake_run import Stage, program_of, run_of

HOSTS = ("h1", "h2", "h3")
UPDATED = replace(table.WELL.entries[0], peer_urls=("https://new1:2380",))
AFTER = table.cluster(UPDATED, *table.WELL.entries[1:], answering=table.WELL.statuses)


def staged(
    monkeypatch: pytest.MonkeyPatch, seen: Cluster, does: dict[str, Any] | None = None, size: int = 3, **options: Any
) -> tuple[Stage, Program[Any]]:
    """The member of h1 is to be reached at new1."""
    stage = Stage(monkeypatch)
    usual: dict[str, Any] = {
        "see_cluster": seen,
        "own_answers": (None, None),
        "addresses_there": {"listen-peer-urls": frozenset({"198.51.100.7:2380"})},
        "fit_both": StepOutcome("fit", ("placed",)),
        "update_entry": "",
        "noted": None,
        "forget_names": True,
        "configure": StepOutcome("placed", ("placed",)),
        "restart_member": StepOutcome("restarted", ("restarted",)),
    }
    for name, what in (usual | (does or {})).items():
        for module in (members, readdress):
            if hasattr(module, name):
                stage.put(module, name, what)
    monkeypatch.setattr(trusted, "keep_known", lambda run: stage.ran.append(("trust", run.hosts[0])))

    def settings(host: str) -> Any:
        member = SimpleNamespace(name=host.replace("h", "m"))
        return SimpleNamespace(name=host, member=member, cluster=SimpleNamespace(client_tls=True))

    def expected(_: Any, member: Any) -> ExpectedMember:
        host = {"m1": "new1"}.get(member.name, member.name.replace("m", "h"))
        return ExpectedMember(member.name, f"https://{host}:2380", f"https://{host}:2379")

    monkeypatch.setattr(readdress, "expected_member", expected)
    program = program_of(
        MemberOptions(),
        fleet=dict.fromkeys(HOSTS[:size], "home"),
        member=settings,
        steps=("certificates", "configure", "start"),
        **options,
    )
    return stage, program


def done(stage: Stage) -> list[tuple[str, str]]:
    """What was done, without the looks."""
    return [(name, host) for name, host in stage.ran if name not in ("see_cluster", "own_answers", "addresses_there")]


def test_the_steps_of_a_change_of_address(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, table.WELL)
    readdress.readdress(run_of(program), ["h1"])
    assert done(stage) == [
        ("trust", "h1"),
        ("fit_both", "h1"),
        ("update_entry", "h2"),
        ("noted", "h1"),
        ("configure", "h1"),
        ("restart_member", "h1"),
        ("forget_names", "h1"),
    ]
    assert stage.given["fit_both"]["names"] == ("198.51.100.7", "h1")
    assert stage.given["update_entry"]["step"].url == "https://new1:2380"
    assert program.record.finish().exit_code == ExitCode.OK


def test_what_a_run_before_has_done_is_not_done_again(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, AFTER)
    readdress.readdress(run_of(program), ["h1"])
    assert [name for name, _ in done(stage)] == ["trust", "fit_both", "configure", "restart_member", "forget_names"]


def test_the_entry_is_changed_through_the_first_that_takes_it(monkeypatch: Any) -> None:
    refused = {"update_entry": lambda host: "" if host == "h3" else "no"}
    stage, program = staged(monkeypatch, table.WELL, refused)
    readdress.readdress(run_of(program), ["h1"])
    assert stage.hosts("update_entry") == ["h2", "h3"]
    stage, program = staged(monkeypatch, table.WELL, {"update_entry": "no"})
    with pytest.raises(LeftError):
        readdress.readdress(run_of(program), ["h1"])
    assert stage.hosts("update_entry") == ["h2", "h3", "h1"]
    assert not stage.hosts("configure")
    assert program.record.finish().exit_code == ExitCode.PROTECTED


def test_a_member_that_the_others_do_not_reach_is_asked_on_its_own_host(monkeypatch: Any) -> None:
    """A cluster of one, whose old name leads nowhere: it answers on its own host, and that is a majority."""
    lost = table.cluster(table.entry(1), answering=(), size=1)
    own = (table.status(1, leader=1), table.WELL.healths[0])
    stage, program = staged(monkeypatch, lost, {"own_answers": own}, size=1, yes=True)
    readdress.readdress(run_of(program), ["h1"])
    assert ("restart_member", "h1") in done(stage)
    stage, program = staged(monkeypatch, lost, size=1, yes=True)
    with pytest.raises(LeftError):
        readdress.readdress(run_of(program), ["h1"])
    assert done(stage) == [("trust", "h1")]
    assert "/etc/hosts" in program.record.record.protections[0].remedy


@pytest.mark.parametrize(("answer", "goes_on"), [(True, True), (False, False), (None, False)])
def test_an_interruption_is_asked_for(monkeypatch: Any, answer: bool | None, goes_on: bool) -> None:
    two = table.cluster(*table.WELL.entries[:2], answering=(table.status(1), table.status(2)), size=2)
    stage, program = staged(monkeypatch, two, size=2, answer=answer)
    if goes_on:
        readdress.readdress(run_of(program), ["h1"])
    else:
        with pytest.raises(LeftError):
            readdress.readdress(run_of(program), ["h1"])
    assert (("fit_both", "h1") in done(stage)) is goes_on


def test_nothing_is_changed_with_check_and_all_is_said(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, table.WELL, check=True)
    with pytest.raises(LeftError):
        readdress.readdress(run_of(program), ["h1"])
    assert {name for name, _ in done(stage)} == {"noted"}
    assert "m1 is brought to https://new1:2380 (now https://h1:2380)" in stage.given["noted"]["change"]


def test_a_step_that_fails_ends_it(monkeypatch: Any) -> None:
    error = VerificationError("no", where="h1", remedy="see")
    for failing, last in (("fit_both", "fit_both"), ("restart_member", "restart_member")):
        stage, program = staged(monkeypatch, table.WELL, {failing: error})
        with pytest.raises(LeftError):
            readdress.readdress(run_of(program), ["h1", "h2"])
        assert done(stage)[-1] == (last, "h1")


@pytest.mark.parametrize("ends", [True, False])
def test_a_start_is_planned_anew_after_members_have_moved(monkeypatch: Any, ends: bool) -> None:
    plans: list[Plan] = [Readdress(("h1",)), Nothing() if ends else Readdress(("h1",))]
    moved: list[tuple[str, ...]] = []
    monkeypatch.setattr(start, "readdress", lambda _, hosts: moved.append(tuple(hosts)))
    monkeypatch.setattr(start, "_settled", lambda _: False)
    monkeypatch.setattr(start, "_plan", lambda *_, **__: (plans.pop(0) if len(plans) > 1 else plans[0], {}))
    _, program = staged(monkeypatch, table.WELL)
    if ends:
        assert start.look_ahead(run_of(program)) == frozenset()
        assert moved == [("h1",)]
        return
    with pytest.raises(LeftError):
        start.look_ahead(run_of(program))
    assert len(moved) == start.ROUNDS


def test_a_refusal_after_the_move_leaves_the_cluster(monkeypatch: Any) -> None:
    plans: list[Plan] = [Readdress(("h1",)), Refusal("no", ("h2",), "see")]
    monkeypatch.setattr(start, "readdress", lambda *_: None)
    monkeypatch.setattr(start, "_settled", lambda _: False)
    monkeypatch.setattr(start, "_plan", lambda *_, **__: (plans.pop(0), {}))
    _, program = staged(monkeypatch, table.WELL)
    with pytest.raises(LeftError):
        start.look_ahead(run_of(program))
    assert program.record.record.protections[0].what == "no"
