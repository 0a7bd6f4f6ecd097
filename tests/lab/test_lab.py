"""The lab itself: its hosts are what it says, faults are real, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import cgroups, daemons, hosts, machine, names, network, state
from lab.state import PROJECT
from tests.lab.conftest import LabHandle, lab_command

CRASH = "test-crash"
CRASH_TOPOLOGY = """
vault: vault.crash.home
hosts:
  crash-1: {kind: debian, fqdn: crash-1.home, sudo_password: true, disk: 64M, memory: 256M}
"""


def left_behind(name: str) -> list[str]:
    """All traces of a lab on this machine."""
    folder = state.lab_dir(name)
    identity = state.lab_id(folder)
    found = network.leftovers(identity)
    found += [str(path) for path in cgroups.folders(f"etcdfleet-{identity}")]
    found += hosts.mounts_in(folder)
    found += [str(folder)] if folder.exists() else []
    found += [line for line in names.ETC_HOSTS.read_text().splitlines() if identity in line]
    found += [str(path) for path in Path("/run/systemd/nspawn").glob(f"*/ef{identity}*")]
    with machine.lock():
        found += ["registered"] if machine.registered(identity) else []
    return found


@pytest.fixture
def crash_lab(lab_machine: None, tmp_path: Path) -> Iterator[Path]:  # noqa: ARG001
    """The topology file of a small lab that a test may treat badly; gone afterwards."""
    path = tmp_path / "crash.yaml"
    path.write_text(CRASH_TOPOLOGY)
    lab_command("down", "--name", CRASH)
    yield path
    lab_command("down", "--name", CRASH)
    assert left_behind(CRASH) == []


def test_hosts_are_what_the_topology_says(lab: LabHandle) -> None:
    for host in lab.plan.hosts:
        init = lab.ssh(host.name, "cat /proc/1/comm; uname -m; hostname").stdout.split()
        expected = {
            "debian": ["systemd", "x86_64"],
            "debian13": ["systemd", "x86_64"],
            "debian-armhf": ["systemd", "armv7l"],
            "alpine": ["init", "x86_64"],
        }
        assert init == [*expected[host.kind], host.name]


def test_login_and_root_are_as_the_inventory_says(lab: LabHandle) -> None:
    for host in lab.plan.hosts:
        command = "id -u" if host.login == "root" else "sudo -n id -u"
        assert lab.ssh(host.name, command).stdout.strip() == "0", host.name


def test_names_resolve_on_every_host_and_here(lab: LabHandle) -> None:
    plan = lab.plan
    for host in plan.hosts:
        looked_up = " ".join(other.fqdn for other in plan.hosts)
        found = lab.ssh(host.name, f"for n in {looked_up}; do getent hosts $n; done").stdout.splitlines()
        assert [line.split()[0] for line in found] == [other.address for other in plan.hosts]
        assert lab.ssh(host.name, "getent hosts localhost").returncode == 0
    for host in plan.hosts:
        if names.controller_knows(plan, host.fqdn):  # else another lab, such as the demo, had the name first
            assert socket.gethostbyname(host.fqdn) == host.address


def test_peers_see_each_other_under_their_own_address(lab: LabHandle) -> None:
    one, other = lab.plan.host("etcd-az-1"), lab.plan.host("etcd-az-2")
    seen = lab.ssh(one.name, f"bash -c 'exec 3<>/dev/tcp/{other.address}/22; ss -tnH dst {other.address}'").stdout
    assert one.address in seen
    # sshd itself ends a connection without a login, after two minutes.
    lab.exec(one.name, f"bash -c 'exec 3<>/dev/tcp/{other.address}/22; sleep 120' >/dev/null 2>&1 & echo $! >/tmp/pid")
    seen = lab.exec(other.name, "ss -tnH state established '( sport = :22 )'").stdout
    lab.exec(one.name, "kill $(cat /tmp/pid)")
    assert one.address in seen


@pytest.mark.thorough(
    "lab/test_rolling.py::test_members_come_back_by_themselves_after_a_reboot",
    "lab/test_damage.py::test_two_of_three_have_lost_everything_while_the_third_is_off",
    "lab/test_lab.py::test_limits_and_sudo_password",
)
def test_power_cord_leaves_the_disk_and_answers_nothing(lab: LabHandle) -> None:
    for name in ("etcd-az-1", "x-k3s-m-1"):
        host = lab.plan.host(name)
        lab.exec(name, "echo kept >/root/mark; sync")
        lab.stop(name)
        with pytest.raises(OSError, match=r"timed out|No route"):
            socket.create_connection((host.address, 22), timeout=4)
        assert lab.run("exec", name, "true", check=False).stderr.startswith(f"lab: {name}: the host is switched off")
        lab.start(name)
        assert lab.exec(name, "cat /root/mark").stdout == "kept\n"
        assert lab.ssh(name, "true").returncode == 0


@pytest.mark.thorough(
    "lab/test_rotate_faults.py::test_a_host_is_cut_off_when_they_are_placed",
)
def test_cut_host_lives_on_unreachable(lab: LabHandle) -> None:
    host = lab.plan.host("x-k3s-m-2")
    before = lab.exec(host.name, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1").stdout
    lab.cut(host.name)
    try:
        with pytest.raises(OSError, match=r"timed out|No route"):
            socket.create_connection((host.address, 22), timeout=4)
        assert lab.exec(host.name, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1").stdout == before
        assert "cut off" in lab.run("status").stdout
    finally:
        lab.heal(host.name)
    assert lab.ssh(host.name, "true").returncode == 0


def test_up_again_changes_nothing(lab: LabHandle) -> None:
    before = {host.name: hosts.init_pid(lab.plan, host) for host in lab.plan.hosts}
    lab.run("up")
    assert {host.name: hosts.init_pid(lab.plan, host) for host in lab.plan.hosts} == before


def test_up_boots_what_was_killed(lab: LabHandle) -> None:
    plan, host = lab.plan, lab.plan.host("etcd-az-2")
    nspawn = daemons.main_pid(plan, hosts.daemon(host))
    server = daemons.main_pid(plan, names.DAEMON)
    assert nspawn is not None
    assert server is not None
    os.kill(nspawn, signal.SIGKILL)
    os.kill(server, signal.SIGKILL)
    lab.run("up")
    assert lab.ssh(host.name, "getent hosts etcd.az1.k8s.home").returncode == 0


def test_no_secret_is_readable_by_others(lab: LabHandle) -> None:
    private = ("id_ed25519", "env", "keys.json", "sudo-password", "ssh_host_ed25519_key")
    own = [path for path in lab.dir.rglob("*") if path.relative_to(lab.dir).parts[2:3] not in (("root",), ("upper",))]
    secret = [path for path in own if path.name in private or "token" in path.name or path.suffix == ".key"]
    assert len(secret) >= 3 + len(lab.plan.hosts)
    for path in secret:
        assert path.is_dir() or path.stat().st_mode & 0o077 == 0, path


def test_two_labs_do_not_meet(lab: LabHandle, crash_lab: Path) -> None:
    lab_command("up", str(crash_lab), "--name", CRASH)
    side = state.require(CRASH)
    assert not side.subnet.overlaps(lab.plan.subnet)
    host = lab.plan.hosts[0]
    for address in (side.hosts[0].address, side.address):
        for port in (22, 53):
            probe = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/{port}'"
            assert lab.exec(host.name, probe, check=False).returncode != 0, f"{address}:{port} was reached"
    lab_command("down", "--name", CRASH)
    assert left_behind(CRASH) == []
    assert lab.ssh(host.name, f"getent hosts {host.fqdn}").returncode == 0


def test_limits_and_sudo_password(crash_lab: Path) -> None:
    lab_command("up", str(crash_lab), "--name", CRASH)
    handle = LabHandle(CRASH, state.lab_dir(CRASH), {})
    assert handle.exec("crash-1", "command -v etcd || command -v etcdctl", check=False).returncode != 0
    assert handle.ssh("crash-1", "sudo -n true").returncode != 0
    password = handle.plan.sudo_password_file.read_text()
    assert handle.plan.sudo_password_file.stat().st_mode & 0o777 == 0o600
    assert handle.ssh("crash-1", "sudo -S id -u", stdin=password).stdout.strip() == "0"
    full = handle.exec("crash-1", "head -c 80M /dev/zero >/var/lib/etcd/fill", check=False)
    assert "No space left" in full.stderr
    handle.stop("crash-1")
    handle.start("crash-1")
    assert handle.exec("crash-1", "ls /var/lib/etcd/fill").returncode == 0


OTHER_MOMENT = pytest.mark.thorough(
    "lab/test_lab.py::test_killed_up_is_cleaned_up_and_done_again", "lab/test_lab.py::test_everything_killed_then_down"
)


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(0.4, marks=OTHER_MOMENT),
        1.0,
        pytest.param(1.6, marks=OTHER_MOMENT),
        2.5,
        pytest.param(4.0, marks=OTHER_MOMENT),
    ],
)
def test_killed_up_is_cleaned_up_and_done_again(crash_lab: Path, seconds: float) -> None:
    argv = [sys.executable, "-m", "lab", "up", str(crash_lab), "--name", CRASH]
    process = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()
    lab_command("down", "--name", CRASH)
    assert left_behind(CRASH) == []
    lab_command("up", str(crash_lab), "--name", CRASH)


@pytest.mark.thorough(
    "lab/test_lab.py::test_up_boots_what_was_killed",
    "lab/test_lab.py::test_up_again_changes_nothing",
)
def test_killed_up_is_completed_by_the_next_one(crash_lab: Path) -> None:
    argv = [sys.executable, "-m", "lab", "up", str(crash_lab), "--name", CRASH]
    process = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    process.kill()
    process.wait()
    lab_command("up", "--name", CRASH) if state.load(CRASH) else lab_command("up", str(crash_lab), "--name", CRASH)
    assert LabHandle(CRASH, state.lab_dir(CRASH), {}).ssh("crash-1", "true").returncode == 0


def test_everything_killed_then_down(crash_lab: Path) -> None:
    lab_command("up", str(crash_lab), "--name", CRASH)
    for pid in cgroups.processes(state.require(CRASH).cgroup):
        os.kill(pid, signal.SIGKILL)
    lab_command("down", "--name", CRASH)
    assert left_behind(CRASH) == []
    lab_command("down", "--name", CRASH)


def test_down_leaves_a_folder_alone_that_is_not_a_labs(lab_machine: None) -> None:  # noqa: ARG001
    folder = state.lab_dir("test-foreign")
    folder.mkdir(parents=True)
    try:
        (folder / "mine").touch()
        done = lab_command("down", "--name", "test-foreign", check=False)
        assert done.returncode == 1
        assert "was not made by the lab" in done.stderr
        assert (folder / "mine").exists()
    finally:
        (folder / "mine").unlink(missing_ok=True)
        folder.rmdir()
