"""A connection that a bastion or a ProxyCommand makes, as a socket; and what ssh said where it made none.

paramiko's own ProxyCommand reads nothing of what the program says, and waits by polling. Here the program has one end
of a pair of sockets, and its words are kept for the message.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from etcdfleet.errors import RemoteError
from etcdfleet.remote.client_config import ClientConfig, local_user

_NOISE = ("Connection closed by UNKNOWN port", "stdio forwarding failed", "Pseudo-terminal will not")


@dataclass(frozen=True)
class Program:
    """What makes the connection. ``name`` is for messages: a bastion's name, or the command."""

    name: str
    argv: tuple[str, ...]
    hops: int = 1


def program(config: ClientConfig, patience: float) -> Program:
    """Return what ssh would start for a host behind a bastion, or with a ProxyCommand. Pure but for SHELL."""
    if config.proxy_command:
        shell = os.environ.get("SHELL") or "/bin/sh"
        return Program(config.proxy_command.split()[0], (shell, "-c", "exec " + expand(config.proxy_command, config)))
    *before, last = [hop.strip() for hop in config.proxy_jump.split(",")]
    argv = ["ssh", *(("-F", config.file) if config.file else ()), "-o", "BatchMode=yes"]
    argv += ["-o", f"ConnectTimeout={max(1, round(patience))}", *(("-J", ",".join(before)) if before else ())]
    argv += ["-W", f"[{config.hostname}]:{config.port}", "--", last if last.startswith("ssh://") else f"ssh://{last}"]
    return Program(last.removeprefix("ssh://"), tuple(argv), len(before) + 1)


def expand(command: str, config: ClientConfig) -> str:
    """Return a ProxyCommand with its tokens replaced (ssh_config(5), TOKENS). Unknown ones stay as they are."""
    tokens = {
        "%": "%",
        "h": config.hostname,
        "n": config.alias,
        "p": str(config.port),
        "r": config.user,
        "k": config.host_key_alias or config.alias,
        "d": str(Path("~").expanduser()),
        "u": local_user(""),
        "i": str(os.getuid()),
        "l": socket.gethostname(),
        "L": socket.gethostname().partition(".")[0],
        "j": config.proxy_jump,
    }
    return re.sub("%(.?)", lambda token: tokens.get(token[1], token[0]), command, flags=re.DOTALL)


class Proxy:
    """A running program; ``socket`` is the way through it. It ends when that is closed."""

    def __init__(self, what: Program) -> None:
        self.program = what
        if shutil.which(what.argv[0]) is None:
            raise RemoteError(
                f"{what.argv[0]} is not installed here, and the way to this host needs it ({what.name})",
                remedy="install OpenSSH's client on the controller (openssh-client)",
            )
        self.socket, theirs = socket.socketpair()
        # In a session of its own: Ctrl-C is for this program, which still has to free its locks through the connection.
        with theirs:
            self._process = subprocess.Popen(
                what.argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE, start_new_session=True
            )
        self._words: deque[str] = deque(maxlen=20)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self._process.stderr is not None:
            with self._process.stderr as words:
                for line in words:
                    self._words.append(line.decode("utf-8", "replace").strip())
        self._process.wait()

    def said(self, seconds: float = 3.0) -> str:
        """Return what it said, once it has ended (it is given some seconds for that)."""
        self._reader.join(seconds)
        words = [line for line in self._words if line and not line.startswith(_NOISE)]
        return " | ".join(words[-3:])

    def close(self) -> None:
        """End it. Raises nothing."""
        self.socket.close()
        if self._process.poll() is None:
            self._process.terminate()
