"""Changes of the member list are sent until etcd takes them, and what it refuses for good is told at once."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.errors import ProtectionError
from etcdfleet.etcd.answers import ExpectedMember, Member
from etcdfleet.etcd.readdressing import UpdateEntry
from etcdfleet.etcd.replacement import RemoveEntry
from etcdfleet.remote import CommandResult
from tasks.members import change
from tasks.members.change import add_learner, remove_entry, set_aside, update_entry
from tests.unit.support.stand_ins import RUNNING, STOPPED, Clock, Place, Scripted, carry_out, error_of, seen

LOST = Member(0xABC, "az-2", ("https://az2:2380",), ("https://az2:2379",))
NEW = ExpectedMember("az-2", "https://az2:2380", "https://az2:2379")
UNHEALTHY = CommandResult(1, "", "Error: etcdserver: unhealthy cluster")
FULL = CommandResult(1, "", "Error: etcdserver: too many learner members in cluster")


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "time", Clock())


@pytest.mark.parametrize(
    ("answers", "why", "times"),
    [
        ("removed", "", 1),
        ([UNHEALTHY, UNHEALTHY, "removed"], "", 3),
        (CommandResult(1, "", "Error: etcdserver: member not found"), "", 1),  # the one before was taken after all
        (FULL, "too many learner members", 1),
        (UNHEALTHY, "removing member abc: Error: etcdserver: unhealthy cluster", 32),
    ],
)
def test_an_entry_is_removed(answers: Any, why: str, times: int) -> None:
    host = Scripted({"member remove abc": answers})
    result = carry_out(remove_entry, Place(host), step=RemoveEntry(LOST))
    assert why in result.result
    assert bool(result.result) is bool(why)
    assert len(host.sent) == times


def test_a_leader_moves_its_leadership_away_before_it_is_removed() -> None:
    host = Scripted({"move-leader": CommandResult(1, "", "no"), "member remove": ""})
    assert carry_out(remove_entry, Place(host), step=RemoveEntry(LOST, leads=True), other_leader="7").result == ""
    first, second = host.sent
    assert "move-leader 7" in first
    assert "--endpoints=https://az2:2379" in first
    assert "member remove abc" in second


def test_a_member_gets_another_peer_url() -> None:
    host = Scripted({"member update": ["etcdserver: request timed out", "updated"]})
    step = UpdateEntry(LOST, "https://new2:2380")
    assert carry_out(update_entry, Place(host), step=step).result == ""
    assert host.was_sent("member update abc --peer-urls=https://new2:2380")
    exists = CommandResult(1, "", "Error: etcdserver: Peer URLs already exists")
    refused = carry_out(update_entry, Place(Scripted({"member update": exists})), step=step).result
    assert "the new peer URL of member abc: Error: etcdserver: Peer URLs already exists" in refused


def test_a_member_is_added_as_a_learner() -> None:
    host = Scripted({"member add": [UNHEALTHY, "added"]})
    assert carry_out(add_learner, Place(host), member=NEW).result == ""
    assert host.was_sent("member add az-2 --learner --peer-urls=https://az2:2380")
    assert "too many learner" in carry_out(add_learner, Place(Scripted({"member add": FULL})), member=NEW).result


@pytest.mark.parametrize(
    ("task", "given"), [(remove_entry, {"step": RemoveEntry(LOST)}), (add_learner, {"member": NEW})]
)
def test_nothing_is_sent_once_the_lock_is_lost(monkeypatch: pytest.MonkeyPatch, task: Any, given: Any) -> None:
    def lost(_: Any) -> None:
        raise ProtectionError("another run has the lock")

    monkeypatch.setattr(change, "still_ours", lost)
    host = Scripted()
    assert carry_out(task, Place(host), **given).result == "another run has the lock"
    assert host.sent == []


def test_old_data_are_moved_once_etcd_has_stopped() -> None:
    host = Scripted()
    result = carry_out(set_aside, Place(host, seen(RUNNING), seen(STOPPED)))
    assert "moved to /var/lib/etcd/removed-2" in result.result.changes[0]
    assert "systemctl stop etcd" in host.sent[0]
    assert "data_dir=/var/lib/etcd\n" in host.sent[1]
    assert len(host.sent) == 2
    still = Scripted()
    assert "could not be stopped" in error_of(carry_out(set_aside, Place(still, seen(RUNNING))))
    assert len(still.sent) == 1, "nothing is moved under an etcd that runs"
    unasked = Scripted()
    assert carry_out(set_aside, Place(unasked, seen(STOPPED)), check=True).result.changed
    assert unasked.sent == []
