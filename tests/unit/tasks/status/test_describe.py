"""What a host is asked for status.py, and what its answers amount to, with this machine's shell for a host."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from etcdfleet.checks.overview.data import Machine
from etcdfleet.checks.overview.host import state_of
from etcdfleet.remote import CommandResult
from tasks.status.describe import NOT_LISTENING, facts_of, member_view
from tasks.status.read import member_commands
from tests.unit.support.paths import FIXTURES
from tests.unit.support.site import LocalHost, settings

MACHINE = Machine(running=True, enabled=True)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_etcdctl_is_started_only_where_somebody_listens(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"no {address} on this machine")
        ask = member_commands(settings(client_port=server.getsockname()[1]))["status"].replace("etcdctl", "echo asked")
        assert LocalHost().run(ask).rc == NOT_LISTENING  # bound, and nobody listens
        server.listen()
        done = LocalHost().run(ask)
        assert (done.rc, "asked" in done.stdout) == (0, True)


def test_only_the_chosen_are_asked_for_the_member_list() -> None:
    assert set(member_commands(settings())) == {"status", "health", "members"}
    assert set(member_commands(settings(), members=False)) == {"status", "health"}


def recorded(version: str, name: str) -> CommandResult:
    found: dict[str, Any] = json.loads((FIXTURES / f"etcd-{version}" / f"{name}.json").read_text())
    return CommandResult(found["exit"], found["stdout"], found["stderr"])


NONE = CommandResult(NOT_LISTENING, "", "")


@pytest.mark.parametrize("version", ["3.4", "3.5"])
@pytest.mark.parametrize(
    ("status", "health", "members", "state", "silent"),
    [
        ("status-three", "health-three", "members-three", "serves", ""),
        ("status-nospace", "health-nospace", "members-three", "full", ""),
        ("status-no-quorum", "health-down", "members-no-quorum", "no leader", ""),
        (None, None, None, "silent", "nothing listens on port 2379"),
    ],
)
def test_recorded_answers(
    version: str, status: str | None, health: str | None, members: str | None, state: str, silent: str
) -> None:
    answers = {
        "status": recorded(version, status) if status else NONE,
        "health": recorded(version, health) if health else NONE,
        "members": recorded(version, members) if members else NONE,
    }
    if state == "no leader":  # asked through its own endpoint alone, a member without a leader gets no read
        failed = [{"endpoint": "https://127.0.0.1:2379", "health": False, "took": "3s", "error": "deadline exceeded"}]
        answers["health"] = CommandResult(1, json.dumps(failed), "Error: unhealthy cluster")
    view = member_view(settings(), MACHINE, answers)
    assert (state_of(view), view.silent) == (state, silent)
    facts = facts_of(view, 1)
    assert facts["state"] == state
    assert ("raft_term" in facts) is (status is not None)
    assert bool(facts.get("alarms")) is (state == "full")
    if members == "members-three":
        assert view.members is not None
        assert len(view.members.members) == 3


def test_an_answer_that_is_none_says_why() -> None:
    said = "Failed to get the status of endpoint https://127.0.0.1:2379 (context deadline exceeded)\n"
    refused = {"status": CommandResult(1, "[]\n", said), "health": CommandResult(1, "", ""), "members": NONE}
    assert member_view(settings(), MACHINE, refused).silent == "context deadline exceeded"
    missing = {name: CommandResult(127, "", "sh: etcdctl: not found\n") for name in ("status", "health", "members")}
    assert "etcdctl: not found" in member_view(settings(), MACHINE, missing).silent
