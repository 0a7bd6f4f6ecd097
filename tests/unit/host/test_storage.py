"""Where data lie, and what lies there already: one row per case, from what a host printed to what a run says of it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from etcdfleet.drivers.init import Service
from etcdfleet.drivers.init.openrc import OpenRC
from etcdfleet.drivers.init.systemd import Systemd
from etcdfleet.host import facts, others, storage
from etcdfleet.host.facts import FileFacts
from etcdfleet.host.others import read_others
from etcdfleet.host.paths import CONFIG, DATA_MOUNT, ETCDCTL_ENVIRONMENT, HostPaths
from etcdfleet.host.preflight_others import other_problems, other_warnings
from etcdfleet.host.preflight_storage import place_problems, place_warnings
from etcdfleet.remote import RemoteFile
from etcdfleet.settings.places import unfit
from tasks.configure import _read_at_start
from tasks.observe import Observed, Site
from tests.unit.drivers.init.test_render_and_services import render
from tests.unit.support.site import LocalHost, settings

ROOT = "mount / rw,relatime ext4 /dev/mmcblk0p2 rw"
SSD = "mount /mnt/ssd rw,noatime ext4 /dev/sda1 rw"
DATA = "/mnt/ssd/etcd"
PASSABLE = "folder 755 root root /mnt/ssd"


def printed(*lines: str, path: str = DATA, noted: str = "") -> storage.DataPlace:
    return storage.read_place("\n".join((f"path {path}", *lines)) + "\n", noted)


GOOD = {
    "on the root file system": printed(ROOT, path="/var/lib/etcd"),
    "on a disk of its own": printed(ROOT, SSD, PASSABLE, "fstab /", "fstab /mnt/ssd"),
    "a link to a disk": printed(ROOT, SSD, PASSABLE, "fstab /mnt/ssd"),
    "an automount that has happened": printed(ROOT, "mount /mnt/ssd rw autofs systemd-1 rw", SSD, "fstab /mnt/ssd"),
    "a private folder of etcd": printed(ROOT, "folder 700 etcd etcd /mnt/ssd"),
    "a folder for etcd's group": printed(ROOT, "folder 750 root etcd /mnt/ssd"),
    "a command line for an overlay, and the data on a disk": printed(ROOT, SSD, "memory"),
    "an overlay that is kept": printed("mount / rw overlay overlay rw,lowerdir=/a"),
    "the disk that was noted": printed(ROOT, SSD, "fstab /mnt/ssd", noted="/mnt/ssd"),
    "a disk within the one that was noted": printed(ROOT, SSD, "mount /mnt/ssd/etcd rw xfs /dev/sdb rw", noted="/mnt"),
    "data that were moved to another disk": printed(ROOT, SSD, noted="/mnt/old"),
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
        (
            printed(ROOT, "fstab /", noted="/mnt/ssd"),
            "the disk with this member's data is not there: nothing is mounted on /mnt/ssd",
            "mount /mnt/ssd; see dmesg where that fails), and etcd starts by itself",
        ),
        (
            printed(ROOT, "dangling /mnt/ssd/etcd", "fstab /mnt/ssd", noted="/mnt/ssd"),
            "the disk with this member's data is not there",
            "rm /etc/etcd/data-mount",
        ),
        (
            printed(ROOT, "mount /mnt/ssd rw autofs systemd-1 rw", noted="/mnt/ssd"),
            "nothing is mounted on /mnt/ssd",
            "dmesg",
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
    troubles = place_problems(DATA, place, "systemd", running=False)
    assert len(troubles) == 1
    assert what in troubles[0].what
    assert remedy in troubles[0].remedy


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
    reason = unfit(path, init)
    assert why in reason
    assert bool(reason) is bool(why)


def probed(data: Path) -> tuple[storage.DataPlace, facts.DataFacts]:
    """What the probes' own shell reads on this machine."""
    answers = LocalHost().batch({"place": storage.probe(str(data)), "data": facts._data(str(data))})
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


@pytest.mark.parametrize(
    ("place", "noted"),
    [
        (printed(ROOT, path="/var/lib/etcd"), ""),
        (printed(ROOT, SSD), "/mnt/ssd"),
        (printed(ROOT, SSD, noted="/mnt/ssd"), "/mnt/ssd"),
        (printed(ROOT, noted="/mnt/ssd"), "/mnt/ssd"),  # not there now, and still where the data are
        (printed(ROOT, path="/var/lib/etcd", noted="/mnt/ssd"), ""),  # the data have moved
        (printed(ROOT, "mount /mnt rw ext4 /dev/sdb rw", path="/mnt/etcd", noted="/mnt/ssd"), "/mnt"),
    ],
)
def test_what_is_noted_of_the_disk(place: storage.DataPlace, noted: str) -> None:
    assert place.to_note == noted


@pytest.mark.parametrize(
    ("point", "unit"),
    [
        ("/", "-.mount"),
        ("/mnt/ssd", "mnt-ssd.mount"),
        ("/var/lib/etcd", "var-lib-etcd.mount"),
        ("/mnt/my-ssd", "mnt-my\\x2dssd.mount"),
        ("/.snap/a.b:c_d", "\\x2esnap-a.b:c_d.mount"),
    ],
)
def test_the_unit_of_a_mount_point(point: str, unit: str) -> None:
    """As `systemd-escape --path --suffix=mount` has it."""
    assert storage.unit_of(point) == unit


def condition(tmp_path: Path, note: str | None) -> subprocess.CompletedProcess[str]:
    """What the unit does first, on a host with this note; systemctl mounts nothing."""
    paths = replace(HostPaths.of(settings()), data_mount=str(tmp_path / "data-mount"))
    if note is not None:
        (tmp_path / "data-mount").write_text(note)
    line = next(
        line for line in render("etcd.service.j2", settings(), paths=paths).splitlines() if "data-mount" in line
    )
    command = line.removeprefix("ExecCondition=+/bin/sh -c '").removesuffix("'").replace("$$", "$")
    for name, code in {"systemctl": 1, "systemd-escape": 0}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    return subprocess.run(["timeout", "1", "sh", "-c", command], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("note", [None, "", "/proc\n"])
def test_the_unit_goes_on_where_the_disk_is_mounted(tmp_path: Path, note: str | None) -> None:
    done = condition(tmp_path, note)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_waits_for_a_disk_and_says_so_once(tmp_path: Path) -> None:
    done = condition(tmp_path, "/proc/1/nowhere\n")
    assert done.returncode == 124
    assert done.stdout == "etcd waits for the disk with its data: nothing is mounted on /proc/1/nowhere\n"


UNIT, SCRIPT = render("etcd.service.j2", settings()), render("etcd.initd.j2", settings())


@pytest.mark.parametrize(
    ("service", "text", "change", "restart"),
    [
        (Systemd(), UNIT, ("", ""), False),
        (Systemd(), UNIT, ("# Written by", "# Made by"), False),
        (Systemd(), UNIT, ("After=network-online.target", "After=network-online.target\nAfter=mnt-ssd.mount"), False),
        (Systemd(), UNIT, ("ExecCondition=+", "ExecCondition=+/bin/true\nExecCondition=+"), False),
        (Systemd(), UNIT, ("TimeoutStopSec=", "TimeoutStopSec=9"), False),
        (Systemd(), UNIT, ("WantedBy=multi-user.target", "WantedBy=default.target"), False),
        (Systemd(), UNIT, ("ExecStart=/usr/bin/etcd", "ExecStart=/usr/local/bin/etcd"), True),
        (Systemd(), UNIT, ("ProtectHome=yes", "ProtectHome=no"), True),
        (Systemd(), UNIT, ("ReadWritePaths=-/var/lib/etcd", "ReadWritePaths=/var/lib/etcd"), False),
        (Systemd(), UNIT, ("ReadWritePaths=-/var/lib/etcd", "ReadWritePaths=-/srv/etcd"), True),
        (Systemd(), UNIT, ("LimitNOFILE=65536\n", ""), True),
        (OpenRC(), SCRIPT, ("", ""), False),
        (OpenRC(), SCRIPT, ("# Written by", "# Made by"), False),
        (OpenRC(), SCRIPT, ("use net dns", "use net"), False),
        (OpenRC(), SCRIPT, ("wait_for_disk || return 1", ":"), False),
        (OpenRC(), SCRIPT, ('umask="0077"', 'umask="0027"'), True),
        (OpenRC(), SCRIPT, ('retry="SIGTERM/', 'retry="SIGTERM/9'), True),
        (OpenRC(), SCRIPT, ('command="/usr/bin', 'command="/usr/local/bin'), True),
        (OpenRC(), render("etcd.confd.j2", settings()), ("65536", "1024"), True),
    ],
)
def test_which_changes_of_a_service_need_a_restart(
    service: Service, text: str, change: tuple[str, str], restart: bool
) -> None:
    assert change[0] in text
    changed = text.replace(*change, 1)
    assert (service.in_force(text.encode()) != service.in_force(changed.encode())) is restart


ANCHOR = "/etc/etcd/certs/clientCA.pem"


@pytest.mark.parametrize("service", [Systemd(), OpenRC()], ids=["systemd", "openrc"])
@pytest.mark.parametrize(
    ("path", "there", "wanted", "restart"),
    [
        (ANCHOR, b"one CA\nanother CA\n", b"one CA\n", True),
        (ANCHOR, b"# one\n", b"# another\n", True),
        (CONFIG, b"name: a\n", b"name: b\n", True),
        (CONFIG, b"name: a\n", b"# a comment\nname: a\n", False),
        (ETCDCTL_ENVIRONMENT, b"one\n", b"another\n", False),
        (DATA_MOUNT, b"/mnt/one\n", b"/mnt/another\n", False),
        ("", b"# a comment\n", b"# another\n", False),
    ],
)
def test_which_files_need_a_restart(service: Service, path: str, there: bytes, wanted: bytes, restart: bool) -> None:
    """Only the service's own files are judged as such: of anything else, the whole content counts."""
    path = path or service.files[0].path
    site = cast(Site, SimpleNamespace(service=service))
    file = RemoteFile(path, wanted)
    facts = SimpleNamespace(files={path: FileFacts(there, file.mode, file.owner, file.group)})
    observed = cast(Observed, SimpleNamespace(facts=facts))
    assert bool(_read_at_start(site, observed, [file])) is restart


PACKAGED = "process 131 etcd.service|/var/lib/etcd/default|3"
LEFT = "data 20480 1795655830 /var/lib/etcd/default"


@pytest.mark.parametrize(
    ("text", "init", "what", "remedy"),
    [
        (
            f"{PACKAGED}\n{LEFT}\n",
            "systemd",
            "that this project has not set up: etcd.service, data in /var/lib/etcd/default, 3 keys",
            "if what is in it is not needed: systemctl disable --now etcd.service, and run again",
        ),
        (
            "process 131 |/var/lib/etcd/default|1",
            "openrc",
            "process 131, data in /var/lib/etcd/default, 1 key",
            "rc-update",
        ),
        ("process 131 ||", "systemd", "process 131", "stop and disable what starts it"),
        ("process 131 etcd.service|/var/lib/etcd|", "systemd", "", ""),  # perhaps its own: the plan decides by the ids
        (LEFT, "systemd", "", ""),
        ("", "systemd", "", ""),
    ],
)
def test_an_etcd_that_runs_already(text: str, init: str, what: str, remedy: str) -> None:
    troubles = other_problems("/var/lib/etcd", read_others(text), init)
    assert len(troubles) == bool(what)
    for trouble in troubles:
        assert trouble.what.endswith(what)
        assert remedy in trouble.remedy
        assert "An etcd that is there already" in trouble.remedy


@pytest.mark.parametrize(
    ("text", "empty", "warned"),
    [(LEFT, True, True), (LEFT, False, False), (f"{PACKAGED}\n{LEFT}", True, False), ("", True, False)],
)
def test_data_of_an_etcd_that_was_there(text: str, empty: bool, warned: bool) -> None:
    """Told before a new cluster begins, once; not where the process was named already, or the member has its data."""
    troubles = other_warnings(read_others(text), empty=empty)
    assert len(troubles) == warned
    for trouble in troubles:
        assert "/var/lib/etcd/default (a database of 20 KiB, last changed on 2026-11-26)" in trouble.what


def test_the_probe_finds_the_data_of_another_etcd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "default/member/wal").mkdir(parents=True)
    (tmp_path / "default/member/snap").mkdir()
    (tmp_path / "default/member/snap/db").write_bytes(bytes(2048))
    monkeypatch.setattr(others, "PACKAGE_DIR", str(tmp_path / "default"))
    for data_dir, expected in {"/var/lib/etcd": [(str(tmp_path / "default"), 2048)], f"{tmp_path}/default": []}.items():
        answer = LocalHost().run(others.probe(data_dir))
        assert answer.stderr == ""
        found = [(data.path, data.size) for data in read_others(answer.stdout).data]
        assert [one for one in found if one[0].startswith(str(tmp_path))] == expected, "beside an etcd of this machine"


@pytest.mark.parametrize(("program", "found"), [("etcd", True), ("qemu-arm", True), ("openrc-run", False)])
def test_what_openrc_runs_for_the_service_etcd_is_no_etcd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, found: bool
) -> None:
    """``rc-service etcd status``, which the same probe asks, is a process of that name for a moment."""
    monkeypatch.setattr(others, "ESTABLISHED", str(tmp_path / "none"))
    monkeypatch.setattr(others, "CONFIG", str(tmp_path / "none"))
    shutil.copy(Path("/bin/sh").resolve(), tmp_path / program)
    called = "echo etcd >/proc/self/comm; echo; read -r line"
    with subprocess.Popen(
        [str(tmp_path / program), "-c", called], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        answer = LocalHost().run(others.probe(str(tmp_path / "data"))).stdout
        run.communicate(b"\n")
    assert (f"process {run.pid} " in answer) is found
