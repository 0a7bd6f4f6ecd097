"""An etcd that is on a host before this project is: the distribution's own, or one that was set up by hand.

Debian's package starts one as soon as it is installed: a cluster of one member at localhost, with its data in
``/var/lib/etcd/default`` (``/lib/systemd/system/etcd.service`` of etcd-server). No other etcd is ever stopped, and
foreign data are never touched: what is there is named (``preflight_others.py``), with the ways to keep it and to be rid
of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from etcdfleet.host.paths import CONFIG, ESTABLISHED
from etcdfleet.remote.scripts import script
from etcdfleet.text import size_text

PACKAGE_DIR = "/var/lib/etcd/default"
"""Where Debian's etcd-server keeps its data, if nothing else is set."""


@dataclass(frozen=True)
class OtherProcess:
    """A process named etcd. ``data_dir`` is empty where it cannot be told; ``keys`` is None where it was not said."""

    pid: int
    unit: str = ""
    data_dir: str = ""
    keys: int | None = None


@dataclass(frozen=True)
class OtherData:
    """A data directory with a member's log in it: the size of its database in bytes, and when that was last changed."""

    path: str
    size: int = 0
    changed: datetime | None = None

    @property
    def told(self) -> str:
        """What is known of it, in words."""
        when = f", last changed on {self.changed:%Y-%m-%d}" if self.changed else ""
        return f"{self.path} (a database of {size_text(self.size)}{when})"


@dataclass(frozen=True)
class Others:
    """What there is of etcd on a host on which this project has placed nothing yet."""

    processes: tuple[OtherProcess, ...] = ()
    data: tuple[OtherData, ...] = ()


NONE = Others()


def probe(data_dir: str) -> str:
    """Return shell that prints the lines that `read_others` reads; at once nothing where this project has a member."""
    return script("other_etcds", data_dir=data_dir, package_dir=PACKAGE_DIR, established=ESTABLISHED, config=CONFIG)


def read_others(text: str) -> Others:
    """Return what `probe` printed."""
    processes, data = list[OtherProcess](), dict[str, OtherData]()
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "process":
            pid, _, more = rest.partition(" ")
            unit, path, keys = [*more.split("|"), "", ""][:3]
            processes.append(OtherProcess(int(pid), unit, path, int(keys) if keys.isdigit() else None))
        elif word == "data":
            size, changed, path = rest.split(" ", 2)
            at = datetime.fromtimestamp(int(changed), tz=UTC) if int(changed) else None
            data[path] = OtherData(path, int(size), at)
    return Others(tuple(processes), tuple(data.values()))
