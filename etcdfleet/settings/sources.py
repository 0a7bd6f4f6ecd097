"""The inventory's YAML files themselves: their shape, which Nornir does not check, and the line of each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from etcdfleet.settings.merge import KeyPath, Origin
from etcdfleet.settings.problems import Problem, did_you_mean

SECTIONS = ("member", "cluster", "pki", "auth", "install", "platform", "preflight")
_BASE_KEYS = ("hostname", "port", "username", "password", "platform", "connection_options", "data")
_ELEMENT_KEYS = (*_BASE_KEYS, "groups")
_OPTION_KEYS = ("hostname", "port", "username", "password", "platform", "extras")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class InventoryFiles:
    """The files of a SimpleInventory; with another inventory plug-in all three are None.

    ``base`` is the folder of ``config.yaml``, to which relative paths in the settings refer (None: the current one).
    """

    hosts: Path | None = None
    groups: Path | None = None
    defaults: Path | None = None
    base: Path | None = None

    def of(self, origin: Origin) -> Path | None:
        """The file that holds ``origin``."""
        return {"host": self.hosts, "group": self.groups, "defaults": self.defaults}[origin.kind]

    def resolve(self, path: str) -> Path:
        """``path`` of the settings as an absolute path, ``~`` expanded."""
        return ((self.base or Path.cwd()) / Path(path).expanduser()).absolute()


@dataclass
class Sources:
    """What reading the files found: the line of each key, mistakes in their shape, and what those spoil."""

    files: InventoryFiles
    lines: dict[tuple[Origin, KeyPath], int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Origin] = field(default_factory=set)
    """Elements that Nornir cannot load, or would load as something else than was meant."""
    unreadable: bool = False
    """Whether a whole file cannot be read."""

    def where(self, origin: Origin, path: KeyPath = ()) -> str:
        """File and line of ``path`` at ``origin``, or of its nearest parent that is there; empty without files."""
        file = self.files.of(origin)
        if file is None:
            return ""
        for length in range(len(path), -1, -1):
            line = self.lines.get((origin, path[:length]))
            if line:
                return f"{shown(file)}:{line}"
        return shown(file)

    def problem(self, origin: Origin, key: str, what: str, remedy: str, *, path: KeyPath = ()) -> None:
        """Notes a mistake and that it spoils ``origin``."""
        self.problems.append(Problem(self.where(origin, path), str(origin), key, what, remedy))
        self.broken.add(origin)


def shown(path: Path) -> str:
    """``path`` as a person at this folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def compose(path: Path) -> yaml.Node | None:
    """The node tree of a YAML file, None for an empty one; SyntaxProblemError when it is unreadable or no YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        remedy = "create it, or correct its path in config.yaml; Nornir would go on without it"
        raise SyntaxProblemError(Problem(shown(path), "", "", "there is no such file", remedy)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        problem = Problem(shown(path), "", "", f"cannot be read: {reason}", "check the path and its rights")
        raise SyntaxProblemError(problem) from error
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{shown(path)}:{mark.line + 1}" if mark else shown(path)
        problem = Problem(where, "", "", f"is not valid YAML: {error.problem}", "check indentation, colons and quotes")
        raise SyntaxProblemError(problem) from error
    except yaml.YAMLError as error:
        problem = Problem(shown(path), "", "", "is not valid YAML", "check it for unprintable characters")
        raise SyntaxProblemError(problem) from error
    return node


class SyntaxProblemError(Exception):
    """A file that cannot be read at all; ``problem`` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def pairs(node: yaml.MappingNode) -> tuple[dict[str, tuple[int, yaml.Node]], list[tuple[int, str]]]:
    """Keys of a mapping with line and value, ``<<`` resolved; and the keys that appear twice, with their line."""
    found: dict[str, tuple[int, yaml.Node]] = {}
    inherited: dict[str, tuple[int, yaml.Node]] = {}
    twice: list[tuple[int, str]] = []
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge":
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(source, yaml.MappingNode):
                    inherited = {**pairs(source)[0], **inherited}
            continue
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        if name in found:
            twice.append((line, name))
        found[name] = (line, value)
    return {**inherited, **found}, twice


def is_null(node: yaml.Node) -> bool:
    """Whether a value is missing (``key:``) or null."""
    return node.tag == "tag:yaml.org,2002:null"


def read_sources(files: InventoryFiles) -> Sources:
    """Reads the files, as far as there are any, and checks their shape. Raises nothing: mistakes are in the result."""
    sources = Sources(files)
    group_names: set[str] = set()
    parents: dict[str, tuple[str, ...]] = {}
    if files.defaults is not None:
        node = _root(sources, files.defaults)
        if node is not None:
            _element(sources, Origin("defaults"), node, 1, _BASE_KEYS)
    if files.groups is not None:
        node = _root(sources, files.groups)
        group_names = set(pairs(node)[0]) if node is not None else set()
        for name, (line, value) in _named(sources, files.groups, node, "group"):
            element = Origin("group", name)
            parents[name] = _element(sources, element, value, line, _ELEMENT_KEYS, group_names)
    _check_cycles(sources, parents)
    if files.hosts is not None:
        node = _root(sources, files.hosts)
        for name, (line, value) in _named(sources, files.hosts, node, "host"):
            groups = _element(sources, Origin("host", name), value, line, _ELEMENT_KEYS, group_names)
            if any(Origin("group", group) in sources.broken for group in _closure(groups, parents)):
                sources.broken.add(Origin("host", name))
    return sources


def _root(sources: Sources, path: Path) -> yaml.MappingNode | None:
    try:
        node = compose(path)
    except SyntaxProblemError as error:
        sources.problems.append(error.problem)
        sources.unreadable = True
        return None
    if node is None or is_null(node):
        return None
    if not isinstance(node, yaml.MappingNode):
        what = "holds a list or a single value where a mapping is needed"
        sources.problems.append(Problem(shown(path), "", "", what, "write name: {…} pairs, see docs/settings.md"))
        sources.unreadable = True
        return None
    return node


def _named(
    sources: Sources, path: Path, node: yaml.MappingNode | None, kind: str
) -> list[tuple[str, tuple[int, yaml.Node]]]:
    if node is None:
        return []
    found, twice = pairs(node)
    for line, name in twice:
        what = f"{kind} {name} is there twice; only one of the two would be used"
        sources.problems.append(Problem(f"{shown(path)}:{line}", f"{kind} {name}", "", what, "remove or rename one"))
        sources.unreadable = True
    for key, _ in node.value:
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            line = key.start_mark.line + 1
            what = f"the name of a {kind} must be text"
            sources.problems.append(Problem(f"{shown(path)}:{line}", "", "", what, "put it in quotes"))
            sources.unreadable = True
    return list(found.items())


def _element(
    sources: Sources,
    origin: Origin,
    node: yaml.Node,
    line: int,
    allowed: tuple[str, ...],
    group_names: set[str] | None = None,
) -> tuple[str, ...]:
    """Checks one host, group or the defaults; returns its groups."""
    sources.lines[origin, ()] = line
    if is_null(node):
        what = "has no value"
        remedy = "write its hostname, groups and data below it, or remove the line"
        if origin.kind != "host":
            remedy = f"write its data below it, or {origin.name or 'data'}: {{}} when there is none"
        sources.problem(origin, "", what, remedy)
        return ()
    if not isinstance(node, yaml.MappingNode):
        sources.problem(origin, "", "is not a mapping", f"write keys below it: {', '.join(allowed)}")
        return ()
    found, twice = pairs(node)
    _report_twice(sources, origin, (), twice)
    groups: tuple[str, ...] = ()
    for key, (key_line, value) in found.items():
        if key not in allowed:
            _unknown_key(sources, origin, key, key_line, allowed)
        elif is_null(value) and key in ("groups", "data", "connection_options"):
            where = f"{_file(sources, origin)}:{key_line}"
            remedy = f"write something below it, or remove the line {key}:"
            sources.problems.append(Problem(where, str(origin), key, "has no value", remedy))
            sources.broken.add(origin)
        elif key == "groups":
            groups = _groups(sources, origin, value, key_line, group_names or set())
        elif key == "data":
            if isinstance(value, yaml.MappingNode):
                _index(sources, origin, value, ())
            else:
                _wrong_shape(sources, origin, key, key_line, "must be a mapping of sections")
        elif key == "connection_options":
            _connection_options(sources, origin, value, key_line)
        elif not isinstance(value, yaml.ScalarNode):
            _wrong_shape(sources, origin, key, key_line, "must be a single value")
        elif key == "port" and not (value.tag.endswith(":int") or is_null(value)):
            _wrong_shape(sources, origin, key, key_line, "must be a whole number, without quotes")
    return groups


def _file(sources: Sources, origin: Origin) -> str:
    file = sources.files.of(origin)
    return shown(file) if file else ""


def _wrong_shape(sources: Sources, origin: Origin, key: str, line: int, what: str) -> None:
    where = f"{_file(sources, origin)}:{line}"
    sources.problems.append(Problem(where, str(origin), key, what, "see the examples in docs/settings.md"))
    sources.broken.add(origin)


def _unknown_key(sources: Sources, origin: Origin, key: str, line: int, allowed: tuple[str, ...]) -> None:
    where = f"{_file(sources, origin)}:{line}"
    if key in SECTIONS:
        what = f"section {key} stands beside data: instead of below it, where nobody reads it"
        remedy = f"indent it below data: of {origin}"
        sources.broken.add(origin)
    else:
        what = f"unknown key {key}{did_you_mean(key, allowed)}; Nornir would ignore it silently"
        remedy = f"allowed here: {', '.join(allowed)}; settings and your own values belong below data:"
    sources.problems.append(Problem(where, str(origin), key, what, remedy))


def _report_twice(sources: Sources, origin: Origin, path: KeyPath, twice: list[tuple[int, str]]) -> None:
    for line, key in twice:
        where = f"{_file(sources, origin)}:{line}"
        dotted = ".".join((*path, key))
        sources.problems.append(Problem(where, str(origin), dotted, "is written twice", "remove one of the two"))
        sources.broken.add(origin)


def _index(sources: Sources, origin: Origin, node: yaml.MappingNode, path: KeyPath) -> None:
    found, twice = pairs(node)
    _report_twice(sources, origin, path, twice)
    for key, (line, value) in found.items():
        here = (*path, key)
        sources.lines[origin, here] = line
        if isinstance(value, yaml.MappingNode) and len(here) < 8:
            _index(sources, origin, value, here)


def _groups(sources: Sources, origin: Origin, value: yaml.Node, line: int, group_names: set[str]) -> tuple[str, ...]:
    if not isinstance(value, yaml.SequenceNode) or not all(isinstance(g, yaml.ScalarNode) for g in value.value):
        _wrong_shape(sources, origin, "groups", line, "must be a list of names, such as [k8s-home, systemd]")
        return ()
    names = tuple(str(group.value) for group in value.value)
    for group in value.value:
        name = str(group.value)
        if name in group_names or sources.unreadable:
            continue
        where = f"{_file(sources, origin)}:{group.start_mark.line + 1}"
        what = f"there is no group {name}{did_you_mean(name, group_names)}"
        file = shown(sources.files.groups) if sources.files.groups else "a groups file named in config.yaml"
        remedy = f"add it to {file}, or use one of: {', '.join(sorted(group_names)) or 'none is there'}"
        sources.problems.append(Problem(where, str(origin), "groups", what, remedy))
        sources.broken.add(origin)
    return names


def _connection_options(sources: Sources, origin: Origin, value: yaml.Node, line: int) -> None:
    if not isinstance(value, yaml.MappingNode):
        _wrong_shape(sources, origin, "connection_options", line, "must be a mapping such as netmiko: {…}")
        return
    for name, (plugin_line, options) in pairs(value)[0].items():
        key = f"connection_options.{name}"
        if not isinstance(options, yaml.MappingNode):
            _wrong_shape(sources, origin, key, plugin_line, "must be a mapping")
            continue
        for option, (option_line, _) in pairs(options)[0].items():
            if option not in _OPTION_KEYS:
                where = f"{_file(sources, origin)}:{option_line}"
                what = f"unknown key {option}{did_you_mean(option, _OPTION_KEYS)}; Nornir would ignore it silently"
                remedy = f"allowed here: {', '.join(_OPTION_KEYS)}; options of {name} itself belong below extras:"
                sources.problems.append(Problem(where, str(origin), f"{key}.{option}", what, remedy))


def _closure(names: tuple[str, ...], parents: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    todo: list[str] = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(parents.get(name, ()))
    return found


def _check_cycles(sources: Sources, parents: Mapping[str, tuple[str, ...]]) -> None:
    for name, groups in parents.items():
        if name in _closure(groups, parents):
            what = "is its own parent, directly or through other groups"
            sources.problem(Origin("group", name), "groups", what, "remove one of the groups from the circle")
