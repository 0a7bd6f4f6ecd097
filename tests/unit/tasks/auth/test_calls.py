"""Calls of etcdctl for roles and users: no password among the arguments of a process, no call without an end."""

from __future__ import annotations

import re

import pytest

from etcdfleet.errors import UsageError, VerificationError
from etcdfleet.etcd.auth import Operation
from etcdfleet.remote import CommandResult
from etcdfleet.settings.auth import AuthSettings
from tasks.auth.calls import call, run_operations
from tasks.auth.converge import passwords_of
from tasks.observe import Site
from tests.unit.support.site import LocalHost, settings

SECRET = "it's-$ecret"
OPERATIONS = [
    Operation("+", "role app", "role add -- app"),
    Operation("+", "user bob", "user add --interactive=false -- bob", "bob"),
    Operation("+", "user bob: role app", "user grant-role -- bob app"),
]


class Told(LocalHost):
    """Keeps what it is told to run, and answers as it is told."""

    def __init__(self, answer: CommandResult) -> None:
        super().__init__()
        self.answer = answer
        self.scripts: list[str] = []

    def _exec(self, command: str, stdin: bytes, timeout: float) -> CommandResult:  # noqa: ARG002
        self.scripts.append(stdin.decode())
        return self.answer


def site(rc: int, stdout: str, stderr: str = "") -> tuple[Site, Told]:
    host = Told(CommandResult(rc, stdout, stderr))
    return Site(settings(), host, None, None), host  # type: ignore[arg-type]


def test_passwords_go_through_a_pipe() -> None:
    where, host = site(0, "done\n" * 3)
    run_operations(where, OPERATIONS, {"bob": SECRET})
    (script,) = host.scripts
    lines = [line for line in script.splitlines() if "etcdctl" in line]
    assert len(lines) == len(OPERATIONS)
    for line, operation in zip(lines, OPERATIONS, strict=True):
        assert re.search(r"\btimeout \d+ env .* etcdctl .*\|\| exit 1$", line)
        before, _, after = line.partition(" | ")
        if operation.password_of:
            assert before == "printf '%s\\n' 'it'\"'\"'s-$ecret'"
        assert "ecret" not in (after if operation.password_of else line)
        assert ("</dev/null" in line) is not bool(operation.password_of), "etcdctl must not read the script"


def test_the_operation_that_failed_is_named() -> None:
    where, _ = site(1, "done\n", "Error: etcdserver: user name already exists\n")
    with pytest.raises(VerificationError, match=r"\(\+ user bob\): user name already exists"):
        run_operations(where, OPERATIONS, {"bob": SECRET})


def test_nothing_to_do_is_no_round_trip() -> None:
    where, host = site(0, "")
    run_operations(where, [])
    assert not host.scripts


def test_a_login_goes_by_the_environment() -> None:
    words = call(settings(), "user list", user="bob", password=SECRET)
    assert words.startswith("ETCDCTL_USER=bob ETCDCTL_PASSWORD='it'\"'\"'s-$ecret' timeout ")
    assert "ecret" not in words.partition(" timeout ")[2]


def auth() -> AuthSettings:
    return AuthSettings.model_validate({"users": {"bob": {"password_env": "BOB"}, "eve": {}}})


def test_passwords_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOB", SECRET)
    assert dict(passwords_of(auth())) == {"bob": SECRET}
    monkeypatch.delenv("BOB")
    assert dict(passwords_of(auth())) == {}


@pytest.mark.parametrize("password", ["two words", "line\n", "x" * 73, "\u00e4" * 37])
def test_passwords_of_which_etcd_would_take_a_part(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOB", password)
    with pytest.raises(UsageError) as caught:
        dict(passwords_of(auth()))
    assert password.strip() not in str(caught.value)
