"""``kill -9`` of a first deploy, at every boundary between steps and within: the next run finishes the work.

One lab has a fresh cluster for each kill. Each is deployed by a run of its own that is killed at its moment,
then one run finishes all clusters, and one more changes nothing: as a person with many clusters would have it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    Running,
    begin_deploy,
    deploy,
    etcd_processes,
    etcdctl,
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
# The last host's end of a step is the boundary to the next; the first one's of three leaves the others in the midst.
MOMENTS = {
    "k-preflight": Moment("step_finished", "preflight", 1),
    "k-install": Moment("step_started", "install", 3, CHANCE.uniform(0.05, 0.6)),
    "k-installed": Moment("step_finished", "install", 1),
    "k-certificates": Moment("step_finished", "certificates", 1),
    "k-placed": Moment("step_finished", "certificates", 1),
    "k-configure": Moment("step_finished", "configure", 1),
    "k-configured": Moment("step_finished", "configure", 1),
    # A start that is cut off at once has been taken for a started service by OpenRC.
    "k-begun": Moment("step_started", "start", 1, CHANCE.uniform(0.02, 0.3)),
    "k-starts": Moment("step_started", "start", 3, CHANCE.uniform(0.05, 3)),
    "k-started": Moment("step_finished", "start", 1),
    "k-joined": Moment("step_finished", "start", 3),
    "k-verify": Moment("step_started", "verify", 1, 0.1),
    # Debian: apt and dpkg are in the middle of it, and go on without us for a while.
    "k-apt": Moment("step_started", "install", 1, CHANCE.uniform(1, 6)),
}


@dataclass(frozen=True)
class Killed:
    """A run that was killed, and where it was."""

    events: Events
    exit_code: int


@pytest.fixture(scope="module")
def lab(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Fresh hosts, one or three for each moment."""
    with own_lab("k-killed", TOPOLOGIES / "killed.yaml") as handle:
        yield handle


@pytest.fixture(scope="module")
def killed(lab: LabHandle) -> dict[str, Killed]:
    """Every cluster's first deploy, killed at its moment."""
    one_at_a_time = threading.Lock()

    def kill(cluster: str) -> Killed:
        with one_at_a_time:
            running = begin_deploy(lab, "--cluster", cluster)
        return kill_at(running, MOMENTS[cluster])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(MOMENTS, pool.map(kill, MOMENTS), strict=True))


def kill_at(running: Running, moment: Moment) -> Killed:
    """Kills the run at the moment; one that ends by itself before that fails the test."""
    end = time.monotonic() + 240
    while not moment.reached(running.events()):
        assert running.process.poll() is None, f"{moment}: it ended before: {running.finish().text}"
        if time.monotonic() > end:
            running.kill()
            raise AssertionError(f"{moment}: not reached: {(running.folder / 'stdout').read_text()}")
        time.sleep(0.005)
    time.sleep(moment.seconds)  # the fault itself: somewhere within the step
    running.kill()
    return Killed(running.events(), running.process.returncode)


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


@pytest.mark.parametrize("cluster", MOMENTS)
def test_the_next_run_finishes_a_killed_first_deploy(
    lab: LabHandle, killed: dict[str, Killed], finished: Outcome, cluster: str
) -> None:
    """The controller dies at a moment of a first deploy. What must hold after the next run: each host says all well,
    all members of the inventory have joined under their names, and each answers a read that needs a quorum."""
    hosts = members(lab, cluster)
    assert killed[cluster].exit_code == -9
    assert "run_finished" not in [event["event"] for event in killed[cluster].events]
    for host in hosts:
        assert finished.host(host)["totals"]["failed"] == 0, finished.error(host)
        assert finished.step(host, "verify")["status"] in ("ok", "changed"), finished.text
    assert unhealthy(lab, cluster) == ""
    assert sorted(member["name"] for member in member_list(lab, hosts[0])) == hosts
    assert etcdctl(lab, hosts[0], "put survived kill").returncode == 0
    assert etcdctl(lab, hosts[-1], "get survived").stdout == "survived\nkill\n"
    assert all(len(etcd_processes(lab, host)) == 1 for host in hosts)


@pytest.mark.parametrize("cluster", MOMENTS)
def test_the_run_after_that_changes_nothing(lab: LabHandle, third: Outcome, cluster: str) -> None:
    """Nothing of the kill is left to be done, or to be done again and again."""
    for host in members(lab, cluster):
        assert third.changed[host] == 0, third.text
        assert third.host(host)["totals"]["failed"] == 0, third.error(host)


def test_exit_codes(finished: Outcome, third: Outcome) -> None:
    """Both runs over all clusters say that all is well."""
    assert finished.exit_code == 0, finished.text
    assert third.exit_code == 0, third.text
