"""Writes a release archive whose bytes depend on nothing but what lies in it."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path


def pack(archive: Path, folder: str, files: Mapping[str, Path], time: int) -> None:
    """Write ``files`` (name in the archive: file here) below ``folder`` as a tar.gz, down to the disk.

    Programs are told by their mode. ``time`` is the release's, in seconds since 1970. Raises OSError.
    """
    with archive.open("wb") as raw:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            tar.addfile(_entry(folder, tarfile.DIRTYPE, 0o755, 0, time))
            for name, path in sorted(files.items()):
                mode = 0o755 if os.access(path, os.X_OK) else 0o644
                entry = _entry(f"{folder}/{name}", tarfile.REGTYPE, mode, path.stat().st_size, time)
                with path.open("rb") as content:
                    tar.addfile(entry, content)
        raw.flush()
        os.fsync(raw.fileno())


def _entry(name: str, kind: bytes, mode: int, size: int, time: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.mtime = kind, mode, size, time
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_in(archive: Path) -> frozenset[str]:
    """Return the names of the files in an archive. Raises OSError, EOFError or TarError where it is none or cut off."""
    with tarfile.open(archive) as tar:
        return frozenset(member.name for member in tar if member.isfile())


def sums_of(text: str) -> dict[str, str]:
    """Return the sums in the text of a ``SHA256SUMS``, by file name."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines())
    return {pair[1].removeprefix("*"): pair[0] for pair in pairs if len(pair) == 2}


def sums_text(sums: Mapping[str, str]) -> str:
    """Return the text of a ``SHA256SUMS``, as sha256sum writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
