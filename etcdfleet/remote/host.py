"""A host that is logged in to: commands as root, files, and the count of round trips.

Commands run on the connection's own SSH transport, each with an exit code, separate stdout and stderr and a time-out.
Scripts travel on standard input, never on a command line, so nothing of them is seen in a process list.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from etcdfleet.errors import RemoteError
from etcdfleet.remote import root
from etcdfleet.remote.commands import (
    CommandResult,
    RemoteFile,
    at_work,
    batch_script,
    hint,
    last_lines,
    parse_batch,
    place_script,
    whole,
)

if TYPE_CHECKING:
    import paramiko

log = logging.getLogger("etcdfleet.remote")
DEFAULT_TIMEOUT = 60.0
CONNECT_TIMEOUT = 10.0
_WRITTEN_SECONDS = 1.0
_PRELUDE = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nunset HISTFILE\n"


class RemoteHost:
    """A logged-in host. Not for use by two threads at once (Nornir runs one task per host at a time)."""

    def __init__(
        self,
        name: str,
        client: paramiko.SSHClient,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        another: Callable[[], paramiko.SSHClient] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """``another`` logs in once more, for hosts that allow fewer sessions per connection than a run needs.

        ``notes`` are warnings about the login that its user should see.
        """
        self.notes = tuple(notes)
        self.name = name
        self.timeout = timeout
        self.round_trips = 0
        self._clients = [client]
        self._another = another
        self._shell: str | None = None
        self._at_work = ""
        self._stdin_prefix = b""

    def keep_open(self, file: str) -> None:
        """From now on, let every command on the host have this file open for as long as it works (`at_work`)."""
        self._at_work = at_work(file)

    def run(self, script: str, *, timeout: float | None = None, check: str = "", remedy: str = "") -> CommandResult:
        """Run a POSIX shell script as root and return what it gave.

        ``timeout`` in seconds bounds the whole command. With ``check`` (what the script is for, in words) an exit code
        other than 0 raises `RemoteError` with the last lines of its output, and with ``remedy`` unless they say
        themselves what is to be done. Raises `RemoteError` also when the connection is lost, the time is over, or root
        cannot be had.
        """
        data = self._framed(script)
        result = self._run_as_root(data, timeout or self.timeout)
        self._note(check or "a script", result)
        if check and not result.ok:
            raise RemoteError(
                f"{check} failed with exit code {result.rc}: {last_lines(result.stderr or result.stdout)}",
                where=self.name,
                remedy=hint(result, remedy),
            )
        return result

    def batch(
        self, commands: Mapping[str, str], *, timeout: float | None = None, parallel: bool = False
    ) -> dict[str, CommandResult]:
        """Run several scripts in one round trip, each with its own exit code and outputs, in order or side by side."""
        names = list(commands)
        data = self._framed(batch_script(commands, parallel))
        result = self._run_as_root(data, timeout or self.timeout)
        if not result.ok:
            raise RemoteError(
                f"could not run a batch of commands: {last_lines(result.stderr or result.stdout)}",
                where=self.name,
                remedy=hint(result),
            )
        answers = parse_batch(result.stdout.encode("utf-8", "surrogateescape"), names, self.name)
        log.debug("%s: %d commands in one round trip, %.3f s", self.name, len(names), result.seconds)
        for name, answer in answers.items():
            if not answer.ok:
                self._note(name, answer)
        return answers

    def place(
        self,
        files: Sequence[RemoteFile],
        *,
        before: str = "",
        after: str = "",
        timeout: float | None = None,
        what: str = "placing files",
    ) -> CommandResult:
        """Put files on the host in one round trip: a reader sees the old file or the new one, never half of it.

        Each content goes to a temporary name in the target's folder, gets owner and mode, is synced, and only when all
        are written are they renamed. ``before`` and ``after`` are shell lines run (as root, stopping at the first
        error) before the first and after the last rename. Missing parent folders are an error: make them in
        ``before``. Raises `RemoteError` (disk full, read-only, no such user), with nothing replaced.
        """
        return self.run(place_script(files, before, after), timeout=timeout, check=what)

    def hold(self, script: str, *, timeout: float = CONNECT_TIMEOUT) -> Held:
        """Start a script as root that goes on until its standard input ends; return it with its first line of output.

        ``timeout`` in seconds is for that line. Raises `RemoteError` when it does not come.
        """
        import paramiko

        if self._shell is None:
            self.run("true")
        self.round_trips += 1
        channel = self._session(min(timeout, CONNECT_TIMEOUT))
        try:
            channel.settimeout(timeout)
            channel.exec_command(self._shell or "")
            channel.sendall(self._stdin_prefix + (_PRELUDE + script).encode())
            line = b""
            while not line.endswith(b"\n"):
                got = channel.recv(1)
                if not got:
                    raise self._lost("a command ended without an answer")
                line += got
        except (TimeoutError, paramiko.SSHException, OSError, EOFError) as error:
            raise self._lost(str(error) or type(error).__name__) from error
        return Held(channel, line.decode("utf-8", "replace").strip())

    def fetch(self, script: str, into: BinaryIO, *, timeout: float, check: str, remedy: str = "") -> None:
        """Run a script as root, and write what it prints to a file as it comes: it may be larger than the memory.

        ``timeout`` in seconds bounds the whole command, ``check`` and ``remedy`` are as for `run`. Raises
        `RemoteError`, also where the file cannot be written; what is in it then is a part.
        """
        if self._shell is None:
            self.run("true")

        def keep(data: bytes) -> None:
            try:
                into.write(data)
            except OSError as error:
                raise RemoteError(
                    f"{check} failed: it cannot be written here ({error.strerror or error})",
                    where=str(getattr(into, "name", "")) or self.name,
                    remedy="make room on this machine, then run again",
                ) from error

        data = self._stdin_prefix + self._framed(script)
        result = self._exec_into(self._shell or "", data, timeout, keep)
        self._note(check, result)
        if not result.ok:
            raise RemoteError(
                f"{check} failed with exit code {result.rc}: {last_lines(result.stderr)}",
                where=self.name,
                remedy=hint(result, remedy),
            )

    def send(self, script: str, source: BinaryIO, *, timeout: float, check: str, remedy: str = "") -> CommandResult:
        """Run a script as root whose standard input is what is left of a file, which may be larger than the memory.

        The other parameters and what is raised are as for `fetch`. The file is read as the host takes it.
        """
        if self._shell is None:
            self.run("true")
        stdout, begun = bytearray(), threading.Event()

        def hear(data: bytes) -> None:
            stdout.extend(data)
            begun.set()

        def give() -> Iterator[bytes]:
            # The shell has read all of the script once it says so, and the file is for the script's commands alone.
            yield self._stdin_prefix + self._framed(f"echo\n{script}")
            if begun.wait(timeout):
                while piece := source.read(1 << 18):
                    yield piece

        result = self._exec_into(self._shell or "", give(), timeout, hear)
        self._note(check, result)
        result = replace(result, stdout=stdout.decode("utf-8", "replace").lstrip("\n"))
        if not result.ok:
            raise RemoteError(
                f"{check} failed with exit code {result.rc}: {last_lines(result.stderr)}",
                where=self.name,
                remedy=hint(result, remedy),
            )
        return result

    def upload(self, local: Path, remote: str) -> None:
        """Copy a large file by SFTP as the login user (small ones go by `place`). Raises `RemoteError`."""
        self.round_trips += 1
        import paramiko

        channel = self._session(CONNECT_TIMEOUT)
        try:
            channel.settimeout(self.timeout)
            channel.invoke_subsystem("sftp")
            with paramiko.SFTPClient(channel) as sftp:
                sftp.put(str(local), remote)
        except Exception as error:
            raise RemoteError(
                f"could not copy {local.name} to {remote}: {error or type(error).__name__}",
                where=self.name,
                remedy="check the free space and the permissions of that folder on the host, and that sshd offers sftp",
            ) from error

    def _framed(self, script: str) -> bytes:
        return (_PRELUDE + self._at_work + whole(script)).encode()

    def _note(self, what: str, result: CommandResult) -> None:
        # Never the script itself: it may carry a private key to its place.
        words = last_lines(result.stderr) if not result.ok else ""
        log.debug("%s: %s: exit code %d in %.3f s %s", self.name, what, result.rc, result.seconds, words)

    def _run_as_root(self, data: bytes, timeout: float) -> CommandResult:
        if self._shell is None:
            return self._first_run(data, timeout)
        return self._exec(self._shell, self._stdin_prefix + data, timeout)

    def _first_run(self, data: bytes, timeout: float) -> CommandResult:
        result = self._exec(root.FIRST_SHELL, root.marked(data), timeout)
        root_shell = root.how(result.stderr)
        if root_shell is not None:
            self._shell, stderr = root_shell
            return CommandResult(result.rc, result.stdout, stderr, result.seconds)
        refused = root.denied(result.stderr)
        if refused is None:
            raise root.no_shell(last_lines(result.stderr or result.stdout), self.name)
        password = os.environ.get(root.SUDO_PASSWORD_ENV, "")
        if not password or not root.wants_password(refused):
            raise root.no_root(refused, self.name, password_given=False)
        prefix = password.encode() + b"\n"
        tried = self._exec(root.PASSWORD_CHECK, prefix, timeout)
        if not tried.ok:
            refused = replace(refused, sudo=last_lines(tried.stderr) or "nothing")
            raise root.no_root(refused, self.name, password_given=True)
        self._shell, self._stdin_prefix = root.PASSWORD_SHELL, prefix
        return self._exec(self._shell, prefix + data, timeout)

    def _session(self, timeout: float) -> paramiko.Channel:
        """Open a channel for one command: by one more connection where the host allows no more in this one."""
        import paramiko

        for client in self._clients:
            transport = client.get_transport()
            if transport is None or not transport.is_active():
                # Also when another one still lives: this one may hold the cluster's lock.
                raise self._lost("it was closed")
        refused: Exception | None = None
        for client in self._clients:
            try:
                return self._channel(client, timeout)
            except paramiko.ChannelException as error:
                refused = error
        if self._another is not None:
            client = self._another()
            try:
                channel = self._channel(client, timeout)
            except paramiko.ChannelException as error:
                refused = error
            else:
                log.info("%s allows few sessions per connection (MaxSessions of sshd): one more is used", self.name)
                self._clients.insert(0, client)
                return channel
        raise RemoteError(
            f"sshd opens no session for commands ({refused})",
            where=self.name,
            remedy="allow sessions in its sshd_config: MaxSessions 10 (the default; 1 is enough)",
        ) from refused

    def _channel(self, client: paramiko.SSHClient, timeout: float) -> paramiko.Channel:
        import paramiko

        transport = client.get_transport()
        if transport is None:
            raise self._lost("it was closed")
        try:
            return transport.open_session(timeout=timeout)
        except paramiko.ChannelException:
            raise
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._lost(str(error) or type(error).__name__) from error

    def _exec(self, command: str, stdin: bytes, timeout: float) -> CommandResult:
        stdout = bytearray()
        result = self._exec_into(command, stdin, timeout, stdout.extend)
        return replace(result, stdout=stdout.decode("utf-8", "surrogateescape"))

    def _exec_into(
        self, command: str, stdin: bytes | Iterator[bytes], timeout: float, keep: Callable[[bytes], object]
    ) -> CommandResult:
        """Run a command; what it prints goes to ``keep`` as it comes, and not into the result."""
        import paramiko

        self.round_trips += 1
        started = time.monotonic()
        channel = self._session(min(timeout, CONNECT_TIMEOUT))
        transport = channel.get_transport()
        with channel:
            try:
                channel.settimeout(timeout)
                channel.exec_command(command)
                writer = threading.Thread(target=_feed, args=(channel, stdin), daemon=True)
                writer.start()
                stderr = bytearray()
                _drain(channel, transport, started + timeout, keep, stderr.extend)
                rc = channel.recv_exit_status() if channel.exit_status_ready() else -1
                writer.join(_WRITTEN_SECONDS)  # nothing of it must be left when sshd gives the channel's number away
            except TimeoutError as error:
                raise RemoteError(
                    f"a command did not end within {timeout:.0f} s",
                    where=self.name,
                    remedy="the host is overloaded, its disk hangs, or the link is slow: try again, or allow more with "
                    "--timeout",
                ) from error
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise self._lost(str(error) or type(error).__name__) from error
        if rc < 0:
            raise self._lost("it ended before the command did")
        seconds = time.monotonic() - started
        return CommandResult(rc, "", stderr.decode("utf-8", "replace"), seconds)

    def _lost(self, why: str) -> RemoteError:
        return RemoteError(
            f"the SSH connection was lost ({why})",
            where=self.name,
            remedy="check power and network of the host, then run again: the next run goes on where this one stopped",
        )


class Held:
    """A script that runs on a host for as long as it is held; ``first`` is the first line that it said."""

    def __init__(self, channel: paramiko.Channel, first: str) -> None:
        self.first = first
        self._channel = channel

    @property
    def ended(self) -> bool:
        """Whether it has ended on the host although it was not released, and the connection is still there."""
        transport = self._channel.get_transport()
        over = self._channel.closed or self._channel.exit_status_ready() or self._channel.eof_received
        return bool(over and transport and transport.is_active())

    def send(self, text: str) -> None:
        """Give it some input. Raises nothing: on a connection that broke, it has ended already."""
        try:
            self._channel.sendall(text.encode())
        except OSError:
            return

    def release(self) -> None:
        """Let it end, and wait a moment until it has. Raises nothing."""
        try:
            self._channel.shutdown_write()
            self._channel.settimeout(5)
            while self._channel.recv(1024):
                pass
            self._channel.close()
        except OSError:
            return


def _feed(channel: paramiko.Channel, data: bytes | Iterator[bytes]) -> None:
    # In a thread of its own: a script larger than the window would otherwise wait for a host that waits for us to read.
    try:
        for piece in [data] if isinstance(data, bytes) else data:
            channel.sendall(piece)
        channel.shutdown_write()
    except OSError:
        return  # the command ended without reading all of it; its exit code says why


def _drain(
    channel: paramiko.Channel,
    transport: paramiko.Transport,
    deadline: float,
    stdout: Callable[[bytes], object],
    stderr: Callable[[bytes], object],
) -> None:
    """Hand on stdout and stderr together until the command has ended; either one alone could fill up and block."""
    pause = 0.001
    while True:
        # Asked before the outputs are read: nothing comes after the end.
        over = channel.closed or (channel.exit_status_ready() and channel.eof_received)
        idle = True
        while channel.recv_ready():
            stdout(channel.recv(65536))
            idle = False
        while channel.recv_stderr_ready():
            stderr(channel.recv_stderr(65536))
            idle = False
        if over:
            return
        if not idle:
            pause = 0.001
            continue
        if not transport.is_active():
            raise EOFError("the connection broke")
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
