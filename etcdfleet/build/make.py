"""Makes the archives of a plan: compiles, looks at what came out, packs, and keeps what is made."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from etcdfleet.build import sources
from etcdfleet.build.golang import Go
from etcdfleet.build.pack import names_in, pack, sha256_of, sums_of, sums_text
from etcdfleet.build.release import EXTRAS, PROGRAMS, build_command, environment, wrong_build
from etcdfleet.build.targets import Target, folder_name, unlike
from etcdfleet.errors import FleetError, UsageError
from etcdfleet.files import write_whole
from etcdfleet.text import clock_text, listed, size_text

_SUMS = "SHA256SUMS"
_OTHER_FOLDER = "remove it, or choose another folder with --out"


@dataclass(frozen=True)
class Plan:
    """What is built by which Go, and what is there already (names of targets whose archive lies in ``out``)."""

    version: str
    go: Go
    known: sources.Known
    commit: str
    out: Path
    targets: Sequence[Target]
    there: frozenset[str] = frozenset()

    def archive(self, target: Target) -> Path:
        """Return where the archive of a target is kept."""
        return self.out / f"{folder_name(self.version, target)}.tar.gz"


def is_there(plan: Plan, target: Target) -> bool:
    """Return whether the archive of a target is kept. Raises UsageError where something else has its name."""
    archive = plan.archive(target)
    try:
        names = names_in(archive)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, EOFError, tarfile.TarError) as error:
        what = f"is there already, and cannot be read as an archive: {error}"
        raise UsageError(what, where=str(archive), remedy=_OTHER_FOLDER) from None
    folder = folder_name(plan.version, target)
    if missing := [program for program in PROGRAMS if f"{folder}/{program}" not in names]:
        what = f"is there already, and has no {' and no '.join(missing)} in {folder}/"
        raise UsageError(what, where=str(archive), remedy=_OTHER_FOLDER)
    noted = _sums(plan.out).get(archive.name)
    if noted and noted != (digest := sha256_of(archive)):
        what = f"has the SHA-256 {digest}, and {_SUMS} beside it says {noted}: it was changed since it was made"
        raise UsageError(what, where=str(archive), remedy=_OTHER_FOLDER)
    return True


def build(plan: Plan, targets: Sequence[Target], work: Path, jobs: int | None, say: Callable[[str], None]) -> None:
    """Make the archives of ``targets``, in ``work``; what is there already is compared. Raises FleetError."""
    source, env = work / "source", environment(os.environ)
    source.mkdir()
    began = time.monotonic()
    sources.lay_out(plan.go, plan.version, source, env)
    say(f"etcd's modules are here ({clock_text(time.monotonic() - began)})")
    # Asked in this folder, since Go chooses here: it may have fetched the one that the module wants.
    doing = "asking Go for its version"
    used = plan.go.run(doing, ["env", "GOVERSION"], cwd=source / PROGRAMS["etcd"], env=env).strip()
    for target in targets:
        programs = work / target.name
        programs.mkdir()
        for program in PROGRAMS:
            say(f"{target.name}: compiling {program} with {used}")
            began = time.monotonic()
            size = _compile(plan, target, program, source, programs / program, jobs, used)
            say(f"{target.name}: {program} has {size_text(size)} ({clock_text(time.monotonic() - began)})")
        _run_here(plan, target, programs)
        files = {program: programs / program for program in PROGRAMS}
        files |= {name: source / path for name, path in EXTRAS.items() if (source / path).is_file()}
        say(_keep(plan, target, files, used))


def _compile(plan: Plan, target: Target, program: str, source: Path, output: Path, jobs: int | None, used: str) -> int:
    """Compile one program and look at what came out; its size."""
    folder, env = source / PROGRAMS[program], environment(os.environ, target)
    doing = f"compiling {program} for {target.name}"
    plan.go.run(doing, build_command(str(output), plan.commit, jobs), cwd=folder, env=env)
    with output.open("rb") as file:
        wrong = unlike(file.read(20), target)
    told = plan.go.run(doing, ["version", "-m", str(output)], cwd=folder, env=env)
    if wrong := wrong or wrong_build(told, target, used):
        what = f"the program is not what was asked for: {wrong}"
        raise FleetError(what, where=doing, remedy="name another Go by --go")
    return output.stat().st_size


def _run_here(plan: Plan, target: Target, programs: Path) -> None:
    """Let a program for this kind of machine say its version. Others say it on the host, when they are installed."""
    if target.name != plan.go.host:
        return
    command = [str(programs / "etcd"), "--version"]
    env = {**os.environ, "ETCD_UNSUPPORTED_ARCH": target.goarch}  # without it, etcd does not even say that on ARM
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
        said = done.stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired) as error:
        remedy = "set TMPDIR to a folder whose programs may be run (it is mounted noexec, most likely)"
        raise FleetError(f"the program does not run here: {error}", where=" ".join(command), remedy=remedy) from None
    wanted = [f"etcd Version: {plan.version}", *([f"Git SHA: {plan.commit}"] if plan.commit else [])]
    if missing := [line for line in wanted if line not in said]:
        what = f"the program does not say {listed(missing)}, but: {'; '.join(said) or 'nothing'}"
        raise FleetError(what, where=" ".join(command), remedy="empty Go's cache (go clean -cache), and run this again")


def _keep(plan: Plan, target: Target, files: dict[str, Path], used: str) -> str:
    """Pack an archive and put it where it is kept; what to say of it. One that is there is compared, and stays."""
    archive = plan.archive(target)
    with _alone(plan.out):
        # One name for all runs: what a killed one left is written over.
        made = archive.with_name(f".{archive.name}.new")
        try:
            pack(made, folder_name(plan.version, target), files, plan.known.time)
            if target.name not in plan.there:
                made.replace(archive)
                return f"{target.name}: {archive} has {size_text(archive.stat().st_size)}"
            before, after = sha256_of(archive), sha256_of(made)
        finally:
            made.unlink(missing_ok=True)
    if before == after:
        return f"{target.name}: built again, and the bytes are the same"
    raise FleetError(
        f"building it again gives other bytes: SHA-256 {after}, and what is there has {before}",
        where=str(archive),
        remedy=f"it was made by another Go than {used}, with another commit stamped, or packed by a Python with "
        "another zlib; keep it while an inventory names its sum, else remove it and run this again",
    )


def note_sums(plan: Plan) -> dict[str, str]:
    """Note the sums of all archives of the plan in ``SHA256SUMS`` beside them; the sums by target."""
    sums = {target.name: sha256_of(plan.archive(target)) for target in plan.targets}
    with _alone(plan.out):
        before = _sums(plan.out)
        after = before | {plan.archive(target).name: sums[target.name] for target in plan.targets}
        if before != after:
            write_whole(plan.out / _SUMS, sums_text(after), 0o644)
    return sums


def _sums(folder: Path) -> dict[str, str]:
    try:
        return sums_of((folder / _SUMS).read_text())
    except FileNotFoundError:
        return {}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other run change what is kept in the folder meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
