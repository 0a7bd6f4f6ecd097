"""Turns what pydantic finds wrong with a section into sentences for a person at a terminal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from etcdfleet.settings.base import Section
from etcdfleet.settings.choices import CHOICES
from etcdfleet.settings.merge import KeyPath
from etcdfleet.settings.problems import did_you_mean
from etcdfleet.text import exact_size

_TYPES = {
    "string_type": ("text", "put the value in quotes"),
    "int_type": ("a whole number", "write digits alone, without quotes"),
    "int_from_float": ("a whole number", "write digits alone, without a decimal point"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "tuple_type": ("a list", "write it as a list: [a, b]"),
    "mapping_type": ("a mapping", "write keys and values below it"),
    "dict_type": ("a mapping", "write keys and values below it"),
    "model_type": ("a mapping", "write keys and values below it"),
    "model_attributes_type": ("a mapping", "write keys and values below it"),
}


def explain(error: ValidationError, model: type[Section], section: str) -> Iterable[tuple[KeyPath, str, str]]:
    """Yield key path (section first), what is wrong and the remedy, for each mistake in ``error``."""
    for detail in error.errors(include_url=False):
        # The place of an item in a list says nothing to a reader: the key of the list does.
        path = (section, *(part for part in detail["loc"] if isinstance(part, str) and part != "[key]"))
        context = detail.get("ctx", {})
        if detail["type"] == "etcdfleet":
            yield path, str(context["what"]), str(context["remedy"])
        elif detail["type"] == "extra_forbidden":
            yield path, *_unknown(model, path)
        elif detail["type"] == "missing":
            yield path, "is missing", _missing_remedy(path)
        else:
            yield path, *_wrong_value(detail["type"], detail.get("input"), context)


def _wrong_value(kind: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    if value is None:
        return "has no value", "give it one, or remove the line to have the default"
    if kind in _TYPES:
        wanted, remedy = _TYPES[kind]
        return f"must be {wanted}, not {_shown(value)}", remedy
    if kind == "literal_error":
        allowed = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        words = [word.strip() for word in allowed.split(",")]
        guess = did_you_mean(value, words) if isinstance(value, str) else ""
        return f"{_shown(value)} is not allowed{guess}", f"one of: {', '.join(words)}"
    if kind in ("greater_than_equal", "less_than_equal"):
        low, high = context.get("ge"), context.get("le")
        if low is not None:
            return f"{value} is too small", f"at least {_limit(low)}"
        return f"{value} is too large", f"at most {_limit(high)}"
    if kind in ("string_too_short", "too_short"):
        return "is empty", "give it a value, or remove the line"
    return f"{_shown(value)} is not allowed", "see docs/settings.md"


def _limit(limit: Any) -> str:
    return f"{limit} ({exact_size(limit)})" if isinstance(limit, int) and limit % 2**20 == 0 and limit else str(limit)


def _shown(value: Any) -> str:
    """Return a value short enough for a message; containers by kind only."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _missing_remedy(path: KeyPath) -> str:
    examples = {
        "member.fqdn": "write the name in DNS by which the other members reach it, such as etcd-1.example.home",
        "member.address": "write the IP address that etcd listens on, such as 10.240.1.2",
        "install.version": "write the release in the archive, such as 3.5.1",
    }
    if path[-1] == "sha256":
        return "write the archive's SHA-256: what is not checked is not installed"
    return examples.get(".".join(path), f"write {path[-1]}: see docs/settings.md")


def _unknown(model: type[Section], path: KeyPath) -> tuple[str, str]:
    key, section = path[-1], path[0]
    allowed = tuple(fields_at(model, path[1:-1]))
    if key.lower() in ("token", "secret_id", "role_id", "password", "vault_token") and section == "pki":
        return f"unknown key {key}: secrets do not belong in the inventory", "set VAULT_TOKEN, or use a token file"
    if (choice := CHOICES.get(section)) and len(path) == 2 and (owners := choice.owners(key)):
        here = choice.name_of(model)
        what = f"{key} belongs to the {choice.key} {' or '.join(owners)}, but the {choice.key} here is {here}"
        return what, f"remove it, or change {section}.{choice.key}; {here} knows: {', '.join(allowed)}"
    what = f"unknown key {key}{did_you_mean(key, allowed)}"
    return what, f"allowed in {'.'.join(path[:-1])}: {', '.join(allowed)}"


def meant(model: type[Section], path: KeyPath) -> Iterable[KeyPath]:
    """Yield for an unknown key the path of the known one that was probably meant."""
    allowed = tuple(fields_at(model, path[1:-1]))
    if path[-1] not in allowed:
        for match in difflib.get_close_matches(path[-1], allowed, n=1):
            yield (*path[:-1], match)


def fields_at(model: type[Section], path: KeyPath) -> Iterable[str]:
    """Return the names of the keys of ``model``, or of what is below ``path`` in it."""
    current: type[Section] | None = model
    for part in path:
        if current is None:
            return ()
        if part in current.model_fields:
            current = _section_in(current.model_fields[part].annotation) or current
    return tuple(current.model_fields) if current else ()


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for argument in get_args(annotation):
        section = _section_in(argument)
        if section is not None:
            return section
    return None
