"""A terminal of its own for a program that a test starts."""

from __future__ import annotations

import os
import signal


def take_terminal() -> None:
    """In a new session, before the program starts: the terminal on standard input is its own, with Ctrl-C and all."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    # A test runner in the background of a shell ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
