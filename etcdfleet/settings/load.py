"""Opens Nornir from ``config.yaml``: every file is checked before Nornir sees it, and settings are bound to hosts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nornir.core import Nornir
from nornir.core.exceptions import PluginNotRegistered
from nornir.core.inventory import ConnectionOptions, Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from etcdfleet.errors import FleetError, UsageError
from etcdfleet.settings.config import FOLDER_KEY, inventory_arguments, read_config, runner_arguments, ssh_arguments
from etcdfleet.settings.fleet import BOUND_KEY, Fleet, load_fleet
from etcdfleet.settings.inventory_files import OPTION_KEYS, Sources, read_sources
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.plugins import init_nornir
from etcdfleet.settings.problems import SettingsError, in_file_order
from etcdfleet.settings.processors import load_processors
from etcdfleet.settings.yamlfile import shown, values


def open_nornir(config_file: Path, *, forks: int | None = None, dry_run: bool = False) -> tuple[Nornir, Fleet]:
    """Return Nornir and the typed settings of ``config_file``, without connecting to anything.

    Relative paths in the file are relative to its folder. ``NORNIR_…`` variables count where the file is silent, with
    paths relative to the current folder. Nornir's own logging stays off. ``forks`` is the number of hosts worked on at
    once. Every host's settings are then at ``settings_of(host)``. Processors of ``user_defined.processors`` are added.

    Raises UsageError when the file is missing or a plug-in cannot be used, SettingsError (a UsageError) with every
    mistake in the files.
    """
    config_file = Path(config_file).expanduser().absolute()
    config, warnings = read_config(config_file)
    inventory, files = inventory_arguments(config, config_file)
    arguments: dict[str, Any] = {
        "inventory": inventory,
        "runner": runner_arguments(config, forks),
        "ssh": ssh_arguments(config, config_file),
        "core": {"raise_on_error": False},
        "logging": {"enabled": False},
        "user_defined": {**dict(config.get("user_defined") or {}), FOLDER_KEY: str(config_file.parent)},
    }
    sources = read_sources(files)
    if sources.unreadable:
        raise SettingsError(in_file_order(sources.problems))
    if sources.problems:
        # Nornir would stop at the first of these, or overlook it: what is sound is looked through for other mistakes.
        load_fleet(_lenient_inventory(sources), sources)
        raise SettingsError(in_file_order(sources.problems))
    nornir = _init_nornir(arguments, dry_run, config_file)
    processors = load_processors(arguments["user_defined"], config_file)
    fleet = load_fleet(nornir.inventory, sources)
    for name, host in nornir.inventory.hosts.items():
        bind(host, fleet.hosts[name])
    return nornir.with_processors([*processors]), Fleet(fleet.hosts, (*warnings, *fleet.warnings))


def bind(host: Host, settings: HostSettings) -> None:
    """Make ``settings`` those that `settings_of` finds."""
    host.data[BOUND_KEY] = settings


def settings_of(host: Host) -> HostSettings:
    """Return the settings that ``open_nornir`` bound to ``host``; raises FleetError when it bound none."""
    settings = host.data.get(BOUND_KEY)
    if not isinstance(settings, HostSettings):
        raise FleetError(
            "no settings are bound to this host", where=host.name, remedy="build the Nornir object by open_nornir()"
        )
    return settings


def _init_nornir(arguments: Mapping[str, Any], dry_run: bool, config_file: Path) -> Nornir:
    try:
        return init_nornir(arguments, dry_run=dry_run)
    except PluginNotRegistered as error:
        raise UsageError(
            f"a plug-in of Nornir is not installed: {error}",
            where=shown(config_file),
            remedy=f"correct inventory.plugin or runner.plugin, or install the package that has it{_environment()}",
        ) from error
    except Exception as error:
        # An inventory plug-in is foreign code and may raise anything.
        raise UsageError(
            f"Nornir could not load the inventory: {type(error).__name__}: {error}",
            where=shown(config_file),
            remedy=f"check inventory and runner (their plugin and options) in it{_environment()}",
        ) from error


def _environment() -> str:
    variables = sorted(name for name in os.environ if name.startswith("NORNIR_"))
    return f"; the environment counts too, where it is silent: {', '.join(variables)}" if variables else ""


def _lenient_inventory(sources: Sources) -> Inventory:
    """Return what of a SimpleInventory's files is sound, as an inventory that is used for more checks only."""

    def sound(kind: str) -> dict[str, dict[str, Any]]:
        return {
            origin.name: values(node)
            for origin, node in sources.elements.items()
            if origin.kind == kind and origin not in sources.broken
        }

    def attributes(content: Mapping[str, Any]) -> dict[str, Any]:
        fields = {key: content.get(key) for key in ("hostname", "port", "username", "password", "platform", "data")}
        options = {
            name: ConnectionOptions(**{key: value for key, value in each.items() if key in OPTION_KEYS})
            for name, each in (content.get("connection_options") or {}).items()
        }
        return {**fields, "connection_options": options}

    defaults = Defaults(**attributes(sound("defaults").get("", {})))
    group_content, host_content = sound("group"), sound("host")
    groups = Groups({name: Group(name, defaults=defaults, **attributes(each)) for name, each in group_content.items()})
    hosts = Hosts({name: Host(name, defaults=defaults, **attributes(each)) for name, each in host_content.items()})
    for made, content in ((groups, group_content), (hosts, host_content)):
        for element in made.values():
            named = content[element.name].get("groups") or ()
            element.groups = ParentGroups([groups[name] for name in named if name in groups])
    return Inventory(hosts=hosts, groups=groups, defaults=defaults)
