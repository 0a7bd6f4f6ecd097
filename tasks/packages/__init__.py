"""Ways to install etcd behind one small protocol; another package manager is one new module and one line below."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from etcdfleet.remote import CommandResult, RemoteHost
from etcdfleet.settings.models import HostSettings

INSTALL_TIMEOUT = 900.0
"""Seconds. A Pi with a slow SD card unpacks for minutes, and another apt may hold the lock first."""


@dataclass(frozen=True)
class Installed:
    """What is on a host. ``version`` is etcd's own (``3.4.23``) or ``None`` when etcd or etcdctl is missing.

    ``package`` is the version as the package manager writes it.
    """

    version: str | None
    package: str = ""
    binary: str = "/usr/bin/etcd"


class Packages(Protocol):
    """One way to install etcd and etcdctl."""

    title: str
    adds: bool
    """Whether other packages can be installed as well."""
    probe: str
    """Shell: prints what `read` needs."""

    def read(self, result: CommandResult) -> Installed:
        """What the probe found."""

    def reason(self, settings: HostSettings, installed: Installed, architecture: str) -> str:
        """Why something must be installed, in words; empty when all is as the settings want it."""

    def install(self, remote: RemoteHost, settings: HostSettings, architecture: str, before: str) -> None:
        """Installs; ``before`` is shell to be run first on the host. Raises `RemoteError` or another `FleetError`."""

    def add(self, remote: RemoteHost, settings: HostSettings, name: str) -> None:
        """Installs another package, as the distribution has it. Raises `RemoteError`.

        Only called where ``adds`` is true.
        """


def packages_for(method: str) -> Packages:
    """The packages of an install method. Raises `KeyError` for one that is not known."""
    from tasks.packages.apk import Apk
    from tasks.packages.apt import Apt
    from tasks.packages.archive import Archive

    known: dict[str, Callable[[], Packages]] = {"apt": Apt, "apk": Apk, "archive": Archive}
    return known[method]()


def upstream_version(package_version: str) -> str:
    """etcd's own version out of a package's: ``3.4.23+dfsg-4+b9`` and ``3.5.1-r0`` give ``3.4.23`` and ``3.5.1``."""
    found = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", package_version)
    return found.group(1) if found else package_version


def pinned_reason(wanted: str | None, installed: Installed) -> str:
    """Why a package manager must act: nothing there, or another version than the pinned one."""
    if installed.version is None:
        return "etcd or etcdctl is not installed"
    if wanted and wanted not in (installed.package, installed.version):
        return f"version {installed.package} is installed, {wanted} is wanted"
    return ""
