"""A member is asked by the other scheme, too, unless that cannot be it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etcdfleet.host.facts import FileFacts, Listener
from etcdfleet.host.paths import CONFIG
from etcdfleet.remote import CommandResult
from tasks.member import ask_member
from tests.unit.support.stand_ins import RUNNING, Place, Scripted, member_list, seen, statuses

FIXTURES = Path(__file__).parent.parent / "fixtures"
HANDSHAKE = 'desc = "transport: authentication handshake failed: tls: first record does not look like a TLS handshake"'
RESET = 'desc = "transport: authentication handshake failed: read: connection reset by peer"'


def silent(stderr: str) -> CommandResult:
    return CommandResult(1, "", stderr)


def refused(version: str) -> str:
    """What etcdctl of this version said where no program listens."""
    said: str = json.loads((FIXTURES / version / "status-down.json").read_text())["stderr"]
    return said


@pytest.mark.parametrize(
    ("status", "members", "asked"),
    [
        (refused("etcd-3.4"), refused("etcd-3.4"), 2),
        (refused("etcd-3.5"), refused("etcd-3.5"), 2),
        # It ended between the last attempts of the two.
        (RESET, refused("etcd-3.5"), 2),
        ('desc = "transport: authentication handshake failed: remote error: tls: internal error"', RESET, 2),
        ('desc = "transport: authentication handshake failed: x509: certificate has expired', RESET, 2),
        # Something listens, and does not speak TLS, or ends connections: it may be etcd by the other scheme.
        (HANDSHAKE, HANDSHAKE, 4),
        (RESET, RESET, 4),
        ("context deadline exceeded", "", 4),
    ],
)
def test_the_other_scheme_is_tried_where_it_may_be_that(status: str, members: str, asked: int) -> None:
    host = Scripted({"endpoint status": silent(status), "member list": silent(members)})
    answers = ask_member(Place(host, seen()))
    assert (answers.status, answers.members) == (None, None)
    assert len(host.sent) == asked
    assert ["https://127.0.0.1" in script for script in host.sent] == [True, True, False, False][:asked]


def test_a_member_that_still_runs_with_the_other_scheme_answers() -> None:
    host = Scripted(
        {
            "https://127.0.0.1": silent(HANDSHAKE),
            "endpoint status": statuses(1),
            "member list": member_list(),
        }
    )
    answers = ask_member(Place(host, seen()))
    assert answers.status is not None
    assert answers.status.member_id == 1
    assert answers.members is not None
    assert len(answers.members.members) == 3


@pytest.mark.parametrize(
    ("listening", "configured", "port"),
    [
        ((), "", 2379),  # nothing is known: the inventory's
        ((2381,), "", 2381),
        ((2381,), "2381", 2381),
        ((2381,), "2379", 2381),  # the configuration is ahead of the restart
        ((2379, 2381), "2381", 2381),
        ((), "2381", 2381),  # the host has no program that tells
    ],
)
def test_a_member_is_asked_where_its_etcd_listens(listening: tuple[int, ...], configured: str, port: int) -> None:
    text = (
        f"listen-client-urls: https://198.51.100.11:{configured},https://127.0.0.1:{configured}" if configured else ""
    )
    there = seen(
        RUNNING,
        files={CONFIG: FileFacts(text.encode(), 0o644, "root", "root")},
        listeners=(
            *(Listener(each, "127.0.0.1", f"etcd (pid {RUNNING.pid})") for each in listening),
            Listener(1, "127.0.0.1", "sshd (pid 1)"),
            Listener(2, "198.51.100.11", f"etcd (pid {RUNNING.pid})"),
        ),
    )
    assert Place(Scripted(), there).here() == f"https://127.0.0.1:{port}"
    assert Place(Scripted(), there).here(restarted=True) == f"https://127.0.0.1:{configured or 2379}"
