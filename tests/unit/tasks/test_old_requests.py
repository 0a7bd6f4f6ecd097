"""A raft snapshot behind the requests of the v2 API: what is restarted with what, and what stays on the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from nornir.core.task import Result, Task

from etcdfleet.errors import ProtectionError
from etcdfleet.etcd.v2_entries import V2Entries
from etcdfleet.etcd.v2_residue import Residue
from etcdfleet.host.facts import FileFacts
from etcdfleet.host.paths import CONFIG
from etcdfleet.outcome import done
from tasks import old_requests
from tasks.old_requests import leave_behind
from tests.unit.support.stand_ins import RUNNING, Clock, Place, Scripted, carry_out, error_of, seen

BEFORE = b"name: az-1\nsnapshot-count: 10000\n"
SMALL = b"name: az-1\nsnapshot-count: 1\n"
FOUND = Residue("az-1", 5)


class Host(Scripted):
    """Notes each configuration that was placed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.configurations: list[bytes] = []

    def place(self, files: Any, **how: Any) -> Any:
        self.configurations += [file.content for file in files if file.path == CONFIG]
        return super().place(files, **how)


def go(
    monkeypatch: pytest.MonkeyPatch,
    left: Sequence[int],
    *,
    found: Residue | V2Entries = FOUND,
    error: Exception | None = None,
    **how: Any,
) -> tuple[Host, Result]:
    """Carry it out where this was found; ``left`` are the requests that are seen afterwards, the last for ever."""

    def restart(task: Task) -> Result:
        assert host.configurations == [SMALL]
        if error:
            raise error
        return done(task, "restarted", ["leadership moves to az-2", "etcd is restarted"], facts={"version": "3.5.33"})

    def looks() -> Iterator[int]:
        yield from left
        while True:
            yield left[-1]

    host, look = Host(), looks()
    monkeypatch.setattr(old_requests, "time", Clock())
    monkeypatch.setattr(old_requests, "restart_member", restart)
    monkeypatch.setattr(old_requests, "residue_of", lambda _: Residue("az-1", next(look)))
    monkeypatch.setattr(old_requests, "v2_entries_of", lambda _: V2Entries("az-1", next(look) + 1))
    there = how.pop("there", BEFORE)
    files = {CONFIG: FileFacts(there, 0o644, "root", "root")} if there is not None else {}
    state = seen(RUNNING)
    site = Place(host, replace(state, facts=replace(state.facts, files=files)))
    return host, carry_out(leave_behind, site, left={"az-1": found}, **how)


@pytest.mark.parametrize(("left", "writes"), [([0], 0), ([5, 0], 1), ([5, 5, 2, 0], 3)])
def test_a_snapshot_is_waited_for(monkeypatch: pytest.MonkeyPatch, left: list[int], writes: int) -> None:
    host, result = go(monkeypatch, left)
    assert not result.failed, result.exception
    assert host.configurations == [SMALL, BEFORE]
    assert sum("put /etcdfleet/verify/" in script for script in host.sent) == writes
    assert result.result.changes[-1] == "a raft snapshot is taken: 5 requests of the v2 API lie before it"
    assert any("restart-pending" in script for script in host.sent)


def test_before_3_7_those_of_etcd_itself_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which here one is always left."""
    host, result = go(monkeypatch, [2, 0], found=V2Entries("az-1", 3))
    assert "still holds 1 requests" in error_of(result)
    assert host.configurations == [SMALL, BEFORE]
    assert host.was_sent("put /etcdfleet/verify/written/")
    assert host.was_sent("del /etcdfleet/verify/written/")


def test_requests_that_stay_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    host, result = go(monkeypatch, [5, 3])
    assert "still holds 3 requests" in error_of(result)
    assert host.configurations == [SMALL, BEFORE]


def test_the_configuration_is_put_back_where_the_gate_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    host, result = go(monkeypatch, [5], error=ProtectionError("not restarted, because az-2 is not healthy"))
    assert "az-2 is not healthy" in error_of(result)
    assert host.configurations == [SMALL, BEFORE]


def test_nothing_is_placed_without_a_configuration_or_with_check(monkeypatch: pytest.MonkeyPatch) -> None:
    host, result = go(monkeypatch, [5], there=None)
    assert f"there is no {CONFIG}" in error_of(result)
    assert host.configurations == []
    host, result = go(monkeypatch, [5], check=True)
    assert (result.result.summary, host.configurations, host.sent) == ("would be restarted", [], [])
