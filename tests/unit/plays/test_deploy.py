"""The steps of a deploy: their order, what stops which cluster, and what --check leaves out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.errors import PreflightError, Refusal, RemoteError
from etcdfleet.etcd.replacement import Place
from etcdfleet.etcd.start_model import Bootstrap, Nothing, Plan
from etcdfleet.host.lock import LockInfo
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import Program
from etcdfleet.report.record.model import ExitCode
from plays import access, certificates, deploy, lock, preflight, replace_member, start, trust, trusted, versions
from plays.options import DeployOptions
from tasks.member import MemberAnswers
from tasks.planning import MemberSeen
from tests.unit.support.fake_run import Stage, program_of, statuses
from tests.unit.support.paths import ROOT
from tests.unit.support.snapshots import put

STEPS = ("preflight", "install", "trust", "certificates", "configure", "start", "auth", "verify")
CHANGED = StepOutcome(changes=("a file",), restart=True)
KEPT = ROOT / "tests" / "none"
OTHER = LockInfo("alice", "deploy", "controller", 4711, "2026-06-01T12:00:00+00:00")


def member(name: str) -> Any:
    return SimpleNamespace(
        name=name,
        cluster=SimpleNamespace(name="home", client_tls=True),
        pki=SimpleNamespace(client_common_name="root"),
        auth=SimpleNamespace(managed=False),
        backup=SimpleNamespace(folder=str(KEPT), url=None),
    )


def staged(
    monkeypatch: pytest.MonkeyPatch,
    *,
    data: bool = True,
    plan: Plan | None = None,
    does: dict[str, Any] | None = None,
    options_of: DeployOptions | None = None,
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    """Two clusters on which all is well, but for what ``does`` says of single tasks."""
    stage, own = Stage(monkeypatch), does or {}
    nothing: Any = None
    passed = StepOutcome("fit", facts={"has_member_data": data})
    for module, name, usual in (
        (deploy, "preflight", passed), (preflight, "reach", None), (lock, "take_lock", ""),
        (replace_member, "read_place", lambda host: Place(host, nothing, marked=data)),
        (start, "is_settled", plan is None), (start, "read_member", MemberSeen(nothing, MemberAnswers())),
        (versions, "is_due", (False, True)), (access, "is_renamed", False),
        (deploy, "install", None), (trusted, "trust_state", {}), (trust, "trust", None),
        (certificates, "shown_and_due", ()), (certificates, "certificates", None), (deploy, "configure", None),
        (start, "start_member", None), (start, "restart_member", None), (start, "keep_running", None),
        (deploy, "verify", None),
    ):  # fmt: skip
        stage.put(module, name, own.get(name, usual))
    monkeypatch.setattr(
        start, "plan_cluster", lambda members, *_, **__: plan if members[0].name == "az-1" else Nothing()
    )
    return stage, program_of(options_of or DeployOptions(), member=member, steps=STEPS, **options)


def test_a_deploy_reads_like_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch)
    program.play(deploy.deploy)
    assert program.record.finish().exit_code == ExitCode.OK
    assert statuses(program, "edge-1") == {
        **dict.fromkeys(STEPS, "ok"),
        "trust": "skipped",  # no CA is new to the cluster
        "auth": "skipped",  # the inventory says nothing of roles and users
    }
    order = [name for name in stage.names if name in {*STEPS, "take_lock", "trust_state", "keep_running"}]
    for earlier, later in zip(("preflight", "take_lock", "install", "trust_state", "certificates", "configure"),
                              ("take_lock", "install", "trust_state", "certificates", "configure", "keep_running"),
                              strict=True):  # fmt: skip
        assert order.index(earlier) < order.index(later)
    assert stage.hosts("reach") == [], "the members have data: they have met"


def test_a_dead_host_costs_the_other_cluster_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = PreflightError("cannot be reached")
    stage, program = staged(monkeypatch, does={"preflight": lambda host: dead if host == "az-1" else None})
    program.play(deploy.deploy)
    assert stage.hosts("take_lock") == ["edge-1"]
    assert stage.hosts("verify") == ["edge-1"]
    step = program.record.record.hosts["az-2"].steps["install"]
    assert (str(step.status), step.summary) == ("skipped", "nothing was changed, since az-1 failed the preflight")
    assert program.record.finish().exit_code == ExitCode.FAILED


def test_ports_are_tried_where_a_member_has_no_data_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, data=False, does={"reach": RemoteError("a firewall")})
    program.play(deploy.deploy)
    assert sorted(stage.hosts("reach")) == ["az-1", "az-2", "edge-1"]
    assert stage.hosts("install") == []


@pytest.mark.parametrize(
    ("plan", "does", "what"),
    [
        (Refusal("data lost", ("az-1",), "look"), {}, "data lost"),
        (None, {"take_lock": lambda host: OTHER if host == "az-2" else ""}, "alice on controller"),
    ],
    ids=["a contradiction", "another run"],
)
def test_a_stopped_cluster_is_not_touched_and_the_other_is_deployed(
    monkeypatch: pytest.MonkeyPatch, plan: Plan | None, does: dict[str, Any], what: str
) -> None:
    stage, program = staged(monkeypatch, plan=plan, does=does)
    program.play(deploy.deploy)
    assert stage.hosts("install") == ["edge-1"]
    (stopped,) = program.record.record.protections
    assert (stopped.cluster, what in stopped.what) == ("home", True)
    assert program.record.finish().exit_code == ExitCode.PROTECTED


def test_a_host_that_fails_takes_no_part_in_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, does={"install": lambda host: RemoteError("lost") if host == "az-1" else None})
    program.play(deploy.deploy)
    assert sorted(stage.hosts("configure")) == ["az-2", "edge-1"]
    assert sorted(stage.hosts("verify")) == ["az-2", "edge-1"]


def test_what_begins_a_cluster_is_told_to_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, data=False, plan=Bootstrap(("az-1", "az-2")))
    del program.record.record.hosts["edge-1"]
    program.play(deploy.deploy)
    assert stage.given["configure"]["fresh"] == {"az-1", "az-2"}
    assert sorted(set(stage.hosts("start_member"))) == ["az-1", "az-2"]


@pytest.mark.parametrize(("confirm", "starts"), [("", False), ("home", True)])
def test_a_cluster_of_which_a_backup_is_kept_begins_only_when_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, confirm: str, starts: bool
) -> None:
    put(tmp_path, datetime(2026, 11, 26, 2, tzinfo=UTC))
    chosen = DeployOptions(snapshot_dir=tmp_path, confirm=confirm)
    stage, program = staged(monkeypatch, data=False, plan=Bootstrap(("az-1", "az-2")), options_of=chosen, yes=True)
    monkeypatch.setattr(program.terminal, "ask_name", lambda _: "", raising=False)
    del program.record.record.hosts["edge-1"]
    program.play(deploy.deploy)
    assert bool(stage.hosts("start_member")) is bool(stage.hosts("install")) is starts


@pytest.mark.parametrize("changed", [True, False])
def test_check_verifies_only_what_is_as_wanted(monkeypatch: pytest.MonkeyPatch, changed: bool) -> None:
    does = {"configure": lambda host: CHANGED if changed and host == "az-1" else None}
    stage, program = staged(monkeypatch, does=does, check=True, yes=True)
    program.play(deploy.deploy)
    assert sorted(stage.hosts("verify")) == (["edge-1"] if changed else ["az-1", "az-2", "edge-1"])
    assert stage.hosts("restart_member") == (["az-1"] if changed else [])
    assert stage.hosts("take_lock") == []
    if changed:
        assert program.record.record.hosts["az-2"].steps["verify"].summary == "its cluster differs from the inventory"


@pytest.mark.parametrize(
    ("left_out", "install", "whole"),
    [
        ({}, None, True),
        ({"az-3": "home"}, None, False),
        ({}, lambda host: RemoteError("x") if host == "az-1" else None, False),
    ],
    ids=["whole", "one is left out", "one failed"],
)
def test_only_a_whole_cluster_is_verified_as_one(
    monkeypatch: pytest.MonkeyPatch, left_out: dict[str, str], install: Any, whole: bool
) -> None:
    fleet = {"az-1": "home", "az-2": "home"}
    stage, program = staged(monkeypatch, does={"install": install}, fleet=fleet, left_out=left_out)
    program.play(deploy.deploy)
    assert stage.given["verify"]["may_end_alarm"] is whole
