"""Reads ``config.yaml``, Nornir's own configuration: unknown keys are mistakes, paths become absolute."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node

from etcdfleet.errors import UsageError
from etcdfleet.settings.inventory_files import InventoryFiles, read_sources
from etcdfleet.settings.merge import Origin
from etcdfleet.settings.problems import Problem, SettingsError, did_you_mean, in_file_order
from etcdfleet.settings.yamlfile import compose, is_null, pairs, shown, unfit, values

_CONFIG_KEYS: Mapping[str, tuple[str, ...] | None] = {
    "inventory": ("plugin", "options", "transform_function", "transform_function_options"),
    "runner": ("plugin", "options"),
    "ssh": ("config_file",),
    "logging": ("enabled", "level", "log_file", "format", "to_console", "loggers"),
    "core": ("raise_on_error",),
    "user_defined": None,
}
_SIMPLE_OPTIONS = {"host_file": "hosts.yaml", "group_file": "groups.yaml", "defaults_file": "defaults.yaml"}
SIMPLE = "SimpleInventory"
FOLDER_KEY = "config_folder"
"""Where ``user_defined`` has the folder of config.yaml, for relative paths in the inventory."""


def read_config(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Return the content of ``config.yaml`` and warnings about it.

    Raises UsageError when there is no such file, SettingsError with every mistake in it.
    """
    try:
        readable = path.is_file()
    except OSError as error:  # a folder above it is closed to us
        raise UsageError(f"cannot be read: {error.strerror}", where=shown(path), remedy="check its rights") from error
    if not readable:
        raise UsageError(
            "there is no such configuration file" if not path.is_dir() else "is a folder, not a configuration file",
            where=shown(path),
            remedy="name one with --config FILE; the project's config.yaml is a commented example",
        )
    node = compose(path)
    warnings: list[Problem] = []
    if node is None or is_null(node):
        return {}, warnings
    if not isinstance(node, MappingNode):
        what = "holds a list or a single value where a mapping is needed"
        raise SettingsError([Problem(shown(path), "", "", what, f"sections are {', '.join(_CONFIG_KEYS)}")])
    mistakes = [
        Problem(f"{shown(path)}:{one.line}", "", ".".join(one.path), one.what, one.remedy) for one in unfit(node, 1)
    ]
    if mistakes:
        raise SettingsError(mistakes)
    _check_config_keys(path, node, mistakes)
    config = values(node)
    core = config.get("core")
    if isinstance(core, Mapping) and core.get("raise_on_error"):
        what = "would end a run at the first host that fails, and hide the results of the others"
        mistakes.append(Problem(shown(path), "", "core.raise_on_error", what, "remove it"))
    logging = config.get("logging")
    if isinstance(logging, Mapping) and logging.get("enabled"):
        what = "has no effect: runbooks write their own log, beside the report of each run"
        warnings.append(Problem(shown(path), "", "logging.enabled", what, "write false, or remove it"))
    if mistakes:
        raise SettingsError(in_file_order(mistakes))
    return {key: value for key, value in config.items() if value is not None}, warnings


def _check_config_keys(path: Path, node: MappingNode, mistakes: list[Problem]) -> None:
    def check(here: MappingNode, prefix: str, allowed: tuple[str, ...]) -> dict[str, tuple[int, Node]]:
        entries = pairs(here)
        for key, (line, _) in entries.items():
            if key not in allowed:
                what = f"unknown key {key}{did_you_mean(key, allowed)}"
                remedy = f"allowed here: {', '.join(allowed)}; settings of etcd belong in the inventory"
                mistakes.append(Problem(f"{shown(path)}:{line}", "", prefix + key, what, remedy))
        return entries

    for section, (line, value) in check(node, "", tuple(_CONFIG_KEYS)).items():
        allowed = _CONFIG_KEYS.get(section)
        if allowed is None or is_null(value):
            continue
        if not isinstance(value, MappingNode):
            remedy = f"write keys below it: {', '.join(allowed)}"
            mistakes.append(Problem(f"{shown(path)}:{line}", "", section, "must be a mapping", remedy))
            continue
        keys = check(value, f"{section}.", allowed)
        plugin = keys["plugin"][1].value if "plugin" in keys else os.environ.get(f"NORNIR_{section.upper()}_PLUGIN")
        names: tuple[str, ...] | None = None
        if section == "inventory" and plugin in (SIMPLE, None):
            names = (*_SIMPLE_OPTIONS, "encoding")
        elif section == "runner" and plugin in ("threaded", None):
            names = ("num_workers",)
        if "options" in keys and not is_null(keys["options"][1]):
            options_line, options = keys["options"]
            if not isinstance(options, MappingNode):
                where = f"{shown(path)}:{options_line}"
                mistakes.append(Problem(where, "", f"{section}.options", "must be a mapping", "see docs/settings.md"))
            elif names:
                check(options, f"{section}.options.", names)


def _environment_options(section: str) -> dict[str, Any]:
    """Return ``NORNIR_<section>_OPTIONS``, a mapping in Python's syntax as in Nornir itself."""
    variable = f"NORNIR_{section.upper()}_OPTIONS"
    text = os.environ.get(variable)
    if not text:
        return {}
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = None
    if not isinstance(value, dict):
        raise UsageError("is not a mapping", where=variable, remedy="write it as {'key': 'value'}, or unset it")
    return value


def where_host(config_file: Path, host: str) -> str:
    """Return file and line of a host in the inventory, as it is shown to people; empty for an inventory of no files."""
    config, _ = read_config(config_file)
    _, files = inventory_arguments(config, config_file.absolute())
    return read_sources(files).where(Origin("host", host))


def inventory_arguments(config: Mapping[str, Any], config_file: Path) -> tuple[dict[str, Any], InventoryFiles]:
    """Return what Nornir is told about the inventory, with absolute paths; and the files of a SimpleInventory.

    Paths of ``config.yaml`` are relative to its folder, those of the environment to the current one. Group and defaults
    files that are not named may be absent.
    """
    given = {key: value for key, value in (config.get("inventory") or {}).items() if value is not None}
    plugin = given.get("plugin") or os.environ.get("NORNIR_INVENTORY_PLUGIN") or SIMPLE
    options, base = given.get("options"), config_file.parent
    if options is None:
        options, base = _environment_options("inventory"), Path.cwd()
    options = dict(options)
    given.setdefault("transform_function_options", _environment_options("inventory_transform_function"))
    if plugin != SIMPLE:
        return {**given, "plugin": plugin, "options": options}, InventoryFiles(base=config_file.parent)
    files: list[Path | None] = []
    for option, name in _SIMPLE_OPTIONS.items():
        value = options.get(option)
        if value is not None and not (isinstance(value, str) and value):
            key = f"inventory.options.{option}"
            raise SettingsError([Problem(shown(config_file), "", key, "must be a path", "write the path of a file")])
        path = config_file.parent / name if value is None else (base / Path(value).expanduser()).absolute()
        optional = value is None and option != "host_file"
        options[option] = str(path)
        files.append(None if optional and not path.exists() else path)
    hosts, groups, defaults = files
    encoding = options.get("encoding", "utf-8")
    try:
        "".encode(encoding)
    except (LookupError, TypeError) as error:
        key, what = "inventory.options.encoding", f"{encoding!r} is unknown to Python"
        raise SettingsError([Problem(shown(config_file), "", key, what, "write utf-8, or remove it")]) from error
    inventory = InventoryFiles(hosts, groups, defaults, config_file.parent, encoding)
    return {**given, "plugin": plugin, "options": options}, inventory


def runner_arguments(config: Mapping[str, Any], forks: int | None) -> dict[str, Any]:
    """Return what Nornir is told about the runner; ``forks`` is the number of hosts at once, and wins over the file."""
    given = {key: value for key, value in (config.get("runner") or {}).items() if value is not None}
    plugin = given.get("plugin") or os.environ.get("NORNIR_RUNNER_PLUGIN") or "threaded"
    options = dict(given["options"]) if "options" in given else _environment_options("runner")
    if forks is not None:
        if forks < 1:
            raise UsageError(f"{forks} hosts at once is not possible", where="--forks", remedy="give 1 or more")
        if plugin != "threaded":
            raise UsageError(
                f"the runner {plugin} of config.yaml has no number of hosts at once",
                where="--forks",
                remedy="leave --forks out, or set runner.plugin: threaded",
            )
        options["num_workers"] = forks
    return {"plugin": plugin, "options": options}


def ssh_arguments(config: Mapping[str, Any], config_file: Path) -> dict[str, Any]:
    """Return what Nornir is told about OpenSSH's configuration. Raises SettingsError when a named file is not there."""
    given = (config.get("ssh") or {}).get("config_file")
    named, key, where = given, "ssh.config_file", shown(config_file)
    if not given:
        named, key, where = os.environ.get("NORNIR_SSH_CONFIG_FILE"), "", "NORNIR_SSH_CONFIG_FILE"
    if not named:
        return {}
    path = ((config_file.parent if given else Path.cwd()) / Path(str(named)).expanduser()).absolute()
    if not path.is_file():
        remedy = "correct the path, or remove it: ~/.ssh/config is read without it"
        raise SettingsError([Problem(where, "", key, f"there is no file {path}", remedy)])
    return {"config_file": str(path)}
