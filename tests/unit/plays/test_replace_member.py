"""A host becomes a member anew: one step, then another look, whatever a run before has left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.backup.store import Snapshot
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.replacement import Place
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import certificates, lock, members, replace_member, trusted
from plays.options import ReplaceOptions
from tasks.upgrades import VersionsSeen
from tests.unit.etcd import test_replacement as table
from tests.unit.support.fake_run import Stage, program_of, run_of
from tests.unit.support.snapshots import NOTE

HOST = "h1"
SAVED = Snapshot(Path("/s/home.db"), replace(NOTE, size=1 << 20, revision=50))
NOTED = {"cluster_id": 12, "token": "home-2", "restores": 1}
STEPS = ("preflight", "snapshot", "member", "install", "certificates", "configure", "start", "verify")


def staged(
    monkeypatch: pytest.MonkeyPatch,
    *looks: tuple[Place, Cluster],
    own: ReplaceOptions | None = None,
    does: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    """What is seen before each step; the last one stays. ``does`` by the names of tasks."""
    stage, coming = Stage(monkeypatch), list(looks)

    def seen_by(host: str) -> Cluster:
        assert host != HOST
        return coming[0][1]

    def place(_: str) -> Place:
        return coming[0][0]

    def then(_: str) -> Any:
        if len(coming) > 1:
            coming.pop(0)
        return ""

    def aside(host: str) -> Any:
        then(host)
        return StepOutcome("kept", ("moved",))

    usual: dict[str, Any] = {
        "read_place": place,
        "see_cluster": seen_by,
        "save_snapshot": SAVED,
        "remove_entry": then,
        "add_learner": then,
        "set_aside": aside,
        "noted": None,
        "preflight": None,
        "install": None,
        "configure": None,
        "join_member": StepOutcome("is a member with a vote", ("joins",)),
        "note_members": True,
        "read_note": NOTED,
        "trusted_by": {},
        "verify": None,
        "look_at_versions": VersionsSeen(MemberVersion(HOST, brings="3.5.16")),
    }
    for name, what in (usual | (does or {})).items():
        for module in (members, replace_member):
            if hasattr(module, name):
                stage.put(module, name, what)
    monkeypatch.setattr(lock, "take", lambda _: stage.ran.append(("lock", "")))
    monkeypatch.setattr(trusted, "states_of", lambda _: {})
    monkeypatch.setattr(certificates, "place", lambda _: stage.ran.append(("certificates", "")))

    def settings(host: str) -> Any:
        return SimpleNamespace(name=host, member=SimpleNamespace(name=host.replace("h", "m")))

    fleet: dict[str, str] = options.pop("fleet", {HOST: "home"})
    program = program_of(
        own or ReplaceOptions(snapshot_dir=Path("/s")),
        fleet=fleet,
        left_out={host: "home" for host in ("h2", "h3") if host not in fleet},
        member=settings,
        steps=STEPS,
        **{"yes": True, **options},
    )
    return stage, program


def done(stage: Stage) -> list[str]:
    """What was done, without the looks."""
    looks = ("read_place", "see_cluster", "noted", "trusted_by", "lock", "preflight", "look_at_versions", "read_note")
    return [name for name, _ in stage.ran if name not in looks]


JOINING = ["install", "certificates", "configure", "join_member", "note_members", "note_members", "verify"]
WHOLE = [(table.OLD, table.LOST), (table.OLD, table.REMOVED), (table.EMPTY, table.REMOVED), (table.EMPTY, table.ADDED)]


@pytest.mark.parametrize(
    ("at", "steps"),
    [
        (0, ["save_snapshot", "remove_entry", "set_aside", "add_learner", *JOINING]),
        (1, ["save_snapshot", "set_aside", "add_learner", *JOINING]),
        (2, ["save_snapshot", "add_learner", *JOINING]),
        (3, JOINING),
    ],
    ids=["whole", "removed", "set aside", "added"],
)
def test_a_run_goes_on_wherever_one_before_was_ended(monkeypatch: Any, at: int, steps: list[str]) -> None:
    stage, program = staged(monkeypatch, *WHOLE[at:])
    replace_member.replace(run_of(program))
    assert done(stage) == steps
    assert {host for name, host in stage.ran if name in ("remove_entry", "add_learner")} <= {"h2"}
    assert program.record.finish().exit_code == ExitCode.OK


def test_the_snapshot_is_of_the_leader_and_holds_what_it_has(monkeypatch: Any) -> None:
    statuses = tuple(replace(status, leader_id=3) for status in table.LOST.statuses)
    stage, program = staged(monkeypatch, (table.EMPTY, replace(table.LOST, statuses=statuses)), *WHOLE[2:])
    replace_member.replace(run_of(program))
    assert ("save_snapshot", "h3") in stage.ran
    assert stage.given["save_snapshot"] == {"folder": Path("/s"), "least": 100, "purpose": "change"}


def test_a_snapshot_is_tried_on_every_other_host_and_without_one_nothing_is_changed(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, *WHOLE, does={"save_snapshot": lambda host: f"{host}: no room"})
    with pytest.raises(LeftError):
        replace_member.replace(run_of(program))
    assert done(stage) == ["save_snapshot", "save_snapshot"]
    assert "no snapshot could be taken: h2: no room; h3: no room" in program.record.record.protections[0].what
    stage, program = staged(monkeypatch, *WHOLE, does={"save_snapshot": lambda h: "no room" if h == "h2" else SAVED})
    replace_member.replace(run_of(program))
    assert "remove_entry" in done(stage)


def test_nothing_is_changed_without_a_yes(monkeypatch: Any) -> None:
    for answer in (False, None):
        stage, program = staged(monkeypatch, *WHOLE, yes=False, answer=answer)
        with pytest.raises(LeftError):
            replace_member.replace(run_of(program))
        assert done(stage) == []
        assert program.record.finish().exit_code == ExitCode.PROTECTED
        (question,) = program.terminal.asked  # type: ignore[attr-defined]
        assert "member m1 (1) is removed" in question
        assert "although its data lie on h1 (its etcd does not run)" in question


def test_check_says_all_steps_and_changes_nothing(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, *WHOLE, check=True)
    with pytest.raises(LeftError):
        replace_member.replace(run_of(program))
    assert done(stage) == []
    (warning,) = program.record.record.warnings
    assert "is removed from the cluster; what is left of a member on the host is moved aside" in str(warning)


def test_a_healthy_member_is_only_verified(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, (table.NEW, table.JOINED))
    replace_member.replace(run_of(program))
    assert done(stage) == ["verify"]


def test_a_refusal_protects_the_cluster(monkeypatch: Any) -> None:
    alone = table.cluster(*table.FIVE[:3], answering=(table.status(2),))
    stage, program = staged(monkeypatch, (table.EMPTY, alone))
    with pytest.raises(LeftError):
        replace_member.replace(run_of(program))
    assert done(stage) == []
    assert program.record.finish().exit_code == ExitCode.PROTECTED


def test_a_change_that_one_host_refuses_is_sent_by_another(monkeypatch: Any) -> None:
    refused = {"remove_entry": lambda host: f"{host}: etcdserver: unhealthy cluster"}
    stage, program = staged(monkeypatch, *WHOLE, does=refused)
    with pytest.raises(LeftError):
        replace_member.replace(run_of(program))
    assert [host for name, host in stage.ran if name == "remove_entry"] == ["h2", "h3"]
    assert "unhealthy cluster" in program.record.record.protections[0].what


def test_a_host_that_does_not_join_is_left_as_a_learner(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, *WHOLE[3:], does={"join_member": RuntimeError("it does not catch up")})
    with pytest.raises(LeftError, match="run again"):
        replace_member.replace(run_of(program))
    assert "verify" not in done(stage)
    assert program.record.finish().exit_code == ExitCode.FAILED


def test_nothing_begins_where_the_preflight_fails(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, *WHOLE, does={"preflight": RuntimeError("no root")})
    with pytest.raises(LeftError):
        replace_member.replace(run_of(program))
    assert [name for name, _ in stage.ran] == ["preflight"]
    assert stage.given["preflight"] == {"data_may_go": True}


def test_another_minor_version_of_etcd_does_not_join(monkeypatch: Any) -> None:
    brings = {"look_at_versions": VersionsSeen(MemberVersion(HOST, brings="3.6.1"))}
    stage, program = staged(monkeypatch, *WHOLE, does=brings)
    with pytest.raises(LeftError):
        replace_member.replace(run_of(program))
    assert done(stage) == []
    assert "would join with etcd 3.6.1, and the members run 3.5.16" in program.record.record.protections[0].what


def deployed(monkeypatch: Any, *looks: tuple[Place, Cluster], **options: Any) -> tuple[Stage, Program[Any], Any]:
    """A deploy of all three hosts, of which the first may be new; a function that takes it in."""
    stage, program = staged(monkeypatch, *looks, fleet={HOST: "home", "h2": "home", "h3": "home"}, **options)
    mine = stage_place(looks)
    stage.put(replace_member, "read_place", lambda host: mine() if host == HOST else replace(table.OLD, host=host))
    return stage, program, lambda: replace_member.take_in(run_of(program))


def stage_place(looks: Any) -> Any:
    """What lies on the host, as one look after the other has it."""
    return lambda: looks[0][0]


NEW = [(table.EMPTY, table.REMOVED), (table.EMPTY, table.ADDED)]


@pytest.mark.parametrize(
    ("looks", "steps"),
    [
        (NEW, ["save_snapshot", "add_learner", *JOINING[:-1]]),
        (NEW[1:], JOINING[:-1]),
        ([(table.NEW, table.LEARNING)], JOINING[:-1]),
        # What a deploy leaves to replace_member.py, or to its own start.
        ([(table.EMPTY, table.LOST)], []),
        ([(table.OLD, table.REMOVED)], []),
        ([(replace(table.EMPTY, removed=True), table.REMOVED)], []),
        ([(table.MARKED, table.ADDED)], []),
        ([(replace(table.OLD, running=True), table.WELL)], []),
        ([(table.EMPTY, Cluster(no_list="no answer"))], []),
    ],
    ids=["new", "added", "learner", "lost", "old data", "removed", "marker", "well", "no list"],
)
def test_a_deploy_takes_in_what_is_new_without_a_question(monkeypatch: Any, looks: Any, steps: list[str]) -> None:
    stage, program, take_in = deployed(monkeypatch, *looks, yes=False, answer=False)
    take_in()
    assert done(stage) == steps
    assert program.terminal.asked == []  # type: ignore[attr-defined]


def test_a_deploy_that_only_checks_says_who_would_join(monkeypatch: Any) -> None:
    stage, program, take_in = deployed(monkeypatch, *NEW, check=True)
    with pytest.raises(LeftError):
        take_in()
    assert done(stage) == []
    assert "m1 is added as a learner" in str(program.record.record.warnings)


def test_where_the_list_has_a_member_too_many_a_deploy_takes_in_none(monkeypatch: Any) -> None:
    renamed = replace(table.REMOVED, members=table.LOST.members, expected=table.EXPECTED[1:4])
    spare = Place("h1", table.EXPECTED[3])
    stage, _, take_in = deployed(monkeypatch, (spare, renamed))
    take_in()
    assert done(stage) == []


@pytest.mark.parametrize("sick", [False, True])
def test_a_healthy_member_moves_before_the_old_one_is_removed(monkeypatch: Any, sick: bool) -> None:
    """One that is not healthy does not: etcd would refuse to add the other before it is removed."""
    three = table.cluster(*table.FIVE[1:4], answering=tuple(map(table.status, (2, 3, 4))), sick=(4,) if sick else ())
    three = replace(three, expected=table.EXPECTED[:4])
    stage, program = staged(
        monkeypatch,
        (table.EMPTY, three),
        (table.EMPTY, replace(table.ADDED, expected=table.EXPECTED[:4])),
        own=ReplaceOptions(target="h4", to=HOST, snapshot_dir=Path("/s")),
        fleet={HOST: "home", "h4": "home"},
    )
    removed = list[tuple[tuple[str, ...], Path]]()
    monkeypatch.setattr(replace_member, "take_out", lambda run, folder: removed.append((run.hosts, folder)))
    if sick:
        with pytest.raises(LeftError):
            replace_member.move(run_of(program))
        assert done(stage) == []
        assert f"replace_member.py {HOST} --instead-of m4" in program.record.record.protections[0].remedy
    else:
        replace_member.move(run_of(program))
        notes = ["note_members"] * 3
        assert done(stage) == ["save_snapshot", "add_learner", *JOINING[:4], *notes, "verify"]
        assert ("verify", HOST) in stage.ran
        assert removed == [(("h4",), Path("/s"))]
