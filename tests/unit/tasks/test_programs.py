"""Which program a host starts, runs and should have; whether its packages are held; what apt and apk would bring."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import pytest

from etcdfleet.drivers.init import ServiceState, programs, ran_seconds
from etcdfleet.drivers.packages import RETIRE_ARCHIVE, Installed, Target, hold_change
from etcdfleet.drivers.packages.apk import Apk, ApkInstall
from etcdfleet.drivers.packages.apt import AptInstall
from etcdfleet.drivers.packages.archive import Archive, ArchiveInstall, ArchiveSource, must_be_there, programs_of
from etcdfleet.errors import FleetError
from etcdfleet.host.facts import FileFacts
from etcdfleet.host.paths import CONFIG
from etcdfleet.remote import CommandResult, RemoteHost
from tasks.observe import Observed
from tasks.programs import REPLACED, UNREADABLE, program_due, restart_reasons
from tests.unit.host.test_preflight import GOOD
from tests.unit.support.site import LocalHost, apt, settings

APT, APK = settings(install=AptInstall()), Apk(ApkInstall(), "az-1")
USR, LOCAL = "/usr/bin/etcd", "/usr/local/bin/etcd"


def seen(installed: Installed, *, pending: str = "", other: str = "", **service: Any) -> Observed:
    state = ServiceState(
        **{"running": True, "enabled": True, "program": USR, "program_file": USR, "runs": USR, **service}
    )
    return Observed(replace(GOOD, restart_pending=pending), state, installed, True, other)


OURS = Installed("3.4.23", "3.4.23-4")


@pytest.mark.parametrize(
    ("found", "wanted", "due"),
    [
        (seen(OURS), None, ""),
        (seen(OURS), "3.4.23-4", ""),
        (seen(OURS), "9.9", "version 3.4.23-4 is installed, 9.9 is wanted"),
        (seen(Installed(None), program="", program_file="", runs="", running=False), None, "not installed"),
        # The packages are there, and the service starts the program of a release archive.
        (seen(OURS, program=LOCAL), None, f"{LOCAL} is what the service starts, {USR} is wanted"),
        # No unit of ours yet.
        (seen(OURS, program=""), None, ""),
    ],
)
def test_when_a_program_is_due(found: Observed, wanted: str | None, due: str) -> None:
    said = program_due(apt(wanted), found)
    assert due in said
    assert bool(due) == bool(said)


@pytest.mark.parametrize(
    ("found", "programs", "reasons"),
    [
        (seen(OURS), True, ()),
        (seen(OURS, runs=f"{USR} (deleted)"), False, (REPLACED,)),
        (
            seen(OURS, runs=f"{USR} (deleted)", pending="changed: /etc/x\nchanged: /etc/x"),
            False,
            ("changed: /etc/x", REPLACED),
        ),
        # A link leads to another release than the one that runs.
        (seen(OURS, program_file="/usr/local/lib/new/etcd", runs="/usr/local/lib/old/etcd"), False, (REPLACED,)),
        # Nothing is known of the running one (it has just been forked), or it does not run.
        (seen(OURS, runs=""), True, ()),
        (seen(OURS, runs=f"{USR} (deleted)", running=False), True, ()),
        # A program that is due is exchanged by a deploy's rolling restart only.
        (seen(Installed(None)), False, ()),
        (seen(Installed(None)), True, ("etcd or etcdctl is not installed",)),
    ],
)
def test_why_a_restart_is_due(found: Observed, programs: bool, reasons: tuple[str, ...]) -> None:
    assert restart_reasons(APT, found, programs=programs) == reasons


@pytest.mark.parametrize(
    ("content", "reasons"),
    [(b"name: a\n", ()), (b"a: [", (UNREADABLE,)), (b"", (UNREADABLE,)), (None, (UNREADABLE,))],
)
def test_a_configuration_that_etcd_cannot_read_is_a_reason(content: bytes | None, reasons: tuple[str, ...]) -> None:
    """What the running one trusts is not known until it was restarted: without that, no change of CA could go on."""
    files = {} if content is None else {CONFIG: FileFacts(content, 0o644, "root", "root")}
    observed = seen(OURS)
    noted = replace(observed, facts=replace(observed.facts, files=files, established={"cluster_id": 9}))
    assert restart_reasons(APT, noted) == reasons
    assert restart_reasons(APT, replace(noted, facts=replace(noted.facts, established=None))) == ()


def test_files_are_for_the_program_that_the_next_start_runs() -> None:
    """Until its turn, a running member's files stay those of the program that it has; a stopped one's are the new's."""
    assert seen(OURS).in_force == OURS
    waiting = seen(Installed("3.5.1", "sha", LOCAL), other="3.4.23")
    assert (waiting.in_force.version, waiting.in_force.binary) == ("3.4.23", USR)
    assert seen(Installed("3.5.1", "sha", LOCAL), running=False).in_force.binary == LOCAL
    assert seen(Installed("3.5.1", "sha", LOCAL), program="").in_force.binary == LOCAL


@pytest.mark.parametrize(
    ("wanted", "installed", "change"),
    [
        ("3.4.23-4", OURS, "hold"),
        ("3.4.23", OURS, "hold"),
        ("3.4.23-4", replace(OURS, held=True), ""),
        ("3.4.23-4", replace(OURS, held=True, held_by_us=True), ""),
        ("9.9", OURS, ""),
        ("3.4.23-4", Installed(None), ""),
        (None, OURS, ""),
        (None, replace(OURS, held=True), ""),
        (None, replace(OURS, held=True, held_by_us=True), "release"),
        (None, replace(OURS, held_by_us=True), ""),
    ],
)
def test_packages_are_held_while_their_version_is_pinned(wanted: str | None, installed: Installed, change: str) -> None:
    assert hold_change(wanted, installed) == change


def test_held_packages_are_installed_ones() -> None:
    """Before, a package that was held by hand counted as missing, and was installed at each run."""
    both = "hi  etcd-client 3.4.23-4+b4\nhi  etcd-server 3.4.23-4+b4\n"
    assert apt().read(CommandResult(0, both, "")) == Installed("3.4.23", "3.4.23-4+b4", held=True)
    assert apt().read(CommandResult(0, both + "held by us\n", "")).held_by_us
    one = both.replace("hi", "ii", 1)
    assert apt().read(CommandResult(0, one, "")) == Installed("3.4.23", "3.4.23-4+b4")
    world = "etcd-3.5.1-r0\netcd-ctl-3.5.1-r0\netcdctl\nheld\nheld-by-us\n"
    assert APK.read(CommandResult(0, world, "")) == Installed("3.5.1", "3.5.1-r0", held=True, held_by_us=True)


class Says:
    """A host on which every command gives the same answer."""

    name = "pi"

    def __init__(self, answer: CommandResult) -> None:
        self.answer = answer

    def run(self, *_: Any, **__: Any) -> CommandResult:
        return self.answer


def host(stdout: str, rc: int = 0, stderr: str = "") -> RemoteHost:
    return cast(RemoteHost, Says(CommandResult(rc, stdout, stderr)))


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Inst etcd-server (3.4.23-4+b4 Debian:12.15/oldstable [amd64])\nConf etcd-server (3.4.23-4+b4 …", "3.4.23"),
        ("Inst etcd-server [3.4.23-4+b4] (3.5.16-4 Debian:13 [amd64])", "3.5.16"),
        ("etcd-server is already the newest version (3.4.23-4+b4).\nInst etcd-client (3.4.23-4+b4 x)", "3.4.23"),
        ("nothing of the kind", ""),
    ],
)
def test_what_apt_would_bring(said: str, version: str) -> None:
    assert apt().offer(Target(host(said), "amd64")) == version


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("(1/3) Installing etcd (3.5.1-r0)\n(2/3) Installing etcd-ctl (3.5.1-r0)\n", "3.5.1"),
        ("(1/1) Upgrading etcd (3.5.1-r0 -> 3.5.16-r1)\n", "3.5.16"),
        ("(1/1) Downgrading etcd (3.5.16-r1 -> 3.5.1-r0)\n", "3.5.1"),
        ("OK: 57.7 MiB in 43 packages\n", ""),
    ],
)
def test_what_apk_would_bring(said: str, version: str) -> None:
    assert APK.offer(Target(host(said), "amd64")) == version


def test_what_cannot_be_installed_is_said_in_the_words_of_the_installation() -> None:
    with pytest.raises(
        FleetError, match=r"apt-get could not install .*: E: Version '9.9' for 'etcd-server' was not found"
    ):
        apt().offer(Target(host("", 100, "E: Version '9.9' for 'etcd-server' was not found"), "amd64"))


def test_an_archive_must_be_there_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FleetError, match="No such file"):
        must_be_there(ArchiveSource(file=str(tmp_path / "missing.tar.gz"), sha256="0" * 64))
    with pytest.raises(FleetError, match="could not be fetched"):
        must_be_there(ArchiveSource(url="http://127.0.0.1:9/etcd.tar.gz", sha256="0" * 64))
    cached = tmp_path / "etcdfleet" / ("0" * 64)
    cached.mkdir(parents=True)
    for name in ("etcd", "etcdctl"):
        (cached / name).touch()
    must_be_there(ArchiveSource(url="http://127.0.0.1:9/etcd.tar.gz", sha256="0" * 64))


# ---- release archives, on this machine ------------------------------------------------------------------------------


PROGRAM = """#!/bin/sh
case "$0 $*" in */etcd*--version) echo "etcd Version: {0}" ;; *version) echo "etcdctl version: {0}" ;; esac
"""


class Here(LocalHost):
    """This machine, with the host's folders below a folder of the test."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.uploads = 0

    def _exec(self, command: str, stdin: bytes, timeout: float) -> CommandResult:
        # Wherever they stand but in PATH.
        stdin = re.sub(rb"/usr/local/(lib/etcdfleet|bin(?!:))", rf"{self.root}/\1".encode(), stdin)
        stdin = stdin.replace(b"chown root:root", b"true")
        return super()._exec(command, stdin, timeout)

    def upload(self, local: Path, remote: str) -> None:
        self.uploads += 1
        shutil.copy(local, remote)


def release(version: str, folder: Path, *, holds: str = "") -> Archive:
    """A release archive; its programs are in the controller's cache already."""
    sha256 = f"{version.replace('.', ''):0>64}"
    cache = folder / "etcdfleet" / sha256
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("etcd", "etcdctl"):
        (cache / name).write_text(PROGRAM.format(holds or version))
    source = ArchiveSource(url="http://127.0.0.1:9/x", sha256=sha256)
    return Archive(ArchiveInstall(version=version, source={"amd64": source}), "az-1")


def state(here: Here, archive: Archive) -> Installed:
    return archive.read(here.run(Archive.probe))


def test_releases_lie_side_by_side_until_one_takes_the_others_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = Here(tmp_path)
    target = Target(here, "amd64")
    # As a deploy of an older release of this project left it: plain files.
    (tmp_path / "bin").mkdir()
    for name in ("etcd", "etcdctl"):
        (tmp_path / "bin" / name).write_text("old")
    first, second = release("3.5.1", tmp_path / "cache"), release("3.5.2", tmp_path / "cache")
    first.prepare(target)
    assert (tmp_path / "bin" / "etcd").read_text() == "old"
    first.install(target, "")
    assert here.uploads == 2
    assert (tmp_path / "bin" / "etcd").is_symlink()
    assert state(here, first).version == "3.5.1"
    second.prepare(target)
    assert state(here, first).version == "3.5.1"
    assert "3.5.1" in (tmp_path / "bin" / "etcd").read_text()
    # Killed between the links: the next run sees that, and finishes.
    folder = next((tmp_path / "lib/etcdfleet").glob("etcd-3.5.2-*"))
    (tmp_path / "bin" / "etcd").unlink()
    (tmp_path / "bin" / "etcd").symlink_to(folder / "etcd")
    (tmp_path / "lib/etcdfleet/.new-killed").mkdir()
    second.install(target, "")
    assert state(here, first).version == "3.5.2"
    assert "3.5.2" in (tmp_path / "bin" / "etcdctl").read_text()
    # What is not in use any more goes when the next one comes.
    release("3.5.3", tmp_path / "cache").prepare(target)
    kept = sorted(path.name.split("-")[1] for path in (tmp_path / "lib/etcdfleet").glob("etcd-*"))
    assert kept == ["3.5.2", "3.5.3"]
    assert list((tmp_path / "lib/etcdfleet").glob(".new-*")) == []


def test_the_utility_comes_with_the_archives_that_have_it_and_goes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcdutl restores snapshots, from 3.6 on it alone. One that a person has put there is not taken for ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = Here(tmp_path)
    target, link = Target(here, "amd64"), tmp_path / "bin" / "etcdutl"
    plain, whole = release("3.5.1", tmp_path / "cache"), release("3.6.1", tmp_path / "cache")
    next((tmp_path / "cache/etcdfleet").glob("*361")).joinpath("etcdutl").write_text("utility")
    plain.install(target, "")
    assert not link.exists()
    link.write_text("of a person")
    assert state(here, plain).version == "3.5.1", "it is none of ours"
    whole.install(target, "")
    assert link.read_text() == "utility"
    assert state(here, whole).version == "3.6.1"
    here.run(RETIRE_ARCHIVE)
    assert not link.is_symlink()
    link.write_text("of a person")
    plain.install(target, "")
    here.run(RETIRE_ARCHIVE)
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == ["etcdutl"]


def test_programs_that_were_unpacked_without_the_utility_get_it_where_the_archive_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "etcd.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        for name in ("etcd", "etcdctl", "etcdutl"):
            (tmp_path / name).write_text(f"new {name}")
            tar.add(tmp_path / name, f"etcd-v3.6.1/{name}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    cached = tmp_path / "cache" / "etcdfleet" / digest
    cached.mkdir(parents=True)
    for name in ("etcd", "etcdctl"):
        (cached / name).write_text("old")
    gone = ArchiveSource(file=str(tmp_path / "gone.tar.gz"), sha256=digest)
    assert sorted(programs_of(gone)) == ["etcd", "etcdctl"]
    source = ArchiveSource(file=str(file), sha256=digest)
    assert {name: path.read_text() for name, path in programs_of(source).items()} == {
        name: f"new {name}" for name in ("etcd", "etcdctl", "etcdutl")
    }
    file.unlink()
    assert sorted(programs_of(source)) == ["etcd", "etcdctl", "etcdutl"], "it is not unpacked again"


def test_an_archive_that_does_not_fit_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = Here(tmp_path)
    with pytest.raises(FleetError, match=r"holds another version than 3\.5\.1: etcd Version: 3\.6\.0"):
        release("3.5.1", tmp_path / "cache", holds="3.6.0").install(Target(here, "amd64"), "")
    wrong = release("3.5.2", tmp_path / "cache")
    next((tmp_path / "cache/etcdfleet").glob("*352/etcd")).write_text("\x7fELF of another machine")
    with pytest.raises(FleetError, match="do not run on this host"):
        wrong.install(Target(here, "amd64"), "")
    assert list((tmp_path / "lib/etcdfleet").iterdir()) == []
    assert not (tmp_path / "bin").exists()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the files of this folder can be fetched."""
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize("by", ["file", "url"])
def test_an_archive_with_another_sum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """The sum alone keeps out an archive that somebody else has put there: all but that is right with this one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    here, file, wanted = Here(tmp_path), tmp_path / "site" / "etcd.tar.gz", "0" * 64
    file.parent.mkdir()
    with tarfile.open(file, "w:gz") as tar:
        for name in ("etcd", "etcdctl"):
            (tmp_path / name).write_text(PROGRAM.format("3.5.1"))
            tar.add(tmp_path / name, f"etcd-v3.5.1/{name}")
    with served(file.parent) as address:
        where = str(file) if by == "file" else f"{address}/etcd.tar.gz"
        source = ArchiveSource.model_validate({by: where, "sha256": wanted})
        archive = Archive(ArchiveInstall(version="3.5.1", source={"amd64": source}), "az-1")
        for install in (archive.prepare, partial(archive.install, before="")):
            with pytest.raises(FleetError) as refused:
                install(Target(here, "amd64"))
            assert (
                refused.value.what == f"has the SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()}, not {wanted}"
            )
            assert refused.value.where == where
            assert "correct sha256 in the inventory" in refused.value.remedy
    assert list((tmp_path / "cache" / "etcdfleet").iterdir()) == []
    assert (here.uploads, here.round_trips) == (0, 0)


# ---- what runs ------------------------------------------------------------------------------------------------------


def test_the_file_of_the_running_program_is_found(tmp_path: Path) -> None:
    """A copy of ``sleep`` called etcd runs; then another file takes its place. Under an emulator its memory tells."""
    program = tmp_path / "etcd"
    shutil.copy("/bin/sleep", program)
    began = time.monotonic() - 0.05  # Linux counts hundredths
    with subprocess.Popen([str(program), "60"]) as process:
        try:
            script = f"pid={process.pid}\n{programs(f'echo {program}')}"

            def found() -> dict[str, str]:
                said = dict(line.split("=", 1) for line in LocalHost().run(script).stdout.splitlines())
                assert 0 <= (ran_seconds(said.pop("ran")) or 0) <= time.monotonic() - began
                return said

            def emulated() -> str:
                return LocalHost().run(script.replace("x=$(readlink", "x=$(true")).stdout.rpartition("runs=")[2].strip()

            assert found() == {"program": str(program), "program_file": str(program), "runs": str(program)}
            assert emulated() == str(program)
            shutil.copy("/bin/sleep", tmp_path / "new")
            (tmp_path / "new").rename(program)
            assert found()["runs"] == emulated() == f"{program} (deleted)"
        finally:
            process.kill()
    nothing = LocalHost().run(f"pid=\n{programs('true')}").stdout
    assert nothing == ""
