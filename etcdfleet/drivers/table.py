"""The drivers there are: one table for each kind, one row for each driver.

All else that depends on which drivers there are (the inventory's groups and settings, their checks and messages) is
derived from these tables and from what each driver says of itself. A row names classes by module, and they are
imported when they are first needed: neither ``--help`` nor the completion of a command line loads any.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Row:
    """A driver, and the model of its own settings where it has some, each as ``module:Class``.

    ``hosts`` says in words, for messages, where it is at home.
    """

    driver: str
    settings: str = ""
    hosts: str = ""


INIT_SYSTEMS: dict[str, Row] = {
    "systemd": Row("etcdfleet.drivers.init.systemd:Systemd", hosts="Debian and Raspberry Pi OS"),
    "openrc": Row("etcdfleet.drivers.init.openrc:OpenRC", hosts="Alpine"),
}
"""By the name of the group in which the inventory puts a host."""
PACKAGE_MANAGERS: dict[str, Row] = {
    "apt": Row("etcdfleet.drivers.packages.apt:Apt", settings="etcdfleet.drivers.packages.apt:AptInstall"),
    "apk": Row("etcdfleet.drivers.packages.apk:Apk", settings="etcdfleet.drivers.packages.apk:ApkInstall"),
    "archive": Row(
        "etcdfleet.drivers.packages.archive:Archive", settings="etcdfleet.drivers.packages.archive:ArchiveInstall"
    ),
}
"""By ``install.method``."""
CERTIFICATE_SOURCES: dict[str, Row] = {
    "vault": Row("etcdfleet.drivers.certificates.vault:VaultSource", settings="etcdfleet.settings.vault:VaultPki"),
    "files": Row(
        "etcdfleet.drivers.certificates.files:FilesSource", settings="etcdfleet.drivers.certificates.files:FilesPki"
    ),
}
"""By ``pki.source``. Settings are read by all runbooks: a driver that imports much has its model in another module."""


@lru_cache(maxsize=64)
def load(reference: str) -> Any:
    """Return what ``module:name`` stands for."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
