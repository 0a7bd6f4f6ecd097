"""One member is defragmented, at most once, and waited for; a leader hands over before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etcdfleet.errors import ProtectionError, RemoteError, VerificationError
from etcdfleet.remote import CommandResult
from tasks import defragment as module
from tasks.defragment import await_copy, defragment
from tests.unit.support.site import settings
from tests.unit.support.stand_ins import (
    RUNNING,
    Answers,
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
ROOM = "free 4000000\n"
TIMED_OUT = CommandResult(1, "", "Failed to defragment etcd member[127.0.0.1] (context deadline exceeded)")


def sized(size: int, used: int, *, leader: int = 2, sick: bool = False) -> str:
    told = json.loads(statuses(1, 2, 3, leader=leader) if not sick else statuses(1, leader=leader))
    for one in told:
        one["Status"] |= {"dbSize": size * MIB, "dbSizeInUse": used * MIB}
    return json.dumps(told)


LARGE, SMALL = sized(200, 50), sized(51, 50)


def host(**answers: Any) -> Scripted:
    """az-1, which becomes smaller once it was asked to defragment."""
    small = answers.pop("small", SMALL)
    here: Scripted

    def status() -> Any:
        return small if here.was_sent(" defrag") else LARGE

    usual: dict[str, Answers] = {
        "endpoint status": status,
        "member list": member_list(),
        "endpoint health": healths(1, 2, 3),
        "db.tmp": ROOM,
        " defrag": "Finished defragmenting etcd member",
    }
    here = Scripted(usual | {name.replace("_", " "): answer for name, answer in answers.items()})
    return here


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "still_ours", lambda _: None)
    return clock


def run(here: Scripted, **how: Any) -> Any:
    return carry_out(defragment, Place(here, seen(RUNNING), of=settings(1)), **how)


def asked(here: Scripted) -> list[str]:
    return [script for script in here.sent if " defrag" in script]


def test_it_is_defragmented_once_through_its_own_endpoint_with_time_by_size() -> None:
    here = host()
    outcome = run(here).result
    assert outcome.facts["db_size_before_bytes"] == 200 * MIB
    assert outcome.facts["db_size_bytes"] == 51 * MIB
    assert "200 MiB became 51 MiB" in outcome.changes[0]
    (script,) = asked(here)
    assert "--endpoints=https://127.0.0.1:2379 " in script
    assert "--command-timeout=160s" in script
    assert not here.was_sent("move-leader")
    assert not here.was_sent("rm -f")


def test_with_check_nothing_is_asked_for() -> None:
    here = host()
    assert "which frees 150 MiB" in run(here, check=True).result.changes[0]
    assert asked(here) == []


def test_after_a_time_out_it_is_waited_for_and_not_asked_again(clock: Clock) -> None:
    copies = [ROOM, ROOM, "free 1\ncopying 10\n", "free 1\ncopying 20\n", "free 1\ncopying 20\n", ROOM]
    here = host(**{" defrag": TIMED_OUT, "db.tmp": copies})
    outcome = run(here)
    assert not outcome.failed, outcome.exception
    assert len(asked(here)) == 1
    assert clock.now >= 1006


def test_a_copy_that_does_not_grow_is_given_up() -> None:
    here = host(**{" defrag": TIMED_OUT, "db.tmp": [ROOM, ROOM, "free 1\ncopying 10\n"]})
    error = run(here).exception
    assert isinstance(error, VerificationError)
    assert "does not get on" in error.what
    assert len(asked(here)) == 1


def test_a_refusal_is_a_failure_and_a_lost_connection_too() -> None:
    refused = run(host(**{" defrag": CommandResult(1, "", "Error: no space left on device")})).exception
    assert isinstance(refused, VerificationError)
    assert "no space left on device" in refused.what
    lost = run(host(**{" defrag": RemoteError("the SSH connection was lost (x)")})).exception
    assert isinstance(lost, RemoteError)


def test_a_call_that_ssh_gave_up_is_a_time_out() -> None:
    here = host(**{" defrag": RemoteError("a command did not end within 190 s")})
    assert not run(here).failed
    assert len(asked(here)) == 1


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"endpoint_health": healths(1, 2, 3, sick=(3,))}, "az-3 is not healthy"),
        ({"member_list": member_list(3)}, "az-3 has never started"),
        ({"db.tmp": "free 1000\n"}, "its disk has 1.0 MiB free, and 119 MiB are needed"),
        ({"db.tmp": "free 4000000\ncopying 10\n"}, "is being defragmented already"),
    ],
)
def test_it_is_not_touched_unless_all_is_well_right_before(answers: dict[str, Any], why: str) -> None:
    here = host(**answers)
    error = run(here).exception
    assert isinstance(error, ProtectionError)
    assert why in error.what
    assert error.remedy
    assert asked(here) == []


def test_the_leader_hands_over_before() -> None:
    here = host(small=sized(51, 50, leader=3))
    here.answers["endpoint status"] = lambda: sized(
        51 if here.was_sent(" defrag") else 200, 50, leader=3 if here.was_sent("move-leader") else 1
    )
    here.answers["move-leader"] = "Leadership transferred"
    outcome = run(here)
    assert "leadership moves to az-" in outcome.result.changes[0]
    order = [next(word for word in ("move-leader", " defrag") if word in one) for one in here.sent
             if "move-leader" in one or " defrag" in one]  # fmt: skip
    assert order == ["move-leader", " defrag"]


def test_a_leader_that_stays_is_not_touched() -> None:
    here = host()
    here.answers["endpoint status"] = sized(200, 50, leader=1)
    here.answers["move-leader"] = CommandResult(1, "", "Error: leader transfer timed out")
    error = run(here).exception
    assert isinstance(error, ProtectionError)
    assert "it still leads; Error: leader transfer timed out" in error.what
    assert asked(here) == []


def test_what_was_left_is_removed_before() -> None:
    here = host(**{"db.tmp": "free 4000000\nleft 1048576 /var/lib/etcd/member/snap/db.tmp.12\n"})
    outcome = run(here).result
    assert "1.0 MiB are removed" in outcome.changes[0]
    at = next(
        number for number, script in enumerate(here.sent) if "rm -f /var/lib/etcd/member/snap/db.tmp.12" in script
    )
    assert at < here.sent.index(asked(here)[0])


def test_a_member_that_stays_large_or_away_is_a_failure() -> None:
    assert "still has 200 MiB" in run(host(small=LARGE)).exception.what
    away = run(host(small=sized(51, 50, sick=True))).exception
    assert "after its defragmentation, within 60 s, az-2 does not answer" in away.what


def test_one_that_somebody_else_began_is_waited_for() -> None:
    here = host(**{"db.tmp": ["free 1\ncopying 10\n", "free 1\ncopying 90\n", ROOM]})
    outcome = carry_out(await_copy, Place(here, seen(RUNNING), of=settings(1)))
    assert "has ended" in outcome.result.summary
    assert asked(here) == []
