"""Who works on a cluster: what a lock on its hosts says, and the shell that holds one.

A lock is a process on the host that holds ``flock`` on a file for as long as the controller's connection lasts and
gives signs of life. When the controller ends, is killed or loses its power, the process ends too, at once or within
`SILENCE_SECONDS`: a lock whose holder is dead frees itself, whatever the clocks say.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from etcdfleet.host.paths import LOCK_COUNT, RUN_FOLDER
from etcdfleet.remote.client_config import local_user
from etcdfleet.remote.scripts import script

FILE = f"{RUN_FOLDER}/lock"
NOTE = f"{RUN_FOLDER}/lock.json"
SILENCE_SECONDS = 45
"""So long may the controller be silent before its lock ends: a link that comes and goes must not free it."""
BEAT_SECONDS = 10
BEAT = "."
HELD, TAKEN, MISSING = "held", "taken", "missing"


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


def started_by() -> str:
    """Return who runs this process, and on which machine: ``user@machine``."""
    return f"{local_user(str(os.getuid()))}@{socket.gethostname()}"


def hold_script(info: LockInfo, *, break_lock: bool = False) -> str:
    """Return shell that takes the lock and keeps it until its input ends or falls silent.

    Its first line says `HELD` with the previous count, or `TAKEN` with the note of its holder. With ``break_lock``
    its holder is ended first.
    """
    return script(
        "hold_lock",
        folder=RUN_FOLDER,
        file=FILE,
        note=NOTE,
        count=LOCK_COUNT,
        info=base64.b64encode(json.dumps(asdict(info)).encode()).decode(),
        break_lock=break_lock,
        silence=SILENCE_SECONDS,
        beat=BEAT,
        said_held=HELD,
        said_taken=TAKEN,
        said_missing=MISSING,
    )


def read_answer(line: str) -> LockInfo | str:
    """Return who has the lock, or when it is ours, the count before it was taken: the first line of `hold_script`.

    Raises ValueError for anything else, such as a host without ``flock``.
    """
    words = line.split()
    if len(words) == 2 and words[0] == HELD:
        return words[1]
    if words == [MISSING]:
        raise ValueError("there is no flock on it (of util-linux or busybox)")
    if not words or words[0] != TAKEN:
        raise ValueError(f"{line!r} is no answer")
    try:
        return LockInfo(**json.loads(base64.b64decode("".join(words[1:]))))
    except (ValueError, TypeError):
        return LockInfo("an unknown user", "an unknown program", "an unknown machine", 0, "an unknown time")
