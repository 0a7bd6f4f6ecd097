"""A search for secrets: what they look like in all the forms that tools give them, and where they must not be."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

KEY_WITH_BODY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(\\n|\s)+[A-Za-z0-9+/]{40}")
"""A private key in PEM, whosever it is; programs that merely know the marker have no body after it."""
LARGEST = 64 * 2**20
"""Bytes; no file that deploy writes comes near it."""


@dataclass(frozen=True)
class Needles:
    """What to search for, by a name that may be shown (the needle itself may not)."""

    by_name: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def of(cls, keys: Mapping[str, str], words: Mapping[str, str]) -> Needles:
        """The needles for private keys in PEM, and for plain secrets such as tokens.

        Some lines of a key's body are searched, since each is unique: as they are, as bytes, and in base64 again, at
        each of the three ways they may fall into groups of three.
        """
        found: dict[str, bytes] = {}
        for name, pem in keys.items():
            body = [line.strip() for line in pem.splitlines() if line.strip() and "-----" not in line]
            # The first line is alike in all keys of one kind, and the first third of an RSA key is its public half,
            # which certificates have too. What comes after is the secret.
            for number in (max(2, len(body) // 3 + 1), len(body) // 2 + 1, len(body) - 1):
                line = body[number - 1]
                found[f"{name}, line {number}"] = line.encode()
                # A short piece: base64 may itself be broken into lines.
                forms = _in_base64(line[:24].encode())
                found |= {f"{name}, line {number}, {form}": text for form, text in forms.items()}
            raw = base64.b64decode("".join(body))
            found[f"{name}, as bytes"] = _piece(raw)
        for name, word in words.items():
            found[name] = word.encode()
            found |= {f"{name}, {form}": text for form, text in _in_base64(word.encode()).items()}
        return cls(found)

    def in_bytes(self, data: bytes) -> list[str]:
        """Names of the needles in ``data``, and whether any private key at all is in it."""
        found = [name for name, needle in self.by_name.items() if needle in data]
        return [*found, "a private key"] if KEY_WITH_BODY.search(data) else found

    def in_files(self, files: Iterable[Path]) -> dict[str, list[str]]:
        """What was found, by file; files that vanish meanwhile count as empty."""
        candidates = [path for chunk in batched(files, 500) for path in self._candidates(chunk)]
        found = {str(path): names for path in candidates if (names := self.in_bytes(_read(path)))}
        return dict(sorted(found.items()))

    def _candidates(self, files: Sequence[Path]) -> list[Path]:
        # grep looks for all of them at once, which matters with the programs and package lists of a whole host. The
        # needles go to its standard input: the search must not put secrets into the process list itself.
        patterns = b"\n".join([*self.by_name.values(), b"PRIVATE KEY-----"]) + b"\n"
        argv = ["grep", "-l", "-Z", "-a", "-s", "-F", "-f", "-", "--", *map(str, files)]
        done = subprocess.run(
            argv, input=patterns, capture_output=True, env={"LC_ALL": "C", "PATH": os.defpath}, check=False
        )
        return [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name]


def batched(items: Iterable[Path], size: int) -> Iterator[list[Path]]:
    """``items`` in lists of at most ``size``."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _piece(raw: bytes) -> bytes:
    """Some bytes from the inside of a key that can be searched for as one line."""
    start = next(at for at in range(len(raw) // 3, len(raw)) if not set(raw[at : at + 16]) & set(b"\n\0"))
    return raw[start : start + 16]


def _in_base64(data: bytes) -> dict[str, bytes]:
    forms = {}
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + data)
        # Without the characters that depend on what comes before and after.
        forms[f"in base64, shifted by {shift}"] = text[4 if shift else 0 : len(text) - 4]
    return forms


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST)
    except OSError:
        return b""


def files_below(*roots: Path) -> Iterator[Path]:
    """All regular files below these folders; links are not followed, other file systems are entered."""
    for root in roots:
        for folder, _, names in os.walk(root, onerror=lambda _: None):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    yield path


@dataclass
class Samples:
    """Command lines of all processes of the machine, those of its containers too; and environments of the latter."""

    looks: int = 0
    lines: set[bytes] = field(default_factory=set, repr=False)
    environments: set[bytes] = field(default_factory=set, repr=False)


@contextmanager
def sampling(cgroup: str, *, settle: float = 0.5) -> Iterator[Samples]:
    """Sample until the end of the block; ``cgroup`` names the group of the hosts' processes.

    What is new is read at each look for ``settle`` seconds (a process changes its command line when it executes
    another program), so that a look costs a few milliseconds and short-lived processes are seen.
    """
    samples, stop, born = Samples(), threading.Event(), dict[str, float]()

    def look() -> None:
        while not stop.is_set():
            now = time.monotonic()
            pids = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are all that is needed
            for pid in pids:
                # Of what was there at the beginning, one look is enough.
                if now - born.setdefault(pid, now if samples.looks else now - settle) <= settle:
                    _sample(pid, cgroup, samples)
            for gone in born.keys() - set(pids):
                del born[gone]
            samples.looks += 1
            stop.wait(0.005)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join(30)


def _sample(pid: str, cgroup: str, samples: Samples) -> None:
    try:
        samples.lines.add(Path("/proc", pid, "cmdline").read_bytes())
        if cgroup in Path("/proc", pid, "cgroup").read_text():
            samples.environments.add(Path("/proc", pid, "environ").read_bytes())
    except OSError:
        return  # ended meanwhile
