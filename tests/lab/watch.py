"""Looks at a cluster all the time while something is done to it: which members serve, and what is written meanwhile."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab import hosts
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import all_endpoints, etcd_processes, etcdctl_command, output, wait_for

CLIENT_PORT = 2379


@dataclass
class Watch:
    """What was seen. ``down`` has the hosts that did not serve at the same time, ``processes`` every etcd ever seen."""

    samples: int = 0
    down: set[frozenset[str]] = field(default_factory=set)
    processes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    @property
    def most_down(self) -> int:
        """The largest number of members that did not serve at one time."""
        return max(map(len, self.down), default=0)

    def order(self) -> list[str]:
        """The hosts by the start of their newest etcd."""
        return sorted(self.processes, key=lambda name: self.processes[name][-1][1])


@contextmanager
def watching(handle: LabHandle, names: list[str], *, every: float = 0.15) -> Iterator[Watch]:
    """Sample these hosts until the end of the block. A member serves when its client port accepts connections."""
    watch, stop = Watch(processes={name: [] for name in names}), threading.Event()

    def look() -> None:
        while not stop.wait(every):
            watch.down.add(frozenset(name for name in names if not _serves(handle, name)))
            for name in names:
                for process in etcd_processes(handle, name):
                    if (seen := (process.pid, process.started)) not in watch.processes[name]:
                        watch.processes[name].append(seen)
            watch.samples += 1

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join(30)


def _serves(handle: LabHandle, name: str) -> bool:
    try:
        with socket.create_connection((handle.plan.host(name).address, CLIENT_PORT), timeout=0.5):
            return True
    except OSError:
        return False


@dataclass
class Writer:
    """The numbers that etcd acknowledged, in their order."""

    acknowledged: list[int] = field(default_factory=list)


@contextmanager
def writing(handle: LabHandle, host: str, cluster: str, prefix: str) -> Iterator[Writer]:
    """Write keys ``<prefix>/1``, ``<prefix>/2``, … with etcdctl on a host, one after the other, until the block ends.

    A write that fails is not repeated; those that etcd acknowledged are in the result after the block.
    """
    writer = Writer()
    put = etcdctl_command(handle, host, f"put {prefix}/$i $i", endpoints=all_endpoints(handle, cluster))
    note, end = f"/tmp/{prefix}.acknowledged", f"/tmp/{prefix}.stop"
    loop = f"i=0; while [ ! -e {end} ]; do i=$((i+1)); {put} >/dev/null 2>&1 && echo $i >>{note}; sleep 0.2; done"
    output(handle, host, f"rm -f {note} {end}")
    process = subprocess.Popen(hosts.enter_command(handle.plan, handle.plan.host(host), [loop]))
    try:
        wait_for("the writer's first write", lambda: _acknowledged(handle, host, note) != [], timeout=30)
        yield writer
    finally:
        output(handle, host, f"touch {end}")
        process.wait(30)
        writer.acknowledged += _acknowledged(handle, host, note)
        output(handle, host, f"rm -f {note} {end}")


def _acknowledged(handle: LabHandle, host: str, note: str) -> list[int]:
    return [int(line) for line in output(handle, host, f"cat {note} 2>/dev/null || true").split()]


def stored(handle: LabHandle, host: str, prefix: str, *, tls: bool = True) -> dict[int, str]:
    """The keys of a `writing` that the cluster has, with their values."""
    command = etcdctl_command(handle, host, f"get --prefix {prefix}/", tls=tls)
    lines = output(handle, host, command).splitlines()
    return {int(key.rpartition("/")[2]): value for key, value in zip(lines[::2], lines[1::2], strict=True)}


def leader(handle: LabHandle, cluster_hosts: list[str], *, tls: bool = True) -> str:
    """The host whose member leads, by etcdctl on each."""
    for name in cluster_hosts:
        if leads(handle, name, tls=tls):
            return name
    raise AssertionError(f"none of {', '.join(cluster_hosts)} leads")


def leads(handle: LabHandle, host: str, *, tls: bool = True) -> bool:
    """Whether the member on a host leads, by its own word."""
    command = etcdctl_command(handle, host, "endpoint status -w fields", tls=tls)
    fields = {
        key.strip().strip('"'): value.strip()
        for key, _, value in (line.partition(":") for line in output(handle, host, command).splitlines())
    }
    return fields["Leader"] == fields["MemberID"]
