"""Typed settings of the fleet, read from the inventory's data: see ``docs/settings.md``."""

from etcdfleet.settings.auth import AuthSettings, AuthUser, Permission
from etcdfleet.settings.base import ROLE_NAMES, ROLE_USAGES, RoleName, Side, Usage
from etcdfleet.settings.fleet import Fleet, load_fleet
from etcdfleet.settings.load import open_nornir, settings_of
from etcdfleet.settings.models import (
    ApkInstall,
    AptInstall,
    Architecture,
    ArchiveInstall,
    ArchiveSource,
    ClusterSettings,
    HostSettings,
    Init,
    InstallSettings,
    MemberSettings,
    PlatformSettings,
    PreflightSettings,
    client_url,
    peer_url,
)
from etcdfleet.settings.pki import PkiSettings, RoleSettings, RolesSettings, TrustAnchor
from etcdfleet.settings.problems import Problem, SettingsError
from etcdfleet.settings.sources import InventoryFiles
from etcdfleet.settings.units import RenewBefore, go_duration, parse_duration, parse_size, size_text

__all__ = [
    "ROLE_NAMES",
    "ROLE_USAGES",
    "ApkInstall",
    "AptInstall",
    "Architecture",
    "ArchiveInstall",
    "ArchiveSource",
    "AuthSettings",
    "AuthUser",
    "ClusterSettings",
    "Fleet",
    "HostSettings",
    "Init",
    "InstallSettings",
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
    "TrustAnchor",
    "Usage",
    "client_url",
    "go_duration",
    "load_fleet",
    "open_nornir",
    "parse_duration",
    "parse_size",
    "peer_url",
    "settings_of",
    "size_text",
]
