"""What is started and restarted, in which order, and what stops a cluster before that."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.errors import Refusal, VerificationError
from etcdfleet.etcd.start_model import Bootstrap, Join, Nothing, Plan, Rolling
from etcdfleet.program.run import LeftError, Program, Run
from etcdfleet.report.record.model import ExitCode
from plays import start
from tasks.member import MemberAnswers
from tasks.planning import MemberSeen
from tests.unit.support.fake_run import Stage, program_of, raises, run_of, statuses

ALL = ("az-1", "az-2", "az-3")
FLEET = dict.fromkeys(ALL, "home")
TASKS = ("start_member", "restart_member", "keep_running")


def member(name: str, *, tls: bool = True) -> Any:
    return SimpleNamespace(name=name, cluster=SimpleNamespace(name="home", client_tls=tls))


def seen(scheme: str = "https") -> MemberSeen:
    status: Any = SimpleNamespace(endpoint=f"{scheme}://127.0.0.1:2379", member_id=1, raft_applied=7, revision=7)
    observed: Any = None
    return MemberSeen(observed, MemberAnswers(status, None))


def staged(
    monkeypatch: pytest.MonkeyPatch,
    plans: Sequence[Plan],
    *,
    settled: bool = False,
    fails: str = "",
    scheme: str = "https",
    **options: Any,
) -> tuple[Stage, Run[Any], Program[Any]]:
    """A cluster for which these plans are made, one after the other; ``fails`` is a host that fails each task."""
    stage, left = Stage(monkeypatch), list(plans)
    stage.put(start, "is_settled", settled)
    stage.put(start, "read_member", lambda _host: seen(scheme))
    for task in TASKS:
        stage.put(start, task, lambda host: VerificationError("down") if host == fails else None)
    monkeypatch.setattr(start, "plan_cluster", lambda *_, **__: left.pop(0))
    monkeypatch.setattr(start, "divergence", lambda _: "")
    program = program_of(fleet=options.pop("fleet", FLEET), member=member, steps=("start", "verify"), **options)
    return stage, run_of(program), program


def done(stage: Stage) -> list[tuple[str, list[str]]]:
    """What was done on which hosts. Those that start together do so in no order."""
    return [
        (name, stage.hosts(name) if name == "restart_member" else sorted(stage.hosts(name)))
        for name in dict.fromkeys(stage.names)
        if name in TASKS
    ]


@pytest.mark.parametrize(
    ("plans", "wanted"),
    [
        ([Bootstrap(ALL), Nothing()], [("start_member", [*ALL])]),
        ([Nothing()], [("keep_running", [*ALL])]),
        ([Join(("az-3",)), Nothing()], [("start_member", ["az-3"]), ("keep_running", ["az-1", "az-2"])]),
        ([Rolling(("az-3", "az-1", "az-2"))], [("restart_member", ["az-3", "az-1", "az-2"])]),
        # Whoever is stopped is started first; then the cluster is looked at anew.
        (
            [Rolling(("az-1",), start_first=("az-2",)), Rolling(("az-1",))],
            [("start_member", ["az-2"]), ("restart_member", ["az-1"]), ("keep_running", ["az-3"])],
        ),
        # What was started before others join is noted as complete only at the end.
        (
            [Rolling((), start_first=("az-1", "az-2"), joining=("az-3",)), Join(("az-3",)), Nothing()],
            [("start_member", ["az-1", "az-2", "az-3"]), ("keep_running", ["az-1", "az-2"])],
        ),
    ],
)
def test_what_a_plan_comes_to(
    monkeypatch: pytest.MonkeyPatch, plans: list[Plan], wanted: list[tuple[str, list[str]]]
) -> None:
    stage, run, program = staged(monkeypatch, plans)
    start.bring_up(run)
    assert done(stage) == wanted
    assert program.record.finish().exit_code == ExitCode.OK


def test_a_settled_cluster_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, run, _ = staged(monkeypatch, [], settled=True)
    assert start.look_ahead(run) == frozenset()
    start.bring_up(run)
    assert stage.hosts("read_member") == []
    assert done(stage) == [("keep_running", [*ALL])]


def test_a_failed_restart_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, run, program = staged(monkeypatch, [Rolling(("az-3", "az-1", "az-2"))], fails="az-1")
    start.bring_up(run)
    assert done(stage) == [("restart_member", ["az-3", "az-1"])]
    step = program.record.record.hosts["az-2"].steps["start"]
    assert (str(step.status), step.summary) == ("skipped", "not restarted, since az-1 failed")


@pytest.mark.parametrize(
    ("plan", "fresh", "refused"),
    [
        (Bootstrap(ALL), {*ALL}, False),
        (Join(("az-3",)), set(), False),
        (Refusal("data lost", ("az-1",), "look"), set(), True),
    ],
)
def test_what_is_known_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, fresh: set[str], refused: bool
) -> None:
    _, run, program = staged(monkeypatch, [plan])
    try:
        assert start.look_ahead(run) == fresh
        left = False
    except LeftError:
        left = True
    assert left is refused
    assert [found.what for found in program.record.record.protections] == (["data lost"] if refused else [])


def test_a_refusal_that_follows_from_a_failure_protects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure says why; exit code 3 would send its reader to look for a contradiction."""
    _, run, program = staged(monkeypatch, [Refusal("az-1 is missing", ("az-1",), "look")])
    run.step("install", raises(VerificationError("no room")), on=["az-1"])
    with pytest.raises(LeftError):
        start.bring_up(run)
    assert program.record.record.protections == []
    assert "home is not started without az-1" in program.record.record.hosts["az-2"].steps["start"].summary
    assert program.record.finish().exit_code == ExitCode.FAILED


@pytest.mark.parametrize(("answer", "goes_on"), [(True, True), (False, False), (None, False)])
def test_a_single_member_is_restarted_after_a_yes(
    monkeypatch: pytest.MonkeyPatch, answer: bool | None, goes_on: bool
) -> None:
    stage, run, program = staged(monkeypatch, [Rolling(("az-1",))], fleet={"az-1": "home"}, answer=answer)
    if goes_on:
        start.bring_up(run)
    else:
        with pytest.raises(LeftError):
            start.bring_up(run)
    (question,) = program.terminal.asked  # type: ignore[attr-defined]
    assert "home: while az-1 restarts" in question
    assert stage.hosts("restart_member") == (["az-1"] if goes_on else [])
    assert ["--yes" in found.remedy for found in program.record.record.protections] == ([] if goes_on else [True])
    assert program.record.finish().exit_code == (ExitCode.OK if goes_on else ExitCode.PROTECTED)


def test_another_scheme_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, run, program = staged(monkeypatch, [Rolling(ALL)], scheme="http", answer=False)
    with pytest.raises(LeftError):
        start.bring_up(run)
    assert "need https" in program.terminal.asked[0]  # type: ignore[attr-defined]
    assert done(stage) == []


def test_check_says_what_would_be_restarted_and_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, run, program = staged(monkeypatch, [Nothing()], fleet={"az-1": "home"}, check=True)
    start.bring_up(run, due={"az-1"})
    assert done(stage) == [("restart_member", ["az-1"])]
    assert program.terminal.asked == []  # type: ignore[attr-defined]
    assert "this is asked for" in program.record.record.warnings[0].text


def test_members_without_data_wait_while_trust_is_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, run, _ = staged(monkeypatch, [Bootstrap(ALL)])
    start.bring_up(run, only_restart=True)
    assert stage.hosts("start_member") == []


def test_a_second_round_leaves_alone_what_the_first_has_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, run, program = staged(monkeypatch, [Rolling(ALL), Nothing()])
    start.bring_up(run, only_restart=True)
    start.bring_up(run)
    assert done(stage) == [("restart_member", [*ALL])]
    assert statuses(program, "az-1")["start"] == "ok"
