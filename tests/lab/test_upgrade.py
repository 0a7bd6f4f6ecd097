"""Upgrades by hops: the plan, a canary and the way back, runs that are killed, and clients that are at work meanwhile.

Authentication is on from the beginning, and the clients have no more rights than they need.

What is at hand leads from Debian's 3.4.23 to the 3.5 of Debian's sid. The whole way, and the ways back from 3.6 and
3.7, need versions that are compiled: ``ETCDFLEET_BUILD_ETCD=3.5.33,3.6.14,3.7.1`` names one of each minor.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import releases
from lab.releases import Release
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    begin_deploy,
    deploy,
    etcdctl,
    inventory_variant,
    members,
    own_lab,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.load import client_pair
from tests.lab.register.workload import clients_at_work
from tests.lab.rotate_helpers import reach, seen
from tests.lab.watch import leader

BUILT = tuple(filter(None, os.environ.get("ETCDFLEET_BUILD_ETCD", "").split(",")))
HOP, BACK = "hop", "hopback"
OLD = "3.4.23"
BOUNDARIES = ("plan", "preflight", "snapshot", "install", "certificates", "configure", "start", "verify")
"""Steps of the first hop at whose ends on a host a run is killed. In each other hop one is, between two restarts."""
compiled = pytest.mark.skipif(len(BUILT) < 2, reason="ETCDFLEET_BUILD_ETCD names no versions to compile")
AUTH = {
    "enabled": True,
    "roles": {"app": [{"prefix": "hop/", "access": "readwrite"}]},
    "users": {"app": {"roles": ["app"]}},
}


@pytest.fixture(scope="module", name="made")
def _made(lab_machine: None) -> dict[str, Release]:  # noqa: ARG001
    """The release archives on the way, by version, the last is the target."""
    found = [releases.built(version, ["amd64"])[0] for version in BUILT] or [releases.newer()]
    return {one.version: one for one in found}


@pytest.fixture(scope="module", name="lab")
def _lab(made: dict[str, Release]) -> Iterator[LabHandle]:  # noqa: ARG001  first compiled, then brought up
    with own_lab("test-upgrade", TOPOLOGIES / "upgrade.yaml") as handle:
        yield handle


def installing(handle: LabHandle, folder: Path, cluster: str, made: dict[str, Release], version: str) -> Path:
    """The configuration in which a cluster has all of these archives and this version; it begins with `OLD`."""
    archives = {name: {"amd64": {"file": str(one.file), "sha256": one.sha256}} for name, one in made.items()}

    def edit(files: dict[str, Any]) -> None:
        data = files["inventory/groups.yaml"][cluster]["data"]
        data["auth"] = AUTH
        if version != OLD:
            data["install"] = {"method": "archive", "version": version, "releases": archives}

    return inventory_variant(handle, folder, edit)


def running(handle: LabHandle, cluster: str) -> list[str]:
    """What the members say that they run, in the order of the inventory; empty for one that does not answer."""
    found = []
    for host in members(handle, cluster):
        done = etcdctl(handle, host, "endpoint status -w json")
        found.append(str(json.loads(done.stdout)[0]["Status"]["version"]) if done.returncode == 0 else "")
    return found


def upgrade(handle: LabHandle, folder: Path, *args: str, config: Path) -> Outcome:
    """Run the upgrade to its end."""
    snapshots = ("--snapshot-dir", str(folder / "snapshots"))
    return deploy(handle, *args, *snapshots, runbook="upgrade", config=config, timeout=900)


def all_is_well(handle: LabHandle, cluster: str, config: Path, version: str) -> None:
    """Everything says so, and deploy has nothing to do."""
    assert set(running(handle, cluster)) == {version}
    again = deploy(handle, config=config, timeout=600)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
    for runbook in ("verify", "status"):
        looked = deploy(handle, config=config, runbook=runbook)
        assert looked.exit_code == 0, looked.text
        assert "canary" not in looked.in_one_line


def enabled(handle: LabHandle, host: str, version: str) -> bool:
    """Whether etcd's job that leads to this version's minor is enabled, as the member on a host says."""
    done = etcdctl(handle, host, "endpoint status -w json")
    status = json.loads(done.stdout)[0]["Status"] if done.returncode == 0 else {}
    return bool(status.get("downgradeInfo", {}).get("targetVersion") == f"{minor_of(version)}.0")


def minor_of(version: str) -> str:
    return version.rpartition(".")[0]


def try_out_and_go_back(handle: LabHandle, folder: Path, cluster: str, made: dict[str, Release], new: str) -> None:
    """One member gets the next version, is held there, and goes back by a deploy of what ran before."""
    hosts, old = members(handle, cluster), running(handle, cluster)[0]
    wanted = installing(handle, folder, cluster, made, new)
    first, before = leader(handle, hosts), start_times(handle)
    tried = upgrade(handle, folder, "--canary", "--yes", config=wanted)
    assert tried.exit_code == 0, tried.text
    assert sorted(running(handle, cluster)) == sorted([old, old, new])
    canary = hosts[running(handle, cluster).index(new)]
    assert canary != first, "a follower"
    assert [host for host in hosts if start_times(handle)[host] != before[host]] == [canary]
    assert etcdctl(handle, canary, f"put /canary/{new} written").returncode == 0
    for runbook in ("status", "verify"):
        looked = deploy(handle, config=wanted, runbook=runbook)
        assert looked.exit_code == 0, looked.text
        assert f"{canary} runs etcd {new} as a canary since" in looked.in_one_line
        assert f"install.version: {old} and python runbooks/deploy.py" in looked.in_one_line
    held = deploy(handle, "--yes", config=wanted)
    assert held.exit_code == 3, held.text
    assert f"{canary} runs etcd {new} as a canary" in held.report["protections"][0]["what"]

    former = installing(handle, folder, cluster, made, old)
    unasked = deploy(handle, config=former)
    assert unasked.exit_code == 3, unasked.text
    assert f"{canary} goes back from etcd {new}" in unasked.report["protections"][0]["what"]
    back = deploy(handle, "--yes", config=former, timeout=600)
    assert back.exit_code == 0, back.text
    assert set(running(handle, cluster)) == {old}
    values = [etcdctl(handle, host, f"get /canary/{new} --print-value-only").stdout.strip() for host in hosts]
    assert values == ["written"] * 3
    settled = deploy(handle, config=former)
    assert (settled.exit_code, set(settled.changed.values())) == (0, {0}), settled.text


def test_check_tells_the_plan_and_changes_nothing(lab: LabHandle, made: dict[str, Release], tmp_path: Path) -> None:
    first = deploy(lab, config=installing(lab, tmp_path, HOP, made, OLD), timeout=600)
    assert first.exit_code == 0, first.text
    before, target = start_times(lab), list(made)[-1]
    config = installing(lab, tmp_path, HOP, made, target)
    checked = upgrade(lab, tmp_path, "--check", config=config)
    assert checked.exit_code == 0, checked.text
    assert f"from etcd {OLD} to {target} in " in checked.in_one_line
    for version in made:
        assert f". {version} for hop-1, hop-2, hop-3: " in checked.in_one_line
    assert "as long as one member runs 3.4, by deploy.py with install.version: 3.4.23" in checked.in_one_line
    assert set(running(lab, HOP)) == {OLD}
    assert start_times(lab) == before
    if len(made) > 1:
        skipping = deploy(lab, config=config)
        assert skipping.exit_code == 3, skipping.text
        assert "python runbooks/upgrade.py --check plans the versions between" in skipping.in_one_line


def test_a_canary_of_3_5_and_back(lab: LabHandle, made: dict[str, Release], tmp_path: Path) -> None:
    try_out_and_go_back(lab, tmp_path, HOP, made, next(iter(made)))


def test_the_way_up_while_clients_work_with_a_kill_in_each_hop(
    lab: LabHandle, made: dict[str, Release], tmp_path: Path
) -> None:
    hosts, target = members(lab, HOP), list(made)[-1]
    config = installing(lab, tmp_path, HOP, made, target)
    snapshots = ("--snapshot-dir", str(tmp_path / "snapshots"))
    with clients_at_work(lab, client_pair(lab, tmp_path, HOP, "app"), "hop", hosts) as work:
        begin = ("--yes", "--break-lock", *snapshots)
        for step in BOUNDARIES if len(made) > 1 else ():
            run = begin_deploy(lab, *begin, runbook="upgrade", config=config)
            reach(run, f"the end of {step} on a host", seen(run, "step_finished", step))
            run.kill()
            found, new = set(running(lab, HOP)) - {""}, next(iter(made))
            expected = {OLD, new} if step == "start" else {new} if step == "verify" else {OLD}
            assert found == expected, f"killed after {step}"
        for version in list(made)[1:] or made:
            run = begin_deploy(lab, *begin, runbook="upgrade", config=config)
            wait_for(f"one runs {version}", lambda version=version: version in running(lab, HOP), 400)  # type: ignore[misc]
            assert run.process.poll() is None, run.finish(10).text
            run.kill()
            assert len(set(running(lab, HOP)) - {""}) == 2, "in the middle of a hop"
        last = upgrade(lab, tmp_path, "--yes", "--break-lock", config=config)
        assert last.exit_code == 0, last.text
    print(work.story())
    assert work.violations == [], work.story()
    assert work.gaps.most_retries <= 1, work.story()
    for host in hosts:
        assert f"cluster version {'.'.join(target.split('.')[:2])}.0" in last.step(host, "proof")["summary"]
    assert len(list((tmp_path / "snapshots" / HOP).glob("*.json"))) >= len(made)
    all_is_well(lab, HOP, config, target)
    assert unhealthy(lab, HOP) == ""


@compiled
def test_a_job_of_etcd_that_someone_has_begun_by_hand(lab: LabHandle, made: dict[str, Release], tmp_path: Path) -> None:
    """It is told of, no newer program comes meanwhile, and the remedy ends it."""
    host, newest = members(lab, HOP)[0], list(made)[-1]
    before = minor_of(list(made)[-2])
    config = installing(lab, tmp_path, HOP, made, newest)
    assert etcdctl(lab, host, f"downgrade enable {before}").returncode == 0
    for runbook in ("status", "verify", "deploy"):
        looked = deploy(lab, config=config, runbook=runbook)
        assert looked.exit_code == 0, looked.text
        assert f"etcd's job to go back to {before} is under way" in looked.in_one_line
        assert "etcdctl downgrade cancel, on a host that runs the newer version, ends it" in looked.in_one_line
    assert etcdctl(lab, host, "downgrade cancel").returncode == 0
    for runbook in ("status", "verify"):
        assert "job to go back" not in deploy(lab, config=config, runbook=runbook).in_one_line
    all_is_well(lab, HOP, config, newest)


@compiled
def test_all_the_way_back_while_clients_work_with_kills(
    lab: LabHandle, made: dict[str, Release], tmp_path: Path
) -> None:
    """From 3.7 to 3.5 by etcd's own job: killed before the data are ready for it, and between two members."""
    hosts, (last, *before) = members(lab, HOP), reversed(made)
    with clients_at_work(lab, client_pair(lab, tmp_path, HOP, "app"), "hop/back", hosts) as work:
        for version in before:
            config = installing(lab, tmp_path, HOP, made, version)
            unasked = deploy(lab, config=config)
            assert unasked.exit_code == 3, unasked.text
            assert f"etcdctl downgrade enable {minor_of(version)}" in unasked.in_one_line
            saved = ("--snapshot-dir", str(tmp_path / "snapshots"))
            begun = begin_deploy(lab, "--yes", *saved, config=config)
            wait_for("the job is enabled", lambda version=version: enabled(lab, hosts[0], version), 120, every=0.05)  # type: ignore[misc]
            begun.kill()
            assert set(running(lab, HOP)) == {last}
            on_the_way = begin_deploy(lab, "--yes", "--break-lock", *saved, config=config)
            wait_for(f"one runs {version}", lambda version=version: version in running(lab, HOP), 200)  # type: ignore[misc]
            on_the_way.kill()
            looked = deploy(lab, runbook="status", config=config)
            assert f"etcd's job to go back to {minor_of(version)} is under way" in looked.in_one_line
            done = deploy(lab, "--yes", "--break-lock", *saved, config=config, timeout=600)
            assert done.exit_code == 0, done.text
            assert set(running(lab, HOP)) == {version}
            last = version
    print(work.story())
    assert work.violations == [], work.story()
    assert work.gaps.most_retries <= 1, work.story()
    all_is_well(lab, HOP, config, last)


@compiled
def test_the_ways_back_from_3_6_and_3_7(made: dict[str, Release], tmp_path: Path) -> None:
    """While members run the old version, the canary goes back from the next minor one; clients work all the while.

    One host is Alpine's. There is no 3.4 for it: Debian's needs another C library.
    """
    with own_lab("test-upgrade-back", TOPOLOGIES / "upgrade-back.yaml") as lab:
        version, *others = made
        first = deploy(lab, config=installing(lab, tmp_path, BACK, made, version), timeout=600)
        assert first.exit_code == 0, first.text
        with clients_at_work(lab, client_pair(lab, tmp_path, BACK, "app"), "hop", members(lab, BACK)) as work:
            for new in others:
                try_out_and_go_back(lab, tmp_path, BACK, made, new)
                config = installing(lab, tmp_path, BACK, made, new)
                done = upgrade(lab, tmp_path, "--yes", config=config)
                assert done.exit_code == 0, done.text
        print(work.story())
        assert work.violations == [], work.story()
        assert work.gaps.most_retries <= 1, work.story()
        all_is_well(lab, BACK, config, new)
