"""Deploy on the default lab: two clusters from nothing, and again without a change."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest

from lab.state import PROJECT, LabHost
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    Outcome,
    cluster_variant,
    deploy,
    etcd_processes,
    member_list,
    members,
    output,
    start_times,
    unhealthy,
)
from tests.lab.outside import ROLES, Outside, from_outside, serial
from tests.lab.watch import leader

CLUSTERS = ("k8s-home", "k3s-edge")
FEW_ROUND_TRIPS = 12


@pytest.fixture(scope="module")
def outside(deployed: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with from_outside(deployed, tmp_path_factory.mktemp("outside")) as client:
        yield client


def systemd_hosts(handle: LabHandle) -> list[LabHost]:
    return [host for host in handle.plan.hosts if host.init == "systemd"]


# The first deploy.


def test_first_deploy_succeeds_and_reports_every_host(lab: LabHandle, first: Outcome) -> None:
    assert first.exit_code == 0, first.text
    jsonschema.validate(first.report, json.loads((PROJECT / "docs" / "report.schema.json").read_text()))
    assert first.report["status"] == "ok"
    assert list(first.report["hosts"]) == [host.name for host in lab.plan.hosts]
    assert min(first.changed.values()) > 0, first.changed
    assert first.folder is not None
    assert sum(1 for _ in (first.folder.parent.parent / "cwd").iterdir()) == 0, "left something in the working folder"
    for host in lab.plan.hosts:
        assert host.name in first.stdout
    leaders = [name for name, host in first.report["hosts"].items() if host["facts"].get("leader")]
    assert sorted(first.host(name)["cluster"] for name in leaders) == sorted(CLUSTERS)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_clusters_are_whole_by_their_own_word(deployed: LabHandle, first: Outcome, cluster: str) -> None:
    names = members(deployed, cluster)
    assert unhealthy(deployed, cluster) == ""
    lists = [member_list(deployed, name) for name in names]
    for found in lists:
        wanted = {
            name: (f"https://{fqdn}:2380", f"https://{fqdn}:2379")
            for name in names
            for fqdn in [deployed.plan.host(name).fqdn]
        }
        assert {m["name"]: (*m["peerURLs"], *m["clientURLs"]) for m in found} == wanted
    ids = {member["name"]: f"{member['ID']:x}" for member in lists[0]}
    assert {name: first.host(name)["facts"]["member_id"] for name in names} == ids
    assert first.host(leader(deployed, names))["facts"]["leader"] is True


def test_hosts_serve_the_placed_certificates_to_the_outside(deployed: LabHandle, outside: Outside) -> None:
    for host in deployed.plan.hosts:
        for port, role in ((2379, "server"), (2380, "peer")):
            placed = (outside.folder / f"{host.name}-{role}.pem").read_text()
            assert serial(outside.served(host.name, port)) == serial(placed), f"{host.name}:{port}"
        service = next(cluster.service_name for cluster in deployed.plan.clusters if cluster.name == host.cluster)
        for name in (host.fqdn, service):
            assert name
            answer = outside.health(host.name, name)
            assert answer.returncode == 0, f"{name} on {host.name}: {answer.stderr}"
            assert json.loads(answer.stdout)["health"] == "true"


@pytest.mark.parametrize("host", ["etcd-az-1", "x-k3s-m-1"])
@pytest.mark.parametrize(
    ("role", "scheme"),
    [(None, "https"), ("server", "https"), ("client", "http")],
    ids=["no certificate", "server-only certificate", "plain http"],
)
def test_what_must_not_work_does_not(outside: Outside, host: str, role: str | None, scheme: str) -> None:
    answer = outside.health(host, outside.handle.plan.host(host).fqdn, role, scheme)
    # Refused in the handshake, or the connection is closed before curl has read the refusal.
    assert re.search(r"alert (bad certificate|certificate required)|curl: \((35|52|55|56)\)", answer.stderr), answer


def test_modes_and_owners(deployed: LabHandle) -> None:
    for host in deployed.plan.hosts:
        certs = CERTS
        keys = output(deployed, host.name, f"find {certs} -name '*.key' -exec stat -c '%a %U %G' {{}} +").splitlines()
        assert keys == ["600 etcd etcd"] * 3, host.name
        folders = [f"{certs}/{pair}/." for pair in ROLES] + ["/var/lib/etcd"]
        modes = output(deployed, host.name, f"stat -c '%a %U' {' '.join(folders)}").splitlines()
        assert modes == ["700 etcd"] * 4, host.name
        # Readable for all, changeable for root only; nothing else of ours is there for others to change.
        files = ["/etc/etcd/conf.yml", f"{certs}/peerCA.pem", f"{certs}/clientCA.pem", "/etc/profile.d/etcdctl.sh"]
        assert output(deployed, host.name, f"stat -c '%a %U' {' '.join(files)}").splitlines() == ["644 root"] * 4
        assert output(deployed, host.name, "find /etc/etcd ! -type l -perm /022").split() == [], host.name
        unfinished = "-name '*.new' -o -name '*.tmp' -o -name '.*'"
        left = output(
            deployed, host.name, f"find /etc/etcd /var/lib/etcd -maxdepth 5 ! -path '*/member/*' \\( {unfinished} \\)"
        )
        assert left.split() == [], host.name


def test_bundles_have_leaf_and_intermediate_and_no_root(deployed: LabHandle, outside: Outside) -> None:
    for host in deployed.plan.hosts:
        for role in ROLES.values():
            name = "root" if role == "client" else host.fqdn
            text = (outside.folder / f"{host.name}-{role}.pem").read_text()
            blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.DOTALL)
            names = [
                subprocess.run(
                    ["openssl", "x509", "-noout", "-subject", "-issuer"],
                    input=block,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.splitlines()
                for block in blocks
            ]
            pairs = [(subject.partition("=")[2].strip(), issuer.partition("=")[2].strip()) for subject, issuer in names]
            assert len(pairs) == 2, f"{host.name} {role}: {pairs}"
            (leaf, issued_by), (intermediate, root) = pairs
            assert re.search(rf"CN ?= ?{re.escape(name)}$", leaf), leaf
            assert issued_by == intermediate != root


def test_debians_own_unit_is_not_in_force(deployed: LabHandle) -> None:
    for host in systemd_hosts(deployed):
        properties = "FragmentPath,DropInPaths,UnitFileState,ActiveState,Type,Names,NRestarts,LimitNOFILE"
        said = dict(
            line.split("=", 1)
            for line in output(deployed, host.name, f"systemctl show etcd.service -p {properties}").splitlines()
        )
        assert said["FragmentPath"] == "/etc/systemd/system/etcd.service"
        assert said["DropInPaths"] == ""
        assert (said["UnitFileState"], said["ActiveState"], said["Type"]) == ("enabled", "active", "notify")
        assert "etcd-server.service" in said["Names"].split()
        assert (said["NRestarts"], said["LimitNOFILE"]) == ("0", "65536")
        # The package starts an unconfigured etcd when it is installed: not even for a moment.
        assert output(deployed, host.name, "ls -A /var/lib/etcd").split() == ["member"]
        started = output(
            deployed, host.name, "journalctl -q --no-pager -o cat -u etcd.service | grep -c ^Started || true"
        )
        assert started.strip() == "1", host.name


def test_one_configured_etcd_on_each_host_and_at_the_next_boot(deployed: LabHandle) -> None:
    for host in deployed.plan.hosts:
        (process,) = etcd_processes(deployed, host.name)
        assert "--config-file=/etc/etcd/conf.yml" in process.argv
        arm = {word for word in process.environ if word.startswith("ETCD_")}
        assert arm == ({"ETCD_UNSUPPORTED_ARCH=arm"} if host.kind == "debian-armhf" else set()), host.name
        if host.init == "openrc":
            assert "etcd" in output(deployed, host.name, "rc-update show default")
            assert "supervise-daemon" in output(deployed, host.name, "cat /etc/init.d/etcd")


def test_units_are_hardened(deployed: LabHandle) -> None:
    for host in systemd_hosts(deployed):
        text = output(deployed, host.name, "systemd-analyze security --no-pager etcd.service", timeout=120)
        exposure = re.search(r"Overall exposure level for etcd.service: ([0-9.]+)", text)
        assert exposure, text
        assert float(exposure[1]) <= 2.0, text


def test_etcdctl_works_in_a_login_shell(deployed: LabHandle) -> None:
    for host in deployed.plan.hosts:
        shell = "sh" if host.init == "openrc" else "bash"
        listed = output(deployed, host.name, f"{shell} -l -c 'etcdctl member list && etcdctl endpoint health' 2>&1")
        for name in members(deployed, host.cluster or ""):
            assert deployed.plan.host(name).fqdn in listed
        assert listed.count(" is healthy") == 3


# Again.


def test_second_deploy_changes_and_restarts_nothing(deployed: LabHandle) -> None:
    before = start_times(deployed)
    again = deploy(deployed)
    assert again.exit_code == 0, again.text
    assert again.changed == dict.fromkeys(again.changed, 0), again.text
    assert again.stdout.count("changed=0") == 6
    assert start_times(deployed) == before
    for name, host in again.report["hosts"].items():
        assert 0 < host["facts"]["ssh_round_trips"] <= FEW_ROUND_TRIPS, name


def fingerprint(handle: LabHandle, *only: str) -> dict[str, str]:
    """Everything that deploy could have touched on the hosts, or these alone, with times of change."""
    places = "/etc /usr/local /usr/bin/etcd*"
    find = f"find {places} -exec stat -c '%n %s %Y %Z %a %U' {{}} + 2>/dev/null | sort | md5sum"
    with ThreadPoolExecutor(6) as pool:
        names = only or tuple(host.name for host in handle.plan.hosts)
        return dict(zip(names, pool.map(lambda name: output(handle, name, find), names), strict=True))


@pytest.mark.thorough(
    "lab/test_deploy.py::test_check_shows_the_difference_and_leaves_it",
    "lab/test_deploy.py::test_second_deploy_changes_and_restarts_nothing",
    "lab/test_addresses.py::test_members_get_other_names_while_clients_work",
    "unit/program/test_main.py::test_check_says_would_change",
)
def test_check_says_that_there_is_nothing_to_do(deployed: LabHandle) -> None:
    before = fingerprint(deployed), start_times(deployed)
    outcome = deploy(deployed, "--check", "--diff")
    assert outcome.exit_code == 0, outcome.text
    assert outcome.changed == dict.fromkeys(outcome.changed, 0), outcome.text
    assert outcome.report["check"] is True
    assert "nothing would change" in outcome.stdout or "nothing changed" in outcome.stdout, outcome.stdout
    assert (fingerprint(deployed), start_times(deployed)) == before


def test_check_shows_the_difference_and_leaves_it(deployed: LabHandle, tmp_path: Path) -> None:
    variant = cluster_variant(deployed, tmp_path, "k3s-edge", heartbeat_ms=450)
    hosts = ("etcd-az-1", *members(deployed, "k3s-edge"))  # not the emulated one: all takes ten times as long there
    before = fingerprint(deployed, *hosts), start_times(deployed)
    outcome = deploy(deployed, "--check", "--diff", "--limit", ",".join(hosts), config=variant)
    assert outcome.exit_code == 0, outcome.text
    assert (fingerprint(deployed, *hosts), start_times(deployed)) == before
    for line in ("-heartbeat-interval: 500", "+heartbeat-interval: 450"):
        assert line in outcome.stdout, outcome.stdout
        assert line in outcome.step("x-k3s-m-1", "configure")["diff"]
    assert {name for name, count in outcome.changed.items() if count} == set(members(deployed, "k3s-edge"))
    assert outcome.step("x-k3s-m-1", "start")["status"] == "changed", "the restart that would follow is announced"
    assert outcome.step("etcd-az-1", "configure")["status"] == "ok"


# A part of it.


def logins(handle: LabHandle, host: str) -> int:
    count = output(handle, host, "journalctl -q --no-pager -t sshd | grep -c 'Accepted publickey' || true")
    return int(count)


def test_limits_touch_only_what_they_name(deployed: LabHandle) -> None:
    environment = "/etc/profile.d/etcdctl.sh"
    others = ["etcd-az-1", "etcd-az-2"]
    output(deployed, "x-k3s-m-1", f"rm {environment}")
    output(deployed, "x-k3s-m-2", f"rm {environment}")
    before = {name: logins(deployed, name) for name in others}
    try:
        one = deploy(deployed, "--limit", "x-k3s-m-2")
        assert one.exit_code == 0, one.text
        assert list(one.report["hosts"]) == ["x-k3s-m-2"]
        output(deployed, "x-k3s-m-2", f"test -e {environment}")
        output(deployed, "x-k3s-m-1", f"test ! -e {environment}")
    finally:
        cluster = deploy(deployed, "--cluster", "k3s-edge")
    assert cluster.exit_code == 0, cluster.text
    assert list(cluster.report["hosts"]) == members(deployed, "k3s-edge")
    assert [name for name, count in cluster.changed.items() if count] == ["x-k3s-m-1"]
    output(deployed, "x-k3s-m-1", f"test -e {environment}")
    assert {name: logins(deployed, name) for name in others} == before, "a host outside of the limit was logged in to"
