"""Ways to install etcd behind one small interface; another one is a module here, and a row in `drivers.table`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from etcdfleet.drivers.table import PACKAGE_MANAGERS, load
from etcdfleet.settings.base import InstallSettings

if TYPE_CHECKING:
    from etcdfleet.remote import CommandResult, RemoteHost
    from etcdfleet.settings.models import HostSettings

S = TypeVar("S", bound=InstallSettings)

LIBRARY = "/usr/local/lib/etcdfleet"
"""On a host: the programs out of release archives, and notes on what was installed."""
HELD = f"{LIBRARY}/held"
"""There while the packages are held since a deploy told the package manager so."""
ARCHIVE_NOTE = f"{LIBRARY}/etcd.json"
ARCHIVE_FOLDER = "/usr/local/bin"
RETIRE_ARCHIVE = (
    f"if [ -e {ARCHIVE_NOTE} ]; then rm -f {ARCHIVE_FOLDER}/etcd {ARCHIVE_FOLDER}/etcdctl {ARCHIVE_NOTE}; "
    f'case "$(readlink {ARCHIVE_FOLDER}/etcdutl)" in {LIBRARY}/*) rm -f {ARCHIVE_FOLDER}/etcdutl ;; esac; '
    f"rm -rf {LIBRARY}/etcd-*; fi"
)
"""Shell: removes what came from release archives. A PATH has it before the packages' programs."""
INSTALL_TIMEOUT = 900.0
"""Seconds. A Pi with a slow SD card unpacks for minutes, and another apt may hold the lock first."""


@dataclass(frozen=True)
class Installed:
    """What is on a host. ``version`` is etcd's own (``3.4.23``) or ``None`` when etcd or etcdctl is missing.

    ``package`` is the version as the package manager writes it. ``held``: the package manager leaves this version alone
    when it upgrades the system, and ``held_by_us`` says that it was told so by a deploy.
    """

    version: str | None
    package: str = ""
    binary: str = "/usr/bin/etcd"
    held: bool = False
    held_by_us: bool = False


@dataclass(frozen=True)
class Target:
    """A host that etcd is installed on: the connection to it, and the architecture of its programs as Go names it."""

    remote: RemoteHost
    architecture: str


class Packages(ABC, Generic[S]):
    """One way to install etcd and etcdctl. It knows its own settings and the name of its host, and no other."""

    title: ClassVar[str]
    """How messages call it."""
    inits: ClassVar[tuple[str, ...]] = ()
    """The init systems whose hosts it is for; none where it is for all."""
    adds: ClassVar[bool] = True
    """Whether other packages can be installed as well."""
    holds: ClassVar[bool] = True
    """Whether an upgrade of the system could replace what is installed, so that a pinned version must be held."""
    binary: ClassVar[str] = "/usr/bin/etcd"
    """Where etcd lies once it is installed."""
    architecture: ClassVar[str] = ""
    """Shell: prints for which architecture it installs, and fails where it is not there; empty where it cannot tell."""
    probe: ClassVar[str]
    """Shell: prints what `read` needs."""
    remove: ClassVar[str] = ":"
    """Shell: removes the packages that this way has installed; what came from release archives, `RETIRE_ARCHIVE` does.

    It leaves all data and the user etcd.
    """
    retire: ClassVar[str] = RETIRE_ARCHIVE
    """Shell, once our service starts this way's program: removes another way's programs where they would be found
    first."""

    def __init__(self, install: S, host: str) -> None:
        self.settings = install
        self.host = host

    @abstractmethod
    def read(self, result: CommandResult) -> Installed:
        """Return what the probe found."""

    def reason(self, installed: Installed, _: str) -> str:
        """Return why something must be installed; empty when all is as the settings want it. Raises `FleetError`.

        The second argument is the architecture of the host's programs, by which archives differ.
        """
        return pinned_reason(self.settings.version, installed)

    @abstractmethod
    def offer(self, target: Target) -> str:
        """Return the version of etcd that `install` would bring (etcd's own), found without changing anything.

        Empty if that cannot be told. Raises `FleetError`, with the words of `install`, when it would fail.
        """

    def versions(self, target: Target) -> tuple[str, ...]:
        """Return the versions of etcd that this way could bring to the host. Raises `FleetError` as `offer` does."""
        return tuple(filter(None, [self.offer(target)]))

    def prepare(self, target: Target) -> None:
        """Bring to the host what `install` needs, as far as it can lie beside what is in use. Raises `FleetError`."""

    @abstractmethod
    def install(self, target: Target, before: str) -> None:
        """Install; ``before`` is shell to be run first on the host. Raises `RemoteError` or another `FleetError`.

        A running etcd goes on with its old program; whatever starts it next starts the new one.
        """

    def hold(self, target: Target, installed: Installed) -> None:
        """Keep upgrades of the system from replacing what is installed. Raises `RemoteError`.

        Only called where ``holds`` is true and `hold_change` says so, as is `release`.
        """

    def release(self, target: Target) -> None:
        """Allow upgrades of the system again. Raises `RemoteError`."""

    @abstractmethod
    def add(self, target: Target, name: str) -> None:
        """Install another package, as the distribution has it. Raises `RemoteError`.

        Only called where ``adds`` is true.
        """


def driver_of(method: str) -> type[Packages[Any]]:
    """Return the driver of an install method. Raises `KeyError` for one that is not known."""
    driver: type[Packages[Any]] = load(PACKAGE_MANAGERS[method].driver)
    return driver


def packages_for(settings: HostSettings) -> Packages[Any]:
    """Return the way to install that a host's settings choose."""
    return driver_of(settings.install.method)(settings.install, settings.name)


def fits(method: str, init: str) -> bool:
    """Return whether an install method is for hosts with this init system."""
    inits = driver_of(method).inits
    return not inits or init in inits


def architecture_probe(method: str) -> str:
    """Return shell that prints the architecture of the host's programs as a package manager names it, if there is one.

    That of the install method is asked first: programs of release archives run beside those of whichever there is.
    """
    drivers = [driver_of(name) for name in (method, *(name for name in PACKAGE_MANAGERS if name != method))]
    asked = [f"{driver.architecture} 2>/dev/null" for driver in drivers if driver.architecture]
    return " || ".join([*asked, "true"])


def upstream_version(package_version: str) -> str:
    """etcd's own version out of a package's: ``3.4.23+dfsg-4+b9`` and ``3.5.1-r0`` give ``3.4.23`` and ``3.5.1``."""
    match = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", package_version)
    return match.group(1) if match else package_version


def hold_change(wanted: str | None, installed: Installed) -> Literal["hold", "release", ""]:
    """Return whether packages must be held since the settings pin their version, or released since they no longer do.

    What a person has held is left as it is.
    """
    if installed.version is None:
        return ""
    if wanted is None:
        return "release" if installed.held and installed.held_by_us else ""
    return "" if installed.held or pinned_reason(wanted, installed) else "hold"


def pinned_reason(wanted: str | None, installed: Installed) -> str:
    """Return why a package manager must act: nothing there, or another version than the pinned one."""
    if installed.version is None:
        return "etcd or etcdctl is not installed"
    if wanted and wanted not in (installed.package, installed.version):
        return f"version {installed.package} is installed, {wanted} is wanted"
    return ""
