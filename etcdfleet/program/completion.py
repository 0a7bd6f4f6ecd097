"""Shell completion: what can follow on a runbook's command line, names of the inventory included.

Runs at each TAB, so nothing here imports Nornir or reads more than the inventory's YAML and the names of report
folders. ``runbooks/completion.bash`` and ``.zsh`` are what calls it; argcomplete's own global completion does as well.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATHS = "@files"
"""Given instead of names where a path belongs, to a shell that says that it completes paths better than we can."""

Completer = Callable[..., Mapping[str, str]]
_RUN = re.compile(r"\d{8}T\d{6}Z-\w+(-\d+)?")
_RUNS_SHOWN = 50


@dataclass(frozen=True)
class Names:
    """What the inventory has: hosts, clusters, other groups, and etcd's users by cluster."""

    hosts: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process. To be called where argcomplete's variables are in the environment."""
    import argcomplete
    from argcomplete.completers import DirectoriesCompleter, FilesCompleter, SuppressCompleter

    native = os.environ.get("ETCDFLEET_COMPLETES_PATHS") == "1"
    for action in parser._actions:
        if getattr(action, "completer", None) is not None or action.choices is not None:
            continue
        completer: Any = _COMPLETERS.get(action.dest)
        if completer is None and (action.type is Path or action.dest in ("json", "go", "snapshot")):
            folder = action.dest.endswith("dir") or action.metavar == "DIR"
            completer = _native_paths if native else DirectoriesCompleter() if folder else FilesCompleter()
        if completer is not None:
            action.completer = completer  # type: ignore[attr-defined]
    argcomplete.autocomplete(
        parser,
        always_complete_options="long",
        default_completer=SuppressCompleter(),
        validator=lambda text, prefix: text.startswith(prefix) or text == PATHS,
    )


def read_names(config_file: Path) -> Names:
    """Return the names in the inventory of ``config_file``, as far as readable; none of other inventory plug-ins."""
    from etcdfleet.settings.config import inventory_arguments

    if not config_file.expanduser().is_file():
        return Names()
    try:
        config = _content(config_file)
        _, files = inventory_arguments(config, config_file.expanduser().absolute())
    except Exception:  # half-written files are what completion meets all the time
        return Names()
    hosts, groups = _content(files.hosts), _content(files.groups)
    sections = {name: _mapping(_mapping(group).get("data")) for name, group in groups.items()}
    clusters = {
        str(_mapping(data["cluster"]).get("name", name)): data for name, data in sections.items() if "cluster" in data
    }
    users = {name: tuple(_mapping(_mapping(data.get("auth")).get("users"))) for name, data in clusters.items()}
    return Names(tuple(hosts), tuple(clusters), tuple(name for name in groups if name not in clusters), users)


def in_list(prefix: str, candidates: Mapping[str, str], *, exclusions: bool = False) -> dict[str, str]:
    """``candidates`` (word: description) as the next word of the comma-separated list ``prefix``; none comes twice."""
    head, comma, word = prefix.rpartition(",")
    given = {one.strip().removeprefix("!") for one in head.split(",")}
    mark = "!" if exclusions and word.startswith("!") else ""
    return {
        f"{head}{comma}{mark}{name}": f"not this {what}" if mark else what
        for name, what in candidates.items()
        if name not in given
    }


def _limit(prefix: str, parsed_args: argparse.Namespace, **_: object) -> Mapping[str, str]:
    names = read_names(parsed_args.config)
    every = dict.fromkeys(names.groups, "group") | dict.fromkeys(names.clusters, "cluster")
    return in_list(prefix, dict.fromkeys(names.hosts, "host") | every, exclusions=True)


def _cluster(prefix: str, parsed_args: argparse.Namespace, **_: object) -> Mapping[str, str]:
    return in_list(prefix, dict.fromkeys(read_names(parsed_args.config).clusters, "cluster"))


def _arch(prefix: str, **_: object) -> Mapping[str, str]:
    from etcdfleet.build.targets import TARGETS

    return in_list(prefix, {target.name: target.runs_on for target in TARGETS.values()})


def _host(parsed_args: argparse.Namespace, **_: object) -> Mapping[str, str]:
    return dict.fromkeys(read_names(parsed_args.config).hosts, "host")


def _user(parsed_args: argparse.Namespace, **_: object) -> Mapping[str, str]:
    return {
        user: f"user of {cluster}" for cluster, users in read_names(parsed_args.config).users.items() for user in users
    }


def _run(parsed_args: argparse.Namespace, **_: object) -> Mapping[str, str]:
    names = runs(parsed_args.report_dir)
    return {**({"latest": names[0]} if names else {}), **dict.fromkeys(names, "")}


def runs(folder: Path) -> list[str]:
    """Return the names of the latest runs whose reports are kept in ``folder``, newest first."""
    return sorted(filter(_RUN.fullmatch, _entries(folder)), reverse=True)[:_RUNS_SHOWN]


def _entries(folder: Path) -> Iterator[str]:
    try:
        yield from (path.name for path in folder.expanduser().iterdir())
    except OSError:
        return


def _some(*values: str) -> Completer:
    return lambda **_: dict.fromkeys(values, "")


def _native_paths(**_: object) -> Collection[str]:
    return [PATHS]


def _content(path: Path | None) -> dict[str, Any]:
    import yaml

    if path is None:
        return {}
    try:
        document = yaml.load(path.expanduser().read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {str(key): value for key, value in _mapping(document).items()}


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


_COMPLETERS: Mapping[str, Completer] = {
    "limit": _limit,
    "cluster": _cluster,
    "arch": _arch,
    "jobs": _some("1", "2", "4"),
    "forks": _some("1", "5", "10", "20", "50"),
    "timeout": _some("10", "30", "60", "120", "300"),
    "ttl": _some("24h", "30d", "90d", "365d"),
    "wrap": _some("10m", "1h", "24h"),
    "name": _user,
    "target": _host,
    "to": _host,
    "from_member": _host,
    "from_data": _host,
    "without": _host,
    "run": _run,
    "compare": _run,
}
"""By the destination of an option or argument, whichever runbook has it."""
