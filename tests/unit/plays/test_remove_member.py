"""A member leaves: the snapshot, the list, its host, in this order; and what was done is not done again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.etcd.cluster import Cluster
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import lock, members, remove_member
from plays.options import RemoveOptions
from tests.unit.etcd import test_replacement as table
from tests.unit.plays.test_replace_member import SAVED
from tests.unit.support.fake_run import Stage, program_of, run_of

STEPS = ("snapshot", "member", "retire", "revoke", "verify")
LEFT = table.REMOVED


def staged(
    monkeypatch: pytest.MonkeyPatch,
    *looks: Cluster,
    own: RemoveOptions | None = None,
    revoke: bool = False,
    does: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    """The cluster as it is seen, before and after; the host h1 is to go."""
    stage, coming = Stage(monkeypatch), list(looks)

    def then(_: str) -> str:
        coming.pop(0)
        return ""

    usual: dict[str, Any] = {
        "see_cluster": lambda _: coming[0],
        "save_snapshot": SAVED,
        "remove_entry": then,
        "noted": None,
        "read_place": table.OLD,
        "retire": StepOutcome("stopped for good", ("stopped",)),
        "revoke_replaced": None,
        "refresh_crl": None,
        "note_members": True,
    }
    for name, what in (usual | (does or {})).items():
        for module in (members, remove_member):
            if hasattr(module, name):
                stage.put(module, name, what)
    monkeypatch.setattr(lock, "take", lambda _: None)
    monkeypatch.setattr(remove_member, "time", SimpleNamespace(monotonic=iter(range(0, 9999, 15)).__next__, sleep=id))
    own = own or RemoveOptions(target="h1", snapshot_dir=Path("/s"))
    pki, backup = SimpleNamespace(revoke=revoke, crl=revoke), SimpleNamespace(folder=None)
    chosen, others = ({"h2": "home", "h3": "home"}, {}) if own.gone else ({"h1": "home"}, {"h2": "home", "h3": "home"})
    program = program_of(
        own,
        fleet=chosen,
        left_out=others,
        member=lambda host: SimpleNamespace(
            name=host, member=SimpleNamespace(name=host.replace("h", "m")), pki=pki, backup=backup
        ),
        steps=STEPS,
        **{"yes": True, **options},
    )
    return stage, program


def done(stage: Stage) -> list[tuple[str, str]]:
    """What was done, and on which host; without the looks."""
    return [
        (name, host) for name, host in stage.ran if name not in ("see_cluster", "noted", "read_place", "note_members")
    ]


def test_a_member_leaves_and_nothing_of_it_starts_again(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, table.WELL, LEFT)
    remove_member.remove(run_of(program))
    assert done(stage) == [("save_snapshot", "h2"), ("remove_entry", "h2"), ("retire", "h1")]
    assert stage.given["retire"] == {"revoke": False}
    assert program.record.finish().exit_code == ExitCode.OK


@pytest.mark.parametrize("own", [None, RemoveOptions(gone="m1")])
def test_those_that_are_left_note_who_the_members_are_now(monkeypatch: Any, own: RemoveOptions | None) -> None:
    stage, program = staged(monkeypatch, table.WELL, LEFT, own=own)
    remove_member.remove(run_of(program))
    names = [name for name, _ in stage.ran]
    assert [host for name, host in stage.ran if name == "note_members"] == ["h2", "h3"]
    assert names.index("note_members") > names.index("remove_entry")


def test_its_certificates_are_revoked_where_the_inventory_says_so(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, table.WELL, LEFT, revoke=True)
    remove_member.remove(run_of(program))
    assert done(stage)[2:] == [
        ("retire", "h1"),
        ("revoke_replaced", "h1"),
        ("refresh_crl", "h2"),
        ("refresh_crl", "h3"),
    ]
    assert stage.given["retire"] == {"revoke": True}


def test_a_run_that_was_ended_after_the_removal_is_finished(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, LEFT)
    remove_member.remove(run_of(program))
    assert done(stage) == [("retire", "h1")]


def test_a_member_whose_host_is_gone_is_removed_by_its_name(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, table.LOST, LEFT, own=RemoveOptions(gone="m1"))
    remove_member.remove(run_of(program))
    assert done(stage) == [("save_snapshot", "h2"), ("remove_entry", "h2")]
    stage, program = staged(monkeypatch, LEFT, own=RemoveOptions(gone="m1"))
    remove_member.remove(run_of(program))
    assert done(stage) == []
    assert program.record.finish().exit_code == ExitCode.OK


def test_it_is_asked_before_and_a_no_changes_nothing(monkeypatch: Any) -> None:
    for looks in ([table.WELL], [LEFT]):
        stage, program = staged(monkeypatch, *looks, yes=False, answer=False)
        with pytest.raises(LeftError):
            remove_member.remove(run_of(program))
        assert done(stage) == []
        (question,) = program.terminal.asked  # type: ignore[attr-defined]
        assert ("two members are left" in question) is (looks == [table.WELL])


def test_check_says_it_and_does_nothing(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, table.WELL, check=True)
    with pytest.raises(LeftError):
        remove_member.remove(run_of(program))
    assert done(stage) == []
    assert "member m1 (1) is removed" in str(program.record.record.warnings)


def test_a_host_that_cannot_be_read_keeps_its_member(monkeypatch: Any) -> None:
    stage, program = staged(monkeypatch, table.WELL, does={"read_place": RuntimeError("no route")})
    with pytest.raises(LeftError):
        remove_member.remove(run_of(program))
    assert done(stage) == []
    assert "remove_member.py --gone m1 --cluster home" in program.record.record.protections[0].remedy


def test_those_that_are_left_must_be_well_in_the_end(monkeypatch: Any) -> None:
    sick = table.cluster(table.entry(2), table.entry(3), answering=table.OTHERS, sick=(3,))
    _, program = staged(monkeypatch, table.WELL, sick)
    with pytest.raises(LeftError):
        remove_member.remove(run_of(program))
    assert "m3: too slow" in program.record.record.protections[0].what
