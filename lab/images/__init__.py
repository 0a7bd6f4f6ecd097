"""Root file systems of the host kinds, built once and shared by every host of that kind."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from lab import cgroups
from lab.errors import LabError
from lab.images import with_etcd
from lab.images.with_etcd import SUFFIX
from lab.state import PROJECT, Kind


def cache_folder() -> Path:
    """Return where images are kept: ``$ETCDFLEET_LAB_CACHE``, or ``/var/cache/etcdfleet-lab``."""
    return Path(os.environ.get("ETCDFLEET_LAB_CACHE") or "/var/cache/etcdfleet-lab").absolute()


def ensure(names: Iterable[str], say: Callable[[str], None], group: str = "etcdfleet-images") -> dict[str, Path]:
    """Return the folders of the images of these names; build those that are missing, side by side. Raises LabError.

    An image is named after its kind, and ends with ``+etcd`` if it has etcd's packages: it is built from the other one.
    ``group`` is the control group of the builders: a lab's, so that `down` ends them even if `up` was killed.
    """
    wanted = sorted(set(names))
    missing = [name for name in wanted if name.endswith(SUFFIX) and not folder_of(name).is_dir()]
    plain = [name for name in wanted if not name.endswith(SUFFIX)]
    found = _side_by_side([*plain, *(name.removesuffix(SUFFIX) for name in missing)], say, group)
    if "alpine+etcd" in missing:
        from lab import apkrepo

        apkrepo.prepare(say)
    return found | _side_by_side([name for name in wanted if name.endswith(SUFFIX)], say, group)


def _side_by_side(names: Iterable[str], say: Callable[[str], None], group: str) -> dict[str, Path]:
    wanted = sorted(set(names))
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        return dict(zip(wanted, pool.map(lambda name: _ensure_one(name, say, group), wanted), strict=True))


def _ensure_one(kind: str, say: Callable[[str], None], parent: str) -> Path:
    target = folder_of(kind)
    if target.is_dir():
        return target
    say(f"building the {kind} image (once; it is kept in {target.parent})")
    group = f"{parent}/build-{kind}"
    # With mounts of its own: what mmdebstrap mounts in the tree goes with it, even when it is killed.
    builder = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "lab.images", kind]
    argv = cgroups.enter(cgroups.create(group), builder)
    done = subprocess.run(argv, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    cgroups.kill(group)
    cgroups.remove(group)
    if done.returncode != 0 or not target.is_dir():
        message = done.stderr.strip()[-3000:] or f"exit code {done.returncode}"
        raise LabError(f"the image could not be built: {message}", where=kind, remedy="correct that, then `up` again")
    say(f"built the {kind} image")
    return target


def folder_of(kind: str) -> Path:
    """Return where the image of that name is, or will be once built: named after everything its content depends on."""
    _, recipe = _builder(kind)
    return cache_folder() / f"{kind}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def build(kind: str) -> None:
    """Build the image of that name unless it is there, under a temporary name until it is complete."""
    target = folder_of(kind)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.parent / f"{kind}.lock"):
        if target.is_dir():  # another process built it while we waited
            return
        for leftover in target.parent.glob(f"{kind}-{'?' * 12}.new*"):
            _delete(leftover)
        unfinished = target.with_name(f"{target.name}.new{os.getpid()}")
        unfinished.mkdir()
        unfinished.chmod(0o755)  # it becomes the root folder of hosts, which other users must be able to enter
        try:
            _builder(kind)[0](unfinished)
        except BaseException:
            _delete(unfinished)
            raise
        os.sync()
        unfinished.rename(target)


def _builder(kind: str) -> tuple[Callable[[Path], None], str]:
    """Return how to build an image of that name, and everything its content depends on."""
    from lab.images import alpine, debian

    if kind.endswith(SUFFIX):
        from lab import apkrepo

        base, content = folder_of(kind.removesuffix(SUFFIX)), apkrepo.content() if kind == f"alpine{SUFFIX}" else None
        recipe = "\n".join([base.name, content.name if content else "", Path(with_etcd.__file__).read_text()])
        return lambda target: with_etcd.build(target, base, content), recipe
    if kind == "alpine":
        return alpine.build, "\n".join([Path(alpine.__file__).read_text(), *debian.sources()])
    architecture = "armhf" if kind == "debian-armhf" else debian.native_architecture()
    suite = debian.SUITES[cast(Kind, kind)]
    source = Path(debian.__file__).read_text()
    recipe = "\n".join([architecture, suite, source, *debian.sources(suite), *debian.apt_options()])
    return lambda target: debian.build(target, architecture, suite), recipe


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _delete(leftover: Path) -> None:
    # Never delete through a mount (of proc, of /dev) that a killed build may have left in the tree.
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[4].startswith(f"{leftover}/"):
            place = line.split()[4]
            raise LabError(f"something is mounted at {place}", where=str(leftover), remedy=f"umount {place}")
    if leftover.is_dir():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        leftover.unlink(missing_ok=True)
