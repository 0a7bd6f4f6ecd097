"""Which keys and feature gates etcd's configuration file may have, by release: the data of ``config_keys.yaml``.

etcd ignores a key that it does not know, without a word. So a key that came later, or that is gone, switches what it
names off, and nothing says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from etcdfleet.text import listed

TABLE = Path(__file__).with_name("config_keys.yaml")
Kind: TypeAlias = Literal["text", "switch", "number", "count", "nanoseconds", "list", "section"]
Minor: TypeAlias = tuple[int, int]
MINORS: tuple[Minor, ...] = ((3, 4), (3, 5), (3, 6), (3, 7))
"""The minor versions that the table knows, oldest first."""
GATE = "gate "
"""Before the name of a feature gate, where that takes the place of a key."""


@dataclass(frozen=True)
class Known:
    """By minor version, the first patch release that knows a key or a gate. A minor that is not there never does."""

    since: Mapping[Minor, int]

    def at(self, version: Sequence[int]) -> bool:
        """Return whether a version knows it; of a minor alone, its newest patch release counts."""
        first = self.since.get((version[0], version[1]))
        return first is not None and (len(version) < 3 or version[2] >= first)


@dataclass(frozen=True)
class Key(Known):
    """A key: what its value is, and what to write where it is gone (a key, or `GATE` and the name of a gate)."""

    kind: Kind
    instead: str = ""


@dataclass(frozen=True)
class Table:
    """The whole table. ``keys`` of a section are named ``SECTION.KEY``."""

    keys: Mapping[str, Key]
    gates: Mapping[str, Known]
    fields: frozenset[str]
    """Names of Go's fields, in small letters: taken, and nothing is said of them."""
    flags: Mapping[str, str]
    """Flags that are no keys, and what the file has in their place; empty for nothing."""


@cache
def table() -> Table:
    """Return the table."""
    read = yaml.safe_load(TABLE.read_text())
    keys = {name: Key(_since(row), row["kind"], row.get("instead", "")) for name, row in read["keys"].items()}
    gates = {name: Known(_since(row)) for name, row in read["gates"].items()}
    return Table(keys, gates, frozenset(name.lower() for name in read["fields"]), read["flags"])


def _since(row: Mapping[str, Any]) -> Mapping[Minor, int]:
    if "since" not in row:
        return dict.fromkeys(MINORS, 0)
    releases = (tuple(map(int, release.split("."))) for release in row["since"].split())
    return {(major, minor): patch for major, minor, patch in releases}


def reads(key: str, version: Sequence[int] | None) -> bool:
    """Return whether etcd of that version reads a key of its configuration file. Raises `KeyError` for none of etcd's.

    ``version`` is (3, 6), or (3, 6, 14). Where it is not known, the newest one of the table counts, as for one that is
    newer still.
    """
    known = table().keys[key]
    if version is None or tuple(version[:2]) > MINORS[-1]:
        return MINORS[-1] in known.since
    return known.at(version)


def first_releases(known: Known) -> str:
    """Return from which releases on something is known, in words: ``3.4.25 and 3.5.8``; newer minors then know it."""
    minors = sorted(known.since)
    told = [minor for minor in minors if minor == minors[0] or known.since[minor]]
    return listed([f"{major}.{minor}.{known.since[major, minor]}" for major, minor in told])


def last_minor(known: Known) -> Minor:
    """Return the newest minor version that knows it."""
    return max(known.since)


def names(keys: Iterable[str], section: str) -> dict[str, str]:
    """Return the keys of a section (empty: of the file itself) by their names there in small letters.

    Go's decoder takes any case.
    """
    prefix = f"{section}." if section else ""
    own = (key for key in keys if key.startswith(prefix) and ("." in key) == bool(section))
    return {key.removeprefix(prefix).lower(): key for key in own}
