"""Keeps secrets out of everything a person or a file gets to see.

Two nets, one behind the other: values that are known to be secret (a token, a password), and texts that look like a
private key or a Vault token wherever they come from.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

log = logging.getLogger("etcdfleet.run")

HIDDEN = "[secret]"
_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|\Z)", re.DOTALL
)
# hvs./hvb./hvr. since Vault 1.10; s./b./r. before, and in OpenBao.
_TOKEN = re.compile(r"(?<![A-Za-z0-9_.-])(?:hv[sbr]\.[A-Za-z0-9_-]{16,}|[sbr]\.[A-Za-z0-9]{22,}(?:\.[A-Za-z0-9]{4,})?)")
# Terminal escapes and other control characters in what a host answered must not act on the reader's terminal.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
_SECRET_ENVIRONMENT = re.compile(
    r"^(?:(?:VAULT|BAO)_(?:TOKEN|SECRET_ID)|ETCDFLEET_\w*(?:PASSWORD|SECRET|TOKEN)\w*"
    r"|AWS_(?:SECRET_ACCESS_KEY|SESSION_TOKEN)|AZURE_\w*(?:KEY|SECRET|TOKEN))$"
)
_SHORT = 4


class Redactor:
    """Replaces known secrets, private keys and Vault tokens in texts. Safe to use from several threads."""

    def __init__(self, *secrets: str) -> None:
        self._lock = threading.Lock()
        self._spellings: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def __repr__(self) -> str:
        return f"Redactor({len(self._spellings)} spellings)"

    def add(self, secret: str | None) -> None:
        """From now on hide ``secret``, also in its JSON, Python and URL spellings. Empty and None are ignored."""
        value = (secret or "").strip()
        if not value:
            return
        with self._lock:
            self._spellings |= {value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value), quote(value, safe="")}
            ordered = sorted(self._spellings, key=len, reverse=True)
            self._pattern = re.compile("|".join(_spelling_pattern(text) for text in ordered))

    def add_environment(self, environment: Mapping[str, str] = os.environ) -> None:
        """Hide the values of the environment variables that hold secrets (tokens, AppRole secrets, sudo passwords)."""
        for name, value in environment.items():
            if _SECRET_ENVIRONMENT.match(name):
                self.add(value)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        if self._pattern:
            text = self._pattern.sub(HIDDEN, text)
        if "PRIVATE KEY" in text:
            text = _KEY.sub(HIDDEN, text)
        return _TOKEN.sub(HIDDEN, text)

    def tree(self, value: Any) -> Any:
        """Return the same for every text in nested mappings and lists; other values become what JSON can hold."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.tree(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.tree(item) for item in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))


class RedactingStream:
    """A text stream that hides secrets in whatever is written to it; the last net before the terminal.

    A reader that goes away (``| head``, a lost terminal, a full disk) ends the output, never the work on the hosts:
    from then on everything is dropped.
    """

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream = stream
        self._redactor = redactor

    def write(self, text: str) -> int:
        """Write ``text`` without its secrets."""
        try:
            self._write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.warning("output is lost from here on: %s", error)
        # What is still buffered must not fail again at the end of the process, which would change the exit code.
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())

    def _write(self, text: str) -> None:
        clean = self._redactor.text(text)
        try:
            self._stream.write(clean)
        except UnicodeEncodeError:
            # What a host answered need not exist in the encoding of this terminal.
            encoding = self._stream.encoding
            self._stream.write(clean.encode(encoding, "replace").decode(encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def plain(text: str) -> str:
    """``text`` without terminal escapes and control characters other than tab and newline."""
    return _CONTROL.sub("", text)


def _spelling_pattern(text: str) -> str:
    # A very short password would turn half of every line into "[secret]": hide it only where it stands alone.
    return rf"(?<!\w){re.escape(text)}(?!\w)" if len(text) < _SHORT else re.escape(text)


REDACTOR = Redactor()
"""The one of this process: a secret is secret for all of it. Code that learns a secret adds it here."""
