"""Hosts that are off or cut off, and data that contradict each other: what a run says, and that it makes nothing worse.

Each test of the live cluster puts back what it has broken, and then the key that was stored at first is still there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    Outcome,
    Running,
    begin_deploy,
    deploy,
    etcd_processes,
    etcdctl,
    for_chosen,
    inventory_variant,
    on_host,
    output,
    own_lab,
    unhealthy,
    wait_for,
)
from tests.lab.fault_helpers import failure, protection
from tests.lab.rotate_helpers import reach, seen, standing_still

LIVE = ("f-live-1", "f-live-2", "f-live-3")
DATA = "/var/lib/etcd"
ASIDE = "/var/lib/etcd-aside"
SILENCE = 45
"""Seconds in which a run must notice that a host is gone: 20 s of silence, found out by a keepalive every 10 s."""


@pytest.fixture(scope="module")
def hosts(lab_machine: None, request: pytest.FixtureRequest) -> Iterator[LabHandle]:  # noqa: ARG001
    """Hosts that no deploy has touched."""
    with own_lab("f-damage", for_chosen(request, "damage.yaml", "f-live")) as handle:
        yield handle


@pytest.fixture(scope="module")
def live(hosts: LabHandle) -> LabHandle:
    """The lab with f-live and f-other (for thorough tests) deployed, and a key stored in f-live."""
    named = {host.cluster for host in hosts.plan.hosts} & {"f-live", "f-other"}
    outcome = deploy(hosts, "--cluster", ",".join(sorted(filter(None, named))))
    assert outcome.exit_code == 0, outcome.text
    assert etcdctl(hosts, "f-live-1", "put precious pearls").returncode == 0
    return hosts


@contextmanager
def stopped(handle: LabHandle, *names: str) -> Iterator[None]:
    """etcd stopped on these hosts, and afterwards started together."""
    for name in names:
        output(handle, name, "rc-service -q etcd stop")
    yield
    for name in names:
        # Backgrounded by OpenRC itself; one that is started alone would wait for the others.
        output(handle, name, "rc-service -q etcd zap; rc-service -q etcd start")


@contextmanager
def data_aside(handle: LabHandle, *names: str) -> Iterator[None]:
    """The member data of these hosts lost; afterwards found again. What a run has put there fails the test."""
    for name in names:
        output(handle, name, f"mv {DATA}/member {ASIDE}")
    yield
    for name in names:
        left = output(handle, name, f"ls -A {DATA}")
        output(handle, name, f"rm -rf {DATA}/member && mv {ASIDE} {DATA}/member")
        assert left == "", f"{name}: {left}"


def assert_whole_again(live: LabHandle) -> None:
    """The next run has nothing to do but what was broken by hand, and what was stored is there on every member."""
    wait_for("healthy again", lambda: unhealthy(live, "f-live") == "", every=0.5)
    outcome = deploy(live, "--cluster", "f-live")
    assert outcome.exit_code == 0, outcome.text
    for host in LIVE:
        assert etcdctl(live, host, "get precious").stdout == "precious\npearls\n"


def pids(live: LabHandle) -> dict[str, list[int]]:
    """The etcd processes of f-live."""
    return {host: [process.pid for process in etcd_processes(live, host)] for host in LIVE}


# ---- off and cut off ------------------------------------------------------------------------------------------------


@pytest.mark.thorough(
    "unit/plays/test_deploy.py::test_a_dead_host_costs_the_other_cluster_nothing",
    "lab/test_damage.py::test_two_of_three_have_lost_everything_while_the_third_is_off",
    "lab/test_rolling.py::test_members_come_back_by_themselves_after_a_reboot",
    "lab/test_status.py::test_a_host_without_power_and_the_leader_killed",
)
def test_a_host_is_off(live: LabHandle) -> None:
    """One host has no power. The run fails for it by name in bounded time, says ok of the others, and leaves them
    alone; the other cluster of the same run is as well as before. Back again, the next run completes."""
    before = pids(live)
    live.stop("f-live-3")
    outcome = deploy(live, "--cluster", "f-live,f-other")
    block = failure(outcome, "f-live-3", "preflight", within=30)
    assert "cannot be reached by SSH" in block.what
    assert "power and network" in block.remedy
    assert outcome.failed == ["f-live-3"]
    for host in ("f-live-1", "f-live-2", "f-other-1"):
        assert outcome.step(host, "preflight")["status"] == "ok"
    assert {**pids(live), "f-live-3": []} == {**before, "f-live-3": []}
    live.start("f-live-3")
    assert_whole_again(live)


@pytest.fixture(scope="module")
def cut_runs(hosts: LabHandle) -> dict[str, Outcome]:
    """Two first deploys at once: a host of f-cut-a loses its network while it installs, one of f-cut-b at the start."""
    runs: dict[str, Running] = {}
    for cluster in ("f-cut-a", "f-cut-b"):
        runs[cluster] = begin_deploy(hosts, "--cluster", cluster)
    for cluster, step in (("f-cut-a", "install"), ("f-cut-b", "start")):
        host, run = f"{cluster}2", runs[cluster]
        reach(run, f"{host}: {step}", seen(run, "step_started", step))
        with standing_still(run):  # whatever the host does meanwhile, the run has not heard of it
            hosts.cut(host)
    outcomes = {cluster: run.finish() for cluster, run in runs.items()}
    for cluster in runs:
        hosts.heal(f"{cluster}2")
    return outcomes


@pytest.mark.thorough(
    "lab/test_rotate_faults.py::test_a_host_is_cut_off_when_they_are_placed",
    "unit/plays/test_deploy.py::test_a_host_that_fails_takes_no_part_in_what_follows",
    "unit/etcd/test_plan_worlds.py::test_no_plan_loses_data",
)
def test_a_host_is_cut_off_while_it_installs(hosts: LabHandle, cut_runs: dict[str, Outcome]) -> None:
    """The cable of one host is pulled in its step install: the run notices by itself, and does not start a part of a
    new cluster. Healed, the next run completes."""
    outcome = cut_runs["f-cut-a"]
    block = failure(outcome, "f-cut-a2", "install", code=outcome.exit_code, within=SILENCE + 30)
    assert "connection was lost" in block.what
    assert "run again" in block.remedy
    assert outcome.exit_code == 1, outcome.text
    assert outcome.step("f-cut-a1", "install")["status"] == "changed"
    assert etcd_processes(hosts, "f-cut-a1") == []
    again = deploy(hosts, "--cluster", "f-cut-a")
    assert again.exit_code == 0, again.text
    assert unhealthy(hosts, "f-cut-a") == ""


@pytest.mark.thorough(
    "lab/test_rotate_faults.py::test_a_host_is_cut_off_when_they_are_placed",
    "unit/plays/test_deploy.py::test_a_host_that_fails_takes_no_part_in_what_follows",
    "unit/etcd/test_plan_worlds.py::test_no_plan_loses_data",
)
def test_a_host_is_cut_off_while_it_starts(hosts: LabHandle, cut_runs: dict[str, Outcome]) -> None:
    """The same at the start: the other two may have become a cluster meanwhile. Nothing waits for minutes, and the next
    run completes."""
    outcome = cut_runs["f-cut-b"]
    block = failure(outcome, "f-cut-b2", "start", within=120)
    assert "connection was lost" in block.what
    again = deploy(hosts, "--cluster", "f-cut-b")
    assert again.exit_code == 0, again.text
    assert unhealthy(hosts, "f-cut-b") == ""


# ---- contradictions -------------------------------------------------------------------------------------------------


def test_one_member_has_lost_its_data(live: LabHandle) -> None:
    """The data directory of one member of a working cluster is empty. Exit code 3: it is said which host, that it must
    not be re-initialised, and what to do; it is not started, and the others are not touched."""
    with stopped(live, "f-live-2"), data_aside(live, "f-live-2"):
        before = pids(live)
        block = protection(deploy(live, "--cluster", "f-live"), "f-live")
        assert "no data on f-live-2" in block.what
        assert "member of an existing cluster" in block.what
        assert "do not re-initialise it" in block.remedy
        assert "replace_member.py f-live-2" in block.remedy
        assert pids(live) == before
    assert_whole_again(live)


def test_two_of_three_have_lost_everything_while_the_third_is_off(live: LabHandle) -> None:
    """Two hosts were set up anew, and the only one with data cannot be read, so nothing is changed at all; with
    --limit, which leaves it out, the two must not become a new cluster either."""
    with stopped(live, *LIVE), data_aside(live, "f-live-1", "f-live-2"):
        for host in LIVE[:2]:
            output(live, host, "mv /etc/etcd/cluster.json /root/")
        live.stop("f-live-3")
        block = failure(deploy(live, "--cluster", "f-live"), "f-live-3", "preflight", within=30)
        assert "cannot be reached by SSH" in block.what
        outcome = deploy(live, "--limit", "f-live-1,f-live-2")
        block = protection(outcome, "f-live")
        assert "f-live-3" in block.what
        assert pids(live) == {host: [] for host in LIVE}
        live.start("f-live-3")
        for host in LIVE[:2]:
            output(live, host, "mv /root/cluster.json /etc/etcd/")
        output(live, "f-live-3", "rc-service -q etcd stop || true")
    assert_whole_again(live)


@pytest.mark.thorough(
    "unit/etcd/test_plan.py::test_plan",
    "unit/etcd/test_recorded.py::test_static_ids_are_those_of_the_real_cluster",
    "unit/etcd/test_recorded.py::test_wal_head",
    "lab/test_restored.py::test_an_empty_member_gets_everything_from_the_restored_ones",
)
def test_a_host_has_the_data_of_another_cluster(live: LabHandle) -> None:
    """The SD card of another cluster's member is in one host. Exit code 3, both clusters' ids; nothing is started."""
    copy = live.dir / "member.tar"
    done = on_host(live, "f-other-1", f"tar -C {DATA} -cf /root/member.tar member && base64 /root/member.tar")
    copy.write_text(done.stdout)
    with stopped(live, "f-live-2"):
        output(live, "f-live-2", f"mv {DATA}/member {ASIDE}")
        live.run("exec", "f-live-2", "true")
        put_file(live, "f-live-2", copy.read_text())
        before = pids(live)
        block = protection(deploy(live, "--cluster", "f-live"), "f-live")
        assert "data of more than one cluster" in block.what
        assert "f-live-2" in block.what
        assert "move the data directory away only if you are sure" in block.remedy
        assert pids(live) == before
        output(live, "f-live-2", f"rm -rf {DATA}/member && mv {ASIDE} {DATA}/member")
    assert_whole_again(live)


def test_a_host_that_lost_everything_comes_back_by_one_command(live: LabHandle, tmp_path: Path) -> None:
    """A new card in one host, with neither etcd nor anything else of ours on it."""
    host, other = "f-live-2", "f-live-1"
    output(live, host, f"rc-service -q etcd stop; apk -q del etcd etcd-openrc; rm -rf {DATA}/* /etc/etcd")
    block = protection(deploy(live, "--cluster", "f-live"), "f-live")
    assert f"python runbooks/replace_member.py {host}" in block.remedy
    outcome = deploy(live, host, "--yes", "--snapshot-dir", str(tmp_path), runbook="replace_member")
    assert outcome.exit_code == 0, outcome.text
    assert etcdctl(live, host, "get precious").stdout == "precious\npearls\n"
    again = deploy(live, "--cluster", "f-live")
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
    assert unhealthy(live, "f-live") == "", other


def test_another_data_directory_in_the_inventory(live: LabHandle, tmp_path: Path) -> None:
    """A typing mistake, or an SSD: nothing is started where the data are not, nor on a copy of them; the data stay, and
    no remedy leads to removing a healthy member. Moved as docs/hosts.md says, the next run starts the member there."""
    host, new = "f-live-3", "/srv/etcd"

    def edit(files: dict[str, Any]) -> None:
        files["inventory/hosts.yaml"][host]["data"]["member"]["data_dir"] = new

    config = inventory_variant(live, tmp_path, edit)
    before = pids(live)
    block = protection(deploy(live, "--cluster", "f-live", config=config), "f-live")
    assert f"the data are not where the inventory says ({host}: {DATA}, not {new})" in block.what
    assert "remove" not in block.remedy
    assert "Another data directory" in block.remedy
    output(live, host, f"mkdir -p -m 0700 {new} && cp -a {DATA}/member {new}/")
    block = protection(deploy(live, "--cluster", "f-live", config=config), "f-live")
    assert "old copy of its data" in block.what
    assert pids(live) == before
    output(live, host, f"rm -rf {new}/member && rc-service -q etcd stop && mv {DATA}/member {new}/")
    outcome = deploy(live, "--cluster", "f-live", config=config)
    assert outcome.exit_code == 0, outcome.text
    assert etcdctl(live, host, "get precious").stdout == "precious\npearls\n"
    assert {**pids(live), host: []} == {**before, host: []}
    # And back again.
    block = protection(deploy(live, "--cluster", "f-live"), "f-live")
    assert f"({host}: {new}, not {DATA})" in block.what
    output(live, host, f"rc-service -q etcd stop && mv {new}/member {DATA}/")
    outcome = deploy(live, "--cluster", "f-live")
    assert outcome.exit_code == 0, outcome.text
    assert_whole_again(live)


def put_file(handle: LabHandle, host: str, encoded: str) -> None:
    """Unpacks a tar archive (base64) as the data directory's content."""
    done = handle.ssh(host, f"base64 -d | tar -C {DATA} -xf - && chown -R etcd:etcd {DATA}", stdin=encoded)
    assert done.returncode == 0, done.stderr
