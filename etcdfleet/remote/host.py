"""A host that is logged in to: commands as root, files, and the count of round trips.

Commands run on the connection's own SSH transport, each with an exit code, separate stdout and stderr and a time-out.
Scripts travel on standard input, never on a command line, so nothing of them is seen in a process list.
"""

from __future__ import annotations

import logging
import os
import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcdfleet.errors import RemoteError

if TYPE_CHECKING:
    import paramiko

log = logging.getLogger("etcdfleet.remote")
SUDO_PASSWORD_ENV = "ETCDFLEET_SUDO_PASSWORD"  # noqa: S105  the name of a variable, not a password
DEFAULT_TIMEOUT = 60.0
CONNECT_TIMEOUT = 10.0
_NEEDS_PASSWORD = 97
_AS = "etcdfleet-root-by="
_PRELUDE = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nunset HISTFILE\n"
# Finds out how to become root and does it, in the same round trip as the first command.
_FIRST_SHELL = (
    'sh -c \'if [ "$(id -u)" = 0 ]; then exec sh -s; '
    "elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then exec sudo -n sh -s; "
    "elif command -v doas >/dev/null && doas -n true 2>/dev/null; then exec doas -n sh -s; "
    "elif command -v sudo >/dev/null; then exit 97; else exit 96; fi'"
)


@dataclass(frozen=True)
class CommandResult:
    """What a command gave: exit code, both outputs as text, and the seconds it took."""

    rc: int
    stdout: str
    stderr: str
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the exit code was 0."""
        return self.rc == 0

    @property
    def text(self) -> str:
        """Standard output without the white space around it."""
        return self.stdout.strip()


@dataclass(frozen=True)
class RemoteFile:
    """A file to be put on a host. ``content`` is not shown in a repr, since it may be a private key."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"


class RemoteHost:
    """A logged-in host. Not for use by two threads at once (Nornir runs one task per host at a time)."""

    def __init__(self, name: str, client: paramiko.SSHClient, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.name = name
        self.timeout = timeout
        self.round_trips = 0
        self.cache: dict[str, Any] = {}
        self._client = client
        self._shell: str | None = None
        self._stdin_prefix = b""

    def run(self, script: str, *, timeout: float | None = None, check: str = "", remedy: str = "") -> CommandResult:
        """Runs a POSIX shell script as root and returns what it gave.

        ``timeout`` in seconds bounds the whole command. With ``check`` (what the script is for, in words) an exit code
        other than 0 raises `RemoteError` with the last lines of its output, and with ``remedy`` unless they say
        themselves what is to be done. Raises `RemoteError` also when the connection is lost, the time is over, or root
        cannot be had.
        """
        data = (_PRELUDE + script).encode()
        result = self._run_as_root(data, timeout or self.timeout)
        self._note(check or "a script", result)
        if check and not result.ok:
            raise RemoteError(
                f"{check} failed with exit code {result.rc}: {last_lines(result.stderr or result.stdout)}",
                where=self.name,
                remedy=_hint(result, remedy),
            )
        return result

    def batch(
        self, commands: Mapping[str, str], *, timeout: float | None = None, parallel: bool = False
    ) -> dict[str, CommandResult]:
        """Runs several scripts in one round trip, each with its own exit code and outputs, in order or side by side."""
        names = list(commands)
        result = self._run_as_root((_PRELUDE + _batch_script(commands, parallel)).encode(), timeout or self.timeout)
        if not result.ok:
            raise RemoteError(
                f"could not run a batch of commands: {last_lines(result.stderr or result.stdout)}",
                where=self.name,
                remedy=_hint(result),
            )
        found = _parse_batch(result.stdout.encode("utf-8", "surrogateescape"), names, self.name)
        log.debug("%s: %d commands in one round trip, %.3f s", self.name, len(names), result.seconds)
        for name, answer in found.items():
            if not answer.ok:
                self._note(name, answer)
        return found

    def place(
        self,
        files: Sequence[RemoteFile],
        *,
        before: str = "",
        after: str = "",
        timeout: float | None = None,
        what: str = "placing files",
    ) -> CommandResult:
        """Puts files on the host in one round trip: a reader sees the old file or the new one, never half of it.

        Each content goes to a temporary name in the target's folder, gets owner and mode, is synced, and only when all
        are written are they renamed. ``before`` and ``after`` are shell lines run (as root, stopping at the first
        error) before the first and after the last rename. Missing parent folders are an error: make them in
        ``before``. Raises `RemoteError` (disk full, read-only, no such user), with nothing replaced.
        """
        return self.run(_place_script(files, before, after), timeout=timeout, check=what)

    def hold(self, script: str, *, timeout: float = CONNECT_TIMEOUT) -> Held:
        """Starts a script as root that goes on until its standard input ends; gives it with its first line of output.

        ``timeout`` in seconds is for that line. Raises `RemoteError` when it does not come.
        """
        import paramiko

        if self._shell is None:
            self.run("true")
        self.round_trips += 1
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise self._lost("it was closed")
        try:
            channel = transport.open_session(timeout=timeout)
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

    def upload(self, local: Path, remote: str) -> None:
        """Copies a large file by SFTP as the login user (small ones go by `place`). Raises `RemoteError`."""
        self.round_trips += 1
        try:
            with self._client.open_sftp() as sftp:
                channel = sftp.get_channel()
                if channel is not None:
                    channel.settimeout(self.timeout)
                sftp.put(str(local), remote)
        except Exception as error:
            raise RemoteError(
                f"could not copy {local.name} to {remote}: {error or type(error).__name__}",
                where=self.name,
                remedy="check the free space and the permissions of that folder on the host, and that sshd offers sftp",
            ) from error

    def _note(self, what: str, result: CommandResult) -> None:
        # Never the script itself: it may carry a private key to its place.
        said = last_lines(result.stderr) if not result.ok else ""
        log.debug("%s: %s: exit code %d in %.3f s %s", self.name, what, result.rc, result.seconds, said)

    def _run_as_root(self, data: bytes, timeout: float) -> CommandResult:
        if self._shell is None:
            return self._first_run(data, timeout)
        return self._exec(self._shell, self._stdin_prefix + data, timeout)

    def _first_run(self, data: bytes, timeout: float) -> CommandResult:
        # sudo sets SUDO_USER and doas DOAS_USER, which tells what the first shell took. It may have said things of its
        # own before ("unable to resolve host").
        marker = b"printf '\\n%s\\n' \"" + _AS.encode() + b'${SUDO_USER:+sudo -n }${DOAS_USER:+doas -n }sh -s" >&2\n'
        result = self._exec(_FIRST_SHELL, marker + data, timeout)
        before, found, after = result.stderr.partition(f"\n{_AS}")
        if found:
            self._shell, _, rest = after.partition("\n")
            return CommandResult(result.rc, result.stdout, before + rest, result.seconds)
        if result.rc == _NEEDS_PASSWORD:
            return self._first_run_with_password(data, timeout)
        raise RemoteError(
            f"cannot become root: {last_lines(result.stderr or result.stdout) or 'neither sudo nor doas is there'}",
            where=self.name,
            remedy="log in as root, or install sudo (or doas with nopass) and allow this user to use it",
        )

    def _first_run_with_password(self, data: bytes, timeout: float) -> CommandResult:
        password = os.environ.get(SUDO_PASSWORD_ENV, "")
        if not password:
            raise RemoteError(
                "sudo asks for a password",
                where=self.name,
                remedy=f"set {SUDO_PASSWORD_ENV} in the environment (read -rs {SUDO_PASSWORD_ENV}; export "
                f"{SUDO_PASSWORD_ENV}), or allow this user passwordless sudo on the host",
            )
        # -k makes sudo ask even if it remembers an earlier answer: otherwise the password line would reach the shell.
        shell = "sudo -k -S -p '' sh -s"
        prefix = password.encode() + b"\n"
        result = self._exec(shell, prefix + b"printf 'as=root ' >&2\n" + data, timeout)
        before, found, after = result.stderr.partition("as=root ")
        if not found:
            raise RemoteError(
                "sudo did not accept the password",
                where=self.name,
                remedy=f"check {SUDO_PASSWORD_ENV}, and that this user may use sudo (sudo -l on the host)",
            )
        self._shell, self._stdin_prefix = shell, prefix
        return CommandResult(result.rc, result.stdout, before + after, result.seconds)

    def _exec(self, command: str, stdin: bytes, timeout: float) -> CommandResult:
        import paramiko

        self.round_trips += 1
        started = time.monotonic()
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise self._lost("it was closed")
        try:
            channel = transport.open_session(timeout=min(timeout, CONNECT_TIMEOUT))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._lost(str(error) or type(error).__name__) from error
        with channel:
            try:
                channel.settimeout(timeout)
                channel.exec_command(command)
                writer = threading.Thread(target=_feed, args=(channel, stdin), daemon=True)
                writer.start()
                stdout, stderr = _drain(channel, transport, started + timeout)
                rc = channel.recv_exit_status() if channel.exit_status_ready() else -1
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
        return CommandResult(rc, stdout.decode("utf-8", "surrogateescape"), stderr.decode("utf-8", "replace"), seconds)

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
        """Gives it some input. Raises nothing: on a connection that broke, it has ended already."""
        try:
            self._channel.sendall(text.encode())
        except OSError:
            return

    def release(self) -> None:
        """Lets it end, and waits a moment until it has. Raises nothing."""
        try:
            self._channel.shutdown_write()
            self._channel.settimeout(5)
            while self._channel.recv(1024):
                pass
            self._channel.close()
        except OSError:
            return


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    # In a thread of its own: a script larger than the window would otherwise wait for a host that waits for us to read.
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except OSError:
        return  # the command ended without reading all of it; its exit code says why


def _drain(channel: paramiko.Channel, transport: paramiko.Transport, deadline: float) -> tuple[bytes, bytes]:
    """Reads stdout and stderr together until the command has ended; either one alone could fill up and block."""
    out, err = bytearray(), bytearray()
    pause = 0.001
    while True:
        got = False
        while channel.recv_ready():
            out += channel.recv(65536)
            got = True
        while channel.recv_stderr_ready():
            err += channel.recv_stderr(65536)
            got = True
        if got:
            pause = 0.001
            continue
        if channel.closed or (channel.exit_status_ready() and channel.eof_received):
            while channel.recv_ready():
                out += channel.recv(65536)
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(65536)
            return bytes(out), bytes(err)
        if not transport.is_active():
            raise EOFError("the connection broke")
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def _batch_script(commands: Mapping[str, str], parallel: bool) -> str:
    # Outputs go to /run first (a tmpfs: works with a full disk), then out together, after all exit codes and lengths:
    # starting a process is what takes time on a small host, so there are three for all commands, not four for each.
    lines = [
        "d=$(mktemp -d /run/etcdfleet.XXXXXX 2>/dev/null || mktemp -d) || exit 98",
        "trap 'rm -rf \"$d\"' EXIT",
        "rcs=",
    ]
    for number, command in enumerate(commands.values()):
        job = f'(\n{command}\n) >"$d/o{number}" 2>"$d/e{number}" </dev/null'
        lines += [f"{job} & p{number}=$!"] if parallel else [job, 'rcs="$rcs $?"']
    if parallel:
        lines += [f'wait $p{number}; rcs="$rcs $?"' for number in range(len(commands))]
    files = " ".join(f"o{number} e{number}" for number in range(len(commands)))
    if files:
        lines += ['echo $rcs; cd "$d" || exit 98', f"wc -c {files}", f"cat {files}"]
    return "\n".join([*lines, "exit 0", ""])


def _parse_batch(data: bytes, names: Sequence[str], host: str) -> dict[str, CommandResult]:
    # A line of exit codes; a line for each output, its length first; one with their sum; and the outputs, end to end.
    results: dict[str, CommandResult] = {}
    if not names:
        return results
    *head, rest = data.split(b"\n", 2 * len(names) + 2)
    try:
        codes = [int(word) for word in head[0].split()]
        sizes = [int(line.split()[0]) for line in head[1:-1]]
    except (ValueError, IndexError):
        codes, sizes = [], []
    if len(codes) != len(names) or len(sizes) != 2 * len(names) or len(rest) != sum(sizes):
        raise RemoteError(
            "the answer to a batch of commands is garbled",
            where=host,
            remedy="a login script of this user prints to non-interactive shells; silence it",
        )
    position = 0
    for number, name in enumerate(names):
        middle = position + sizes[2 * number]
        end = middle + sizes[2 * number + 1]
        results[name] = CommandResult(
            codes[number], rest[position:middle].decode("utf-8", "replace"), rest[middle:end].decode("utf-8", "replace")
        )
        position = end
    return results


def _place_script(files: Sequence[RemoteFile], before: str, after: str) -> str:
    import base64

    lines = ["set -eu", "umask 077", "tmp=''", "trap '[ -z \"$tmp\" ] || rm -f $tmp' EXIT", before]
    renames = []
    for number, file in enumerate(files):
        folder, _, name = file.path.rpartition("/")
        encoded = base64.encodebytes(file.content).decode()
        lines += [
            f't{number}=$(mktemp {shlex.quote(f"{folder}/.{name}.XXXXXX")}); tmp="$tmp $t{number}"',
            f'base64 -d >"$t{number}" <<"EOF"\n{encoded}EOF',
            f'chown {shlex.quote(f"{file.owner}:{file.group}")} "$t{number}"; chmod {file.mode:04o} "$t{number}"',
            f'sync "$t{number}"',
        ]
        renames.append(f'mv -f "$t{number}" {shlex.quote(file.path)}')
    folders = sorted({file.path.rpartition("/")[0] for file in files})
    return "\n".join([*lines, *renames, "tmp=''", *(f"sync {shlex.quote(f)}" for f in folders), after, ""])


def last_lines(text: str, count: int = 3) -> str:
    """The last non-empty lines of an output, joined for a one-line message."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " | ".join(lines[-count:])


def _hint(result: CommandResult, otherwise: str = "") -> str:
    text = result.stderr + result.stdout
    if "No space left" in text:
        hint = "free space on that file system of the host (df -h), then run again"
        return hint if otherwise else f"{hint}: nothing was half replaced"
    if "Read-only file system" in text:
        return "the file system is read-only: check the SD card (dmesg) and remount it"
    return otherwise or "run again with --debug, or look at the log of this run"
