"""Fetches etcd's modules through Go, and lays them out as they lie in etcd's repository."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from etcdfleet.build.golang import Go
from etcdfleet.build.release import (
    PROGRAMS,
    ROOT_MODULE,
    VERSION_FILE,
    GoMod,
    module_of,
    neighbours,
    parse_gomod,
    source_version,
)
from etcdfleet.errors import FleetError


@dataclass(frozen=True)
class Known:
    """What the module proxy says of a release: its server's ``go.mod``, its time, its commit (empty: not told)."""

    gomod: GoMod
    time: int
    commit: str


def ask(go: Go, version: str, env: Mapping[str, str], cwd: Path) -> Known:
    """Ask for a release. Of its modules only the server's is fetched, which has about 1 MiB. Raises FleetError."""
    server = f"{module_of('etcd')}@v{version}"
    # `go list` would name the go.mod only where it lies in the cache already.
    (told,) = go.json(f"asking for etcd {version}", ["mod", "download", "-json", server], cwd=cwd, env=env)
    info = json.loads(Path(told["Info"]).read_text())
    gomod = parse_gomod(Path(told["GoMod"]).read_text())
    time = int(datetime.fromisoformat(info["Time"]).timestamp())
    return Known(gomod, time, _commit(info) or _commit_of_tag(go, version, env, cwd))


def _commit_of_tag(go: Go, version: str, env: Mapping[str, str], cwd: Path) -> str:
    args = ["list", "-m", "-json", f"{ROOT_MODULE}@v{version}"]
    try:
        (told,) = go.json("asking for the commit", args, cwd=cwd, env=env)
    except FleetError:  # a proxy of one's own may have only what was built before; that is said, not an error
        return ""
    return _commit(told)


def _commit(told: Mapping[str, object]) -> str:
    origin = told.get("Origin")
    return str(origin.get("Hash", "")) if isinstance(origin, Mapping) else ""


def lay_out(go: Go, version: str, root: Path, env: Mapping[str, str]) -> None:
    """Fetch the modules of a release, whose sums Go checks, and copy them below ``root``. Raises FleetError."""
    there: dict[str, GoMod] = {}
    wanted = {PROGRAMS[program]: (module_of(program), f"v{version}") for program in PROGRAMS}
    while wanted:
        names = [f"{module}@{number}" for module, number in wanted.values()]
        told = go.json("fetching etcd's modules", ["mod", "download", "-json", *names], cwd=root, env=env)
        folders = {(one["Path"], one["Version"]): Path(one["Dir"]) for one in told}
        for folder, module in wanted.items():
            _copy(folders[module], root / folder)
            there[folder] = parse_gomod((root / folder / "go.mod").read_text())
        wanted = neighbours(there)
    said = source_version((root / VERSION_FILE).read_text())
    if said != version:
        raise FleetError(
            f"the module proxy gave a source that says it is etcd {said or 'of no version'}, not {version}",
            where="fetching etcd's modules",
            remedy="take another module proxy (GOPROXY)",
        )


def _copy(source: Path, target: Path) -> None:
    """Copy files without their modes: what Go keeps is read-only, and could not be removed again."""
    for folder, _, names in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(Path(folder) / name, here / name)
