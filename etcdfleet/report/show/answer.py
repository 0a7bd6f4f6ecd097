"""A yes or a no, typed at a terminal."""

from __future__ import annotations

import select
import sys

from etcdfleet.errors import UsageError

_TURN_SECONDS = 0.2


def ask_yes(question: str) -> bool:
    """Ask on standard error for a yes at the terminal; anything else is a no. Raises UsageError without a terminal.

    It is waited for in short turns: a Ctrl-C that comes right before a blocking read is seen only after that read.
    """
    if not sys.stdin.isatty():
        raise UsageError("this needs a yes, and there is no terminal to ask on", remedy="add --yes if you mean it")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    while not select.select([sys.stdin], [], [], _TURN_SECONDS)[0]:
        pass
    return sys.stdin.readline().strip().lower() in ("y", "yes")
