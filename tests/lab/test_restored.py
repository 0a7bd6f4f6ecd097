"""Clusters restored from a snapshot on two of three members: the third, which is empty, gets all data, or is refused.

Before, deploy started it with ``initial-cluster-state: new``, ended with "all well", and it answered linearizable reads
with nothing. On both init systems, with etcd 3.4 and 3.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    deploy,
    etcd_processes,
    etcdctl,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    unhealthy,
    wait_for,
)
from tests.lab.fault_helpers import protection

CLUSTERS = ("r-deb", "r-alp")
KEYS = 20
CONFIG = "/etc/etcd/conf.yml"
each = pytest.mark.parametrize("cluster", CLUSTERS)
# What is decided from data, markers and logs is the same on all hosts, and shown by tests/unit/etcd/test_plan.py and
# test_plan_worlds.py; here each case is met once, in turn on both init systems.
systemd, openrc = (pytest.mark.parametrize("cluster", [name]) for name in CLUSTERS)


@pytest.fixture(scope="module")
def deployed(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Both clusters, with some keys and a snapshot of each at /root/snapshot.db of every host."""
    with own_lab("restored", TOPOLOGIES / "restored.yaml") as handle:
        outcome = deploy(handle, timeout=600)
        assert outcome.exit_code == 0, outcome.text
        for cluster in CLUSTERS:
            first, *others = members(handle, cluster)
            output(handle, first, f"{profile()} for n in $(seq {KEYS}); do etcdctl put key-$n value >/dev/null; done")
            own = f"ETCDCTL_ENDPOINTS=https://{handle.plan.host(first).fqdn}:2379"
            output(handle, first, f"{profile()} {own} etcdctl snapshot save /root/snapshot.db")
            encoded = output(handle, first, "gzip -c /root/snapshot.db | base64")
            for host in others:
                done = handle.ssh(
                    host, f"base64 -d | gunzip | {sudo(host)} tee /root/snapshot.db >/dev/null", stdin=encoded
                )
                assert done.returncode == 0, done.stderr
        yield handle


def profile() -> str:
    return ". /etc/profile.d/etcdctl.sh;"


def sudo(host: str) -> str:
    return "sudo" if host.startswith("r-deb") else ""


def service(host: str, action: str) -> str:
    return f"systemctl {action} etcd" if host.startswith("r-deb") else f"rc-service -q etcd {action}"


def stop_all(handle: LabHandle, cluster: str) -> None:
    """Etcd stopped, data and markers gone: what docs/hosts.md has a person do first."""
    for host in members(handle, cluster):
        on_host(handle, host, service(host, "stop"))  # which is an error where it is stopped
        aside = "rm -rf /root/before; [ ! -e /var/lib/etcd/member ] || mv /var/lib/etcd/member /root/before"
        output(handle, host, f"{aside}; rm -f /etc/etcd/cluster.json")
        assert etcd_processes(handle, host) == []


def restore(handle: LabHandle, host: str, cluster: str, token: str) -> None:
    """The third step of "Restore a cluster from a snapshot" in docs/hosts.md."""
    listed = ",".join(f"{name}=https://{handle.plan.host(name).fqdn}:2380" for name in members(handle, cluster))
    own = f"--name {host} --initial-advertise-peer-urls https://{handle.plan.host(host).fqdn}:2380"
    output(
        handle,
        host,
        f"ETCDCTL_API=3 etcdctl snapshot restore /root/snapshot.db {own} --data-dir /var/lib/etcd-restored"
        f" --initial-cluster-token {token} --initial-cluster {listed}"
        " && mv /var/lib/etcd-restored/member /var/lib/etcd/ && rm -rf /var/lib/etcd-restored"
        " && chown -R etcd:etcd /var/lib/etcd",
    )


def with_token(handle: LabHandle, tmp_path: Path, cluster: str, token: str) -> Path:
    def edit(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"][cluster]["data"]["cluster"]["token"] = token

    return inventory_variant(handle, tmp_path, edit)


def keys_at(handle: LabHandle, host: str) -> int:
    """How many keys a linearizable read through this host's member finds."""
    done = etcdctl(handle, host, "get key- --prefix --keys-only")
    assert done.returncode == 0, done.stderr
    return done.stdout.count("key-")


def state_of(handle: LabHandle, host: str) -> str:
    return output(handle, host, f"sed -n 's/^initial-cluster-state: //p' {CONFIG}").strip()


def assert_whole(handle: LabHandle, cluster: str, config: Path | None = None) -> None:
    """All keys on every member, and nothing left to do."""
    for host in members(handle, cluster):
        assert keys_at(handle, host) == KEYS, host
        assert state_of(handle, host) == "existing"
    again = deploy(handle, "--cluster", cluster, config=config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


@pytest.mark.thorough(
    "lab/test_deploy.py::test_second_deploy_changes_and_restarts_nothing",
    "lab/test_restored.py::test_an_empty_member_gets_everything_from_the_restored_ones",
    "lab/test_restored.py::test_data_from_before_the_restore_are_refused_and_the_remedy_helps",
)
@each
def test_after_the_first_deploy_a_start_without_data_would_fail(deployed: LabHandle, cluster: str) -> None:
    """`initial-cluster-state` is `existing` from the first deploy on; a second deploy changes nothing."""
    assert_whole(deployed, cluster)


@pytest.mark.thorough(
    "unit/etcd/test_configuration.py::test_only_what_a_running_etcd_would_read_asks_for_a_restart",
    "lab/test_storage.py::test_a_change_before_the_start_restarts_nobody",
)
def test_the_key_reaches_a_cluster_of_an_older_deploy_without_a_restart(deployed: LabHandle) -> None:
    """Members that were deployed with `new` get `existing`; none is restarted, none is due for a restart."""
    for cluster in CLUSTERS:
        for host in members(deployed, cluster):
            output(deployed, host, f"sed -i 's/^initial-cluster-state: .*/initial-cluster-state: new/' {CONFIG}")
    before = start_times(deployed)
    check = deploy(deployed, "--check")
    assert {check.step(host, "start")["status"] for host in before} == {"ok"}, check.text
    outcome = deploy(deployed)
    assert outcome.exit_code == 0, outcome.text
    assert {outcome.step(host, "configure")["status"] for host in before} == {"changed"}
    assert {outcome.step(host, "start")["status"] for host in before} == {"ok"}
    assert start_times(deployed) == before
    for host in before:
        assert state_of(deployed, host) == "existing"
        assert on_host(deployed, host, "test -e /run/etcdfleet/restart-pending").returncode == 1


@openrc
def test_an_empty_member_gets_everything_from_the_restored_ones(
    deployed: LabHandle, cluster: str, tmp_path: Path
) -> None:
    """With a new token, as docs/hosts.md says; the third host has `new` in its configuration, as a new one might."""
    first, second, third = members(deployed, cluster)
    stop_all(deployed, cluster)
    for host in (first, second):
        restore(deployed, host, cluster, f"{cluster}-2")
    output(deployed, third, f"sed -i 's/^initial-cluster-state: .*/initial-cluster-state: new/' {CONFIG}")
    block = protection(deploy(deployed, "--cluster", cluster), cluster)
    assert "set cluster.token to it" in block.remedy
    config = with_token(deployed, tmp_path, cluster, f"{cluster}-2")
    check = deploy(deployed, "--cluster", cluster, "--check", config=config)
    assert check.exit_code == 0, check.text
    assert etcd_processes(deployed, first) == []
    outcome = deploy(deployed, "--cluster", cluster, config=config)
    assert outcome.exit_code == 0, outcome.text
    assert outcome.step(third, "start")["changes"][0] == "etcd joins the cluster"
    assert_whole(deployed, cluster, config)


@pytest.mark.thorough(
    "unit/etcd/test_plan.py::test_plan",
    "unit/etcd/test_recorded.py::test_a_restored_log_is_that_of_a_bootstrap_but_for_its_snapshot",
    "lab/test_restored.py::test_data_from_before_the_restore_are_refused_and_the_remedy_helps",
    "lab/test_restored.py::test_an_empty_member_gets_everything_from_the_restored_ones",
)
@openrc
def test_the_same_with_the_old_token(deployed: LabHandle, cluster: str) -> None:
    """Ids are those of the first start then, and nothing but the snapshot tells that the data have a past."""
    first, second, _ = members(deployed, cluster)
    stop_all(deployed, cluster)
    for host in (first, second):
        restore(deployed, host, cluster, cluster)
    outcome = deploy(deployed, "--cluster", cluster)
    assert outcome.exit_code == 0, outcome.text
    assert_whole(deployed, cluster)


@pytest.mark.thorough(
    "unit/etcd/test_plan.py::test_plan",
    "unit/etcd/test_plan_worlds.py::test_no_plan_loses_data",
    "lab/test_damage.py::test_two_of_three_have_lost_everything_while_the_third_is_off",
)
@systemd
def test_one_restored_member_and_two_empty_ones_are_refused(deployed: LabHandle, cluster: str) -> None:
    """Two empty members would be the quorum: nothing is started."""
    first, *_ = members(deployed, cluster)
    stop_all(deployed, cluster)
    restore(deployed, first, cluster, cluster)
    block = protection(deploy(deployed, "--cluster", cluster), cluster)
    assert "was restored" in block.what
    assert all(etcd_processes(deployed, host) == [] for host in members(deployed, cluster))


@systemd
def test_a_log_of_a_first_start_beside_restored_data_is_refused_and_the_remedy_helps(
    deployed: LabHandle, cluster: str
) -> None:
    """The third host has begun by itself, with `new` and without the others: its log would pass for a complete one."""
    first, second, third = members(deployed, cluster)
    stop_all(deployed, cluster)
    output(deployed, third, f"sed -i 's/^initial-cluster-state: .*/initial-cluster-state: new/' {CONFIG}")
    start_alone(deployed, third)
    for host in (first, second):
        restore(deployed, host, cluster, cluster)
    block = protection(deploy(deployed, "--cluster", cluster), cluster)
    assert f"{third}: a log of a first start" in block.what
    assert etcd_processes(deployed, first) == []
    output(deployed, third, f"{service(third, 'stop')}; rm -rf /root/hollow; mv /var/lib/etcd/member /root/hollow")
    outcome = deploy(deployed, "--cluster", cluster)
    assert outcome.exit_code == 0, outcome.text
    assert_whole(deployed, cluster)


def test_data_from_before_the_restore_are_refused_and_the_remedy_helps(deployed: LabHandle) -> None:
    """All markers are left, as by a person who did without docs/hosts.md; the third host keeps its old data."""
    cluster = CLUSTERS[0]
    first, second, third = members(deployed, cluster)
    for host in (first, second, third):
        output(deployed, host, service(host, "stop"))
    for host in (first, second):
        output(deployed, host, "rm -rf /root/before; mv /var/lib/etcd/member /root/before")
        restore(deployed, host, cluster, cluster)
    block = protection(deploy(deployed, "--cluster", cluster), cluster)
    assert f"{third}: data from before the restore" in block.what
    assert f"on {third}, stop etcd and move member/ out of the data directory" in block.remedy
    assert f"remove /etc/etcd/cluster.json there and on {first}, {second}; then run again" in block.remedy
    output(deployed, third, "rm -rf /root/before; mv /var/lib/etcd/member /root/before")
    for host in (first, second, third):
        output(deployed, host, "rm /etc/etcd/cluster.json")
    outcome = deploy(deployed, "--cluster", cluster)
    assert outcome.exit_code == 0, outcome.text
    assert_whole(deployed, cluster)


def start_alone(handle: LabHandle, host: str) -> None:
    """Start etcd on one host until its log is there; without the others it does not become ready."""
    begin = "systemctl start --no-block etcd" if host.startswith("r-deb") else "rc-service -q etcd start"
    output(handle, host, begin)
    wait_for("a log", lambda: on_host(handle, host, "ls /var/lib/etcd/member/wal/*.wal").returncode == 0)
    # Let it get as far as its bootstrap entries. busybox' grep wants text.
    entries = "head -c 4096 /var/lib/etcd/member/wal/*.wal | tr -dc a-zA-Z | grep -q peerURLs"
    wait_for("its raft log", lambda: on_host(handle, host, entries).returncode == 0)


def silently_empty(handle: LabHandle, cluster: str) -> str:
    """What an older deploy, or a person, made of it: the third member votes, is healthy, and holds nothing."""
    first, second, third = members(handle, cluster)
    stop_all(handle, cluster)
    for host in (first, second):
        restore(handle, host, cluster, cluster)
    output(handle, third, f"sed -i 's/^initial-cluster-state: .*/initial-cluster-state: new/' {CONFIG}")
    for host in (first, second, third):
        # One of the tests before may have left another token.
        output(handle, host, f"sed -i 's/^initial-cluster-token: .*/initial-cluster-token: {cluster}/' {CONFIG}")
        start_alone(handle, host)
    wait_for("all healthy", lambda: unhealthy(handle, cluster) == "")
    # The entries of a leader's log reach it from now on: it has the same index, and another revision.
    etcdctl(handle, first, "put key-0 value")
    assert keys_at(handle, first) == KEYS + 1
    assert keys_at(handle, third) == 1
    return third


@openrc
def test_a_silently_empty_member_is_found_by_all_that_look_at_the_cluster(
    deployed: LabHandle, tmp_path: Path, cluster: str
) -> None:
    """Its health is good, and its hash at the lowest common revision is that of the others. status, verify and the gate
    of a rolling restart say which member it is; deploy restarts nobody. Replaced as they say, all is well."""
    odd = silently_empty(deployed, cluster)
    found = f"{odd} does not hold what the majority holds"
    status = deploy(deployed, "--cluster", cluster, runbook="status")
    assert status.exit_code == 1, status.text
    assert found in status.in_one_line
    verify = deploy(deployed, "--cluster", cluster, runbook="verify")
    assert verify.exit_code == 1, verify.text
    assert found in verify.in_one_line
    before = start_times(deployed)
    output(
        deployed, odd, f"echo '# a change' >> {CONFIG}; mkdir -p /run/etcdfleet; touch /run/etcdfleet/restart-pending"
    )
    block = protection(deploy(deployed, "--cluster", cluster), cluster)
    assert found in block.what
    assert start_times(deployed) == before
    assert "python runbooks/repair.py" in block.remedy
    replaced = deploy(deployed, "--cluster", cluster, "--yes", "--snapshot-dir", str(tmp_path), runbook="repair")
    assert replaced.exit_code == 0, replaced.text
    assert replaced.step(odd, "start")["status"] == "changed", replaced.text
    output(deployed, odd, "ls -d /var/lib/etcd/removed-*/member/wal")
    assert deploy(deployed, "--cluster", cluster).exit_code == 0
    for host in members(deployed, cluster):
        assert keys_at(deployed, host) == KEYS + 1
    assert deploy(deployed, "--cluster", cluster, runbook="status").exit_code == 0
