"""Who works on a cluster: what a lock on its hosts says, and the shell that holds one.

A lock is a process on the host that holds ``flock`` on a file for as long as the controller's connection lasts and
gives signs of life. When the controller ends, is killed or loses its power, the process ends too, at once or within
`SILENCE_SECONDS`: a lock whose holder is dead frees itself, whatever the clocks say. What that run's commands are at on
the host goes on meanwhile, such as the start of etcd or the restore of a snapshot: they show that by a file which they
have open, and whoever takes the lock waits for them.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from etcdfleet.host.paths import LOCK_COUNT, RUN_FOLDER, WORKING
from etcdfleet.remote.client_config import local_user
from etcdfleet.remote.commands import AT_WORK
from etcdfleet.remote.scripts import script

FILE = f"{RUN_FOLDER}/lock"
NOTE = f"{RUN_FOLDER}/lock.json"
SILENCE_SECONDS = 45
"""So long may the controller be silent before its lock ends: a link that comes and goes must not free it."""
PATIENCE_SECONDS = 30
"""So long is waited for the commands that an earlier run has left at work."""
BEAT_SECONDS = 10
BEAT = "."
HELD, TAKEN, WORKS, MISSING = "held", "taken", "works", "missing"


@dataclass(frozen=True)
class LockInfo:
    """Who holds a lock, with what, where and since when (UTC, ISO 8601)."""

    who: str
    runbook: str
    controller: str
    pid: int
    since: str

    @classmethod
    def of_this_run(cls, runbook: str) -> LockInfo:
        """For a lock that this process is about to take."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(local_user(str(os.getuid())), runbook, socket.gethostname(), os.getpid(), since)

    def __str__(self) -> str:
        return f"{self.who} on {self.controller} ({self.runbook}, process {self.pid}), since {self.since}"


@dataclass(frozen=True)
class LeftAtWork:
    """A command on a host that a run has left at work: its process there, its program, and which run if that is known.

    Such a run was killed, or has given up waiting for the command.
    """

    process: int
    program: str
    run: LockInfo | None = None

    def __str__(self) -> str:
        return f"{self.program} (process {self.process} there, left at work by {self.run or 'an earlier run'})"


AtWork = LockInfo | LeftAtWork
"""Who works on a host, and keeps others away from it."""


def started_by() -> str:
    """Return who runs this process, and on which machine: ``user@machine``."""
    return f"{local_user(str(os.getuid()))}@{socket.gethostname()}"


def hold_script(info: LockInfo, *, break_lock: bool = False) -> str:
    """Return shell that takes the lock and keeps it until its input ends or falls silent.

    Its first line says `HELD` with the previous count, `TAKEN` with the note of its holder, or `WORKS` with a process
    that an earlier run has left and that run's note, after `PATIENCE_SECONDS`. With ``break_lock`` both are ended.
    """
    return script(
        "hold_lock",
        folder=RUN_FOLDER,
        file=FILE,
        note=NOTE,
        count=LOCK_COUNT,
        info=base64.b64encode(json.dumps(asdict(info)).encode()).decode(),
        break_lock=break_lock,
        working=WORKING,
        at_work=AT_WORK,
        patience=PATIENCE_SECONDS,
        silence=SILENCE_SECONDS,
        beat=BEAT,
        said_held=HELD,
        said_taken=TAKEN,
        said_works=WORKS,
        said_missing=MISSING,
    )


def read_answer(line: str) -> AtWork | str:
    """Return who works there, or when the lock is ours, the count before it was taken: the first line of `hold_script`.

    Raises ValueError for anything else, such as a host without ``flock``.
    """
    words = line.split()
    if len(words) == 2 and words[0] == HELD:
        return words[1]
    if words == [MISSING]:
        raise ValueError("there is no flock on it (of util-linux or busybox)")
    if words[:1] == [TAKEN]:
        unknown = LockInfo("an unknown user", "an unknown program", "an unknown machine", 0, "an unknown time")
        return _noted("".join(words[1:])) or unknown
    if words[:1] == [WORKS] and len(words) in (3, 4) and words[1].isdecimal():
        return LeftAtWork(int(words[1]), words[2], _noted("".join(words[3:])))
    raise ValueError(f"{line!r} is no answer")


def _noted(encoded: str) -> LockInfo | None:
    try:
        return LockInfo(**json.loads(base64.b64decode(encoded)))
    except (ValueError, TypeError):
        return None
