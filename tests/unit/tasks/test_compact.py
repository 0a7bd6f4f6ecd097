"""History is compacted at most once, and waited for until it is out of every member's database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.space import Means
from etcdfleet.host.facts import FileFacts
from etcdfleet.remote import CommandResult
from tasks import compact as module
from tasks.compact import compact, see_means
from tests.unit.host.test_preflight import GOOD
from tests.unit.support.stand_ins import (
    RUNNING,
    Clock,
    Place,
    Scripted,
    carry_out,
    healths,
    member_list,
    seen,
    statuses,
)

MIB = 1 << 20


def used(*mib: int) -> str:
    told = json.loads(statuses(1, 2, 3))
    for one, size in zip(told, mib, strict=True):
        one["Status"] |= {"dbSize": 200 * MIB, "dbSizeInUse": size * MIB}
    return json.dumps(told)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "still_ours", lambda _: None)
    return clock


def host(answer: Any = "compacted revision 21", *looks: str) -> Scripted:
    return Scripted(
        {
            " compact": answer,
            "endpoint status": list(looks) or used(50, 50, 50),
            "member list": member_list(),
            "endpoint health": healths(1, 2, 3),
        }
    )


def asked(here: Scripted) -> list[str]:
    return [script for script in here.sent if " compact" in script]


def test_up_to_the_current_revision_with_time_by_size() -> None:
    here = host()
    outcome = carry_out(compact, Place(here, seen(RUNNING))).result
    assert outcome.changes == ("history up to revision 21 is compacted",)
    (script,) = asked(here)
    assert "compact --physical 21" in script
    assert "--endpoints=https://127.0.0.1:2379 " in script
    assert "--command-timeout=160s" in script


def test_every_member_is_waited_for(clock: Clock) -> None:
    looks = [used(50, 90, 90), used(50, 90, 90), used(50, 90, 90), used(50, 80, 90), used(50, 80, 90), used(50, 20, 90),
             used(50, 20, 90), used(50, 20, 30)]  # fmt: skip
    carry_out(compact, Place(host("done", *looks), seen(RUNNING)))
    assert clock.now >= 1008


@pytest.mark.parametrize(("late", "seconds"), [(180, 14), (70, 6)])
def test_a_member_that_has_not_begun_is_waited_for(clock: Clock, late: int, seconds: int) -> None:
    """One that holds a little more may be fragmented, and has nothing left to take out."""
    began = clock.now
    carry_out(compact, Place(host("done", *[used(50, late, 50)] * 9, used(50, 50, 50)), seen(RUNNING)))
    assert clock.now - began == seconds


def test_a_member_that_never_begins_is_not_waited_for_for_ever(clock: Clock) -> None:
    began = clock.now
    carry_out(compact, Place(host("done", used(50, 180, 50)), seen(RUNNING)))
    assert 120 <= clock.now - began < 130


def test_what_was_compacted_already_is_done() -> None:
    said = CommandResult(1, "", "Error: etcdserver: mvcc: required revision has been compacted")
    outcome = carry_out(compact, Place(host(said), seen(RUNNING))).result
    assert (outcome.summary, outcome.changes) == ("was compacted already", ())


@pytest.mark.parametrize("words", ["context deadline exceeded", "etcdserver: permission denied"])
def test_any_other_refusal_is_a_failure(words: str) -> None:
    error = carry_out(compact, Place(host(CommandResult(1, "", words)), seen(RUNNING))).exception
    assert isinstance(error, VerificationError)
    assert words in error.what


def test_a_silent_member_and_check_ask_for_nothing() -> None:
    here = host("done", "[]")
    assert "does not answer" in str(carry_out(compact, Place(here, seen(RUNNING))).exception)
    also = host()
    assert carry_out(compact, Place(also, seen(RUNNING)), check=True).result.changes
    assert asked(here) + asked(also) == []


@pytest.mark.parametrize(
    ("quota", "pending", "found"),
    [
        (9_000_000, "", 9_000_000),
        (2 << 30, "", 2 << 30),
        # The file is newer than the start: what runs may be either.
        (2 << 30, "changed", 1 << 30),
        (9_000_000, "changed", 9_000_000),
        (None, "", 1 << 30),
    ],
)
def test_the_quota_that_counts_is_the_one_that_runs(quota: int | None, pending: str, found: int) -> None:
    conf = FileFacts(f"quota-backend-bytes: {quota}\n".encode() if quota else b"", 0o644, "root", "root")
    here = Scripted({"db.tmp": "memory 2048\nfree 4096\n"})
    observed = seen(RUNNING, files=dict(GOOD.files) | {"/etc/etcd/conf.yml": conf}, restart_pending=pending)
    means = carry_out(see_means, Place(here, observed)).result
    assert isinstance(means, Means)
    assert (means.quota_bytes, means.wanted_bytes) == (found, 1 << 30)
    assert (means.room.free_bytes, means.room.memory_bytes) == (4 * MIB, 2 * MIB)
