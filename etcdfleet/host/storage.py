"""Where a member's data lie on its host: links, mounts and the folders on the way, read in the round trip of the facts.

`probe` gives the shell for it, `read_place` the `DataPlace` in what it printed. What follows from that is decided in
``preflight_storage.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etcdfleet.host.paths import DATA_MOUNT
from etcdfleet.remote.scripts import script

ABSENT_REMEDY = (
    "mount it (on the host, as root: mount {point}; see dmesg where that fails), and etcd starts by itself; if the data"
    f" were moved from that disk on purpose, and are there now: rm {DATA_MOUNT}, and run deploy"
)
SEGMENT_BYTES = 64 * 2**20
"""etcd allocates the next segment of its write-ahead log in one go (``SegmentSizeBytes`` in ``wal.go``); without room
for it, it ends."""
_ROOT = "/"


@dataclass(frozen=True)
class Mount:
    """A file system as ``/proc/self/mountinfo`` has it (proc(5)): where, of which kind, from which device."""

    point: str
    kind: str
    device: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class Folder:
    """A folder on the way to the data: mode in octal, owner, group."""

    path: str
    mode: int
    owner: str
    group: str

    @property
    def passable(self) -> bool:
        """Whether user etcd may pass through it, as far as its mode tells."""
        bits = [self.mode & 0o001, self.owner == "etcd" and self.mode & 0o100]
        return bool(any(bits) or (self.group == "etcd" and self.mode & 0o010))


@dataclass(frozen=True)
class DataPlace:
    """Where the data directory is.

    ``path`` is the folder itself, behind all links. ``mount`` is the file system that holds it, or would hold it if it
    were made now. ``missing_mount`` is a mount point at or above it that ``/etc/fstab`` names, and on which nothing is
    mounted. ``blocked`` says why no folder can be there: a link that leads nowhere, a file in its place. ``closed`` are
    the folders on the way that user etcd cannot pass. ``in_memory``: the root file system keeps its changes in memory
    (an overlay that the kernel's command line asks for). ``noted`` is the mount point that a deploy has noted.
    """

    path: str = ""
    mount: Mount = Mount(_ROOT, "")
    missing_mount: str = ""
    blocked: str = ""
    closed: tuple[Folder, ...] = ()
    in_memory: bool = False
    noted: str = ""

    @property
    def absent(self) -> str:
        """The mount point of the disk that held the data, if nothing is mounted there now; empty if all is well."""
        inside = _within(self.path, self.noted)
        return self.noted if inside and not _within(self.mount.point, self.noted) else ""

    @property
    def to_note(self) -> str:
        """The mount point without which etcd must not start; empty where the data are on the root file system."""
        return self.absent or (self.mount.point if self.mount.point != _ROOT else "")


UNKNOWN = DataPlace()
"""Of a host that was not asked."""


def probe(data_dir: str) -> str:
    """Return shell that prints the lines that `read_place` reads."""
    return script("data_place", data_dir=data_dir)


def read_place(text: str, noted: str = "") -> DataPlace:
    """Return the place in what `probe` printed; ``noted`` is the content of the note on the host."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        fields.setdefault(word, []).append(rest)
    path = "".join(fields.get("path", [])[:1])
    mounts = [_mount(line.split()) for line in fields.get("mount", []) if len(line.split()) >= 4]
    mounted = {mount.point for mount in mounts if mount.kind != "autofs"}
    missing = [point for point in fields.get("fstab", []) if point not in mounted]
    return DataPlace(
        path,
        _innermost(mounts),
        missing_mount=max(missing, key=len, default=""),
        blocked=_blocked(fields),
        closed=_closed(fields.get("folder", [])),
        in_memory="memory" in fields,
        noted=noted,
    )


def _within(path: str, folder: str) -> bool:
    return bool(folder) and f"{path}/".startswith(f"{folder.rstrip(_ROOT)}/")


def unit_of(mount_point: str) -> str:
    """Return the name of systemd's unit for a mount point, as systemd-escape(1) with ``--path`` writes it."""
    path = mount_point.strip(_ROOT)
    escaped = re.sub(
        r"[^A-Za-z0-9:_./]|^\.", lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), path
    )
    return f"{escaped.replace(_ROOT, '-') or '-'}.mount"


def _mount(words: Sequence[str]) -> Mount:
    point, options, kind, device, *more = words
    read_only = "ro" in options.split(",") or "ro" in ",".join(more).split(",")
    return Mount(point, kind, device, read_only=read_only)


def _innermost(mounts: Iterable[Mount]) -> Mount:
    # Of two on the same point the later one hides the other. An automount point is none: what it mounts comes later.
    chosen = Mount(_ROOT, "")
    for mount in mounts:
        if mount.kind != "autofs" and len(mount.point) >= len(chosen.point):
            chosen = mount
    return chosen


def _blocked(fields: dict[str, list[str]]) -> str:
    if files := fields.get("file"):
        return f"{files[0]} is no folder"
    if targets := fields.get("dangling"):
        return f"it is a link to {targets[0]}, and nothing is there"
    return ""


def _closed(lines: Iterable[str]) -> tuple[Folder, ...]:
    folders = dict[str, Folder]()
    for line in lines:
        mode, owner, group, path = line.split(" ", 3)
        folders[path] = Folder(path, int(mode, 8), owner, group)
    return tuple(sorted((f for f in folders.values() if not f.passable), key=lambda folder: folder.path))
