"""Runs of the runbook ``rotate_certs``, and what is looked at around them: serials, what ports show, leftovers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from lab import hosts
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    Outcome,
    Running,
    begin_deploy,
    inventory_variant,
    members,
    output,
    unhealthy,
    wait_for,
)
from tests.lab.fault_helpers import events_of

RUNBOOK = "rotate_certs"
PAIRS = ("server", "client", "etcdctl")
_LIVES = count(43_000, 100)

# What a run that was cut off could leave behind, and sets that are not whole.
_HALF = f"""cd {CERTS} && find . -name '.?*' -o -name '*.new'
for set in sets/*/; do [ "$(ls $set | wc -l)" = 3 ] || ls -l $set; done"""


def begin_rotate(handle: LabHandle, *args: str, **how: Any) -> Running:
    """Start the runbook; ``how`` as in `begin_deploy`."""
    return begin_deploy(handle, *args, runbook=RUNBOOK, **how)


def rotate(handle: LabHandle, *args: str, **how: Any) -> Outcome:
    """Run it to its end."""
    return begin_rotate(handle, *args, **how).finish(600)


def rotating(run: Running) -> bool:
    """Whether the run has come to the first member's certificates."""
    return events_of(run.events(), "step_started", "rotate") != []


def serials(handle: LabHandle, cluster: str) -> dict[str, list[str]]:
    """The serials of the three certificates on each host of a cluster, as openssl there reads them."""
    return {
        host: output(
            handle,
            host,
            "\n".join(
                f"openssl x509 -noout -serial -in {CERTS}/{pair}/{handle.plan.host(host).fqdn}.pem" for pair in PAIRS
            ),
        ).splitlines()
        for host in members(handle, cluster)
    }


def served(handle: LabHandle, host: str, port: int) -> str:
    """The serial that a port shows now, as openssl on the host sees it."""
    target = handle.plan.host(host)
    command = f"echo | openssl s_client -connect {target.address}:{port} 2>/dev/null | openssl x509 -noout -serial"
    return output(handle, host, command).strip()


def due_config(handle: LabHandle, tmp_path: Path, cluster: str, edit: Callable[[Any], None] | None = None) -> Path:
    """A configuration by which the certificates that are there are due, and new ones are not: those live longer.

    ``edit`` gets all files, as in `inventory_variant`.
    """
    life = next(_LIVES)

    def longer(files: dict[str, Any]) -> None:
        pki = files["inventory/groups.yaml"][cluster]["data"]["pki"]
        pki["renew_before"] = f"{life + 850}h"
        for role in ("peer", "server", "client"):
            pki["roles"][role]["ttl"] = f"{life + 900}h"
        if edit:
            edit(files)

    return inventory_variant(handle, tmp_path, longer)


def assert_sound(handle: LabHandle, cluster: str, *, killed: bool = False) -> None:
    """All members are healthy, their ports show what is placed, and nothing lies about half-placed.

    A run that was ``killed`` may leave keys that wait for a certificate: the next one that makes keys removes them.
    """
    wait_for("the cluster is healthy", lambda: unhealthy(handle, cluster) == "", timeout=60)
    for host, placed in serials(handle, cluster).items():
        assert [served(handle, host, 2380), served(handle, host, 2379)] == placed[:2]
        left = output(handle, host, _HALF).split()
        assert [name for name in left if not killed or "/.new-" not in name] == [], host


def replaced(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """The hosts with new certificates; one with some new and some old ones fails the test."""
    for host, numbers in before.items():
        assert len(set(numbers) & set(after[host])) in (0, len(numbers)), f"{host} is half done"
    return [host for host, numbers in before.items() if numbers != after[host]]


def reach(run: Running, what: str, reached: Callable[[], bool], *, timeout: float = 120) -> None:
    """Waits for it; a run that ends by itself before that fails the test."""

    def reached_or_ended() -> bool:
        return reached() or run.process.poll() is not None

    try:
        wait_for(what, reached_or_ended, timeout=timeout, every=0.005)
        assert run.process.poll() is None or reached(), f"{what}: it ended before: {run.finish().text}"
    except AssertionError:
        if run.process.poll() is None:
            run.kill()
        raise


def seen(run: Running, event: str, step: str, number: int = 1) -> Callable[[], bool]:
    """Whether this event of a step has come for that many hosts; for `reach`."""
    return lambda: len(set(events_of(run.events(), event, step))) >= number


@contextmanager
def standing_still(run: Running) -> Iterator[None]:
    """The run is stopped (SIGSTOP) within the block, so that a fault comes at exactly this moment."""
    os.killpg(run.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(run.process.pid, signal.SIGCONT)


def makes_keys(handle: LabHandle, host: str) -> bool:
    """Whether keys that wait for their certificates are on a host; looked at from the controller."""
    root = f"/proc/{hosts.init_pid(handle.plan, handle.plan.host(host))}/root"
    return any(Path(f"{root}{CERTS}/sets").glob(".new-*"))


def set_in_use(handle: LabHandle, host: str, pair: str = "client") -> str:
    """The set that a pair on a host is now; read from the controller, without a command on the host."""
    root = f"/proc/{hosts.init_pid(handle.plan, handle.plan.host(host))}/root"
    return str(Path(f"{root}{CERTS}/{pair}").readlink())
