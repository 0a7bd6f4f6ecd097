from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nornir.core.configuration import Config

from etcdfleet.errors import ProtectionError
from etcdfleet.host import lock
from etcdfleet.host.lock import AtWork, LeftAtWork, LockInfo, hold_script, read_answer
from etcdfleet.remote import Held, outliving
from etcdfleet.remote.commands import at_work
from etcdfleet.session import session_of
from tasks.lock import still_ours

INFO = LockInfo("alice", "deploy", "controller", 4711, "2026-06-01T12:00:00+00:00")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(name="start")
def _start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Runs the script in this machine's sh, with the lock in a folder of the test."""
    monkeypatch.setattr(lock, "RUN_FOLDER", str(tmp_path))
    monkeypatch.setattr(lock, "FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(lock, "NOTE", str(tmp_path / "lock.json"))
    monkeypatch.setattr(lock, "LOCK_COUNT", str(tmp_path / "lock.count"))
    monkeypatch.setattr(lock, "WORKING", str(tmp_path / "working"))
    monkeypatch.setattr(lock, "SILENCE_SECONDS", 3)
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 2)
    started: list[subprocess.Popen[str]] = []

    def start(info: LockInfo = INFO, *, break_lock: bool = False) -> subprocess.Popen[str]:
        process = subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert process.stdin
        process.stdin.write(hold_script(info, break_lock=break_lock))
        process.stdin.flush()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def first(process: subprocess.Popen[str]) -> AtWork | str:
    assert process.stdout
    return read_answer(process.stdout.readline().strip())


@pytest.mark.parametrize(
    ("closed", "eof", "connected", "lost"),
    [(False, 0, True, False), (True, 0, True, True), (False, 1, True, True), (True, 1, False, False)],
    ids=["held", "closed", "its process is gone", "nothing is known of a host that is cut off"],
)
def test_a_run_notices_that_its_lock_was_broken(closed: bool, eof: int, connected: bool, lost: bool) -> None:
    transport = SimpleNamespace(is_active=lambda: connected)
    channel = SimpleNamespace(
        closed=closed, eof_received=eof, exit_status_ready=lambda: False, get_transport=lambda: transport
    )
    configuration = Config()
    session_of(configuration).locks["a"] = Held(channel, "held 0")  # type: ignore[arg-type]

    def task(host: str) -> Any:
        return SimpleNamespace(host=SimpleNamespace(name=host), nornir=SimpleNamespace(config=configuration))

    with pytest.raises(ProtectionError, match="--break-lock") if lost else nullcontext():
        still_ours(task("a"))
    still_ours(task("b"))  # on which no lock could be taken


def test_the_second_is_told_who_and_since_when(start: Start) -> None:
    assert first(start()) == "0"
    other = first(start())
    assert other == INFO
    assert str(other) == "alice on controller (deploy, process 4711), since 2026-06-01T12:00:00+00:00"


def test_it_is_free_when_the_controller_lets_go_or_dies(start: Start) -> None:
    holder = start()
    assert first(holder) == "0"
    assert holder.stdin
    holder.stdin.close()  # what a connection that ends looks like
    holder.wait(10)
    assert first(start()) == "2", "the count shows that somebody was here in between"


def test_it_is_free_when_the_controller_falls_silent(start: Start) -> None:
    holder = start()
    assert first(holder) == "0"
    assert holder.wait(20) == 0
    assert isinstance(first(start()), str)


def test_signs_of_life_keep_it(start: Start) -> None:
    holder = start()
    assert first(holder) == "0"
    assert holder.stdin
    end = time.monotonic() + 5
    while time.monotonic() < end:
        holder.stdin.write(lock.BEAT)
        holder.stdin.flush()
        time.sleep(0.5)
    assert holder.poll() is None
    assert first(start()) == INFO


def test_it_can_be_broken(start: Start) -> None:
    holder = start()
    assert first(holder) == "0"
    breaker = start(LockInfo("bob", "deploy", "other", 1, "now"), break_lock=True)
    assert first(breaker) == "2", "what was read while the other held it is not relied on"
    holder.wait(10)
    third = first(start())
    assert isinstance(third, LockInfo)
    assert third.who == "bob"


def test_breaking_what_nobody_holds_is_taking(start: Start) -> None:
    assert first(start(break_lock=True)) == "0"


def test_a_note_that_cannot_be_read_is_still_somebody(start: Start, tmp_path: Path) -> None:
    assert first(start()) == "0"
    (tmp_path / "lock.json").write_text("")
    holder = first(start())
    assert isinstance(holder, LockInfo)
    assert holder.who == "an unknown user"


def left_at_work(folder: Path, command: str) -> subprocess.Popen[str]:
    """A command of a run that is no longer there: in a session of its own, without any connection."""
    return subprocess.Popen(
        ["sh", "-c", f"{at_work(str(folder / 'working'))}touch {folder}/begun\n{command}"], text=True,
        start_new_session=True,
    )  # fmt: skip


def begun(folder: Path) -> None:
    while not (folder / "begun").exists():
        time.sleep(0.01)


def test_what_a_killed_run_has_begun_is_waited_for(start: Start, tmp_path: Path) -> None:
    """Found on a host: the service was started for the killed run while the next one took it for stopped."""
    holder = start()
    assert first(holder) == "0"
    done = tmp_path / "done"
    work = left_at_work(tmp_path, outliving(f"sleep 0.7\ntouch {done}"))
    begun(tmp_path)
    assert holder.stdin
    holder.stdin.close()
    holder.wait(10)
    assert not done.exists()
    assert first(start()) == "3", "the count is another than anybody has read: what was read meanwhile is not relied on"
    assert done.exists()
    assert work.wait(10) == 0


def test_what_was_read_while_a_command_outlived_its_run_is_not_relied_on(start: Start, tmp_path: Path) -> None:
    holder = start()
    assert first(holder) == "0"
    work = left_at_work(tmp_path, "sleep 0.5")
    begun(tmp_path)
    holder.kill()
    read = (tmp_path / "lock.count").read_text().strip()
    work.wait(10)
    assert first(start()) != read


def test_what_does_not_end_is_named_and_can_be_ended(start: Start, tmp_path: Path) -> None:
    holder = start()
    assert first(holder) == "0"
    work = left_at_work(tmp_path, "sleep 60\ntrue")
    begun(tmp_path)
    assert holder.stdin
    holder.stdin.close()
    holder.wait(10)
    told = first(start())
    assert isinstance(told, LeftAtWork)
    assert (told.program, told.run) == ("sleep", INFO)
    assert str(told) == f"sleep (process {told.process} there, left at work by {INFO})"
    assert work.poll() is None
    assert isinstance(first(start(break_lock=True)), str)
    assert work.wait(10) == -9


def test_a_service_that_a_command_has_started_is_no_work(start: Start, tmp_path: Path) -> None:
    holder = start()
    assert first(holder) == "0"
    service = tmp_path / "service"
    left_at_work(tmp_path, outliving(f"sleep 20 & echo $! >{service}")).wait(10)
    holder.kill()
    holder.wait()
    try:
        assert isinstance(first(start()), str)
    finally:
        subprocess.run(["kill", service.read_text().strip()], check=True)


def test_only_root_can_keep_runs_away(start: Start, tmp_path: Path) -> None:
    assert first(start()) == "0"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("line", ["", "held", "works", "works some sh", "sh: flock: not found"])
def test_anything_else_is_no_answer(line: str) -> None:
    with pytest.raises(ValueError, match="no answer"):
        read_answer(line)


def test_without_flock_nobody_is_said_to_be_at_work(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "mkdir", "cat", "base64", "tr"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ValueError, match="no flock"):
        first(start())
