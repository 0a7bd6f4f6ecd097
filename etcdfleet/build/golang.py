"""Runs ``go``: the one program that fetches and compiles."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etcdfleet.build.explain import explained
from etcdfleet.build.release import install_go
from etcdfleet.errors import UsageError


@dataclass(frozen=True)
class Go:
    """A Go: its program, what it says of itself, and the Go that etcd builds the release with, once that is known."""

    program: str
    version: str = ""
    switching: str = ""
    host: str = ""
    upstream: str = ""

    def run(self, doing: str, args: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> str:
        """Return the standard output. Raises FleetError, with what it said and a remedy, when it fails."""
        code, out, err = _run([self.program, *args], cwd, env)
        if code:
            # With -json the reason stands in the output.
            raise explained(doing, "\n".join([*_reasons(out), err]), code, self.upstream)
        return out

    def json(self, doing: str, args: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the JSON objects that it prints, one after the other."""
        return _objects(self.run(doing, args, cwd=cwd, env=env))


def found(named: str, env: Mapping[str, str], cwd: Path) -> Go:
    """Return the Go that is ``named``, else the one installed into this Python by pip, else the one in the PATH.

    The middle one is the same for all who have installed this project's requirements, and so are the archives.
    Raises UsageError when there is none, or when it would build otherwise than asked.
    """
    program = shutil.which(named) if named else _beside_python() or shutil.which("go")
    if program is None:
        what = f"there is no program {named}" if named else "there is no Go on this machine"
        raise UsageError(what, where="--go" if named else "go", remedy=install_go(""))
    go = Go(str(Path(program).absolute()))
    names = ("GOVERSION", "GOTOOLCHAIN", "GOHOSTARCH", "GOEXPERIMENT")
    (told,) = go.json("asking Go for its version", ["env", "-json", *names], cwd=cwd, env=env)
    if told.get("GOEXPERIMENT"):
        raise UsageError(
            f"this Go is set to experiments that change programs: {told['GOEXPERIMENT']}",
            where="GOEXPERIMENT",
            remedy="take that back: go env -u GOEXPERIMENT",
        )
    return replace(go, version=told["GOVERSION"], switching=told["GOTOOLCHAIN"], host=told["GOHOSTARCH"])


def _beside_python() -> str | None:
    spec = importlib.util.find_spec("go")
    program = Path(spec.origin).parent / "bin" / "go" if spec and spec.origin else None
    return str(program) if program and os.access(program, os.X_OK) else None


def _run(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[int, str, str]:
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"cannot be run: {error.strerror}", where=command[0], remedy="name a Go by --go") from None
    try:
        out, err = process.communicate()
    except BaseException:
        # Its compilers, too: they would go on for minutes.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, out, err


def _objects(text: str) -> list[dict[str, Any]]:
    decoder = json.JSONDecoder()
    objects = []
    rest = text.strip()
    while rest:
        one, end = decoder.raw_decode(rest)
        objects.append(one)
        rest = rest[end:].lstrip()
    return objects


def _reasons(out: str) -> list[str]:
    try:
        return [one["Error"] for one in _objects(out) if one.get("Error")]
    except ValueError:
        return []
