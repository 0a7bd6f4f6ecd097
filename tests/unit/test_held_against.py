from __future__ import annotations

import pytest

from etcdfleet.etcd.checks import SERVED, Finding, held_against

FULL = Finding("alarms", False, "a: memberID:1 alarm:NOSPACE")
BOOT = Finding("service", False, "running, not enabled at boot")
GOOD = Finding("health", True, "all 3 members answer")


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        ((), (GOOD,), ()),
        ((), (GOOD, FULL), (FULL,)),
        ((FULL, BOOT, GOOD), (FULL, BOOT, GOOD), ()),
        ((FULL,), (BOOT, FULL), (BOOT,)),
        ((Finding("alarms", True, FULL.evidence),), (FULL,), (FULL,)),
    ],
)
def test_what_was_so_before_is_no_fault_of_the_change(
    before: tuple[Finding, ...], after: tuple[Finding, ...], held: tuple[Finding, ...]
) -> None:
    assert held_against(after, before) == list(held)


def test_the_same_check_with_another_evidence_counts() -> None:
    full = Finding("health", False, "a: Active Alarm(s): NOSPACE")
    worse = Finding("health", False, "a: Active Alarm(s): NOSPACE; b: no answer")
    assert held_against([worse], [full]) == [worse]


def test_a_database_that_has_grown_is_as_it_was() -> None:
    before, after = (Finding("database size", False, f"a: {size} of 64.0 MiB") for size in ("60.1 MiB", "60.2 MiB"))
    assert held_against([after], [before]) == []


def test_what_a_port_shows_must_be_seen() -> None:
    closed = Finding(f"{SERVED} 2379", False, "it cannot be reached")
    assert held_against([closed], [closed]) == [closed]
