"""The scripts that travel to a host, run for real in this machine's shell."""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from netmiko.channel import SSHChannel

from etcdfleet.errors import RemoteError
from etcdfleet.remote import CommandResult, RemoteFile
from etcdfleet.remote.login import LateShell
from tests.unit.support.site import LocalHost

USER = getpass.getuser()
GROUP = grp.getgrgid(os.getgid()).gr_name


def file(path: Path, content: bytes, mode: int = 0o600) -> RemoteFile:
    return RemoteFile(str(path), content, mode, USER, GROUP)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_batch_keeps_exit_codes_and_both_outputs_apart(parallel: bool) -> None:
    host = LocalHost()
    results = host.batch(
        {
            "good": "echo out; echo err >&2",
            "bad": "printf 'no newline'; exit 7",
            "bytes": "printf 'a\\0b\\n\\n'",
            "none": ":",
        },
        parallel=parallel,
    )
    assert (results["good"].rc, results["good"].stdout, results["good"].stderr) == (0, "out\n", "err\n")
    assert (results["bad"].rc, results["bad"].stdout) == (7, "no newline")
    assert results["bytes"].stdout == "a\0b\n\n"
    assert (results["none"].rc, results["none"].stdout) == (0, "")
    assert host.round_trips == 1


def test_a_command_of_a_batch_cannot_eat_the_script_nor_end_it() -> None:
    results = LocalHost().batch({"reader": "cat", "exit": "exit 3", "after": "echo still here"})
    assert results["reader"].stdout == ""
    assert results["after"].stdout == "still here\n"


def test_text_that_looks_like_a_frame_is_only_text() -> None:
    results = LocalHost().batch({"sly": "printf '0 5 0\\nhello'", "next": "echo ok"})
    assert results["sly"].stdout == "0 5 0\nhello"
    assert results["next"].stdout == "ok\n"


def test_parallel_commands_run_side_by_side(tmp_path: Path) -> None:
    # Each waits for the other's sign: run one after the other, the first would never end.
    wait = "n=0; while [ ! -e {0} ]; do sleep 0.05; n=$((n+1)); [ $n -lt 100 ] || exit 9; done"
    a, b = tmp_path / "a", tmp_path / "b"
    results = LocalHost().batch(
        {"one": f"touch {a}; {wait.format(b)}", "two": f"touch {b}; {wait.format(a)}"}, parallel=True
    )
    assert (results["one"].rc, results["two"].rc) == (0, 0)


def test_files_are_placed_with_mode_and_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    LocalHost().place([file(tmp_path / "key", content, 0o600), file(tmp_path / "it's a name", b"", 0o644)])
    assert (tmp_path / "key").read_bytes() == content
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "it's a name").read_bytes() == b""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["it's a name", "key"]


def test_folders_that_are_made_for_files_can_be_passed_by_etcd(tmp_path: Path) -> None:
    """A restore that noted itself on a host without /etc/etcd made that folder 0700, which etcd could not pass."""
    host = LocalHost()
    host.place([file(tmp_path / "a/b/marker", b"", 0o600)], before=f"mkdir -p {tmp_path}/a/b")
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a/b")] == [0o755, 0o755]


def test_when_one_file_cannot_be_written_none_is_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"old")
    with pytest.raises(RemoteError, match="placing files failed"):
        LocalHost().place([file(tmp_path / "one", b"new"), file(tmp_path / "missing" / "two", b"new")])
    assert (tmp_path / "one").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


def test_a_failing_step_before_the_first_rename_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"old")
    with pytest.raises(RemoteError):
        LocalHost().place([file(tmp_path / "one", b"new")], before="false")
    assert (tmp_path / "one").read_bytes() == b"old"


def test_a_masked_unit_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "etcd.service").symlink_to("/dev/null")
    LocalHost().place([file(tmp_path / "etcd.service", b"[Unit]\n")])
    assert not (tmp_path / "etcd.service").is_symlink()
    assert (tmp_path / "etcd.service").read_bytes() == b"[Unit]\n"


def test_a_key_shows_in_no_repr_of_its_file(tmp_path: Path) -> None:
    assert "secret" not in repr(file(tmp_path / "key", b"secret"))


def test_a_full_disk_says_so_and_what_to_do() -> None:
    with pytest.raises(RemoteError, match="No space left") as caught:
        LocalHost().run("cat /etc/passwd > /dev/full", check="writing")
    assert "free space" in caught.value.remedy


class FirstContact(LocalHost):
    """A host whose way to root is not known yet; ``sudo`` is a stand-in in front of the path."""

    def __init__(self) -> None:
        super().__init__()
        self._shell = None

    def _exec(self, command: str, stdin: bytes, timeout: float) -> CommandResult:
        self.commands = [*getattr(self, "commands", []), command]
        done = subprocess.run(["sh", "-c", command], input=stdin, capture_output=True, timeout=timeout, check=False)
        return CommandResult(done.returncode, done.stdout.decode(), done.stderr.decode())


def stand_ins(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


NOT_ROOT = 'if [ "$1" = -u ]; then echo 1000; else exec /usr/bin/id "$@"; fi'
SUDO = 'echo "sudo: unable to resolve host pi" >&2; [ "$1" = -n ] && shift; SUDO_USER=pi exec "$@"'
ASKS = """[ "$1" = -n ] && { echo "sudo: a password is required" >&2; exit 1; }
tries=0
while read -r given; do
    tries=$((tries + 1))
    if [ "$given" = sesame ]; then while [ "$1" != sh ] && [ "$1" != true ]; do shift; done; exec "$@"; fi
done
echo "sudo: $tries incorrect password attempt" >&2; exit 1 """


def test_a_talkative_sudo_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(tmp_path, monkeypatch, id=NOT_ROOT, sudo=SUDO)
    host = FirstContact()
    assert host.run("echo one").stdout == "one\n"
    assert host.run("echo two").stdout == "two\n"
    assert host.commands[1] == "sudo -n sh -s"


def test_a_password_is_given_to_sudo_and_to_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(tmp_path, monkeypatch, id=NOT_ROOT, sudo=ASKS)
    monkeypatch.delenv("ETCDFLEET_SUDO_PASSWORD", raising=False)
    with pytest.raises(RemoteError, match="sudo asks for a password") as caught:
        FirstContact().run("true")
    assert "ETCDFLEET_SUDO_PASSWORD" in caught.value.remedy
    monkeypatch.setenv("ETCDFLEET_SUDO_PASSWORD", "wrong")
    with pytest.raises(RemoteError, match=r"did not accept the password .*sudo: 1 incorrect"):
        FirstContact().run("true")
    monkeypatch.setenv("ETCDFLEET_SUDO_PASSWORD", "sesame")
    host = FirstContact()
    assert host.run("echo one").stdout == "one\n"
    assert host.run("echo two").stdout == "two\n"
    assert not any("sesame" in command for command in host.commands)


def test_the_shell_that_nobody_asked_for_is_opened_once_and_closed_as_netmiko_does() -> None:
    connection = MagicMock()
    cleanup = connection.cleanup
    connection.channel = late = LateShell(connection, cleanup)
    connection.cleanup = None
    assert not hasattr(late, "__iter__")
    connection.remote_conn_pre.invoke_shell.assert_not_called()
    late.write_channel  # noqa: B018  what netmiko asks for
    connection.remote_conn_pre.invoke_shell.assert_called_once()
    assert isinstance(connection.channel, SSHChannel)
    assert connection.cleanup is cleanup
