"""The judge of histories finds each kind of violation that is planted, and nothing in a sound history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.lab.register.history import Call, Stored, gaps, violations

# a writes and swaps k1, b reads it and writes k2; the last write's answer is lost, and it took place.
WRITE = Call("a", "m1", "write", "k1", 1.0, 1.1, "ok", "a-1", 10)
READ = Call("b", "m2", "read", "k1", 1.2, 1.3, "ok", "a-1", 10)
OTHER = Call("b", "m3", "write", "k2", 1.4, 1.6, "ok", "b-1", 11)
SWAP = Call("a", "m2", "swap", "k1", 1.5, 1.7, "ok", "a-2", 12, expected=10)
BEATEN = Call("b", "m2", "swap", "k1", 1.8, 1.9, "refused", "b-2", 12, expected=10)
UNKNOWN = Call("a", "m3", "write", "k1", 2.0, 4.0, "unknown", "a-3")
AFTER = Call("b", "m1", "read", "k1", 4.2, 4.3, "ok", "a-3", 13)
SOUND = (WRITE, READ, OTHER, SWAP, BEATEN, UNKNOWN, AFTER)
HELD = {"k1": Stored("a-3", 13, 3), "k2": Stored("b-1", 11, 1)}
FINALS = {"m1": HELD, "m2": HELD, "m3": HELD}


def same(keys: dict[str, Stored]) -> dict[str, dict[str, Stored]]:
    """All members hold this at the end."""
    return dict.fromkeys(FINALS, keys)


def held(**keys: Stored) -> dict[str, dict[str, Stored]]:
    """What members hold at the end, where one of them, m2, holds these keys otherwise."""
    return {"m1": HELD, "m2": {**HELD, **keys}, "m3": HELD}


def test_a_sound_history_has_no_violation() -> None:
    assert violations(SOUND, FINALS) == []
    assert violations(reversed(SOUND), FINALS) == [], "in whatever order it is given"
    never = {"k1": Stored("a-2", 12, 2), "k2": HELD["k2"]}
    assert violations(SOUND[:-1], same(never)) == [], "an unknown write may not have taken place"
    empty = Call("b", "m1", "read", "k1", 0.5, 1.05, "ok")
    assert violations((empty, *SOUND), FINALS) == [], "a read that began before the first write may see nothing"
    beside = replace(READ, start=1.65, end=1.8)
    assert violations((*SOUND, beside), FINALS) == [], "a read beside a write may see what was there before"


@pytest.mark.parametrize(
    ("calls", "finals", "told"),
    [
        # Lost: an acknowledged write that is not there, at the end or in the middle.
        (SOUND, same({"k1": HELD["k1"]}), "holds k2 of revision 0"),
        (SOUND, same({**HELD, "k1": Stored("a-1", 10, 1)}), "holds k1 of revision 10"),
        (SOUND, same({**HELD, "k1": Stored("a-3", 13, 1)}), "has written k1 1 times"),
        (SOUND, held(k2=Stored("", 0, 0)), "m2 holds k2 of revision 0"),
        # Phantom: a value that nobody wrote, or whose writing was refused.
        ((*SOUND, replace(AFTER, value="x-9", revision=14, start=5, end=5.1)), FINALS, "k1=x-9, read through m1, was"),
        (SOUND, same({**HELD, "k1": Stored("b-2", 14, 3)}), "k1=b-2, held by m1, was never written"),
        (SOUND, same({**HELD, "k3": Stored("c", 14, 1)}), "k3=c, held by m1, was never written"),
        (SOUND, same({**HELD, "k1": Stored("a-3", 13, 4)}), "has written k1 4 times"),
        # Stale: less than what some client had been told, by a write or by another read.
        ((*SOUND, replace(READ, start=1.75, end=1.8)), FINALS, "read of k1=a-1 at revision 10 (b through m2) is stale"),
        ((*SOUND, Call("b", "m3", "read", "k1", 1.15, 1.2, "ok")), FINALS, "at revision 0 (b through m3) is stale"),
        ((*SOUND, replace(READ, client="c", value="a-2", revision=12, start=5, end=5.1)), FINALS, "is stale: read of"),
        # Different histories: at one revision two values, two keys, and stores that differ at the end.
        ((*SOUND, replace(READ, value="a-3", start=1.21)), FINALS, "revision 10 is k1=a-1"),
        ((*SOUND, replace(OTHER, key="k9", value="b-9")), FINALS, "revision 11 is k2=b-1"),
        (SOUND, held(k1=Stored("a-2", 13, 3)), "m1 and m2 do not hold the same at the end"),
        (SOUND, {"m1": HELD, "m2": HELD, "m3": {}}, "m2 and m3 do not hold the same at the end"),
        # A swap over another write, and writes against the order in which they were acknowledged.
        (
            (*SOUND, replace(WRITE, client="b", value="b-5", revision=11, start=1.0, end=1.9)),
            FINALS,
            "was written at 11",
        ),
        ((*SOUND, replace(OTHER, key="k3", value="c", revision=9)), FINALS, "stands before write of k1=a-1"),
    ],
)
def test_planted_violations_are_found(calls: tuple[Call, ...], finals: dict[str, dict[str, Stored]], told: str) -> None:
    found = violations(calls, finals)
    assert any(told in violation for violation in found), found


def test_an_answer_that_never_came_counts_as_a_gap_and_a_lost_swap_does_not() -> None:
    service = gaps(SOUND)
    assert (service.calls, service.unanswered, service.most_retries) == (7, 1, 1)
    assert service.longest == pytest.approx(2.4), "from b's swap to its read"
    again = (replace(UNKNOWN, start=4.1, end=5.0), replace(UNKNOWN, outcome="refused", start=5.1, end=5.2))
    service = gaps((*SOUND, *again))
    assert (service.unanswered, service.most_retries) == (3, 3)
    assert service.longest == pytest.approx(3.5), "a waits from its swap on, in vain"
