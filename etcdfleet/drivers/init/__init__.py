"""Init systems behind one small protocol; another one is a module here, its templates, and a row in `drivers.table`.

Everything is a piece of POSIX shell, so that a task can put several of them into one round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from etcdfleet.drivers.table import INIT_SYSTEMS, load
from etcdfleet.remote.scripts import script

if TYPE_CHECKING:
    from etcdfleet.remote import CommandResult

_TICKS = 100
"""In so many parts of a second Linux tells processes when they began, on all architectures that etcd runs on."""


@dataclass(frozen=True)
class ServiceState:
    """What the init system says of etcd. It proves little (a crash loop looks started): verification asks etcd itself.

    ``pid`` is that of the etcd process, ``started`` its start in the init system's own words; ``loaded`` is where the
    unit or script in force lies. ``program`` is the path that our unit or script starts, ``program_file`` the file that
    this leads to now, ``runs`` the file of the running process, with " (deleted)" once another took its place.
    ``seconds`` is how long the process has run; None where that is not known.
    """

    running: bool
    enabled: bool
    pid: int | None = None
    started: str = ""
    loaded: str = ""
    detail: str = ""
    program: str = ""
    program_file: str = ""
    runs: str = ""
    seconds: float | None = None

    @property
    def outdated(self) -> bool:
        """Whether etcd runs another program than its next start would: it was replaced, and etcd not restarted."""
        return bool(self.running and self.runs and self.program_file and self.runs != self.program_file)


@dataclass(frozen=True)
class ServiceFile:
    """A file that the init system needs: which template makes it, where it lies, and its mode."""

    template: str
    path: str
    mode: int = 0o644


@dataclass(frozen=True)
class Hidden:
    """Folders of the system that etcd does not see as a service; ``why`` is a clause, as in "which the unit hides"."""

    folders: tuple[str, ...]
    why: str


class Service(Protocol):
    """etcd as a service of one init system."""

    name: str
    """The name of its row in `etcdfleet.drivers.table.INIT_SYSTEMS`, and how messages call it."""
    hides: tuple[Hidden, ...]
    """Where a member's data cannot lie."""
    detect: str
    """Shell: exits 0 if this init system runs the host."""
    files: tuple[ServiceFile, ...]
    made: tuple[str, ...]
    """What else it makes on a host, its log for instance: files and folders that a cluster which is taken down leaves
    behind."""
    probe: str
    """Shell: prints what `read` needs, and leaves the process id of etcd in ``$pid``, empty if it does not run.

    What `programs` prints comes after it.
    """
    installed: str
    """Shell: after the files of the service were placed, changed or removed."""
    prevent_autostart: str
    """Shell: keeps a package's own service from starting until our files are in place."""
    start: str
    """Shell: starts etcd without waiting for it."""
    restart: str
    """Shell: stops etcd, waits for its end, and starts it without waiting for it."""
    stop: str
    """Shell: stops etcd and waits for its end."""
    enable: str
    """Shell: lets etcd start at boot."""
    disable: str
    """Shell: lets etcd start at boot no more."""
    pid: str
    """Shell: prints the process id of etcd, or nothing or 0 while it does not run."""
    program: str
    """Shell: prints the path of the program that our unit or script starts; nothing where there is none of ours."""
    respawns: str
    """Shell: prints how often etcd has ended since it was started, and the init system begun it anew."""
    gave_up: str
    """Shell: exits 0 if etcd does not run and the init system will not try again by itself."""

    def read(self, result: CommandResult) -> ServiceState:
        """Return the state that ``probe`` printed."""

    def in_force(self, content: bytes) -> tuple[str, ...]:
        """Return the lines of one of ``files`` that shape the process of etcd from its start to its end.

        What remains (comments, order at boot, what is done before a start) takes effect without a restart.
        """

    def logs(self, lines: int) -> str:
        """Return shell that prints the last lines of etcd's log."""

    def environment(self) -> Mapping[str, str]:
        """Return paths that the templates of this service need."""

    def stop_other(self, unit: str) -> str:
        """Return what a person runs on a host to stop and disable an etcd that this project has not set up.

        ``unit`` is its unit of systemd, empty where it is none.
        """


def programs(service_program: str) -> str:
    """Return shell that prints what `ServiceState` knows of programs; ``$pid`` is etcd's process id if it runs."""
    return script("programs", functions={"service_program": service_program})


def ran_seconds(text: str) -> float | None:
    """Return how long a process has run, by the two numbers that `programs` prints of it."""
    up, _, start = text.partition(" ")
    try:
        return max(0.0, float(up) - int(start) / _TICKS)
    except ValueError:
        return None


def service_for(init: str) -> Service:
    """Return the service of an init system's group. Raises `KeyError` for one that is not known."""
    service: Service = load(INIT_SYSTEMS[init].driver)()
    return service


def other_inits(init: str) -> str:
    """Return the names of all other init systems, as alternatives within a sentence."""
    return " or ".join(name for name in INIT_SYSTEMS if name != init)
