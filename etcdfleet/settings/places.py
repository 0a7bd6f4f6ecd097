"""Folders of a system in which a member's data must not lie, known by their path alone.

Facts of Linux and systemd: ``/run`` and ``/dev`` are in memory (file-hierarchy(7)), ``/tmp`` and ``/var/tmp`` are
emptied (tmpfiles.d(5)), and the options of the unit's sandbox give etcd other folders in the place of the system's
(systemd.exec(5)).
"""

from __future__ import annotations

from dataclasses import dataclass

REMEDY = "choose a folder such as /var/lib/etcd or /srv/etcd, or one on the disk that is meant for the data"


@dataclass(frozen=True)
class _Place:
    """Folders that are unfit for the same reason, with every init system or with one."""

    folders: tuple[str, ...]
    why: str
    init: str = ""


_UNFIT = (
    _Place(("/run", "/var/run"), "which is in memory: a reboot takes the member's data"),
    _Place(("/dev", "/proc", "/sys"), "which is no disk: a reboot takes the member's data"),
    _Place(("/tmp", "/var/tmp"), "whose files are removed at a boot, or when they are old"),  # noqa: S108
    _Place(("/home", "/root"), "which the unit hides from etcd (ProtectHome=)", "systemd"),
    _Place(("/etc/etcd", "/usr/local/lib/etcdfleet"), "which this project keeps its own files in"),
)


def unfit(path: str, init: str) -> str:
    """Why the data of a member must not lie at ``path``, as a clause; empty where nothing is known against it."""
    for place in _UNFIT:
        for folder in place.folders:
            if place.init in ("", init) and f"{path}/".startswith(f"{folder}/"):
                where = f"is {folder}" if path == folder else f"is below {folder}"
                return f"{where}, {place.why}"
    return ""
