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
from plays import defragment, lock, members, repair
from plays.options import RepairOptions
from tests.unit.etcd import test_replacement as table
from tests.unit.etcd.test_defragmentation import FREE, MIB, WIDE, sized, three
from tests.unit.support.fake_run import Stage, program_of, run_of, statuses

ALL = ("h1", "h2", "h3")
STEPS = ("defragment", "verify")
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
    }
    for name, what in (usual | (does or {})).items():
        for module in (members, defragment, repair):
            if hasattr(module, name) and callable(getattr(module, name)):
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
        (three(*(replace(one, errors=CORRUPT) for one in FREE)), "alarm CORRUPT", "deal with the alarm CORRUPT first"),
        (three(*(replace(one, errors=NOSPACE + CORRUPT) for one in FREE)), "alarm CORRUPT", "replace_member.py"),
        (three(replace(FREE[0], revision=1), *FREE[1:]), "m1 does not hold what the majority holds", "replace"),
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
