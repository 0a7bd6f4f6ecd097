"""A learner starts beside the others, gets its vote once it has caught up, and is left as it is where it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etcdfleet.host.facts import FileFacts
from etcdfleet.host.paths import CONFIG, ESTABLISHED
from etcdfleet.remote import CommandResult, RemoteFile
from tasks import start
from tasks.members import join
from tasks.members.join import join_member, note_members
from tests.unit.support.stand_ins import (
    RUNNING,
    STOPPED,
    Clock,
    Place,
    Scripted,
    carry_out,
    error_of,
    healths,
    member_list,
    seen,
    statuses,
)

READABLE = {CONFIG: FileFacts(b"initial-cluster-state: existing\n", 0o644, "root", "root")}
EMPTY = seen(STOPPED, established=None, files=READABLE)
JOINED = seen(RUNNING, established=None, files=READABLE)
BEHIND = CommandResult(1, "", "Error: etcdserver: can only promote a learner member which is in sync with leader")
VOTERS = statuses(1, 2, 3, leader=2)


def learner(index: int = 50) -> str:
    """``endpoint status`` of all three: the host's own, az-1, is a learner."""
    answers = json.loads(statuses(1, 2, 3, leader=2, az1=index))
    answers[0]["Status"]["isLearner"] = True
    return json.dumps(answers)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(start, "time", clock)
    monkeypatch.setattr(join, "time", clock)

    def files(*_: Any, initial_cluster: str = "", **__: Any) -> list[RemoteFile]:
        return [RemoteFile(CONFIG, f"initial-cluster: {initial_cluster}\n".encode())]

    monkeypatch.setattr(start, "desired_files", files)


def host_of(status: Any, promote: Any = "") -> Scripted:
    """az-1 is added and not started; the others are well."""
    return Scripted(
        {
            "member promote 1": promote,
            "/proc/uptime": "",
            "member list": [member_list(1), member_list()],
            "endpoint status": status,
            "endpoint health": healths(1, 2, 3),
        }
    )


def test_a_learner_joins_catches_up_and_gets_its_vote() -> None:
    host = host_of([learner(), learner(), VOTERS])
    result = carry_out(join_member, Place(host, EMPTY, JOINED))
    assert not result.failed, result.exception
    assert [change.split(",")[0] for change in result.result.changes] == [
        "etcd joins the cluster",
        "the learner is promoted",
        f"{ESTABLISHED} notes the cluster's members",
    ]
    assert CONFIG not in host.placed, "the list is that of the inventory"
    (asked,) = [script for script in host.sent if "member promote" in script]
    assert "--endpoints=https://etcd.az2.k8s.home:2379" in asked, "the leader is asked"


@pytest.mark.parametrize(("of_cluster", "token", "restores"), [(9, "home-2", 3), (8, "k8s-home", 0)])
def test_it_notes_the_identity_that_the_others_have_noted(of_cluster: int, token: str, restores: int) -> None:
    """After a restore the token is not the inventory's."""
    host = host_of([learner(), learner(), VOTERS])
    noted = [{"cluster_id": of_cluster, "token": "home-2", "restores": 3, "version": 2, "members": {}}]
    result = carry_out(join_member, Place(host, EMPTY, JOINED), noted=noted)
    assert not result.failed, result.exception
    written = json.loads(host.placed[ESTABLISHED])
    assert (written["token"], written["restores"], written["cluster_id"]) == (token, restores, 9)
    assert written["members"] == {"az-1": 1, "az-2": 2, "az-3": 3}


def test_it_starts_with_the_running_list_and_no_member_more() -> None:
    """etcd ends at once where the numbers differ: the inventory may have others that are to join later."""
    host = host_of([VOTERS])
    host.answers["member list"] = [member_list(1, ids=(1, 2)), member_list(ids=(1, 2))]
    result = carry_out(join_member, Place(host, EMPTY, JOINED))
    assert not result.failed, result.exception
    wanted = b"initial-cluster: az-1=https://etcd.az1.k8s.home:2380,az-2=https://etcd.az2.k8s.home:2380\n"
    assert host.placed[CONFIG] == wanted


def test_a_member_with_a_vote_is_only_waited_for() -> None:
    host = host_of(VOTERS)
    result = carry_out(join_member, Place(host, JOINED))
    assert not result.failed, result.exception
    assert not host.was_sent("member promote")
    assert not host.was_sent("/proc/uptime"), "it runs already"


def test_etcd_says_when_a_learner_is_in_sync() -> None:
    host = host_of([*[learner()] * 6, VOTERS], promote=[BEHIND, BEHIND, ""])
    assert not carry_out(join_member, Place(host, JOINED)).failed
    assert sum("member promote" in script for script in host.sent) == 3


def test_one_that_is_far_behind_is_not_promoted_and_fails_in_the_end() -> None:
    answers = json.loads(learner(index=10))
    answers[1]["Status"]["raftIndex"] = answers[1]["Status"]["raftAppliedIndex"] = 5000
    host = host_of(json.dumps(answers))
    error = error_of(carry_out(join_member, Place(host, JOINED)))
    assert "the learner has not caught up: it is 4990 entries behind" in error
    assert "take the learner back: runbooks/remove_member.py" in error
    assert not host.was_sent("member promote")
    assert ESTABLISHED not in host.placed


def test_check_starts_nothing() -> None:
    host = Scripted()
    assert carry_out(join_member, Place(host, EMPTY), check=True).result.changed
    assert host.sent == []


FIRST_VERSION = {"cluster_id": 9, "members": {"az-1": 1, "az-2": 2, "az-3": 3}}


@pytest.mark.parametrize(
    ("noted", "listed", "changed"),
    [
        ({"cluster_id": 9, "members": {"az-1": 7}}, member_list(), True),
        (FIRST_VERSION, member_list(), True),
        ({**FIRST_VERSION, "version": 2, "token": "k8s-home", "restores": 1, "etcd": "3.5"}, member_list(), False),
        (None, member_list(), False),
        ({"cluster_id": 9, "members": {"az-1": 7}}, member_list(3), False),
        ({"cluster_id": 9, "members": {"az-1": 7}}, "", False),
    ],
    ids=["others", "the same of version 1", "the same", "never noted", "one has not joined", "no answer"],
)
def test_the_marker_follows_the_member_list(noted: Any, listed: str, changed: bool) -> None:
    host = Scripted({"member list": listed, "endpoint status": VOTERS})
    assert carry_out(note_members, Place(host, seen(RUNNING, established=noted))).result is changed
    assert (ESTABLISHED in host.placed) is changed
