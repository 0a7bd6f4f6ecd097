"""Ways to install etcd behind one small protocol; another package manager is one new module and one line below."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from etcdfleet.remote import CommandResult, RemoteHost
from etcdfleet.settings.models import HostSettings

LIBRARY = "/usr/local/lib/etcdfleet"
"""On a host: the programs out of release archives, and notes on what was installed."""
HELD = f"{LIBRARY}/held"
"""There while the packages are held since a deploy told the package manager so."""
ARCHIVE_NOTE = f"{LIBRARY}/etcd.json"
ARCHIVE_FOLDER = "/usr/local/bin"
RETIRE_ARCHIVE = (
    f"if [ -e {ARCHIVE_NOTE} ]; then rm -f {ARCHIVE_FOLDER}/etcd {ARCHIVE_FOLDER}/etcdctl {ARCHIVE_NOTE}; "
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


class Packages(Protocol):
    """One way to install etcd and etcdctl."""

    title: str
    adds: bool
    """Whether other packages can be installed as well."""
    binary: str
    """Where etcd lies once it is installed."""
    probe: str
    """Shell: prints what `read` needs."""

    def read(self, result: CommandResult) -> Installed:
        """What the probe found."""

    def reason(self, settings: HostSettings, installed: Installed, architecture: str) -> str:
        """Why something must be installed, in words; empty when all is as the settings want it."""

    def offer(self, remote: RemoteHost, settings: HostSettings, architecture: str) -> str:
        """The version of etcd that `install` would bring (etcd's own), found without changing anything.

        Empty if that cannot be told. Raises `FleetError`, with the words of `install`, when it would fail.
        """

    def prepare(self, remote: RemoteHost, settings: HostSettings, architecture: str) -> None:
        """Brings to the host what `install` needs, as far as it can lie beside what is in use. Raises `FleetError`."""

    def install(self, remote: RemoteHost, settings: HostSettings, architecture: str, before: str) -> None:
        """Installs; ``before`` is shell to be run first on the host. Raises `RemoteError` or another `FleetError`.

        A running etcd goes on with its old program; whatever starts it next starts the new one.
        """

    def hold(self, remote: RemoteHost, installed: Installed, *, release: bool = False) -> None:
        """Keeps upgrades of the system from replacing what is installed, or allows them again. Raises `RemoteError`.

        Only called where `hold_change` says so.
        """

    retire: str
    """Shell, once our service starts this way's program: removes another way's programs where they would be found
    first."""

    def add(self, remote: RemoteHost, settings: HostSettings, name: str) -> None:
        """Installs another package, as the distribution has it. Raises `RemoteError`.

        Only called where ``adds`` is true.
        """


def packages_for(method: str) -> Packages:
    """The packages of an install method. Raises `KeyError` for one that is not known."""
    from etcdfleet.drivers.packages.apk import Apk
    from etcdfleet.drivers.packages.apt import Apt
    from etcdfleet.drivers.packages.archive import Archive

    known: dict[str, Callable[[], Packages]] = {"apt": Apt, "apk": Apk, "archive": Archive}
    return known[method]()


def upstream_version(package_version: str) -> str:
    """etcd's own version out of a package's: ``3.4.23+dfsg-4+b9`` and ``3.5.1-r0`` give ``3.4.23`` and ``3.5.1``."""
    found = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", package_version)
    return found.group(1) if found else package_version


def hold_change(wanted: str | None, installed: Installed) -> Literal["hold", "release", ""]:
    """Whether packages must be held since the settings pin their version, or released since they no longer do.

    What a person has held is left as it is.
    """
    if installed.version is None:
        return ""
    if wanted is None:
        return "release" if installed.held and installed.held_by_us else ""
    return "" if installed.held or pinned_reason(wanted, installed) else "hold"


def pinned_reason(wanted: str | None, installed: Installed) -> str:
    """Why a package manager must act: nothing there, or another version than the pinned one."""
    if installed.version is None:
        return "etcd or etcdctl is not installed"
    if wanted and wanted not in (installed.package, installed.version):
        return f"version {installed.package} is installed, {wanted} is wanted"
    return ""
