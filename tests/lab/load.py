"""A client of a cluster, on the controller and with a certificate of its own, that writes and reads all the time."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lab.vault
from lab import pki, releases
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import members

ATTEMPT_SECONDS = 1
ATTEMPTS = 30
PAUSE_SECONDS = 0.3
"""Between two writes. Each request is a process, and these are a third of a processor already."""
ENVIRONMENT = {"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}


@dataclass(frozen=True)
class Pair:
    """A client certificate in files, and what it trusts."""

    certificate: Path
    key: Path
    anchors: Path


def client_pair(
    handle: LabHandle,
    folder: Path,
    cluster: str,
    name: str,
    *,
    mount: str = "",
    role: pki.Role = "client",
    ttl: str = "",
) -> Pair:
    """A certificate straight from Vault with the root token, by default of the CA of the cluster's clients."""
    mount = mount or pki.side_mount(cluster, "peer" if role == "peer" else "client")
    root = lab.vault.client(handle.plan)
    asked = {"common_name": name, **({"ttl": ttl} if ttl else {})}
    made = root.write_data(f"{mount}/issue/{pki.role_names(cluster)[role]}", data=asked)["data"]
    stem = f"{name}-{mount}-{role}"
    pair = Pair(folder / f"{stem}.pem", folder / f"{stem}.key", folder / f"{stem}-ca.pem")
    chain = [made["certificate"], *made.get("ca_chain", [made["issuing_ca"]])]
    pair.certificate.write_text("\n".join(chain) + "\n")
    pair.key.touch(mode=0o600)
    pair.key.write_text(made["private_key"] + "\n")
    pair.anchors.write_text(root.read(f"{pki.ROOT}/cert/ca")["data"]["certificate"] + "\n")
    return pair


def etcdctl_outside(
    handle: LabHandle, cluster: str, pair: Pair, *args: str, seconds: float = 5, hosts: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the lab's own etcdctl on the controller, at all members of a cluster by their addresses."""
    argv = _command(handle, hosts or members(handle, cluster), pair)
    argv += [f"--command-timeout={seconds}s", f"--dial-timeout={seconds}s", *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)


def _command(handle: LabHandle, hosts: list[str], pair: Pair) -> list[str]:
    endpoints = ",".join(f"https://{handle.plan.host(name).address}:2379" for name in hosts)
    trust = [f"--cacert={pair.anchors}", f"--cert={pair.certificate}", f"--key={pair.key}"]
    return [str(releases.binary("etcdctl")), f"--endpoints={endpoints}", *trust]


@dataclass
class Load:
    """What the client saw. A request that failed was tried again at once; ``retries`` has the number for each."""

    acknowledged: list[int] = field(default_factory=list)
    retries: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    longest: float = 0.0
    """The longest that a request took with its retries, in seconds."""
    watched: list[int] = field(default_factory=list)
    """The writes that a watch saw, which was begun before and never again: it outlives what happens to connections."""

    @property
    def requests(self) -> int:
        """Requests that were answered."""
        return len(self.retries)

    @property
    def most_retries(self) -> int:
        """The most that one request needed."""
        return max(self.retries.values(), default=0)


@contextmanager
def under_load(
    handle: LabHandle, cluster: str, pair: Pair, prefix: str, *, pause: float = PAUSE_SECONDS
) -> Iterator[Load]:
    """Write ``<prefix>/1``, ``<prefix>/2``, … and read each one back, through all endpoints, until the block ends.

    ``pause`` is in seconds, between two writes. Each request has a connection of its own; a watch beside them keeps the
    one that it has, as an API server does.
    """
    load, stop = Load(), threading.Event()
    command = [*_command(handle, members(handle, cluster), pair), "watch", "--prefix", f"{prefix}/"]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)

    def listen() -> None:
        assert watch.stdout is not None
        lines = [""]
        for line in watch.stdout:  # for each event its kind, the key, the value
            lines.append(line.strip())
            if lines[-1].startswith(f"{prefix}/") and lines[-2] == "PUT":
                load.watched.append(int(lines[-1].rpartition("/")[2]))
        load.said.append(f"the watch ended: {' '.join(lines[-3:])}")

    def ask(name: str, *args: str) -> str | None:
        began = time.monotonic()
        for attempt in range(ATTEMPTS):
            done = etcdctl_outside(handle, cluster, pair, *args, seconds=ATTEMPT_SECONDS)
            if done.returncode == 0:
                load.retries[name] = attempt
                load.longest = max(load.longest, time.monotonic() - began)
                return done.stdout
            load.said.append(f"{name}: {done.stderr.strip()[-300:]}")
        load.lost.append(name)
        return None

    def work() -> None:
        number = 0
        while not stop.wait(pause):
            number += 1
            if ask(f"put {number}", "put", f"{prefix}/{number}", str(number)) is None:
                continue
            load.acknowledged.append(number)
            read = ask(f"get {number}", "get", f"{prefix}/{number}", "--print-value-only")
            if read is not None and read.strip() != str(number):
                load.wrong.append(f"{prefix}/{number} is {read.strip()!r}")

    listener, thread = threading.Thread(target=listen, daemon=True), threading.Thread(target=work, daemon=True)
    listener.start()
    thread.start()
    try:
        # Both, since the watch may tell of a write before the process that wrote it has ended.
        _wait_for(lambda: bool(load.watched and load.acknowledged))
        assert load.acknowledged, f"no write was acknowledged: {load.said[-3:]}"
        assert load.watched, f"the watch saw nothing: {load.said[-3:]}"
        yield load
    finally:
        stop.set()
        thread.join(120)
        _wait_for(lambda: load.acknowledged[-1:] == load.watched[-1:])
        watch.terminate()
        listener.join(10)
        assert not thread.is_alive()


def _wait_for(reached: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.05)


def unseen(load: Load) -> list[int]:
    """The acknowledged writes that the watch did not see, but those before it had begun."""
    first = load.watched[0]
    return sorted({number for number in load.acknowledged if number > first} - set(load.watched))


def missing(handle: LabHandle, cluster: str, pair: Pair, prefix: str, load: Load) -> list[int]:
    """The acknowledged writes that some member does not have now."""
    lacking: set[int] = set()
    for host in members(handle, cluster):
        done = etcdctl_outside(handle, cluster, pair, "get", "--prefix", f"{prefix}/", "--consistency=s", hosts=[host])
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        stored = {int(key.rpartition("/")[2]): value for key, value in zip(lines[::2], lines[1::2], strict=True)}
        lacking |= {number for number in load.acknowledged if stored.get(number) != str(number)}
    return sorted(lacking)
