"""Deep merge of the inventory's layers (defaults < groups, nearest wins < host), with the origin of each value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from etcdfleet.settings.choices import CHOICES

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """A place of the inventory: a host, a group (both by name), or the defaults (no name)."""

    kind: Literal["host", "group", "defaults"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


@dataclass(frozen=True)
class Layer:
    """The ``data`` of one host, group, or of the defaults."""

    origin: Origin
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Merged:
    """Merged data, and for each key path of it the nearest layer that wrote it."""

    data: Mapping[str, Any]
    origins: Mapping[KeyPath, Origin]
    host: Origin

    def origin(self, path: KeyPath) -> Origin:
        """Return where ``path`` was written, or for a key that was not, its nearest parent; in the end the host."""
        for length in range(len(path), 0, -1):
            origin = self.origins.get(path[:length])
            if origin is not None:
                return origin
        return self.host

    def written(self, path: KeyPath) -> bool:
        """Return whether some layer wrote this very key."""
        return path in self.origins


def merge(layers: Iterable[Layer], host: Origin) -> Merged:
    """Merge ``layers``, given nearest first. Mappings merge key by key; lists and scalars are replaced as a whole.

    A section without a value (``cluster:``) counts as an empty one. What only makes sense together is replaced
    together: the trust anchor, an archive's source, and the install section when a nearer layer chooses another method.
    Where one chooses another source of certificates, only the former source's own keys go.
    """
    data: dict[str, Any] = {}
    origins: dict[KeyPath, Origin] = {}
    for layer in reversed(list(layers)):
        _lay_over(data, layer.data, layer.origin, origins, ())
    return Merged(data, origins, host)


def _lay_over(
    below: dict[str, Any], above: Mapping[str, Any], origin: Origin, origins: dict[KeyPath, Origin], path: KeyPath
) -> None:
    for key, given in above.items():
        here = (*path, str(key))
        value = {} if given is None and not path else given
        if here == ("auth",) and isinstance(value, bool):
            value = {"enabled": value}  # `auth: true` for short
        old = below.get(key)
        if not (isinstance(value, Mapping) and isinstance(old, dict)) or _replaces(here, value, old):
            for key_path in [key_path for key_path in origins if key_path[: len(here)] == here]:
                del origins[key_path]
            old = None
        if isinstance(value, Mapping) and isinstance(old, dict) and len(here) == 1:
            for other in _of_the_former(here[0], value, old):
                del old[other]
                for key_path in [key_path for key_path in origins if key_path[:2] == (*here, other)]:
                    del origins[key_path]
        origins[here] = origin
        if isinstance(value, Mapping):
            target: dict[str, Any] = old if old is not None else {}
            below[key] = target
            _lay_over(target, value, origin, origins, here)
        else:
            below[key] = value


def _of_the_former(section: str, above: Mapping[str, Any], below: Mapping[str, Any]) -> list[str]:
    """Return the keys of the driver chosen further away that the driver chosen nearer does not have."""
    choice = CHOICES.get(section)
    if choice is None or choice.key not in above:
        return []
    new, former = choice.chosen(above), choice.chosen(below)
    if not new or not former or new == former:
        return []
    own, others = choice.model(new).model_fields, choice.model(former).model_fields
    return [key for key in below if key in others and key not in own]


def _replaces(path: KeyPath, above: Mapping[str, Any], below: Mapping[str, Any]) -> bool:
    if path == ("install",):
        return bool(above.get("method") and below.get("method") and above["method"] != below["method"])
    archive = path[:2] == ("install", "source") and len(path) == 3
    return archive or path == ("pki", "trust_anchor") or (path[:2] == ("install", "releases") and len(path) == 4)
