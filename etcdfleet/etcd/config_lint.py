"""What a release of etcd makes of a configuration file before it is started with it: pure judgement.

`lint` is the one function that others call: for the release that a host has, or for the one that an upgrade is to
bring.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any

import yaml

from etcdfleet.etcd.config_finding import FEATURE_GATES, ConfigFinding, dotted, gates_of
from etcdfleet.etcd.config_keys import GATE, MINORS, Key, Kind, first_releases, last_minor, names, table
from etcdfleet.etcd.config_rules import contradictions

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WANTED: Mapping[Kind, str] = {
    "text": "a text",
    "switch": "true or false",
    "number": "a whole number",
    "count": "a whole number that is not below zero",
    "nanoseconds": "a whole number of nanoseconds",
    "list": "a list of texts",
    "section": "keys below it",
}


def lint(text: str, version: Sequence[int] | None) -> tuple[ConfigFinding, ...]:
    """Return what etcd of a version makes of a configuration file: what it does not know, ignores or refuses.

    ``text`` is the file as it would lie on the host. ``version`` is a minor, (3, 6), which is judged as its newest
    patch release, or one release, (3, 6, 14). Pure, so an upgrade can ask it for each version on its way. Where the
    version is not known (None), what is true of all of them is returned; of one that the table does not have, nothing.
    """
    if version is None:
        of_all = [lint(text, minor) for minor in MINORS]
        others = [{(finding.key, finding.kind) for finding in found} for found in of_all[:-1]]
        return tuple(finding for finding in of_all[-1] if all((finding.key, finding.kind) in found for found in others))
    if tuple(version[:2]) not in MINORS:
        return ()
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506  a safe one
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        return (ConfigFinding("", "refused", f"it is no YAML: {reason}", "correct it, as YAML has it"),)
    if document is None:
        return ()
    if not isinstance(document, dict):
        return (ConfigFinding("", "refused", "it has no keys: etcd reads a mapping", "write it as KEY: VALUE"),)
    settings = {str(key): value for key, value in document.items()}
    return (*_keys(settings, version), *contradictions(settings, version), *_gates(settings, version))


def _keys(settings: Mapping[str, Any], version: Sequence[int], section: str = "") -> Iterator[ConfigFinding]:
    own = names(table().keys, section)
    for name, value in settings.items():
        path = own.get(name.lower())
        if path is None:
            if section or name.lower() not in table().fields:
                yield _unknown(f"{section}.{name}" if section else name, name, own, version)
            continue
        key = table().keys[path]
        if not key.at(version):
            yield _ignored(path, key, version)
        elif why := _unfit(key.kind, value):
            told = f"etcd {dotted(version)} does not start with {path}: {json.dumps(value, default=str)}"
            yield ConfigFinding(path, "refused", f"{told}: {_WANTED[key.kind]} is wanted", why)
        elif key.kind == "section" and names(table().keys, path):
            yield from _keys({str(one): each for one, each in (value or {}).items()}, version, path)
        elif gone := _gone_after(key, version):
            what = f"etcd {dotted(version[:2])} is the last one that reads {path}: {dotted(gone)} ignores it"
            yield ConfigFinding(path, "deprecated", what, _replacement(key, version) or "take it out before that")


def _unknown(path: str, name: str, own: Mapping[str, str], version: Sequence[int]) -> ConfigFinding:
    what = f"{path} is no key of etcd's configuration file: etcd ignores it without a word"
    if name in table().flags and "." not in path:
        there = table().flags[name]
        return ConfigFinding(
            path,
            "ignored",
            f"{path} is a flag, and no key of etcd's configuration file: etcd ignores it there without a word",
            f"write {there} in its place" if there else "take it out: with a configuration file it cannot be set",
        )
    here = [one for one, key in own.items() if table().keys[key].at(version)]
    close = get_close_matches(name.lower().replace("_", "-"), here, n=1, cutoff=0.7)
    remedy = f"did you mean {close[0]}? Correct it, or take it out" if close else "take it out"
    return ConfigFinding(path, "unknown", what, remedy)


def _ignored(path: str, key: Key, version: Sequence[int]) -> ConfigFinding:
    told = f"etcd {dotted(version)} ignores {path} without a word"
    if last_minor(key) < tuple(version[:2]):
        what = f"{told}: {dotted(last_minor(key))} was the last one that read it"
        return ConfigFinding(path, "ignored", what, _replacement(key, version) or "take it out: nothing replaces it")
    older = next((name for name, other in table().keys.items() if other.instead == path and other.at(version)), "")
    remedy = f"write {older} for this version" if older else "take it out, or install a version that reads it"
    return ConfigFinding(path, "ignored", f"{told}: it is read from {first_releases(key)} on", remedy)


def _replacement(key: Key, version: Sequence[int]) -> str:
    if not key.instead:
        return ""
    if not key.instead.startswith(GATE):
        return f"write {key.instead} in its place"
    gate = key.instead.removeprefix(GATE)
    if not table().gates[gate].at(version):
        return ""
    return f'write feature-gates: "{gate}=true" (or false) in its place, and never both'


def _gone_after(key: Key, version: Sequence[int]) -> tuple[int, int] | None:
    """Return the next minor version if that one does not know the key any more."""
    following = [minor for minor in MINORS if minor > tuple(version[:2])]
    return following[0] if following and following[0] not in key.since else None


def _unfit(kind: Kind, value: Any) -> str:
    """Return what to do about a value that Go's decoder does not take; empty for one that it does."""
    if value is None:
        return ""
    if kind == "nanoseconds" and isinstance(value, str) and not _whole(value):
        return "write the time in nanoseconds: 1 s is 1000000000, 1 m is 60000000000, 1 h is 3600000000000"
    fits = {
        "text": isinstance(value, str | date),  # measured: numbers and switches are refused, a date is not
        "switch": isinstance(value, bool) or value in ("y", "Y", "n", "N"),
        "number": _whole(value),
        "nanoseconds": _whole(value),
        "count": _whole(value) and float(value) >= 0,
        "list": isinstance(value, list) and all(isinstance(one, str | date) for one in value),
        "section": isinstance(value, dict),
    }[kind]
    if fits:
        return ""
    if kind == "text" and isinstance(value, bool | int | float):
        return "put it in quotes: this is a number or a switch for YAML"
    return f"write it as [{value}]" if kind == "list" and isinstance(value, str) else "correct the value"


def _whole(value: Any) -> bool:
    """Return whether Go's decoder makes a whole number of it: of ``1e4``, too, which is a text for YAML 1.1 here."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9.]+[eE][+-]?[0-9]+", value):
        value = float(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()


def _gates(settings: Mapping[str, Any], version: Sequence[int]) -> Iterator[ConfigFinding]:
    """Return what is wrong with the feature gates, where etcd has them. It takes "A=true,B=false", as one text."""
    if not table().keys[FEATURE_GATES].at(version):
        return
    known = {name for name, gate in table().gates.items() if gate.at(version)}
    told = f"etcd {dotted(version)} does not start with the feature gate"
    for name, value in gates_of(settings).items():
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.6)
            later = table().gates.get(name)
            what = f"{told} {name}, which it does not know"
            what += f" (it is known from {first_releases(later)} on)" if later else ""
            remedy = f"did you mean {close[0]}?" if close and not later else "take it out of feature-gates"
            yield ConfigFinding(FEATURE_GATES, "refused", what, remedy)
        elif value is None:
            yield ConfigFinding(
                FEATURE_GATES, "refused", f"{told} {name} without true or false", f"write {name}=true, or {name}=false"
            )
    for name, key in table().keys.items():
        if not key.instead.startswith(GATE) or name not in settings or not key.at(version):
            continue
        gate = key.instead.removeprefix(GATE)
        if settings[name] is None:
            what = f"etcd {dotted(version)} panics at {name} without a value"
            yield ConfigFinding(name, "refused", what, f"take it out, or write {name}: true (or false)")
        if gate in str(settings.get(FEATURE_GATES) or ""):
            yield ConfigFinding(
                name,
                "refused",
                f"etcd {dotted(version)} does not start with both {name} and the feature gate {gate}",
                f"take {name} out",
            )
