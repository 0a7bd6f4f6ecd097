"""What a run leaves on disk: ``reports/<UTC time>-<runbook>/`` with report.json, report.html and the log."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etcdfleet.errors import UsageError
from etcdfleet.files import write_whole
from etcdfleet.report.record.codec import utc_text
from etcdfleet.report.record.secrets import Redactor, plain

log = logging.getLogger("etcdfleet.run")

# Of libraries only warnings: at lower levels they log what they send, and Nornir the arguments of tasks. What Nornir
# says about a failed task, the recorder says better.
_LEVELS = {
    "nornir": logging.ERROR,
    "nornir.core.task": logging.CRITICAL,
    "paramiko": logging.WARNING,
    "netmiko": logging.WARNING,
    "urllib3": logging.WARNING,
    "hvac": logging.WARNING,
}
_OURS = ("etcdfleet", "tasks", "runbooks")


class ReportFolder:
    """The folder of one run, mode 0700, made when the object is. Raises UsageError if that cannot be done.

    It is locked for as long as the process lives: so a reader of an unfinished report can tell whether more will come.
    """

    def __init__(self, base: Path, runbook: str, started: datetime) -> None:
        self.lost = False
        """Whether what was last to be written is not in report.json."""
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path = _made(base, f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{runbook}")
            self.report, self.page = self.path / "report.json", self.path / "report.html"
            self.log = self.path / f"{runbook}.log"
            self._lock = _Held(self.path)
        except OSError as error:
            raise UsageError(
                f"cannot keep reports here: {error.strerror}",
                where=str(base),
                remedy="choose another folder with --report-dir",
            ) from error

    def write(self, document: Mapping[str, Any], *, durable: bool = False) -> None:
        """Write report.json, whole or not at all, mode 0600. ``document`` is redacted already. Raises OSError.

        ``durable`` waits until it is on the disk, which is for the end of a run: on an SD card it takes its time.
        """
        self.lost = True
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        write_whole(self.report, text, 0o600, durable=durable)
        self.lost = False


class _Held:
    """A lock on a folder until the object or the process ends. Best effort: not every file system has locks."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._descriptor)


class RedactingFormatter(logging.Formatter):
    """One log record as text without secrets, tracebacks included, with UTC times."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._redactor = redactor

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        """UTC with milliseconds, as in report.json."""
        return utc_text(datetime.fromtimestamp(record.created, UTC))

    def format(self, record: logging.LogRecord) -> str:
        """Return the whole text, redacted as one: a key does not become harmless by being in a traceback."""
        return plain(self._redactor.text(super().format(record)))


class _LogFile(logging.FileHandler):
    """The log of a run. A full disk is said once, and is no reason to end the run or to show tracebacks."""

    _full = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say on standard error what is wrong, once."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._full:
            self._full = True
            with contextlib.suppress(Exception):
                sys.stderr.write(f"warning  {self.baseFilename}: the log is incomplete: {error.strerror}\n")

    def close(self) -> None:
        """Close the file, even if what is left over cannot be written."""
        with contextlib.suppress(OSError):
            super().close()


class _ErrorsToTerminal(logging.Handler):
    """Errors to whatever standard error is at that moment: the live display puts itself in its place."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(logging.ERROR)
        self.setFormatter(RedactingFormatter(redactor))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def logging_to(path: Path, redactor: Redactor, *, debug: bool = False) -> Iterator[None]:
    """While open, all logging goes to ``path`` (mode 0600): ours from INFO, others' from WARNING.

    ``debug`` adds our DEBUG, and shows errors with their tracebacks on standard error too.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(RedactingFormatter(redactor))
    handlers: list[logging.Handler] = [handler]
    if debug:
        handlers.append(_ErrorsToTerminal(redactor))
    root = logging.getLogger()
    levels = {"": logging.WARNING, **_LEVELS, **dict.fromkeys(_OURS, logging.DEBUG if debug else logging.INFO)}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    for one in handlers:
        root.addHandler(one)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for one in handlers:
            root.removeHandler(one)
            one.close()
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _made(base: Path, name: str) -> Path:
    number = 1
    while True:
        path = base / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return path
