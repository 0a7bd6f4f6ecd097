"""Runs of runbooks and of the lab without the start of a Python for each: forks of one that has imported everything.

The lab tests start them some hundred times, and a start with all its imports costs more processor time than most of
what a run does. A fork has its own arguments, environment, working folder, session and output, ends as the interpreter
ends, and can be killed as any process. What a start itself does is proven where it is the matter: by the unit tests of
the runbooks, by ``make demo``, and by each run with an environment that an interpreter reads at its start.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Protocol

PROJECT = Path(__file__).resolve().parents[2]
_OURS = ("etcdfleet", "plays", "tasks", "lab")
_THEIRS = ("netmiko", "paramiko", "nornir_netmiko.connections", "hvac", "jinja2", "rich.live", "rich.table")
_READ_AT_START = ("HOME", "LANG", "LANGUAGE", "LC_", "LD_", "PYTHON", "XDG_")
_MOST_BYTES = 1 << 17
_ENVIRONMENT = dict(os.environ)
"""That of the Python that forks; tests change that of the test runner."""


class Started(Protocol):
    """What tests use of a `subprocess.Popen`."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs; minus the number of the signal that ended it."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended; raises `subprocess.TimeoutExpired` after ``timeout`` seconds."""


class Forked:
    """A run in a fork: its process, and the socket on which its exit code comes."""

    returncode: int | None = None

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self.pid = int(self._line())

    def poll(self) -> int | None:
        """As `Started.poll`."""
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """As `Started.wait`."""
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(["a runbook"], timeout or 0)
        return code

    def _ended_within(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
            self.returncode = int(self._line())
            self._status.close()
        return self.returncode

    def _line(self) -> str:
        text = self._status.recv(32).decode()
        assert text, "the starter of runbooks has ended"
        return text


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether an interpreter with this environment starts as the one that forks did."""
    names = {name for name in {*env, *_ENVIRONMENT} if name.startswith(_READ_AT_START)}
    return all(env.get(name) == _ENVIRONMENT.get(name) for name in names)


def fork(program: Path | str, arguments: list[str], cwd: Path, env: Mapping[str, str], out: int, err: int) -> Forked:
    """Start a runbook of this project, or a module as ``python -m`` does, in its own session, without standard input.

    ``program`` is the runbook's file, or the module's name.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        message = json.dumps({"argv": [str(program), *arguments], "cwd": str(cwd), "env": dict(env)}).encode()
        socket.send_fds(_server(), [message], [out, err, theirs.fileno()])
    return Forked(ours)


@cache
def _server() -> socket.socket:
    """The process that forks, one for each process of the test runner; it ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, "-m", "tests.lab.starter", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(
            argv,
            cwd=PROJECT,
            env=_ENVIRONMENT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours


def _import_all() -> None:
    sys.path.insert(0, str(PROJECT))
    for name in _OURS:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    for name in _THEIRS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _serve(channel: socket.socket) -> list[str] | None:
    """Return the command line in each fork that is to run it; None once the test runner has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the forks that wait for runs are not waited for
    while True:
        message, fds, _, _ = socket.recv_fds(channel, _MOST_BYTES, 3)
        if not message:
            return None
        if os.fork() == 0:
            channel.close()
            return _watched(json.loads(message), *fds)
        for fd in fds:
            os.close(fd)


def _watched(request: dict[str, object], out: int, err: int, status_fd: int) -> list[str]:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = socket.socket(fileno=status_fd)
    child = os.fork()
    if child:
        _, code = os.waitpid(child, 0)
        status.send(str(os.waitstatus_to_exitcode(code)).encode())
        os._exit(0)
    os.setsid()
    for fd, place in ((out, 1), (err, 2)):
        os.dup2(fd, place)
        os.close(fd)
    env, cwd, argv = request["env"], request["cwd"], request["argv"]
    assert isinstance(env, dict)
    assert isinstance(cwd, str)
    assert isinstance(argv, list)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    # A test runner in the background of a shell ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with status:
        status.send(str(os.getpid()).encode())
    return argv


def main() -> None:
    """Serve, and in the forks carry out a program: at the top of this one, so that it ends as any program."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        _import_all()
        argv = _serve(channel)
    if argv is None:
        return
    sys.argv = argv
    if Path(argv[0]).suffix:
        sys.path[0] = str(Path(argv[0]).parent)  # as for a script that is started
        runpy.run_path(argv[0], run_name="__main__")
    else:
        sys.path[0] = str(Path.cwd())
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
