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
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import defragment, full, lock, members, repair
from plays.options import RepairOptions
from tests.unit.etcd import test_replacement as table
from tests.unit.etcd.test_defragmentation import FREE, MIB, WIDE, sized, three
from tests.unit.etcd.test_space import MEANS, SIZES
from tests.unit.etcd.test_space import full as full_cluster
from tests.unit.plays.test_replace_member import SAVED
from tests.unit.support.fake_run import Stage, program_of, run_of, statuses

ALL = ("h1", "h2", "h3")
STEPS = ("snapshot", "compact", "defragment", "alarm", "verify")
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
    }
    for name, what in (usual | (does or {})).items():
        for module in (members, defragment, full, repair):
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


@pytest.mark.parametrize(
    ("cluster", "what", "remedy"),
    [
        (three(*(replace(one, errors=CORRUPT) for one in FREE)), "alarm CORRUPT", "replace_member.py HOST"),
        (
            three(*(replace(one, errors=NOSPACE + CORRUPT) for one in FREE)),
            "alarm CORRUPT",
            "deal with the alarm CORRUPT first",
        ),
        (three(replace(FREE[0], revision=1), *FREE[1:]), "m1 does not hold what the majority", "_member.py h1 ("),
    ],
)
def test_data_that_differ_are_left_to_a_person(monkeypatch: Any, cluster: Cluster, what: str, remedy: str) -> None:
    stage, program = staged(monkeypatch, cluster, yes=True)
    with pytest.raises(LeftError):
        repair.repair(run_of(program))
    assert set(stage.names) == {"see_cluster"}
    (found,) = program.record.record.protections
    assert what in found.what
    assert remedy in found.remedy
    assert program.record.finish().exit_code == ExitCode.PROTECTED


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
    return [name for name in stage.names if name not in ("see_cluster", "see_room", "see_means", "noted")]


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
