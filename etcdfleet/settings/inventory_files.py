"""The inventory's YAML files themselves: their shape, which Nornir does not check, and the line of each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from etcdfleet.settings.merge import KeyPath, Origin
from etcdfleet.settings.problems import Problem, SettingsError, did_you_mean
from etcdfleet.settings.texts import text_fault
from etcdfleet.settings.yamlfile import (
    compose,
    is_merge,
    is_null,
    is_text,
    line_of,
    pairs,
    shown,
    unfit,
)

SECTIONS = ("member", "cluster", "pki", "auth", "install", "platform", "preflight", "backup", "repair")
CONNECTION = "connection_options"
ATTRIBUTES = ("hostname", "port", "username", "password", "platform")
_BASE_KEYS = (*ATTRIBUTES, CONNECTION, "data")
_ELEMENT_KEYS = (*_BASE_KEYS, "groups")
_ANSIBLE: Mapping[str, str] = {
    "ansible_host": "write hostname",
    "ansible_port": "write port",
    "ansible_user": "write username",
    "ansible_ssh_private_key_file": "write connection_options: {netmiko: {extras: {key_file: …}}}",
    "ansible_become_password": "set ETCDFLEET_SUDO_PASSWORD in the environment; no secret belongs in these files",
    "vars": "write data: in its place",
    "hosts": "write one entry per host into hosts.yaml, and name the group in the groups of each",
    "children": "write one entry per group into groups.yaml; a group names its parents in its groups",
}
"""Keys that people who know Ansible write, and what to write in their place."""
ATTRIBUTE = ""
"""Stands before a key of a host, group or the defaults themselves, where a path in their ``data`` is looked up."""
OPTION_KEYS = (*ATTRIBUTES, "extras")


@dataclass(frozen=True)
class InventoryFiles:
    """The files of a SimpleInventory; with another inventory plug-in all three are None.

    ``base`` is the folder of ``config.yaml``, to which relative paths in the settings refer (None: the current one).
    ``encoding`` is that of all three.
    """

    hosts: Path | None = None
    groups: Path | None = None
    defaults: Path | None = None
    base: Path | None = None
    encoding: str = "utf-8"

    def of(self, origin: Origin) -> Path | None:
        """Return the file that holds ``origin``."""
        return {"host": self.hosts, "group": self.groups, "defaults": self.defaults}[origin.kind]

    def resolve(self, path: str) -> Path:
        """Return ``path`` of the settings as an absolute path, ``~`` expanded."""
        return ((self.base or Path.cwd()) / Path(path).expanduser()).absolute()


@dataclass
class Sources:
    """What reading the files found: the line of each key, mistakes in their shape, and what those spoil."""

    files: InventoryFiles
    lines: dict[tuple[Origin, KeyPath], int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Origin] = field(default_factory=set)
    """Elements that Nornir cannot load, or would load as something else than was meant."""
    elements: dict[Origin, Node] = field(default_factory=dict)
    """What is written of each host, each group and the defaults."""
    unreadable: bool = False
    """Whether a whole file cannot be read."""

    def where(self, origin: Origin, path: KeyPath = ()) -> str:
        """Return file and line of ``path`` at ``origin``, or of the nearest parent there; empty without files."""
        file = self.files.of(origin)
        if file is None:
            return ""
        for length in range(len(path), -1, -1):
            line = self.lines.get((origin, path[:length]))
            if line:
                return f"{shown(file)}:{line}"
        return shown(file)

    def problem(self, origin: Origin, key: str, what: str, remedy: str, path: KeyPath = ()) -> Problem:
        """Return a mistake or warning about ``key`` at ``origin``, with the place of ``path`` there."""
        return Problem(self.where(origin, path), str(origin), key, what, remedy)

    def note(
        self, origin: Origin, key: str, what: str, remedy: str, line: int | None = None, *, spoils: bool = True
    ) -> None:
        """Note a mistake, at ``line`` or where ``origin`` begins, and that it spoils ``origin``, if it does."""
        file = self.files.of(origin)
        where = f"{shown(file)}:{line}" if line and file else self.where(origin)
        self.problems.append(Problem(where, str(origin), key, what, remedy))
        if spoils:
            self.broken.add(origin)


def read_sources(files: InventoryFiles) -> Sources:
    """Read the files, as far as there are any, and check their shape. Raises nothing: mistakes are in the result."""
    sources = Sources(files)
    group_names: set[str] = set()
    parents: dict[str, tuple[str, ...]] = {}
    if files.defaults is not None:
        node = _root(sources, files.defaults)
        if node is not None:
            _element(sources, Origin("defaults"), node, 1, _BASE_KEYS)
    if files.groups is not None:
        groups = _named(sources, files.groups, "group")
        group_names = set(groups)
        for name, (line, value) in groups.items():
            parents[name] = _element(sources, Origin("group", name), value, line, _ELEMENT_KEYS, group_names)
    _check_cycles(sources, parents)
    if files.hosts is not None:
        for name, (line, value) in _named(sources, files.hosts, "host").items():
            named = _element(sources, Origin("host", name), value, line, _ELEMENT_KEYS, group_names)
            if any(Origin("group", group) in sources.broken for group in _closure(named, parents)):
                sources.broken.add(Origin("host", name))
    return sources


def _root(sources: Sources, path: Path) -> MappingNode | None:
    try:
        node = compose(path, sources.files.encoding)
    except SettingsError as error:
        sources.problems += error.problems
        sources.unreadable = True
        return None
    if node is None or is_null(node):
        return None
    if not isinstance(node, MappingNode):
        what = "holds a list or a single value where a mapping is needed"
        sources.problems.append(Problem(shown(path), "", "", what, "write name: {…} pairs, see docs/settings.md"))
        sources.unreadable = True
        return None
    return node


def _named(sources: Sources, path: Path, kind: str) -> dict[str, tuple[int, Node]]:
    node = _root(sources, path)
    names: set[str] = set()
    for key, value in node.value if node is not None else ():
        where, name = f"{shown(path)}:{line_of(key)}", str(key.value) if isinstance(key, ScalarNode) else ""
        if is_merge(key) and isinstance(value, MappingNode | SequenceNode):
            continue
        if name in names:
            what = f"{kind} {name} is written twice; only one of the two would be used"
            sources.problems.append(Problem(where, f"{kind} {name}", "", what, "remove or rename one"))
        elif not is_text(key):
            what = f"the name of a {kind} must be text"
            sources.problems.append(Problem(where, "", "", what, "put it in quotes"))
        elif fault := text_fault(name):
            sources.problems.append(Problem(where, f"{kind} {name}", "", *fault))
        else:
            names.add(name)
            continue
        sources.unreadable = True
    return pairs(node) if node is not None else {}


def _element(
    sources: Sources,
    origin: Origin,
    node: Node,
    line: int,
    allowed: tuple[str, ...],
    group_names: set[str] | None = None,
) -> tuple[str, ...]:
    """Check one host, group or the defaults; return its groups."""
    sources.lines[origin, ()] = line
    if is_null(node):
        what = "has no value"
        remedy = "write its hostname, groups and data below it, or remove the line"
        if origin.kind != "host":
            remedy = f"write its data below it, or {origin.name or 'data'}: {{}} when there is none"
        sources.note(origin, "", what, remedy)
        return ()
    if not isinstance(node, MappingNode):
        sources.note(origin, "", "is not a mapping", f"write keys below it: {', '.join(allowed)}")
        return ()
    sources.elements[origin] = node
    if not _loadable(sources, origin, node, line):
        return ()
    groups: tuple[str, ...] = ()
    for key, (key_line, value) in pairs(node).items():
        sources.lines[origin, (ATTRIBUTE, key)] = key_line
        if key not in allowed:
            _unknown_key(sources, origin, key, key_line, allowed)
        elif is_null(value) and key in ("groups", "data", CONNECTION):
            sources.note(origin, key, "has no value", f"write something below it, or remove the line {key}:", key_line)
        elif key == "groups":
            groups = _groups(sources, origin, value, key_line, group_names or set())
        elif key == "data":
            if isinstance(value, MappingNode):
                _index(sources, origin, value, ())
            else:
                _wrong_shape(sources, origin, key, key_line, "must be a mapping of sections")
        elif key == CONNECTION:
            if isinstance(value, MappingNode):
                _index(sources, origin, value, (ATTRIBUTE, CONNECTION))
            _connection_options(sources, origin, value, key_line)
    return groups


def _loadable(sources: Sources, origin: Origin, node: Node, line: int) -> bool:
    """Return whether Nornir can load all of one host, group or the defaults; note what it cannot."""
    faults = list(unfit(node, line))
    for one in faults:
        key = ".".join(one.path[1:] if one.path[:1] == ("data",) and len(one.path) > 1 else one.path)
        sources.note(origin, key, one.what, one.remedy, one.line)
    return not faults


def _wrong_shape(sources: Sources, origin: Origin, key: str, line: int, what: str) -> None:
    sources.note(origin, key, what, "see the examples in docs/settings.md", line)


def _unknown_key(sources: Sources, origin: Origin, key: str, line: int, allowed: tuple[str, ...]) -> None:
    if key in SECTIONS:
        what = f"section {key} stands beside data: instead of below it, where it is not read"
        remedy = f"indent it below data: of {origin}"
    elif key in _ANSIBLE:
        what = f"{key} is a word of Ansible's inventory; Nornir would ignore it silently"
        remedy = _ANSIBLE[key]
    else:
        what = f"unknown key {key}{did_you_mean(key, allowed)}; Nornir would ignore it silently"
        remedy = f"allowed here: {', '.join(allowed)}; settings and your own values belong below data:"
    sources.note(origin, key, what, remedy, line, spoils=key in SECTIONS)


def _index(sources: Sources, origin: Origin, node: MappingNode, path: KeyPath) -> None:
    for key, (line, value) in pairs(node).items():
        here = (*path, key)
        sources.lines[origin, here] = line
        if isinstance(value, MappingNode) and len(here) < 8:
            _index(sources, origin, value, here)


def _groups(sources: Sources, origin: Origin, value: Node, line: int, group_names: set[str]) -> tuple[str, ...]:
    if not isinstance(value, SequenceNode) or not all(isinstance(g, ScalarNode) for g in value.value):
        _wrong_shape(sources, origin, "groups", line, "must be a list of names, such as [k8s-home, systemd]")
        return ()
    names = tuple(str(group.value) for group in value.value)
    for group in value.value:
        name = str(group.value)
        if name in group_names or sources.unreadable:
            continue
        what = f"there is no group {name}{did_you_mean(name, group_names)}"
        file = shown(sources.files.groups) if sources.files.groups else "a groups file named in config.yaml"
        remedy = f"add it to {file}, or use one of: {', '.join(sorted(group_names)) or 'none is there'}"
        sources.note(origin, "groups", what, remedy, line_of(group))
    return names


def _connection_options(sources: Sources, origin: Origin, value: Node, line: int) -> None:
    if not isinstance(value, MappingNode):
        _wrong_shape(sources, origin, CONNECTION, line, "must be a mapping such as netmiko: {…}")
        return
    for name, (plugin_line, options) in pairs(value).items():
        key = f"connection_options.{name}"
        if not isinstance(options, MappingNode):
            _wrong_shape(sources, origin, key, plugin_line, "must be a mapping")
            continue
        for option, (option_line, _) in pairs(options).items():
            if option not in OPTION_KEYS:
                what = f"unknown key {option}{did_you_mean(option, OPTION_KEYS)}; Nornir would ignore it silently"
                remedy = f"allowed here: {', '.join(OPTION_KEYS)}; options of {name} itself belong below extras:"
                sources.note(origin, f"{key}.{option}", what, remedy, option_line, spoils=False)


def _closure(names: tuple[str, ...], parents: Mapping[str, tuple[str, ...]]) -> set[str]:
    groups: set[str] = set()
    todo: list[str] = list(names)
    while todo:
        name = todo.pop()
        if name not in groups:
            groups.add(name)
            todo.extend(parents.get(name, ()))
    return groups


def _check_cycles(sources: Sources, parents: Mapping[str, tuple[str, ...]]) -> None:
    for name, groups in parents.items():
        if name in _closure(groups, parents):
            what = "is its own parent, directly or through other groups"
            sources.note(Origin("group", name), "groups", what, "remove one of the groups from the circle")
