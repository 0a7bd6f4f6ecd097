"""A repair looks at the whole cluster, mends the worst first, and touches nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.defragmentation import Room
from etcdfleet.etcd.replacement import Place
from etcdfleet.etcd.wal import DataIds
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import corrupt, defragment, full, lock, members, repair, replace_member
from plays.options import RepairOptions
from tests.unit.etcd import test_replacement as table
from tests.unit.etcd.test_corruption import seen
from tests.unit.etcd.test_defragmentation import FREE, MIB, WIDE, sized, three
from tests.unit.etcd.test_space import MEANS, SIZES
from tests.unit.etcd.test_space import full as full_cluster
from tests.unit.plays.test_replace_member import SAVED
from tests.unit.support.fake_run import Stage, program_of, run_of, statuses

ALL = ("h1", "h2", "h3")
STEPS = (
    "snapshot", "compact", "defragment", "member", "alarm", "install", "certificates", "configure", "start", "verify"
)  # fmt: skip
DONE = StepOutcome("200 MiB became 50 MiB in 3.1s", ("defragmented",))


def staged(
    monkeypatch: pytest.MonkeyPatch,
    cluster: Cluster,
    *,
    chosen: tuple[str, ...] = ALL,
    size: int = 3,
    own: RepairOptions | None = None,
    does: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    """A cluster on three hosts, of which some are chosen. In the last look at it, all is as in the first one."""
    stage = Stage(monkeypatch)
    usual: dict[str, Any] = {
        "see_cluster": cluster,
        "see_room": WIDE,
        "await_copy": None,
        "defragment": DONE,
        "verify": None,
        "see_means": MEANS,
        "save_snapshot": SAVED,
        "compact": StepOutcome("compacted", ("compacted",)),
        "end_alarm": StepOutcome("writes are taken again", ("ended",)),
        "see_hashes": seen(7, 7, 7),
        "read_place": HELD,
        "set_aside": StepOutcome("old data are kept", ("moved",)),
        "end_corrupt_alarm": StepOutcome("no alarm is raised any more", ("ended",)),
    }
    for name, what in (usual | (does or {})).items():
        for module in (members, corrupt, defragment, full, repair):
            if callable(getattr(module, name, None)):
                stage.put(module, name, what)
    monkeypatch.setattr(lock, "take", lambda _: None)
    program = program_of(
        own or RepairOptions(),
        fleet=dict.fromkeys(chosen, "home"),
        left_out={host: "home" for host in ALL[:size] if host not in chosen},
        member=lambda host: SimpleNamespace(
            name=host,
            member=SimpleNamespace(name=host.replace("h", "m")),
            cluster=SimpleNamespace(name="home", quota_bytes=1 << 30),
            backup=SimpleNamespace(folder="/backups"),
            repair=SimpleNamespace(defragment_free_percent=50, defragment_free_bytes=64 * MIB),
        ),
        steps=STEPS,
        **options,
    )
    return stage, program


def carried_out(stage: Stage, program: Program[Any]) -> list[str]:
    """The hosts that were defragmented, in order."""
    repair.repair(run_of(program))
    return stage.hosts("defragment")


def test_the_leader_is_the_last_and_all_are_verified(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, three(*FREE))
    assert carried_out(stage, program) == ["h1", "h3", "h2"]
    assert stage.hosts("verify") == list(ALL)
    assert program.record.finish().exit_code == ExitCode.OK


def test_nothing_to_do_is_said_of_each_and_nothing_is_verified(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, three(*(sized(number, 30, 20) for number in (1, 2, 3))))
    assert carried_out(stage, program) == []
    assert stage.hosts("verify") == []
    found = program.record.record.hosts["h1"].steps["defragment"]
    assert "10 MiB of 30 MiB are free (33 %), less than 64 MiB" in found.summary
    assert program.record.finish().exit_code == ExitCode.OK


def test_the_first_that_fails_is_the_last_that_is_touched(monkeypatch: Any) -> None:
    fails: Callable[[str], Any] = lambda host: VerificationError("it hangs") if host == "h3" else DONE  # noqa: E731
    stage, program = staged(monkeypatch, three(*FREE), does={"defragment": fails})
    assert carried_out(stage, program) == ["h1", "h3"]
    assert statuses(program, "h2")["defragment"] == "skipped"
    assert "h3" in str(program.record.record.hosts["h2"].steps["defragment"])
    assert program.record.finish().exit_code == ExitCode.FAILED


def test_only_chosen_hosts_are_touched_and_all_are_looked_at(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, three(*FREE), chosen=("h2",))
    assert carried_out(stage, program) == ["h2"]
    stage, program = staged(monkeypatch, three(*FREE, sick=(3,)), chosen=("h2",))
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert "defragment" not in stage.names
    assert "m3 is not healthy" in program.record.record.protections[0].what


def test_a_disk_without_room_is_a_failure_of_that_host_alone(monkeypatch: Any) -> None:
    room: Callable[[str], Room] = lambda host: Room(MIB) if host == "h1" else WIDE  # noqa: E731
    stage, program = staged(monkeypatch, three(*FREE), does={"see_room": room})
    assert carried_out(stage, program) == ["h3", "h2"]
    assert statuses(program, "h1")["defragment"] == "failed"
    assert program.record.finish().exit_code == ExitCode.FAILED


def test_one_that_is_under_way_is_waited_for(monkeypatch: Any) -> None:
    looks = {"h1": [Room(1 << 30, copying=5), WIDE]}
    room: Callable[[str], Room] = lambda host: looks[host].pop(0) if looks.get(host) else WIDE  # noqa: E731
    stage, program = staged(monkeypatch, three(*FREE), does={"see_room": room})
    assert carried_out(stage, program) == ["h1", "h3", "h2"]
    assert stage.hosts("await_copy") == ["h1"]
    assert stage.names.index("await_copy") < stage.names.index("see_cluster", stage.names.index("see_cluster") + 1)


NOSPACE, CORRUPT = ("memberID:1 alarm:NOSPACE",), ("memberID:1 alarm:CORRUPT",)


EQUAL, OTHER = seen(7, 7, 7), seen(9, 7, 7)
"""What members hold by hash; in the second one, m1 holds other data."""
HELD, ASIDE = (
    Place("h1", table.EXPECTED[0], data=DataIds(1, table.CLUSTER_ID), marked=True, running=True),
    Place("h1", table.EXPECTED[0], removed=True),
)
REPLACED = ["save_snapshot", "set_aside", "bring_in", "verify"]
WITH_ALARM = ["save_snapshot", "set_aside", "end_corrupt_alarm", "bring_in", "verify"]


def corrupted(cluster: Cluster) -> Cluster:
    return replace(cluster, statuses=tuple(replace(one, errors=CORRUPT) for one in cluster.statuses))


def differing(
    monkeypatch: pytest.MonkeyPatch,
    before: Cluster,
    *,
    place: Place = HELD,
    alarm: bool = False,
    after: Cluster = EQUAL,
    **how: Any,
) -> tuple[Stage, Program[Any]]:
    """Members of which one holds other data, until it is replaced."""
    stage: Stage
    done: list[str] = []

    def hashes(_: str) -> Cluster:
        return after if done else before

    look = corrupted(three(*FREE)) if alarm else three(*FREE)
    does = {"see_hashes": hashes, "read_place": place, **how.pop("does", {})}
    stage, program = staged(monkeypatch, look, does=does, **how)

    def bring_in(run: Any, folder: Any) -> bool:
        stage.ran.append(("bring_in", run.hosts[0]))
        done.append(str(folder))
        return True

    monkeypatch.setattr(replace_member, "bring_in", bring_in)
    return stage, program


@pytest.mark.parametrize(("alarm", "steps"), [(False, REPLACED), (True, WITH_ALARM)])
def test_a_member_with_other_data_is_replaced(monkeypatch: Any, alarm: bool, steps: list[str]) -> None:
    stage, program = differing(monkeypatch, OTHER, alarm=alarm, yes=True)
    repair.repair(run_of(program))
    assert course(stage) == steps
    assert (stage.hosts("set_aside"), stage.hosts("bring_in")) == (["h1"], ["h1"])
    assert stage.hosts("save_snapshot") == ["h2"], "of the leader, whose data are right"
    assert stage.hosts("end_corrupt_alarm") == (["h2"] if alarm else [])
    assert program.record.finish().exit_code == ExitCode.OK


def test_a_replacement_that_was_ended_goes_on(monkeypatch: Any) -> None:
    """Its data are aside, and it is silent by that; with the alarm still there, and without."""
    for alarm in (True, False):
        stage, program = differing(monkeypatch, seen(None, 7, 7), place=ASIDE, alarm=alarm, yes=True)
        repair.repair(run_of(program))
        assert course(stage) == [step for step in (WITH_ALARM if alarm else REPLACED) if step != "set_aside"]


def test_a_silent_member_is_not_taken_for_one_with_other_data(monkeypatch: Any) -> None:
    stage, program = differing(monkeypatch, seen(None, 7, 7), yes=True)
    assert carried_out(stage, program) == ["h1", "h3", "h2"], "what else there is to be done"
    assert "bring_in" not in course(stage)


def test_an_alarm_alone_is_ended_after_a_yes(monkeypatch: Any) -> None:
    stage, program = differing(monkeypatch, EQUAL, alarm=True, answer=True)
    repair.repair(run_of(program))
    assert course(stage) == ["save_snapshot", "end_corrupt_alarm", "verify"]
    (asked,) = program.terminal.asked  # type: ignore[attr-defined]
    assert "m1, m2 and m3 hold the same data: the alarm CORRUPT is ended" in asked


@pytest.mark.parametrize(
    ("before", "how", "what"),
    [
        (seen(7, 8, 9), {"yes": True}, "no majority"),
        (seen(7, 8, 9), {"yes": True, "alarm": True}, "no majority"),
        (seen(0, 0, 0), {"yes": True, "alarm": True}, "no majority"),
        (OTHER, {"chosen": ("h2", "h3"), "yes": True}, "m1 does not hold what the majority holds"),
        (OTHER, {"answer": False}, "not confirmed"),
        (OTHER, {}, "not confirmed"),
        (OTHER, {"yes": True, "does": {"save_snapshot": "h2: the disk is full"}}, "no snapshot could be taken"),
    ],
)
def test_nothing_is_touched_where_it_may_not_be(monkeypatch: Any, before: Cluster, how: Any, what: str) -> None:
    stage, program = differing(monkeypatch, before, **how)
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert set(course(stage)) <= {"save_snapshot"}
    assert what in program.record.record.protections[0].what
    assert program.record.finish().exit_code == ExitCode.PROTECTED


def test_looks_that_say_different_things_are_no_verdict(monkeypatch: Any) -> None:
    stage, program = differing(monkeypatch, OTHER, yes=True, does={"see_hashes": looks(OTHER, seen(7, 9, 7))})
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == []
    assert "changes from one look to the next" in program.record.record.protections[0].what


def test_one_that_still_differs_after_all_is_said(monkeypatch: Any) -> None:
    _, program = differing(monkeypatch, OTHER, after=OTHER, yes=True)
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert "m1 does not hold what the others hold" in program.record.record.protections[0].what


def test_the_alarm_stays_where_the_bad_one_could_not_be_stopped(monkeypatch: Any) -> None:
    stage, program = differing(
        monkeypatch, OTHER, alarm=True, yes=True, does={"set_aside": VerificationError("it hangs")}
    )
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == ["save_snapshot", "set_aside"]
    stage, program = differing(
        monkeypatch, OTHER, alarm=True, yes=True, does={"end_corrupt_alarm": VerificationError("no")}
    )
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == WITH_ALARM[:3]


def test_what_would_be_done_about_data_that_differ(monkeypatch: Any) -> None:
    stage, program = differing(monkeypatch, OTHER, check=True)
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == []
    assert "m1 on h1 does not hold what the majority holds" in str(program.record.record.warnings)


@pytest.mark.parametrize("only", ["space", "defragment"])
def test_other_repairs_leave_data_that_differ_alone(monkeypatch: Any, only: Any) -> None:
    for look in (corrupted(three(*FREE)), three(replace(FREE[0], revision=1), *FREE[1:])):
        stage, program = staged(monkeypatch, look, own=RepairOptions(only=only), yes=True)
        with pytest.raises(LeftError):
            repair.repair(run_of(program))
        assert course(stage) == []
        assert program.record.record.protections[0].remedy == "python runbooks/repair.py --cluster home"


def test_a_timer_compares_no_hashes(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, three(*FREE), own=RepairOptions(only="defragment"))
    assert carried_out(stage, program) == ["h1", "h3", "h2"]
    assert "see_hashes" not in stage.names


@pytest.mark.parametrize(("how", "done"), [({"answer": True}, True), ({"answer": False}, False), ({"yes": True}, True)])
def test_the_only_member_is_asked_for(monkeypatch: Any, how: dict[str, Any], done: bool) -> None:
    alone = table.cluster(table.entry(1), answering=(sized(1, 200, 50, leader=1),), size=1)
    stage, program = staged(monkeypatch, alone, chosen=("h1",), size=1, **how)
    if done:
        assert carried_out(stage, program) == ["h1"]
        return
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert "defragment" not in stage.names
    assert "clients wait" in program.record.record.protections[0].what


def test_with_check_the_lock_is_not_needed_and_nothing_verified(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, three(*FREE), check=True)
    assert carried_out(stage, program) == ["h1", "h3", "h2"], "each says what it would free"
    assert stage.hosts("verify") == []


ROOMY = ((20, 20), (20, 20), (20, 20))


def looks(*clusters: Cluster) -> Callable[[str], Cluster]:
    """One look after the other; the last one for ever."""
    left = list(clusters)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def course(stage: Stage) -> list[str]:
    """What was done, without the looks."""
    return [
        name
        for name in stage.names
        if name not in ("see_cluster", "see_room", "see_means", "see_hashes", "read_place", "noted")
    ]


FULL_COURSE = ["save_snapshot", "compact", "defragment", "end_alarm", "verify"]


def test_a_full_database_takes_writes_again(monkeypatch: Any) -> None:
    seen = looks(full_cluster(*SIZES), full_cluster((64, 20), (64, 20), (64, 20)), full_cluster(*ROOMY))
    stage, program = staged(monkeypatch, seen, yes=True)  # type: ignore[arg-type]
    assert carried_out(stage, program) == ["h1", "h3", "h2"]
    assert course(stage) == FULL_COURSE
    assert (stage.hosts("compact"), stage.hosts("end_alarm")) == (["h1"], ["h1"])
    assert stage.given["end_alarm"]["quota"] == 64 * MIB
    assert len(stage.given["end_alarm"]["token"]) == 12
    assert program.record.finish().exit_code == ExitCode.OK


@pytest.mark.parametrize("fails", FULL_COURSE[1:4])
def test_the_alarm_stays_until_all_before_it_is_done(monkeypatch: Any, fails: str) -> None:
    seen = looks(full_cluster(*SIZES), full_cluster((64, 20), (64, 20), (64, 20)), full_cluster(*ROOMY))
    stage, program = staged(monkeypatch, seen, yes=True, does={fails: VerificationError("it fails")})  # type: ignore[arg-type]
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == FULL_COURSE[: FULL_COURSE.index(fails) + 1]
    assert program.record.finish().exit_code == ExitCode.FAILED


def test_without_a_snapshot_or_a_yes_nothing_is_taken_away(monkeypatch: Any) -> None:
    for how in ({"does": {"save_snapshot": "h1: the disk is full"}, "yes": True}, {"answer": False}, {}):
        stage, program = staged(monkeypatch, full_cluster(*SIZES), **how)
        with pytest.raises(LeftError):
            repair.repair(run_of(program))
        assert set(course(stage)) <= {"save_snapshot"}
        assert program.record.finish().exit_code == ExitCode.PROTECTED


def test_the_question_says_what_is_lost(monkeypatch: Any) -> None:
    seen = looks(full_cluster(*SIZES), full_cluster(*ROOMY))
    _, program = staged(monkeypatch, seen, answer=True)  # type: ignore[arg-type]
    repair.repair(run_of(program))
    (asked,) = program.terminal.asked  # type: ignore[attr-defined]
    assert "what keys were before revision 50 is taken away" in asked


def test_a_run_that_was_ended_goes_on_where_it_was(monkeypatch: Any) -> None:
    """Compacted already: what is in use is small by then. Or all is done but for the alarm."""
    small = full_cluster((64, 20), (20, 20), (64, 20))
    stage, program = staged(monkeypatch, looks(small, small, full_cluster(*ROOMY)), yes=True)  # type: ignore[arg-type]
    assert carried_out(stage, program) == ["h1", "h3"]
    assert course(stage) == ["save_snapshot", "defragment", "end_alarm", "verify"]
    stage, program = staged(monkeypatch, full_cluster(*ROOMY))
    assert carried_out(stage, program) == []
    assert course(stage) == ["end_alarm", "verify"], "nothing is asked, nothing is taken away"


def test_data_that_do_not_fit_keep_the_alarm(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, full_cluster((64, 63), (64, 63), (64, 63)), yes=True)
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == ["save_snapshot", "compact", "defragment"]
    (found,) = program.record.record.protections
    assert "raise cluster.quota_bytes to 128MiB" in found.remedy


def test_a_part_of_a_full_cluster_is_not_repaired(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, full_cluster(*SIZES), chosen=("h1", "h2"), yes=True)
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == []
    assert "m3 takes no part" in program.record.record.protections[0].what


def test_a_timer_leaves_a_full_database_to_a_person(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, full_cluster(*SIZES), own=RepairOptions(only="defragment"), yes=True)
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == []
    assert program.record.record.protections[0].remedy == "python runbooks/repair.py --cluster home"


def test_only_full_databases(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, three(*FREE), own=RepairOptions(only="space"))
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert course(stage) == []
    assert program.record.finish().exit_code == ExitCode.OK


@pytest.mark.parametrize(("sizes", "says"), [(SIZES, ["compact", "end_alarm"]), (ROOMY, ["end_alarm"])])
def test_what_would_be_done_about_a_full_database(monkeypatch: Any, sizes: Any, says: list[str]) -> None:
    stage, program = staged(monkeypatch, full_cluster(*sizes), check=True)
    repair.repair(run_of(program))
    assert course(stage) == says, "they say it themselves"
    assert ("revision 50" in str(program.record.record.warnings)) == (sizes == SIZES)
