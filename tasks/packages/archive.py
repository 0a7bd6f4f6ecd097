"""etcd from a release tarball, by address or from the controller's disk, checked by SHA-256.

The controller fetches and checks the tarball once and sends only the two programs, since a Pi may have neither a way
to the internet nor a program that speaks TLS. What was installed is noted on the host, so that the next run sees it
without the tarball.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import tarfile
import tempfile
import threading
from pathlib import Path

from etcdfleet.errors import FleetError, RemoteError
from etcdfleet.remote import CommandResult, RemoteHost
from etcdfleet.settings.models import ArchiveInstall, ArchiveSource, HostSettings
from tasks.packages import INSTALL_TIMEOUT, Installed

PROGRAMS = ("etcd", "etcdctl")
_FOLDER = "/usr/local/bin"
_NOTE = "/usr/local/lib/etcdfleet/etcd.json"
_PROBE = " ".join(f"{_FOLDER}/{program}" for program in PROGRAMS)
_lock = threading.Lock()


class Archive:
    """See `tasks.packages.Packages`."""

    title = "release archive"
    adds = False
    probe = f"cat {_NOTE} 2>/dev/null && echo && stat -c '%n %s %Y' {_PROBE} 2>/dev/null; true"

    def read(self, result: CommandResult) -> Installed:
        """What the note says, if the programs are still those that were placed (same size and time)."""
        first, _, rest = result.stdout.partition("\n")
        try:
            note = json.loads(first)
            if sorted(note["files"]) == sorted(line for line in rest.splitlines() if line.strip()):
                return Installed(note["version"], note["sha256"], f"{_FOLDER}/etcd")
        except (ValueError, KeyError, TypeError):
            pass  # no note, or one of another time: install anew
        return Installed(None, binary=f"{_FOLDER}/etcd")

    def reason(self, settings: HostSettings, installed: Installed, architecture: str) -> str:
        """Missing, changed by hand, or another archive than the configured one."""
        install = settings.install
        assert isinstance(install, ArchiveInstall)  # noqa: S101
        source = _source(settings, install, architecture)
        if installed.version is None:
            return "etcd or etcdctl is not installed from a release archive, or was changed by hand"
        if installed.package != source.sha256:
            return f"version {installed.version} is installed from another archive, {install.version} is wanted"
        return ""

    def install(self, remote: RemoteHost, settings: HostSettings, architecture: str, before: str) -> None:
        """Sends both programs next to their place, checks them there, and renames them into it."""
        install = settings.install
        assert isinstance(install, ArchiveInstall)  # noqa: S101
        source = _source(settings, install, architecture)
        programs = programs_of(source)
        token = secrets.token_hex(6)
        staged = {name: f"/tmp/etcdfleet-{token}-{name}" for name in programs}  # noqa: S108  a name nobody can guess
        clean = "rm -f " + " ".join(staged.values())
        try:
            for name, path in programs.items():
                remote.upload(path, staged[name])
            lines = [
                "set -e",
                f"trap '{clean}' EXIT",
                "umask 022",
                before,
                f"mkdir -p {_FOLDER} {os.path.dirname(_NOTE)}",  # noqa: PTH120
            ]
            for name, path in programs.items():
                lines += [
                    f"echo '{_sha256(path)}  {staged[name]}' | sha256sum -c - >/dev/null",
                    f"cp {staged[name]} {_FOLDER}/.{name}.new; chown root:root {_FOLDER}/.{name}.new",
                    f"chmod 755 {_FOLDER}/.{name}.new; sync {_FOLDER}/.{name}.new",
                ]
            lines += [f"mv -f {_FOLDER}/.{name}.new {_FOLDER}/{name}" for name in programs]
            note = json.dumps({"version": install.version, "sha256": source.sha256})[:-1]
            lines += [
                f'files=$(stat -c \'"%n %s %Y"\' {_PROBE} | tr "\\n" "," | sed "s/,$//")',
                f'printf \'%s, "files": [%s]}}\' {shlex.quote(note)} "$files" > {_NOTE}.new; mv -f {_NOTE}.new {_NOTE}',
            ]
            remote.run("\n".join(lines), timeout=INSTALL_TIMEOUT, check="installing the release archive")
        except FleetError:
            remote.run(clean)
            raise

    def add(self, remote: RemoteHost, settings: HostSettings, name: str) -> None:  # noqa: ARG002
        """Nothing but etcd comes from an archive."""
        raise RemoteError(f"{name} is missing", where=remote.name, remedy=f"install {name} on the host")


def _source(settings: HostSettings, install: ArchiveInstall, architecture: str) -> ArchiveSource:
    for name, source in install.source.items():
        if name == architecture:
            return source
    raise FleetError(
        f"install.source has no archive for the architecture {architecture}",
        where=settings.name,
        remedy=f"add install.source.{architecture} (url or file, and sha256), or install this host by its packages",
    )


def programs_of(source: ArchiveSource) -> dict[str, Path]:
    """The programs of a release, unpacked in the controller's cache; fetched and checked first if they are not there.

    Raises `FleetError` when the archive cannot be had, has another SHA-256, or lacks a program.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "etcdfleet" / source.sha256
    programs = {name: cache / name for name in PROGRAMS}
    with _lock:  # one download for all hosts
        if not all(path.is_file() for path in programs.values()):
            _unpack(source, cache)
    return programs


def _unpack(source: ArchiveSource, cache: Path) -> None:
    where = source.url or source.file or ""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        archive = Path(folder) / "archive.tar.gz"
        if source.url:
            _download(source.url, archive)
        else:
            archive = Path(where).expanduser()
        try:
            found = _sha256(archive)
        except OSError as error:
            raise FleetError(
                f"cannot be read: {error.strerror}", where=where, remedy="correct install.source"
            ) from error
        if found != source.sha256:
            raise FleetError(
                f"has the SHA-256 {found}, not {source.sha256}",
                where=where,
                remedy="take the right file, or, if it was replaced on purpose, correct sha256 in the inventory",
            )
        unpacked = Path(folder) / "programs"
        unpacked.mkdir()
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    name = Path(member.name).name
                    data = tar.extractfile(member) if member.isfile() and name in PROGRAMS else None
                    if data is not None:
                        (unpacked / name).write_bytes(data.read())
        except tarfile.TarError as error:
            raise FleetError(f"is not a tar archive: {error}", where=where, remedy="correct install.source") from error
        missing = [name for name in PROGRAMS if not (unpacked / name).is_file()]
        if missing:
            raise FleetError(
                f"holds no {' and no '.join(missing)}", where=where, remedy="take a release archive of etcd"
            )
        unpacked.replace(cache)


def _download(url: str, target: Path) -> None:
    import requests

    try:
        with requests.get(url, stream=True, timeout=(10, 60)) as answer, target.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_content(1 << 20):
                file.write(chunk)
    except (requests.RequestException, OSError) as error:
        raise FleetError(
            f"could not be fetched: {error}", where=url, remedy="check the address, or use `file:` with a local copy"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
