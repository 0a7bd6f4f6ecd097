"""Nothing is started amid a restore, nor beside a member that was left out of one; each says what goes on with it."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.plan import plan_start
from etcdfleet.etcd.restore_record import begun, completed, record_of, under_way
from etcdfleet.etcd.start_model import MemberState, Nothing
from etcdfleet.etcd.wal import DataIds
from tests.unit.etcd.test_replacement import CLUSTER_ID, EXPECTED
from tests.unit.etcd.test_restoration import (
    DONE,
    FIRST_NOTED,
    NEW_ID,
    NEW_MARKER,
    NOTED,
    OLD_MARKER,
    RECORD,
)

MEMBERS = EXPECTED[:3]
IDS = static_ids({member.name: [member.peer_url] for member in MEMBERS}, "home")


def state(number: int, data: int, noted: Any, *, running: bool = False) -> MemberState:
    ids = DataIds(number if data == CLUSTER_ID else 10 + number, data, 100) if data else None
    return MemberState(f"h{number}", f"m{number}", ids, established=noted, running=running)


def refusal(*states: MemberState) -> Refusal:
    plan = plan_start(states, MEMBERS, IDS)
    assert isinstance(plan, Refusal)
    return plan


@pytest.mark.parametrize(
    "states",
    [
        # Noted, and nothing moved yet; moved; restored; joining; all joined.
        [state(number, CLUSTER_ID, NOTED) for number in (1, 2, 3)],
        [state(number, 0, NOTED) for number in (1, 2, 3)],
        [state(1, NEW_ID, NOTED), state(2, 0, NOTED), state(3, 0, NOTED)],
        [state(1, NEW_ID, FIRST_NOTED, running=True), state(2, 0, None), state(3, 0, NOTED)],
        [state(1, NEW_ID, FIRST_NOTED), state(2, NEW_ID, NEW_MARKER), state(3, NEW_ID, NEW_MARKER)],
    ],
)
def test_amid_a_restore(states: list[MemberState]) -> None:
    refused = refusal(*states)
    assert "a restore of this cluster is under way since 2026-11-26T18:00:00Z, on h1 first" in refused.what
    assert "python runbooks/restore.py FILE" in refused.remedy


def test_a_host_that_was_left_out_of_it() -> None:
    restored = [state(number, NEW_ID, DONE, running=True) for number in (1, 2)]
    refused = refusal(*restored, state(3, CLUSTER_ID, OLD_MARKER, running=True))
    assert refused.what.startswith("h3: data from before the restore of this cluster")
    assert refused.remedy.startswith("python runbooks/replace_member.py h3")
    strange = refusal(state(1, 7, {**OLD_MARKER, "cluster_id": 7}), state(2, CLUSTER_ID, OLD_MARKER), state(3, 0, None))
    assert "data of more than one cluster" in strange.what
    moved = refusal(*(state(number, CLUSTER_ID, DONE) for number in (1, 2, 3)))
    assert "data of more than one cluster" in moved.what


def test_after_a_restore_all_is_in_order() -> None:
    """The ids are not those that inventory and token lead to."""
    plan = plan_start([state(number, NEW_ID, DONE, running=True) for number in (1, 2, 3)], MEMBERS, IDS)
    assert plan == Nothing()


@pytest.mark.parametrize(
    "noted",
    [
        None,
        {},
        {"restore": "yes"},
        {"restore": {"snapshot": "ab"}},
        {"restore": {**NOTED["restore"], "revision": "fifty"}},
        {"restore": {**NOTED["restore"], "token": None}},
    ],
)
def test_a_record_that_cannot_be_read_is_none(noted: Any) -> None:
    assert record_of(noted) is None
    assert under_way(noted) is None


def test_a_record_is_read_as_it_was_written() -> None:
    """With a field of a later release; and it is under way until its end is noted."""
    assert record_of({"restore": {**NOTED["restore"], "more": 1}}) == RECORD
    assert under_way(begun(None, RECORD)) == RECORD
    assert "before" not in begun(None, RECORD)
    ended = completed(NEW_MARKER, RECORD, "then")
    assert under_way(ended) is None
    assert record_of(ended) is not None
