"""Reads YAML as Nornir reads it, by the same library and version of YAML, and says what Nornir could not load.

Another reader would accept what Nornir refuses (a tab after a colon), or make something else of it (``22:11`` is a
number in YAML 1.1, and text in 1.2). The node tree has what values alone do not: the line of each key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from etcdfleet.settings.problems import Problem, SettingsError

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_KNOWN = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "binary")}
_COLLECTIONS = {f"{_TAG}{name}" for name in ("map", "seq", "set", "omap", "pairs")}
TEMPLATE = "is a template ({{ … }}), as Ansible has them; Nornir fills in nothing"
TEMPLATE_REMEDY = (
    "write the value itself; one that several hosts share belongs in their group, and one for all in defaults.yaml"
)
_JINJA = re.compile(r"\{\{|\{%")


@dataclass(frozen=True)
class Unfit:
    """A value that is YAML, and that Nornir could not load or would make something else of."""

    path: tuple[str, ...]
    line: int
    what: str
    remedy: str


def shown(path: Path) -> str:
    """Return ``path`` as a person at this folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def holds_template(text: str) -> bool:
    """Return whether Jinja was meant, as Ansible has it, to fill something in."""
    return bool(_JINJA.search(text))


def compose(path: Path, encoding: str = "utf-8") -> Node | None:
    """Return the node tree of a YAML file, None for an empty one. Raises `SettingsError` if it cannot be read."""
    try:
        text = path.read_text(encoding=encoding)
    except FileNotFoundError as error:
        remedy = "create it, or correct its path in config.yaml; Nornir would go on without it"
        raise SettingsError([Problem(shown(path), "", "", "there is no such file", remedy)]) from error
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise SettingsError([Problem(shown(path), "", "", what, "check the path and its rights")]) from error
    except UnicodeError as error:
        what = f"cannot be read: is not {encoding.upper()} text"
        raise SettingsError([Problem(shown(path), "", "", what, f"save it as {encoding.upper()}")]) from error
    try:
        node: Node | None = YAML(typ="safe").compose(text)
    except MarkedYAMLError as error:
        raise SettingsError([_syntax(path, text, error)]) from error
    except (YAMLError, AssertionError, ValueError) as error:
        # An unprintable character, or a %YAML line with a version that the library does not know.
        what = f"is not valid YAML: {_first_line(error)}"
        raise SettingsError([Problem(shown(path), "", "", what, "remove what it names")]) from error
    return node


def values(node: Node | None) -> Any:
    """Return what Nornir would make of a sound node; of a key that is there twice, the last."""
    reader = YAML(typ="safe")
    reader.allow_duplicate_keys = True
    return None if node is None else reader.constructor.construct_document(node)


def line_of(node: Node) -> int:
    """Return the line where a node begins, from 1."""
    return int(node.start_mark.line) + 1


def pairs(node: MappingNode) -> dict[str, tuple[int, Node]]:
    """Return keys of a mapping with line and value, ``<<`` resolved; of a key that is there twice, the last."""
    own: dict[str, tuple[int, Node]] = {}
    inherited: dict[str, tuple[int, Node]] = {}
    for key, value in node.value:
        if is_merge(key):
            for source in _merged(value):
                if isinstance(source, MappingNode) and source is not node:
                    inherited = {**pairs(source), **inherited}
        else:
            own[str(key.value) if isinstance(key, ScalarNode) else "?"] = (line_of(key), value)
    return {**inherited, **own}


def is_null(node: Node) -> bool:
    """Return whether a value is missing (``key:``) or null."""
    return bool(node.tag == f"{_TAG}null")


def is_text(node: Node) -> bool:
    """Return whether a value is text, quoted or plain."""
    return bool(node.tag == f"{_TAG}str")


def is_merge(node: Node) -> bool:
    """Return whether a key is ``<<``."""
    return bool(node.tag == _MERGE)


def unfit(node: Node, line: int, path: tuple[str, ...] = ()) -> Iterator[Unfit]:
    """Yield what in and below ``node``, the value of the key at ``line``, cannot be loaded."""
    yield from _unfit(node, line, path, set(), ())


def _unfit(node: Node, line: int, path: tuple[str, ...], visited: set[int], above: tuple[int, ...]) -> Iterator[Unfit]:
    if id(node) in above:
        yield Unfit(path, line, "is an alias of what it is in", "write the values in place of the alias")
        return
    if id(node) in visited:
        return
    visited.add(id(node))
    if (reason := _reason(node)) is not None:
        yield Unfit(path, line, *reason)
        return
    above = (*above, id(node))
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _unfit(item, line_of(item), path, visited, above)
        return
    names: set[str] = set()
    for key, value in node.value if isinstance(node, MappingNode) else ():
        at = line_of(key)
        if is_merge(key):
            if not all(isinstance(source, MappingNode) for source in _merged(value)):
                what = "takes the keys of another mapping, and here is none"
                yield Unfit((*path, "<<"), at, what, "write <<: *NAME, where &NAME marks a mapping")
                continue
            yield from _unfit(value, at, path, visited, above)
        elif not isinstance(key, ScalarNode):
            yield Unfit(path, at, "has a list or a mapping as a key", "write a word before the colon")
        else:
            here = (*path, str(key.value))
            if here[-1] in names:
                yield Unfit(here, at, "is written twice", "remove one of the two")
            names.add(here[-1])
            yield from _unfit(value, at, here, visited, above)


def _merged(value: Node) -> list[Node]:
    return list(value.value) if isinstance(value, SequenceNode) else [value]


def _reason(node: Node) -> tuple[str, str] | None:
    tag = str(node.tag)
    if isinstance(node, MappingNode) and any(isinstance(key, MappingNode) for key, _ in node.value):
        return TEMPLATE, TEMPLATE_REMEDY
    if tag.endswith("!vault"):
        return (
            "is encrypted by ansible-vault (!vault), which Nornir does not decrypt",
            "no secret belongs in these files: log in with a key or the ssh-agent, give sudo's password by "
            "ETCDFLEET_SUDO_PASSWORD, and Vault's token by VAULT_TOKEN",
        )
    plain = isinstance(node, ScalarNode) and not node.style
    if tag in (_MERGE, f"{_TAG}value") and plain:
        return f"{node.value} has a meaning of its own in YAML", f'write it in quotes: "{node.value}"'
    if tag not in _KNOWN | _COLLECTIONS:
        written = tag.replace(_TAG, "!!")
        return f"has the tag {written}, which Nornir does not know", f"remove {written}, and write the value itself"
    if tag in _KNOWN - {f"{_TAG}str", f"{_TAG}null"} or (tag in _COLLECTIONS and not _shape_fits(node, tag)):
        try:
            values(node)
        except (YAMLError, ValueError, TypeError):
            return f"cannot be read as {tag.removeprefix(_TAG)}", "write it in quotes if it is text"
    return None


def _shape_fits(node: Node, tag: str) -> bool:
    return (tag == f"{_TAG}map" and isinstance(node, MappingNode)) or (
        tag == f"{_TAG}seq" and isinstance(node, SequenceNode)
    )


def _syntax(path: Path, text: str, error: MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines()
    number = min(int(mark.line), len(lines) - 1) if mark and lines else None
    written = lines[number] if number is not None else ""
    key = re.match(r"\s*(?:- +)?([\w.-]+)\s*:", written)
    what, remedy = _explained(str(error.problem), written)
    where = f"{shown(path)}:{number + 1}" if number is not None else shown(path)
    return Problem(where, "", key.group(1) if key else "", what, remedy)


def _explained(problem: str, written: str) -> tuple[str, str]:
    if holds_template(written):
        return TEMPLATE, TEMPLATE_REMEDY
    if "'\\t'" in problem:
        return "has a tab where YAML allows blanks only", "replace each tab by blanks"
    if "cannot start any token" in problem or "not allowed here" in problem:
        remedy = "put the value in quotes if it is text; else check indentation and colons"
        return f"is not valid YAML: {problem}", remedy
    return f"is not valid YAML: {problem}", "check indentation, colons and quotes"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
