"""A program at a terminal of its own, and a person who answers what it asks."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def at_terminal(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    typed: Sequence[tuple[str, bytes]] = (),
    columns: int = 80,
    cwd: Path | None = None,
    seconds: float = 60,
) -> tuple[int, str]:
    """Run a program to its end; its exit code, and all that its terminal showed.

    ``typed`` are texts that are waited for, in this order, and what is typed then. Ctrl-C reaches the program. Fails
    when it has not ended after ``seconds``.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown, waiting, end = b"", list(typed), time.monotonic() + seconds
    with subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=_take_terminal,
    ) as process:
        os.close(follower)
        try:
            while select.select([leader], [], [], max(0.0, end - time.monotonic()))[0]:
                shown += os.read(leader, 65536)
                if waiting and waiting[0][0].encode() in shown:
                    os.write(leader, waiting.pop(0)[1])
            process.kill()
        except OSError:  # the way Linux says that the other end is closed
            process.wait(max(1.0, end - time.monotonic()))
        finally:
            process.kill()
            os.close(leader)
    text = shown.decode(errors="replace")
    assert process.returncode >= 0, f"it did not end within {seconds:g} s, and showed:\n{text}"
    assert not waiting, f"never asked: {waiting}\n{text}"
    return process.returncode, text


def _take_terminal() -> None:
    """In the new session, before the program starts: the terminal is its own, with Ctrl-C and all."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    # A test runner in the background of a shell ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
