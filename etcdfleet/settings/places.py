"""Folders of a system in which a member's data must not lie, known by their path alone.

Facts of Linux: ``/run`` and ``/dev`` are in memory (file-hierarchy(7)), ``/tmp`` and ``/var/tmp`` are
emptied (tmpfiles.d(5)). An init system may hide more from its services: its driver says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from etcdfleet.drivers.init import Hidden, service_for

REMEDY = "choose a folder such as /var/lib/etcd or /srv/etcd, or one on the disk that is meant for the data"


_UNFIT = (
    Hidden(("/run", "/var/run"), "which is in memory: a reboot takes the member's data"),
    Hidden(("/dev", "/proc", "/sys"), "which is no disk: a reboot takes the member's data"),
    Hidden(("/tmp", "/var/tmp"), "whose files are removed at a boot, or when they are old"),  # noqa: S108
    Hidden(("/etc/etcd", "/usr/local/lib/etcdfleet"), "which this project keeps its own files in"),
)


def unfit(path: str, init: str) -> str:
    """Return why the data of a member must not lie at ``path``, as a clause; empty if nothing is known against it."""
    return _within(path, _UNFIT) or hidden(path, init)


def hidden(path: str, init: str) -> str:
    """Return the same, as far as it is the service of the init system that does not see ``path``."""
    return _within(path, service_for(init).hides) if init else ""


def _within(path: str, places: Iterable[Hidden]) -> str:
    for place in places:
        for folder in place.folders:
            if f"{path}/".startswith(f"{folder}/"):
                where = f"is {folder}" if path == folder else f"is below {folder}"
                return f"{where}, {place.why}"
    return ""
