"""Data on disks, behind links and in folders that shut etcd out: what is refused, what a boot without its disk does.

A bind mount is the disk: like one, it is not there after a boot until somebody mounts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    TOPOLOGIES,
    Outcome,
    deploy,
    etcd_log,
    etcd_processes,
    etcdctl,
    inventory_variant,
    on_host,
    output,
    own_lab,
    start_times,
    wait_for,
)

DEBIAN, ALPINE = HOSTS = ("sto-d-1", "sto-a-1")
PLUG_IN = "mount --bind /disk /mnt/ssd"
DATA = {DEBIAN: "/mnt/ssd/etcd/data", ALPINE: "/opt/etcd"}
"""A folder whose parent is still to be made, by a login with umask 077; and a link."""


@pytest.fixture(scope="module")
def hosts(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Two hosts with a disk each, on which nothing is deployed yet."""
    with own_lab("s-storage", TOPOLOGIES / "storage.yaml") as handle:
        for host in HOSTS:
            output(handle, host, f"mkdir -p /disk /mnt/ssd /opt; {PLUG_IN}")
        yield handle


def run(handle: LabHandle, tmp_path: Path, *arguments: str, runbook: str = "deploy", **data_dir: str) -> Outcome:
    """A runbook with other data directories: by host, with ``_`` for ``-``."""
    wanted = DATA | {host.replace("_", "-"): path for host, path in data_dir.items()}

    def edit(files: dict[str, Any]) -> None:
        for host in HOSTS:
            files["inventory/hosts.yaml"][host]["data"]["member"]["data_dir"] = wanted[host]

    return deploy(handle, *arguments, config=inventory_variant(handle, tmp_path, edit), runbook=runbook)


def holds_pearls(handle: LabHandle, host: str) -> bool:
    """Whether the member answers with what was stored."""
    return etcdctl(handle, host, "get precious").stdout == "precious\npearls\n"


@dataclass(frozen=True)
class Unfit:
    """A place that is refused: how it is made, what is said, and the commands that its remedy names, if it has any."""

    host: str
    prepared: str
    data_dir: str
    said: str
    remedy: str = ""


UNFIT = {
    "a folder that only root may pass": Unfit(
        DEBIAN, "mkdir -m 0700 /secret", "/secret/etcd", "/secret is 0700 root", "chmod o+x /secret"
    ),
    "the same with OpenRC": Unfit(
        ALPINE, "mkdir -m 0700 /secret", "/secret/etcd", "/secret is 0700 root", "chmod o+x /secret"
    ),
    "a link into what the unit hides": Unfit(
        DEBIAN,
        "mkdir /home/etcd; ln -s /home/etcd /opt/home",
        "/opt/home",
        "is a link to /home/etcd, which is below /home, which the unit hides from etcd",
        "rm /opt/home; mkdir /opt/home; mount --bind /home/etcd /opt/home",
    ),
    "memory": Unfit(ALPINE, "mkdir /mnt/t; mount -t tmpfs t /mnt/t", "/mnt/t/etcd", "is in memory (tmpfs on /mnt/t)"),
    "a disk of /etc/fstab that is not there": Unfit(
        ALPINE,
        "mkdir /mnt/late /late; echo '/late /mnt/late none bind,nofail 0 0' >> /etc/fstab",
        "/mnt/late/etcd",
        "nothing is mounted on /mnt/late, where /etc/fstab wants a disk",
        "mount /mnt/late",
    ),
    "a link to a disk that is not there": Unfit(
        DEBIAN,
        "mkdir /mnt/none; ln -s /mnt/none/etcd /opt/none",
        "/opt/none",
        "it is a link to /mnt/none/etcd, and nothing is there",
        "mkdir -p /mnt/none/etcd",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_place_is_refused_and_its_remedy_helps(hosts: LabHandle, tmp_path: Path, name: str) -> None:
    case = UNFIT[name]
    output(hosts, case.host, case.prepared)
    data_dir = {case.host.replace("-", "_"): case.data_dir}
    outcome = run(hosts, tmp_path, "--limit", case.host, runbook="preflight", **data_dir)
    assert outcome.exit_code == 1, outcome.text
    assert case.said in outcome.error(case.host)
    if case.remedy:
        assert case.remedy.split("; ")[-1] in " ".join(outcome.stdout.split())
        output(hosts, case.host, case.remedy)
        outcome = run(hosts, tmp_path, "--limit", case.host, runbook="preflight", **data_dir)
        assert outcome.exit_code == 0, outcome.text


def test_the_distributions_own_etcd(hosts: LabHandle, tmp_path: Path) -> None:
    """It runs as soon as its package is installed. Named, with what is in it; its data are left alone."""
    output(hosts, DEBIAN, "apt-get -qq install -y etcd-server etcd-client >/dev/null", timeout=120)
    wait_for("it runs", lambda: on_host(hosts, DEBIAN, "ETCDCTL_API=3 etcdctl put old pearls").returncode == 0)
    refused = run(hosts, tmp_path, "--limit", DEBIAN)
    assert refused.exit_code == 1, refused.text
    said = "not set up: etcd.service, data in /var/lib/etcd/default, 1 key"
    assert said in refused.error(DEBIAN)
    status = run(hosts, tmp_path, "--limit", DEBIAN, runbook="status")
    assert said in " ".join(status.stdout.split())
    output(hosts, DEBIAN, "systemctl disable --now etcd.service")
    warned = run(hosts, tmp_path, "--limit", DEBIAN, runbook="preflight")
    assert warned.exit_code == 0, warned.text
    assert "data of another etcd lie in /var/lib/etcd/default" in " ".join(warned.stdout.split())


def test_links_disks_and_a_strict_umask(hosts: LabHandle, tmp_path: Path) -> None:
    """All of it works at the first try, and a second run finds nothing to do."""
    umask = "echo 'session optional pam_umask.so umask=077' >> /etc/pam.d/common-session"
    output(hosts, DEBIAN, f"{umask}; {umask}-noninteractive")
    output(hosts, ALPINE, f"mkdir /mnt/ssd/etcd; ln -s /mnt/ssd/etcd {DATA[ALPINE]}")
    first = run(hosts, tmp_path)
    assert first.exit_code == 0, first.text
    assert output(hosts, DEBIAN, "stat -c %a /mnt/ssd/etcd /mnt/ssd/etcd/data").split() == ["755", "700"]
    assert output(hosts, ALPINE, "stat -c '%a %U' /mnt/ssd/etcd").split() == ["700", "etcd"]
    again = run(hosts, tmp_path)
    assert again.changed == dict.fromkeys(HOSTS, 0), again.text
    verified = run(hosts, tmp_path, runbook="verify")
    assert verified.exit_code == 0, verified.text
    for host in HOSTS:
        assert output(hosts, host, "cat /etc/etcd/data-mount") == "/mnt/ssd\n"
        assert etcdctl(hosts, host, "put precious pearls").returncode == 0
    # What the distribution's etcd has left is not ours to remove.
    assert output(hosts, DEBIAN, "ls /var/lib/etcd/default/member").split() == ["snap", "wal"]


def test_the_log_of_openrc_is_bounded(hosts: LabHandle) -> None:
    """etcd begins another file at 5 MiB, and keeps one. Here the first 5 MiB are there already."""
    log = "/var/log/etcd/etcd.log"
    output(hosts, ALPINE, f"rc-service -q etcd stop; head -c 5242800 /dev/zero >> {log}; rc-service -q etcd start")
    files = "ls /var/log/etcd"
    wait_for("a second file", lambda: len(output(hosts, ALPINE, files).split()) == 2, every=0.5)
    assert int(output(hosts, ALPINE, f"stat -c %s {log}")) < 2**20
    wait_for("it serves", partial(holds_pearls, hosts, ALPINE))
    assert "ready to serve" in output(hosts, ALPINE, f"cat {log}")


def test_a_change_before_the_start_restarts_nobody(hosts: LabHandle, tmp_path: Path) -> None:
    """The unit and the script of an earlier release, which did not wait for a disk."""
    before = start_times(hosts)
    output(
        hosts, DEBIAN, "sed -i '/data-mount/d; /mnt-ssd/d' /etc/systemd/system/etcd.service; rm /etc/etcd/data-mount"
    )
    output(hosts, ALPINE, "sed -i '/wait_for_disk ||/d' /etc/init.d/etcd; rm /etc/etcd/data-mount")
    outcome = run(hosts, tmp_path)
    assert outcome.exit_code == 0, outcome.text
    assert all(outcome.changed.values()), outcome.text
    assert start_times(hosts) == before


def test_a_boot_without_the_disk(hosts: LabHandle, tmp_path: Path) -> None:
    """etcd waits, says so, and starts by itself when the disk comes; older data at the mount point are left alone."""
    for host in HOSTS:
        hosts.stop(host)
        hosts.start(host)
        output(
            hosts, host, "mkdir -p /mnt/ssd/etcd/data /mnt/ssd/etcd/member/wal; touch /mnt/ssd/etcd/member/wal/0-0.wal"
        )
    outcome = run(hosts, tmp_path)
    assert outcome.exit_code == 1, outcome.text
    status = run(hosts, tmp_path, runbook="status")
    for host in HOSTS:
        absent = "the disk with this member's data is not there: nothing is mounted on /mnt/ssd"
        assert absent in outcome.error(host), outcome.text
        assert f"{host}: etcd waits for the disk with its data" in " ".join(status.stdout.split())
        assert etcd_processes(hosts, host) == []
    assert "etcd waits for the disk with its data: nothing is mounted on /mnt/ssd" in etcd_log(hosts, DEBIAN)
    for host in HOSTS:
        output(hosts, host, PLUG_IN)
    for host in HOSTS:
        wait_for(f"{host} is back", partial(holds_pearls, hosts, host))
    back = run(hosts, tmp_path)
    assert back.exit_code == 0, back.text
    assert back.changed == dict.fromkeys(HOSTS, 0), back.text


def test_data_that_have_left_their_disk(hosts: LabHandle, tmp_path: Path) -> None:
    """The remedy for who has moved the data to the root file system, under the same path."""
    output(hosts, DEBIAN, "systemctl stop etcd; umount /mnt/ssd; rm -rf /mnt/ssd/etcd; cp -a /disk/etcd /mnt/ssd/")
    refused = run(hosts, tmp_path, "--cluster", "sto-d")
    assert "rm /etc/etcd/data-mount, and run deploy" in " ".join(refused.stdout.split())
    output(hosts, DEBIAN, "rm /etc/etcd/data-mount")
    outcome = run(hosts, tmp_path, "--cluster", "sto-d")
    assert outcome.exit_code == 0, outcome.text
    assert holds_pearls(hosts, DEBIAN)
