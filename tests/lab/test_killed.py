"""``kill -9`` of a first deploy, at every boundary between steps and within: the next run finishes the work.

One lab has a fresh cluster for each kill. Each is deployed by a run of its own that is killed at its moment,
then one run finishes all clusters, and one more changes nothing: as a person with many clusters would have it.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import daemons, hosts, vault
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    Outcome,
    Running,
    begin_deploy,
    deploy,
    etcd_processes,
    etcdctl,
    for_chosen,
    member_list,
    members,
    own_lab,
    unhealthy,
)
from tests.lab.fault_helpers import events_of

Events = list[dict[str, Any]]
AT_ONCE = 3
"""Runs in flight: they mostly wait for their hosts."""
FORKS = 30


@dataclass(frozen=True)
class Moment:
    """When a run is killed: once ``event`` of ``step`` was seen for ``hosts`` hosts, and ``seconds`` more."""

    event: str
    step: str
    hosts: int
    seconds: float = 0.0

    def reached(self, events: Events) -> bool:
        """Whether the events tell that it is time."""
        return len(set(events_of(events, self.event, self.step))) >= self.hosts

    def __str__(self) -> str:
        return ("within " if self.seconds else "after ") + self.step


CHANCE = random.Random()  # noqa: S311  a moment, not a secret
# The end of a step on the only host is the boundary to the next; on the first one of three it leaves the others in the
# midst. Runs, kills and boots in any order are in tests/unit/etcd/test_plan_worlds.py.
MOMENTS = {
    "k-preflight": Moment("step_finished", "preflight", 1),
    "k-install": Moment("step_started", "install", 3, CHANCE.uniform(0.05, 0.6)),
    "k-installed": Moment("step_finished", "install", 1),
    "k-placed": Moment("step_finished", "certificates", 1),
    "k-configured": Moment("step_finished", "configure", 1),
    # A start that is cut off at once has been taken for a started service by OpenRC.
    "k-begun": Moment("step_started", "start", 1, CHANCE.uniform(0.02, 0.3)),
    "k-starts": Moment("step_started", "start", 3, CHANCE.uniform(0.05, 3)),
    "k-started": Moment("step_finished", "start", 1),
    "k-verify": Moment("step_started", "verify", 1, 0.1),
    # Debian: apt and dpkg are in the middle of it, and go on without us for a while.
    "k-apt": Moment("step_started", "install", 1, CHANCE.uniform(1, 6)),
}


KEYS_MADE = {"k-keys": False, "k-signing": True}
"""Clusters whose run is killed while their hosts make keys: before all are made, or while Vault is to sign for them."""
CLUSTERS = (*MOMENTS, *KEYS_MADE)
BETWEEN = ("k-preflight", "k-installed", "k-placed", "k-configured", "k-verify")
"""Clusters whose run is killed between two steps, each of which may be done twice."""
HELD = pytest.mark.thorough(
    "unit/etcd/test_plan.py::test_plan",
    "unit/etcd/test_plan_worlds.py::test_no_plan_loses_data",
    "unit/host/test_lock.py::test_it_is_free_when_the_controller_lets_go_or_dies",
    "lab/test_killed.py::test_the_next_run_finishes_a_killed_first_deploy",
)
each = pytest.mark.parametrize(
    "cluster", [pytest.param(name, marks=HELD) if name in BETWEEN else name for name in CLUSTERS]
)


@dataclass(frozen=True)
class Killed:
    """A run that was killed, and where it was; ``staged`` are the keys that waited for a certificate then, by host."""

    events: Events
    exit_code: int
    staged: dict[str, list[str]]


@pytest.fixture(scope="module")
def lab(lab_machine: None, request: pytest.FixtureRequest) -> Iterator[LabHandle]:  # noqa: ARG001
    """Fresh hosts, one or three for each moment."""
    needed = [name for name in CLUSTERS if name not in BETWEEN]
    with own_lab("k-killed", for_chosen(request, "killed.yaml", *needed)) as handle:
        yield handle


@pytest.fixture(scope="module")
def killed(lab: LabHandle) -> dict[str, Killed]:
    """Every cluster's first deploy, killed at its moment."""
    one_at_a_time = threading.Lock()

    def kill(cluster: str) -> Killed:
        with one_at_a_time:
            running = begin_deploy(lab, "--cluster", cluster)
        if cluster in KEYS_MADE:
            kill_at_keys(lab, running, f"{cluster}-1", made=KEYS_MADE[cluster])
        else:
            kill_at(running, MOMENTS[cluster])
        staged = {host: [path.name for path in staging(lab, host)] for host in members(lab, cluster)}
        return Killed(running.events(), running.process.wait(), staged)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        there = [cluster.name for cluster in lab.plan.clusters]
        return dict(zip(there, pool.map(kill, there), strict=True))


def kill_at(running: Running, moment: Moment) -> None:
    """Kills the run at the moment; one that ends by itself before that fails the test."""
    reach(running, str(moment), lambda: moment.reached(running.events()))
    # The fault itself: somewhere within the step, and before the run is over, however fast it is.
    end = time.monotonic() + moment.seconds
    while time.monotonic() < end and not events_of(running.events(), "step_finished", "verify"):
        time.sleep(0.005)
    running.kill()


def kill_at_keys(lab: LabHandle, running: Running, host: str, *, made: bool) -> None:
    """Kills the run once the host has begun to make keys, or once it has ``made`` all and Vault does not answer."""
    reach(running, f"{host} makes keys", lambda: staging(lab, host) != [])
    if not made:
        running.kill()
        return
    # Vault stands still for everybody, as on a machine that has too much to do; the others wait.
    daemons.signal_main(lab.plan, vault.DAEMON, signal.SIGSTOP)
    try:
        reach(running, f"{host} has made its keys", lambda: all_made(staging(lab, host)[0]))
        running.kill()
    finally:
        daemons.signal_main(lab.plan, vault.DAEMON, signal.SIGCONT)


def reach(running: Running, what: str, reached: Callable[[], bool]) -> None:
    """Waits for it; a run that ends by itself before that fails the test."""
    end = time.monotonic() + 240
    while not reached():
        assert running.process.poll() is None, f"{what}: it ended before: {running.finish().text}"
        if time.monotonic() > end:
            running.kill()
            raise AssertionError(f"{what}: not reached: {(running.folder / 'stdout').read_text()}")
        time.sleep(0.005)


def staging(lab: LabHandle, host: str) -> list[Path]:
    """The folders of keys that wait for a certificate on a host, seen from the controller."""
    pid = hosts.init_pid(lab.plan, lab.plan.host(host))
    return sorted(Path(f"/proc/{pid}/root{CERTS}/sets").glob(".new-*")) if pid else []


def all_made(folder: Path) -> bool:
    """Whether nothing but three keys is in there: openssl is done."""
    return sorted(path.suffix for path in folder.rglob("*") if path.is_file()) == [".key"] * 3


@pytest.fixture(scope="module")
def finished(lab: LabHandle, killed: dict[str, Killed]) -> Outcome:
    """The next run, begun at once, over all clusters."""
    assert killed
    return deploy(lab, "--forks", str(FORKS), timeout=400)


@pytest.fixture(scope="module")
def third(lab: LabHandle, finished: Outcome) -> Outcome:
    """And one more."""
    assert finished
    return deploy(lab, "--forks", str(FORKS))


@each
def test_the_next_run_finishes_a_killed_first_deploy(
    lab: LabHandle, killed: dict[str, Killed], finished: Outcome, cluster: str
) -> None:
    """The controller dies at a moment of a first deploy. What must hold after the next run: each host says all well,
    all members of the inventory have joined under their names, and each answers a read that needs a quorum."""
    names = members(lab, cluster)
    assert killed[cluster].exit_code == -9
    assert "run_finished" not in [event["event"] for event in killed[cluster].events]
    for host in names:
        assert finished.host(host)["totals"]["failed"] == 0, finished.error(host)
        assert finished.step(host, "verify")["status"] in ("ok", "changed"), finished.text
    assert unhealthy(lab, cluster) == ""
    assert sorted(member["name"] for member in member_list(lab, names[0])) == names
    assert etcdctl(lab, names[0], "put survived kill").returncode == 0
    assert etcdctl(lab, names[-1], "get survived").stdout == "survived\nkill\n"
    assert all(len(etcd_processes(lab, host)) == 1 for host in names)
    assert {host: staging(lab, host) for host in names} == {host: [] for host in names}, "a key that nobody uses"


@pytest.mark.parametrize("cluster", KEYS_MADE)
def test_keys_were_waiting_for_certificates(killed: dict[str, Killed], cluster: str) -> None:
    """The moment was met: the run before left keys, of which there are none after the next (above)."""
    assert len(killed[cluster].staged[f"{cluster}-1"]) == 1


@each
def test_the_run_after_that_changes_nothing(lab: LabHandle, third: Outcome, cluster: str) -> None:
    """Nothing of the kill is left to be done, or to be done again and again."""
    for host in members(lab, cluster):
        assert third.changed[host] == 0, third.text
        assert third.host(host)["totals"]["failed"] == 0, third.error(host)


def test_exit_codes(finished: Outcome, third: Outcome) -> None:
    """Both runs over all clusters say that all is well."""
    assert finished.exit_code == 0, finished.text
    assert third.exit_code == 0, third.text
