"""Hashes are asked for until they can be compared; the alarm CORRUPT is ended through a good member."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.errors import RemoteError, VerificationError
from etcdfleet.remote import CommandResult
from tasks import corruption as module
from tasks.corruption import end_corrupt_alarm, see_hashes
from tests.unit.support.stand_ins import (
    RUNNING,
    Clock,
    Place,
    Scripted,
    carry_out,
    hashes,
    healths,
    member_list,
    seen,
    statuses,
)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "still_ours", lambda _: None)
    return clock


def host(*looks: str) -> Scripted:
    lines = [f"{statuses(1, 2, 3)}\n{look}" for look in looks]
    return Scripted({"endpoint hashkv": lines, "member list": member_list(), "endpoint health": healths(1, 2, 3)})


def test_equal_hashes_are_believed_at_once() -> None:
    here = host(hashes(1, 2, 3))
    cluster = carry_out(see_hashes, Place(here, seen(RUNNING))).result
    assert len({one.hash for one in cluster.hashes}) == 1
    assert len([script for script in here.sent if "endpoint hashkv" in script]) == 1


def test_hashes_that_differ_are_asked_for_again(clock: Clock) -> None:
    here = host(hashes(1, 2, 3, other=[3]), hashes(1, 2, 3, other=[3]), hashes(1, 2, 3))
    assert len({one.hash for one in carry_out(see_hashes, Place(here, seen(RUNNING))).result.hashes}) == 1
    assert clock.now == 1002
    here = host(hashes(1, 2, 3, other=[3]))
    assert len({one.hash for one in carry_out(see_hashes, Place(here, seen(RUNNING))).result.hashes}) == 2


def test_a_host_that_is_not_reached_knows_nothing() -> None:
    here = Scripted({"endpoint hashkv": RemoteError("it is gone")})
    assert carry_out(see_hashes, Place(here, seen(RUNNING))).result.members is None


def ending(*answers: Any, **how: Any) -> tuple[Scripted, Any]:
    here = Scripted({"alarm disarm": list(answers)})
    return here, carry_out(end_corrupt_alarm, Place(here, seen(RUNNING)), **how)


def test_the_alarm_is_ended_once_there_is_a_leader() -> None:
    here, result = ending(CommandResult(1, "", "etcdserver: no leader"), "")
    assert result.result.changes == ("the alarm CORRUPT is ended",)
    assert len(here.sent) == 2
    assert "--endpoints=https://127.0.0.1:2379 " in here.sent[0]


def test_an_alarm_that_stays_is_a_failure_and_check_ends_none() -> None:
    _, result = ending(CommandResult(1, "", "etcdserver: permission denied"))
    assert isinstance(result.exception, VerificationError)
    assert "permission denied" in result.exception.what
    here, result = ending("", check=True)
    assert result.result.changes
    assert here.sent == []
