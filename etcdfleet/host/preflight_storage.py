"""Whether the data of a member can lie where the inventory says: pure checks over `DataPlace`, a rule per fault."""

from __future__ import annotations

import re
from collections.abc import Callable

from etcdfleet.host.preflight import Trouble
from etcdfleet.host.storage import ABSENT_REMEDY, DataPlace
from etcdfleet.settings.places import REMEDY, hidden, unfit

MEMORY_KINDS = frozenset({"tmpfs", "ramfs", "devtmpfs", "zram"})
OWNERLESS_KINDS = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfsplus", "cifs", "smb3"})
"""File systems without owners and modes of their own, or without them as they are mounted by default."""
NETWORK_KINDS = frozenset({"nfs", "nfs4", "ceph", "glusterfs", "fuse.sshfs", "9p"})
_PLAIN = re.compile(r"(/[A-Za-z0-9_:+][A-Za-z0-9_.:+-]*)+")


def place_problems(data_dir: str, place: DataPlace, init: str, *, running: bool) -> list[Trouble]:
    """Return the first thing that makes the place unfit for a member's data, as a list of one or none.

    ``running``: etcd runs with its data there, which proves that it can reach them.
    """
    rules: tuple[Callable[[str, DataPlace], Trouble | None], ...] = (
        _absent,
        _blocked,
        _not_mounted,
        lambda data_dir, place: _leads_to_unfit(data_dir, place, init),
        _in_memory,
        _read_only,
        _ownerless,
    )
    first = next((trouble for rule in rules if (trouble := rule(data_dir, place))), None)
    if first is None and not running:
        first = _closed(data_dir, place)
    return [first] if first else []


def place_warnings(data_dir: str, place: DataPlace) -> list[Trouble]:
    """Report what does not stop the run, and costs the member its speed or more."""
    if place.mount.kind not in NETWORK_KINDS:
        return []
    what = f"{data_dir} is on a network file system ({place.mount.kind}, {place.mount.point})"
    return [Trouble(what, "use a disk of the host: etcd waits for each write to be stored, and locks its files")]


def _absent(_: str, place: DataPlace) -> Trouble | None:
    if not place.absent:
        return None
    return Trouble(absent_text(place), ABSENT_REMEDY.format(point=place.absent))


def absent_text(place: DataPlace) -> str:
    """Return the sentence that the disk with the data is not there."""
    return f"the disk with this member's data is not there: nothing is mounted on {place.absent}"


def _blocked(data_dir: str, place: DataPlace) -> Trouble | None:
    if not place.blocked:
        return None
    remedy = (
        f"mount the disk that it leads to, or make the folder: mkdir -p {place.path}"
        if "link" in place.blocked
        else "move it away, or choose another member.data_dir"
    )
    return Trouble(f"member.data_dir {data_dir} cannot be used: {place.blocked}", remedy)


def _not_mounted(data_dir: str, place: DataPlace) -> Trouble | None:
    point = place.missing_mount
    if not point:
        return None
    what = f"nothing is mounted on {point}, where /etc/fstab wants a disk and {_shown(data_dir, place)} would lie"
    return Trouble(what, f"mount {point}, on the host as root; see dmesg where that fails; or correct /etc/fstab")


def _leads_to_unfit(data_dir: str, place: DataPlace, init: str) -> Trouble | None:
    if place.path in ("", data_dir):
        return None
    if why := unfit(place.path, init):
        bind = (
            f"mount it at a place of its own instead of the link (mount --bind {place.path} {data_dir}, in /etc/fstab)"
        )
        can_bind = bool(hidden(place.path, init))
        return Trouble(
            f"{data_dir} is a link to {place.path}, which {why}", f"{REMEDY}{'; or ' + bind if can_bind else ''}"
        )
    if not _PLAIN.fullmatch(place.path):
        remedy = "mount the disk at a path without them, such as /mnt/ssd, and make the link lead there"
        return Trouble(f"{data_dir} is a link to {place.path!r}, a path with blanks or special characters", remedy)
    return None


def _in_memory(data_dir: str, place: DataPlace) -> Trouble | None:
    kind = place.mount.kind
    if kind in MEMORY_KINDS:
        what = f"{_shown(data_dir, place)} is in memory ({kind} on {place.mount.point})"
    elif kind == "overlay" and place.in_memory:
        what = f"{_shown(data_dir, place)} is in memory (an overlay that the kernel's command line asks for)"
    else:
        return None
    return Trouble(f"{what}: a reboot takes the member's data", "set member.data_dir to a folder on a disk")


def _read_only(data_dir: str, place: DataPlace) -> Trouble | None:
    if not place.mount.read_only:
        return None
    what = f"the file system of {_shown(data_dir, place)} is mounted read-only ({place.mount.point})"
    remedy = (
        f"see dmesg: the kernel does so after errors of the disk; else mount -o remount,rw {place.mount.point}, and"
        " correct /etc/fstab"
    )
    return Trouble(what, remedy)


def _ownerless(data_dir: str, place: DataPlace) -> Trouble | None:
    if place.mount.kind not in OWNERLESS_KINDS:
        return None
    what = f"{_shown(data_dir, place)} is on {place.mount.kind} ({place.mount.point}), which has no owners and modes"
    return Trouble(what, "use a disk with ext4 or another file system of Linux: etcd's data belong to user etcd alone")


def _closed(data_dir: str, place: DataPlace) -> Trouble | None:
    if not place.closed:
        return None
    told = ", ".join(f"{folder.path} is {folder.mode:04o} {folder.owner}" for folder in place.closed)
    paths = " ".join(folder.path for folder in place.closed)
    what = f"user etcd cannot get to {_shown(data_dir, place)}: {told}"
    return Trouble(what, f"chmod o+x {paths}, which lets users pass and not look; or choose another member.data_dir")


def _shown(data_dir: str, place: DataPlace) -> str:
    return data_dir if place.path in ("", data_dir) else f"{data_dir} ({place.path})"
