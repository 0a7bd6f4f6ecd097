"""etcd from a release tarball, by address or from the controller's disk, checked by SHA-256.

The controller fetches and checks the tarball once and sends only the two programs, since a Pi may have neither a way
to the internet nor a program that speaks TLS. Each release lies in a folder of its own, and links in ``/usr/local/bin``
say which one is in use. What was installed is noted on the host, so that the next run sees it without the tarball.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shlex
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from etcdfleet.drivers.packages import (
    ARCHIVE_FOLDER,
    ARCHIVE_NOTE,
    INSTALL_TIMEOUT,
    LIBRARY,
    Installed,
    Packages,
    Target,
)
from etcdfleet.errors import FleetError, RemoteError
from etcdfleet.host.proxies import proxy_for
from etcdfleet.remote import last_lines
from etcdfleet.remote.scripts import script
from etcdfleet.settings.base import InstallSettings, Section
from etcdfleet.settings.merge import KeyPath
from etcdfleet.settings.models import Architecture
from etcdfleet.settings.notes import must_exist
from etcdfleet.settings.values import check_release_version, check_sha256, check_url, refuse

if TYPE_CHECKING:
    from etcdfleet.remote import CommandResult
    from etcdfleet.settings.notes import Notes
    from etcdfleet.settings.partial import Draft

PROGRAMS = ("etcd", "etcdctl")
UTILITY = "etcdutl"
"""In archives from 3.5 on; from 3.6 on it alone restores snapshots."""
_UNPACKED = ".unpacked"
"""In the cache, beside programs that were unpacked with the utility, if the archive has it."""
_PROBE = " ".join(f"{ARCHIVE_FOLDER}/{program}" for program in (*PROGRAMS, UTILITY))
_DOES_NOT_RUN, _OTHER_VERSION = 91, 92
_lock = threading.Lock()


class ArchiveSource(Section):
    """One release tarball: its address or its path on the controller (exactly one), and its SHA-256 in hexadecimal."""

    url: Annotated[str, AfterValidator(check_url)] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None
    sha256: Annotated[str, AfterValidator(check_sha256)]

    @model_validator(mode="after")
    def _one(self) -> ArchiveSource:
        if (self.url is None) == (self.file is None):
            what = "names both a url and a file" if self.url else "names neither a url nor a file"
            refuse(what, "write either url: https://… or file: path, and sha256")
        return self


Archives: TypeAlias = Mapping[Architecture, ArchiveSource]
"""Those of one release."""


class ArchiveInstall(InstallSettings):
    """A release tarball of etcd per architecture, of one version (``source``) or of several (``releases``)."""

    method: Literal["archive"] = "archive"
    version: Annotated[str, AfterValidator(check_release_version)]
    source: Archives = Field(default_factory=dict)
    releases: Mapping[Annotated[str, AfterValidator(check_release_version)], Archives] = Field(default_factory=dict)

    @property
    def by_version(self) -> Mapping[str, Archives]:
        """The archives of each version that can be installed."""
        return self.releases or {self.version: self.source}

    @property
    def place(self) -> str:
        """Where the archives of the version are written, as a dotted key."""
        return ".".join(self._key)

    @property
    def archives(self) -> Archives:
        """The archives of the version; none where ``releases`` lacks it, which is a mistake."""
        return self.by_version.get(self.version, {})

    def at(self, version: str) -> Self:
        """With another version, where there are archives of it."""
        return self.model_copy(update={"version": version}) if version in self.by_version else self

    def resolved(self, resolve: Callable[[str], Path]) -> Self:
        """With the paths of its archives made absolute."""

        def absolute(archives: Archives) -> Archives:
            return {
                architecture: one if one.file is None else one.model_copy(update={"file": str(resolve(one.file))})
                for architecture, one in archives.items()
            }

        releases = {version: absolute(archives) for version, archives in self.releases.items()}
        return self.model_copy(update={"source": absolute(self.source), "releases": releases})

    def check(self, draft: Draft, notes: Notes) -> None:
        """There is an archive for the host, and the files are there."""
        if self.source and self.releases:
            what = "there are install.source, the archives of one version, and install.releases, those of several"
            remedy = f"move what is below install.source to install.releases.{self.version}"
            notes.mistake(draft, "install.source", what, remedy)
            return
        if not draft.sound("install.version", "install.source", "install.releases"):
            return
        if not self.source and not self.releases:
            what = "there is no archive: install.source and install.releases are empty"
            remedy = "write for each architecture a url or file, and its sha256 (docs/settings.md)"
            notes.mistake(draft, "install.source", what, remedy)
            return
        if self.version not in self.by_version:
            what = f"install.version is {self.version}, and install.releases has no such version"
            remedy = f"add install.releases.{self.version}, or choose one that is there: {', '.join(self.releases)}"
            notes.mistake(draft, "install.version", what, remedy)
        elif (architecture := draft.platform.architecture) and architecture not in self.archives:
            what = f"{draft.name} is {architecture} (platform.architecture), and there is no archive for that"
            there = ", ".join(self.archives)
            remedy = f"add {self.place}.{architecture} with url or file, and sha256; there is: {there or 'none'}"
            notes.mistake(draft, self._key, what, remedy)
        for key, archives in self._by_key():
            for name, source in archives.items():
                if source.file is not None:
                    must_exist(draft, (*key, name, "file"), source.file, notes)

    @property
    def _key(self) -> KeyPath:
        return ("install", "releases", self.version) if self.releases else ("install", "source")

    def _by_key(self) -> Iterator[tuple[KeyPath, Archives]]:
        yield ("install", "source"), self.source
        for version, archives in self.releases.items():
            yield ("install", "releases", version), archives


class Archive(Packages[ArchiveInstall]):
    """See `etcdfleet.drivers.packages.Packages`."""

    title = "release archive"
    adds = False
    holds = False
    binary = f"{ARCHIVE_FOLDER}/etcd"
    probe = f"cat {ARCHIVE_NOTE} 2>/dev/null && echo && stat -L -c '%n %s %Y' {_PROBE} 2>/dev/null; true"
    retire = "true"  # a package's programs come later in every PATH, and may not be ours

    def read(self, result: CommandResult) -> Installed:
        """Return what the note says, if the programs are still those that were placed (same size and time)."""
        first, _, rest = result.stdout.partition("\n")
        try:
            note = json.loads(first)
            ours = {file.partition(" ")[0] for file in note["files"]}
            if sorted(note["files"]) == sorted(line for line in rest.splitlines() if line.partition(" ")[0] in ours):
                return Installed(note["version"], note["sha256"], self.binary)
        except (ValueError, KeyError, TypeError):
            pass  # no note, or one of another time: install anew
        return Installed(None, binary=self.binary)

    def reason(self, installed: Installed, architecture: str) -> str:
        """Missing, changed by hand, or another archive than the configured one."""
        source = self._source(architecture)
        if installed.version is None:
            return "etcd or etcdctl is not installed from a release archive, or was changed by hand"
        if installed.package != source.sha256:
            return f"version {installed.version} is installed from another archive, {self.settings.version} is wanted"
        return ""

    def offer(self, target: Target) -> str:
        """Return what the inventory says, once the archive was seen to be there; it is not downloaded for that."""
        must_be_there(self._source(target.architecture))
        return self.settings.version

    def versions(self, target: Target) -> tuple[str, ...]:
        """Return those of which there is an archive for the host; whether it can be had is seen when its turn comes."""
        by_version = self.settings.by_version.items()
        return tuple(version for version, archives in by_version if target.architecture in archives)

    def prepare(self, target: Target) -> None:
        """Put both programs into the release's folder, and check that they run and are of the version wanted."""
        remote, version, architecture = target.remote, self.settings.version, target.architecture
        source = self._source(architecture)
        programs = programs_of(source)
        sums = "".join(f"{_sha256(path)}  {name}\n" for name, path in programs.items())
        folder = self._folder(source)
        have = f"cd {folder} 2>/dev/null && printf %s {shlex.quote(sums)} | sha256sum -c - >/dev/null 2>&1"
        if remote.run(have, timeout=INSTALL_TIMEOUT).ok:
            return
        token = secrets.token_hex(6)
        staged = f"/tmp/etcdfleet-{token}"  # noqa: S108  a name that cannot be guessed
        try:
            for name, path in programs.items():
                remote.upload(path, f"{staged}-{name}")
            preparing = script(
                "archive_prepare",
                *programs,
                library=LIBRARY,
                in_use=f"{ARCHIVE_FOLDER}/etcd",
                folder=folder,
                new=f"{LIBRARY}/.new-{token}",
                staged=staged,
                sums=sums,
                version=version,
                architecture=architecture,
                does_not_run=_DOES_NOT_RUN,
                other_version=_OTHER_VERSION,
            )
            result = remote.run(preparing, timeout=INSTALL_TIMEOUT)
        except FleetError:
            remote.run(f"rm -f {staged}-*")
            raise
        if not result.ok:
            raise self._not_fit(target, result)

    def install(self, target: Target, before: str) -> None:
        """Let the links lead to the release's folder; a link leads to the old program or to the new one."""
        self.prepare(target)
        source = self._source(target.architecture)
        folder = self._folder(source)
        note = json.dumps({"version": self.settings.version, "sha256": source.sha256})[:-1]
        installing = script(
            "archive_install",
            *programs_of(source),
            functions={"before": before},
            folder=folder,
            links=ARCHIVE_FOLDER,
            note=note,
            note_file=ARCHIVE_NOTE,
        )
        target.remote.run(installing, timeout=INSTALL_TIMEOUT, check="installing the release archive")

    def add(self, target: Target, name: str) -> None:
        """Refuse: nothing but etcd comes from an archive."""
        raise RemoteError(f"{name} is missing", where=target.remote.name, remedy=f"install {name} on the host")

    def _folder(self, source: ArchiveSource) -> str:
        return f"{LIBRARY}/etcd-{self.settings.version}-{source.sha256[:12]}"

    def _not_fit(self, target: Target, result: CommandResult) -> RemoteError:
        remote, architecture = target.remote, target.architecture
        output = last_lines(result.stderr or result.stdout)
        if result.rc == _DOES_NOT_RUN:
            return RemoteError(
                f"the programs of the release archive do not run on this host: {output}",
                where=remote.name,
                remedy=f"take an archive for {architecture} ({self.settings.place}.{architecture}), with its sha256",
            )
        if result.rc == _OTHER_VERSION:
            return RemoteError(
                f"the release archive holds another version than {self.settings.version}: {output}",
                where=remote.name,
                remedy=f"correct install.version, or {self.settings.place}.{architecture} and its sha256",
            )
        return RemoteError(
            f"preparing the release archive failed with exit code {result.rc}: {output}",
            where=remote.name,
            remedy="make room in /tmp and /usr/local on the host (df -h), and run again",
        )

    def _source(self, architecture: str) -> ArchiveSource:
        place = self.settings.place
        for name, source in self.settings.archives.items():
            if name == architecture:
                return source
        raise FleetError(
            f"{place} has no archive for the architecture {architecture}",
            where=self.host,
            remedy=f"add {place}.{architecture} (url or file, and sha256), or install this host by its packages",
        )


def programs_of(source: ArchiveSource) -> dict[str, Path]:
    """Return the unpacked programs of a release in the controller's cache; fetch and check them first if need be.

    The utility is among them where the archive has it. Raises `FleetError` when the archive cannot be had, has another
    SHA-256, or lacks a program.
    """
    cache = _cache(source)
    programs = {name: cache / name for name in PROGRAMS}
    with _lock:  # one download for all hosts
        if not all(path.is_file() for path in programs.values()):
            _unpack(source, cache)
        elif not (cache / _UNPACKED).exists():
            # By a release that left the utility out. Where the archive is gone since, these two will do.
            with contextlib.suppress(FleetError):
                _unpack(source, cache)
    utility = cache / UTILITY
    return {**programs, UTILITY: utility} if utility.is_file() else programs


def must_be_there(source: ArchiveSource) -> None:
    """Raise `FleetError` when `programs_of` would fail for lack of the archive. What only a download tells is left."""
    if all((_cache(source) / name).is_file() for name in PROGRAMS):
        return
    if source.file:
        programs_of(source)
        return
    import requests

    url = source.url or ""
    try:
        answer = requests.head(url, timeout=10, allow_redirects=True)
        # A server need not know HEAD; then the download will tell.
        if answer.status_code not in {405, 501}:
            answer.raise_for_status()
    except requests.RequestException as error:
        raise _not_fetched(url, error) from error


def _cache(source: ArchiveSource) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "etcdfleet" / source.sha256


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
            digest = _sha256(archive)
        except OSError as error:
            raise FleetError(
                f"cannot be read: {error.strerror}", where=where, remedy="correct its path below install"
            ) from error
        if digest != source.sha256:
            raise FleetError(
                f"has the SHA-256 {digest}, not {source.sha256}",
                where=where,
                remedy="take the right file, or, if it was replaced on purpose, correct sha256 in the inventory",
            )
        unpacked = Path(folder) / "programs"
        unpacked.mkdir()
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    name = Path(member.name).name
                    wanted = member.isfile() and name in (*PROGRAMS, UTILITY)
                    data = tar.extractfile(member) if wanted else None
                    if data is not None:
                        (unpacked / name).write_bytes(data.read())
        except tarfile.TarError as error:
            raise FleetError(f"is not a tar archive: {error}", where=where, remedy="take a release archive") from error
        missing = [name for name in PROGRAMS if not (unpacked / name).is_file()]
        if missing:
            raise FleetError(
                f"holds no {' and no '.join(missing)}", where=where, remedy="take a release archive of etcd"
            )
        (unpacked / _UNPACKED).touch()
        if cache.exists():
            cache.replace(Path(folder) / "before")
        unpacked.replace(cache)


def _download(url: str, target: Path) -> None:
    import requests

    try:
        with requests.get(url, stream=True, timeout=(10, 60)) as answer, target.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_content(1 << 20):
                file.write(chunk)
    except (requests.RequestException, OSError) as error:
        raise _not_fetched(url, error) from error


def _not_fetched(url: str, error: Exception) -> FleetError:
    remedy = "check the address, or use `file:` with a local copy"
    if proxy := proxy_for(url):
        remedy += f"; it was asked for through {proxy}, and without it after {proxy.past}"
    return FleetError(f"could not be fetched: {error}", where=url, remedy=remedy)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
