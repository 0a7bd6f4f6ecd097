"""Typed settings of the fleet, read from the inventory's data: see ``docs/settings.md``.

A name is imported when it is first used: pydantic and Nornir take their time, and neither ``--help`` nor shell
completion needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etcdfleet.settings.auth import AuthSettings, AuthUser, Permission
    from etcdfleet.settings.base import ROLE_NAMES, ROLE_USAGES, RoleName, Side, Usage
    from etcdfleet.settings.fleet import Fleet, load_fleet
    from etcdfleet.settings.inventory_files import InventoryFiles
    from etcdfleet.settings.load import open_nornir, settings_of
    from etcdfleet.settings.models import (
        Architecture,
        ClusterSettings,
        HostSettings,
        MemberSettings,
        PlatformSettings,
        PreflightSettings,
        client_url,
        peer_url,
    )
    from etcdfleet.settings.pki import PkiSettings, RoleSettings, RolesSettings
    from etcdfleet.settings.problems import Problem, SettingsError
    from etcdfleet.settings.units import RenewBefore

_MODULES = {
    "auth": ("AuthSettings", "AuthUser", "Permission"),
    "base": ("ROLE_NAMES", "ROLE_USAGES", "RoleName", "Side", "Usage"),
    "fleet": ("Fleet", "load_fleet"),
    "load": ("open_nornir", "settings_of"),
    "models": (
        "Architecture",
        "ClusterSettings",
        "HostSettings",
        "MemberSettings",
        "PlatformSettings",
        "PreflightSettings",
        "client_url",
        "peer_url",
    ),
    "pki": ("PkiSettings", "RoleSettings", "RolesSettings"),
    "problems": ("Problem", "SettingsError"),
    "sources": ("InventoryFiles",),
    "units": ("RenewBefore",),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for module, names in _MODULES.items():
            if name in names:
                globals()[name] = found = getattr(import_module(f"{__name__}.{module}"), name)
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ROLE_NAMES",
    "ROLE_USAGES",
    "Architecture",
    "AuthSettings",
    "AuthUser",
    "ClusterSettings",
    "Fleet",
    "HostSettings",
    "InventoryFiles",
    "MemberSettings",
    "Permission",
    "PkiSettings",
    "PlatformSettings",
    "PreflightSettings",
    "Problem",
    "RenewBefore",
    "RoleName",
    "RoleSettings",
    "RolesSettings",
    "SettingsError",
    "Side",
    "Usage",
    "client_url",
    "load_fleet",
    "open_nornir",
    "peer_url",
    "settings_of",
]
