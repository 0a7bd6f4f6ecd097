"""What labs share on one machine: requirements, a lock, who uses which subnet, and settings of the kernel.

Settings (IP forwarding, inotify instances, the emulator for ARM programs) are changed for the first lab that needs them
and put back as they were when the last lab goes. The notes for that are in ``/run/etcdfleet-lab`` and are void after a
reboot.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.run import run
from lab.state import Lab, write_atomic

NOTES = Path("/run/etcdfleet-lab")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 1024
"""A systemd host takes about six, its systemd ends without, and all hosts share root's share: 128 on Debian."""
BINFMT = Path("/proc/sys/fs/binfmt_misc")
ARM_ENTRY = "etcdfleet-lab-arm"
ARM_EMULATOR = Path("/usr/bin/qemu-arm-static")

PROGRAMS = ("mmdebstrap", "systemd-nspawn", "dnsmasq", "nft", "ip", "ssh-keygen", "mke2fs", "nsenter", "openssl")


def check(*, arm: bool = False) -> None:
    """Raise LabError, naming all that is missing, unless this machine can carry a lab."""
    if platform.system() != "Linux":
        raise LabError(
            f"the lab needs Linux, this is {platform.system()}",
            where="this machine",
            remedy="use a Debian 12 virtual machine; the framework itself runs here too",
        )
    missing = [
        name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    ]
    if arm and not ARM_EMULATOR.exists():
        missing.append("qemu-arm-static")
    problems = []
    if os.geteuid() != 0:
        problems.append("it must be run as root: it makes network namespaces, mounts and containers")
    if missing:
        problems.append(f"programs are missing: {', '.join(missing)}")
    if problems:
        remedy = "run it with sudo" if not missing else "sh lab/system.sh (as root) installs what is missing"
        raise LabError("the lab cannot run here:\n  " + "\n  ".join(problems), where="this machine", remedy=remedy)


@contextmanager
def lock() -> Iterator[None]:
    """Hold the lock under which labs change what they share."""
    NOTES.mkdir(mode=0o755, exist_ok=True)
    with (NOTES / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _read_notes() -> dict[str, Any]:
    try:
        notes: dict[str, Any] = json.loads((NOTES / "notes.json").read_text())
    except (OSError, ValueError):
        notes = {}
    if notes.get("boot") != _boot_id():
        return {"boot": _boot_id(), "labs": {}}
    return notes


def _write_notes(notes: dict[str, Any]) -> None:
    write_atomic(NOTES / "notes.json", json.dumps(notes, indent=2) + "\n")


def used_subnets() -> list[IPv4Network]:
    """Return the networks that this machine has an address in or a route to, or another lab. Call it under ``lock``."""
    used = [IPv4Network(lab["subnet"]) for lab in _read_notes()["labs"].values()]
    for interface in json.loads(run(["ip", "-json", "-4", "address"]) or "[]"):
        addresses = interface.get("addr_info", [])
        used += [IPv4Interface(f"{info['local']}/{info['prefixlen']}").network for info in addresses]
    routes = json.loads(run(["ip", "-json", "-4", "route"]) or "[]")
    return used + [IPv4Network(route["dst"]) for route in routes if route["dst"] != "default"]


def register(lab: Lab) -> None:
    """Note the lab, turn on IP forwarding, and allow enough inotify instances. Call it under ``lock``."""
    notes = _read_notes()
    notes["labs"][lab.id] = {"dir": str(lab.dir), "subnet": str(lab.subnet)}
    notes.setdefault("ip_forward", FORWARD.read_text().strip())
    raised = int(INOTIFY.read_text()) < INOTIFY_INSTANCES
    if raised:
        notes.setdefault("inotify", INOTIFY.read_text().strip())
    _write_notes(notes)
    FORWARD.write_text("1")
    if raised:
        INOTIFY.write_text(str(INOTIFY_INSTANCES))


def registered(identity: str) -> bool:
    """Return whether a lab of that id was noted since the last boot. Call it under ``lock``."""
    return identity in _read_notes()["labs"]


def release(identity: str) -> None:
    """Forget a lab; when it was the last one, put the kernel's settings back. Call it under ``lock``."""
    notes = _read_notes()
    notes["labs"].pop(identity, None)
    for other, info in list(notes["labs"].items()):
        if not Path(info["dir"]).exists():  # its folder was deleted by hand: nothing to come back for
            notes["labs"].pop(other)
    if notes["labs"]:
        _write_notes(notes)
        return
    if "ip_forward" in notes:
        FORWARD.write_text(notes["ip_forward"])
    if "inotify" in notes:
        INOTIFY.write_text(notes["inotify"])
    if (BINFMT / ARM_ENTRY).exists():
        (BINFMT / ARM_ENTRY).write_text("-1")
    if notes.get("mounted_binfmt") and (BINFMT / "register").exists():
        run(["umount", str(BINFMT)], check=False)
    (NOTES / "notes.json").unlink(missing_ok=True)


def emulate_arm() -> None:
    """Let the kernel run 32-bit ARM programs through qemu's user emulator. Call it under ``lock``.

    An entry of our own is added, and others' are left alone: Debian's says "credentials no", with which no set-user-id
    program, sudo among them, works in an emulated host. The newest entry wins.
    """
    if not (BINFMT / "register").exists():
        notes = _read_notes()
        notes["mounted_binfmt"] = True
        _write_notes(notes)
        run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)])
    if (BINFMT / ARM_ENTRY).exists():
        return
    # An ELF file, 32 bits, little endian, type executable or shared, machine ARM; as in qemu-user-static's own entry.
    magic = r"\x7f\x45\x4c\x46\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00"
    mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    preserving = Path("/usr/libexec/qemu-binfmt/arm-binfmt-P")
    interpreter, flags = (preserving, "POCF") if preserving.exists() else (ARM_EMULATOR, "OCF")
    try:
        (BINFMT / "register").write_text(f":{ARM_ENTRY}:M::{magic}:{mask}:{interpreter}:{flags}")
    except OSError as error:
        raise LabError(
            f"the kernel refuses the emulator for ARM programs: {error}",
            where=str(BINFMT),
            remedy="use a kernel with binfmt_misc, or a topology without debian-armhf hosts",
        ) from error
