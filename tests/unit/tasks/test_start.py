"""The wait for a started member: how it ends early, and with whose words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from etcdfleet.checks.log import last_words
from etcdfleet.drivers.init import Service
from etcdfleet.errors import VerificationError
from etcdfleet.remote import CommandResult
from tasks.observe import Site
from tasks.start import _run_and_wait
from tests.unit.support.site import LocalHost, apt, settings

FATAL = '{"level":"fatal","ts":"2026-11-25T21:36:08.975Z","msg":"failed","error":"mkdir /x: permission denied"'
STACK = ',"stacktrace":"go.etcd.io/etcd/server/v3/\\n\\t\\"quoted\\" /tmp/x.go:358"}'
NOTE = '{"level":"info","ts":"2026-11-25T21:36:09.000Z","msg":"starting an etcd server"}'
SYSTEMD = """etcd.service: Main process exited, code=exited, status=1/FAILURE
etcd.service: Failed with result 'exit-code'.
Failed to start etcd.service - etcd member a of cluster b.
etcd.service: Scheduled restart job, restart counter is at 3.
Stopped etcd.service - etcd member a of cluster b.
Starting etcd.service - etcd member a of cluster b..."""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (f"{NOTE}\n{FATAL}{STACK}\n{SYSTEMD}\n{NOTE}", FATAL + "}"),
        # The same at each start is said once.
        (f"{FATAL}{STACK}\n{FATAL.replace('21:36', '21:35')}{STACK}", FATAL.replace("21:36", "21:35") + "}"),
        ("2026-11-25 21:36:08.9 I | etcdmain: started\n2026-11-25 21:36:08.9 C | etcdmain: no disk", "no disk"),
        (f"{SYSTEMD}\nnot started: no data in /x\netcd.service: Skipped due to 'exec-condition'.", "not started: no"),
        (
            "etcd.service: Failed at step EXEC spawning /usr/bin/etcd: Exec format error\n" + SYSTEMD,
            "Exec format error",
        ),
        # Nothing but notes: the last of them.
        (f"{NOTE}\n{NOTE[:-1]} }}", NOTE),
        ("", ""),
    ],
)
def test_the_last_words_are_those_that_tell_something(log: str, words: str) -> None:
    said = last_words(log)
    assert words in said
    assert "stacktrace" not in said
    assert said.count("permission denied") <= 1
    assert bool(words) == bool(said)


@dataclass
class Init:
    """An init system as the test wants it."""

    respawns: str = "echo 0"
    gave_up: str = "false"
    name: str = "systemd"

    def logs(self, lines: int) -> str:
        return f"echo '{FATAL}}}' # {lines}"


class Quiet(LocalHost):
    """This machine, without its files."""

    def _exec(self, command: str, stdin: bytes, timeout: float) -> CommandResult:
        return super()._exec(command, stdin.replace(b"/run/etcdfleet", b"/nonexistent"), timeout)


# Many ends before, and one more each second.
COUNTING = "date +%s"


@pytest.mark.parametrize(
    ("action", "init", "what"),
    [
        ("true", Init(respawns=COUNTING), "etcd ended 4 times in a row soon after its start"),
        ("true", Init(respawns="echo 9", gave_up="true"), "etcd does not stay up, and systemd does not start it again"),
        ("echo 'etcd does not exist' >&2; false", Init(), "systemd could not start etcd: etcd does not exist"),
    ],
)
def test_a_wait_that_cannot_end_well_ends_early(action: str, init: Any, what: str) -> None:
    site = Site(settings(client_tls=False), Quiet(), cast(Service, init), apt())
    with pytest.raises(VerificationError) as caught:
        _run_and_wait(site, action)
    assert caught.value.what.startswith(what)
    assert "permission denied" in caught.value.what
