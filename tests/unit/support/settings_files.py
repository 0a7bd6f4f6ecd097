"""A small sound inventory, written to a folder after a test has changed it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DROP = object()
"""Removes the key."""

HOSTS: dict[str, Any] = {
    name: {
        "hostname": f"192.0.2.{number}",
        "groups": ["home", "systemd"],
        "data": {"member": {"fqdn": f"{name}.home.test", "address": f"192.0.2.{number}"}},
    }
    for number, name in enumerate(("a", "b", "c"), 1)
}
GROUPS: dict[str, Any] = {
    "systemd": {"data": {"install": {"method": "apt"}}},
    "openrc": {"data": {"install": {"method": "apk"}}},
    "home": {"data": {"cluster": {"token": "home"}}},
}
DEFAULTS: dict[str, Any] = {"data": {"pki": {"address": "https://vault.test:8200"}}}


def edited(content: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``content`` with values at slash-separated paths set (or removed by DROP)."""
    result = copy.deepcopy(dict(content))
    for path, value in edits.items():
        *parents, last = path.split("/")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
        if value is DROP:
            del target[last]
        else:
            target[last] = value
    return result


def write_inventory(folder: Path, edits: Mapping[str, Any] | None = None) -> Path:
    """Writes config.yaml and the inventory, with ``edits`` (paths start with hosts, groups or defaults) applied."""
    content = edited({"hosts": HOSTS, "groups": GROUPS, "defaults": DEFAULTS}, edits or {})
    for name, part in content.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(part, sort_keys=False))
    config = folder / "config.yaml"
    config.write_text(
        "inventory:\n  options: {host_file: hosts.yaml, group_file: groups.yaml, defaults_file: defaults.yaml}\n"
    )
    return config
