"""Where data lie: one row per case, from what a host printed (or a real folder) to what a run says of it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from etcdfleet import facts, storage
from etcdfleet.preflight_storage import place_problems, place_warnings
from etcdfleet.settings.places import unfit
from tests.unit.site import LocalHost

ROOT = "mount / rw,relatime ext4 /dev/mmcblk0p2 rw"
SSD = "mount /mnt/ssd rw,noatime ext4 /dev/sda1 rw"
DATA = "/mnt/ssd/etcd"
PASSABLE = "folder 755 root root /mnt/ssd"


def printed(*lines: str, path: str = DATA) -> storage.DataPlace:
    return storage.read_place("\n".join((f"path {path}", *lines)) + "\n")


GOOD = {
    "on the root file system": printed(ROOT, path="/var/lib/etcd"),
    "on a disk of its own": printed(ROOT, SSD, PASSABLE, "fstab /", "fstab /mnt/ssd"),
    "a link to a disk": printed(ROOT, SSD, PASSABLE, "fstab /mnt/ssd"),
    "an automount that has happened": printed(ROOT, "mount /mnt/ssd rw autofs systemd-1 rw", SSD, "fstab /mnt/ssd"),
    "a private folder of etcd": printed(ROOT, "folder 700 etcd etcd /mnt/ssd"),
    "a folder for etcd's group": printed(ROOT, "folder 750 root etcd /mnt/ssd"),
    "a command line for an overlay, and the data on a disk": printed(ROOT, SSD, "memory"),
    "an overlay that is kept": printed("mount / rw overlay overlay rw,lowerdir=/a"),
    "a network file system": printed(ROOT, "mount /mnt/ssd rw nfs4 nas:/etcd rw"),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("init", ["systemd", "openrc"])
def test_a_good_place(name: str, init: str) -> None:
    assert place_problems(DATA, GOOD[name], init, running=False) == []


@pytest.mark.parametrize(
    ("place", "what", "remedy"),
    [
        (
            printed(ROOT, "dangling /mnt/ssd/etcd"),
            "it is a link to /mnt/ssd/etcd, and nothing is there",
            "mount the disk that it leads to, or make the folder: mkdir -p /mnt/ssd/etcd",
        ),
        (printed(ROOT, f"file {DATA}"), "is no folder", "move it away"),
        (
            printed(ROOT, "fstab /", "fstab /mnt/ssd"),
            "nothing is mounted on /mnt/ssd, where /etc/fstab",
            "mount /mnt/ssd",
        ),
        (
            printed(ROOT, "mount /mnt/ssd rw autofs systemd-1 rw", "fstab /mnt/ssd"),
            "nothing is mounted on /mnt/ssd",
            "dmesg",
        ),
        (printed(ROOT, path="/home/pi/etcd"), "is a link to /home/pi/etcd, which is below /home", "mount --bind"),
        (printed(ROOT, path="/run/etcd"), "is a link to /run/etcd, which is below /run", "/var/lib/etcd"),
        (printed(ROOT, path="/media/My Disk/etcd"), "blanks or special characters", "/mnt/ssd"),
        (printed(ROOT, "mount /mnt/ssd rw tmpfs tmpfs rw"), "(tmpfs on /mnt/ssd): a reboot takes", "on a disk"),
        (printed("mount / rw tmpfs tmpfs rw"), "(tmpfs on /): a reboot takes", "on a disk"),
        (printed("mount / rw overlay overlayroot rw,lowerdir=/a", "memory"), "the kernel's command line", "on a disk"),
        (printed("mount / ro,relatime ext4 /dev/mmcblk0p2 rw"), "is mounted read-only (/)", "remount,rw /"),
        (printed(ROOT, "mount /mnt/ssd rw ext4 /dev/sda1 ro"), "is mounted read-only (/mnt/ssd)", "dmesg"),
        (printed(ROOT, "mount /mnt/ssd rw vfat /dev/sda1 rw"), "vfat (/mnt/ssd), which has no owners", "ext4"),
        (printed(ROOT, SSD, "mount /mnt/ssd rw exfat /dev/sdb1 rw"), "is on exfat", "ext4"),
        (printed(ROOT, "folder 700 root root /mnt"), "/mnt is 0700 root", "chmod o+x /mnt,"),
        (
            printed(ROOT, "folder 700 root root /mnt", "folder 750 pi pi /mnt/ssd"),
            "/mnt is 0700 root, /mnt/ssd is 0750 pi",
            "chmod o+x /mnt /mnt/ssd,",
        ),
    ],
)
def test_a_place_that_is_refused(place: storage.DataPlace, what: str, remedy: str) -> None:
    found = place_problems(DATA, place, "systemd", running=False)
    assert len(found) == 1
    assert what in found[0].what
    assert remedy in found[0].remedy


def test_a_member_that_runs_can_reach_its_data() -> None:
    """Access lists may say more than a mode; that etcd runs says most."""
    assert place_problems(DATA, printed(ROOT, "folder 700 root root /mnt"), "systemd", running=True) == []


def test_a_network_file_system_is_a_warning() -> None:
    assert "nfs4" in place_warnings(DATA, GOOD["a network file system"])[0].what
    assert place_warnings(DATA, GOOD["on a disk of its own"]) == []


@pytest.mark.parametrize(
    ("path", "init", "why"),
    [
        ("/var/lib/etcd", "systemd", ""),
        ("/srv/etcd/data", "openrc", ""),
        ("/mnt/home/etcd", "systemd", ""),
        ("/homes/etcd", "systemd", ""),
        ("/home/pi/etcd", "systemd", "ProtectHome="),
        ("/home/pi/etcd", "openrc", ""),
        ("/root/etcd", "systemd", "ProtectHome="),
        ("/tmp/etcd", "systemd", "removed at a boot"),
        ("/tmp/etcd", "openrc", "removed at a boot"),
        ("/var/tmp/etcd", "systemd", "when they are old"),
        ("/run/etcd", "openrc", "in memory"),
        ("/var/run/etcd", "systemd", "in memory"),
        ("/dev/shm/etcd", "openrc", "no disk"),
        ("/etc/etcd", "systemd", "is /etc/etcd, which this project"),
        ("/etc/etcd/data", "systemd", "is below /etc/etcd, which this project"),
        ("/usr/local/lib/etcdfleet/data", "openrc", "own files"),
    ],
)
def test_what_a_path_tells(path: str, init: str, why: str) -> None:
    found = unfit(path, init)
    assert why in found
    assert bool(found) is bool(why)


def probed(data: Path) -> tuple[storage.DataPlace, facts.DataFacts]:
    """What the probes' own shell reads on this machine."""
    answers = LocalHost().batch({"place": storage.probe(str(data)), "data": facts._data(shlex.quote(str(data)))})
    return storage.read_place(answers["place"].stdout), facts._read_data(answers["data"])


def test_a_link_is_looked_through(tmp_path: Path) -> None:
    """Mode, owner and place are those of the folder that it leads to."""
    real, link = tmp_path / "ssd/etcd", tmp_path / "etcd"
    real.mkdir(parents=True, mode=0o755)
    real.chmod(0o700)
    link.symlink_to(real)
    place, data = probed(link)
    assert (place.path, place.blocked) == (str(real), "")
    assert place.mount.kind
    assert data.mode == "700"


def test_what_there_is_in_the_place_of_the_folder(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(tmp_path / "disk/etcd")
    file.touch()
    assert probed(link)[0].blocked == f"it is a link to {tmp_path}/disk/etcd, and nothing is there"
    assert probed(file)[0].blocked == f"{file} is no folder"
    assert probed(tmp_path / "new")[0].blocked == ""


def test_folders_that_nobody_may_pass(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert str(closed) in [folder.path for folder in probed(closed / "etcd/data")[0].closed]
    closed.chmod(0o711)
    assert str(closed) not in [folder.path for folder in probed(closed / "etcd/data")[0].closed]
