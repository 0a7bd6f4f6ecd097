"""What may be found in a configuration file of etcd, and what the parts of the lint have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FEATURE_GATES = "feature-gates"
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
"""What Go's ``strconv.ParseBool`` takes."""


@dataclass(frozen=True)
class ConfigFinding:
    """Something about one key (``SECTION.KEY``) of a configuration file, what it means, and the remedy.

    ``unknown``: no release knows the key. ``ignored``: this one does not, or does nothing with it. ``deprecated``: the
    next minor version does not. ``refused``: etcd would not start, or only to do harm.
    """

    key: str
    kind: Literal["unknown", "ignored", "deprecated", "refused"]
    what: str
    remedy: str

    @property
    def stops(self) -> bool:
        """Whether etcd must not be started with it."""
        return self.kind == "refused"


def gates_of(settings: Mapping[str, Any]) -> dict[str, bool | None]:
    """Return the feature gates of a configuration, and for each whether it is on; None where that is not said.

    The last one of the same name counts (``Set`` in ``pkg/featuregate``).
    """
    gates: dict[str, bool | None] = {}
    for part in str(settings.get(FEATURE_GATES) or "").split(","):
        if part:
            name, _, value = part.partition("=")
            gates[name.strip()] = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}.get(value.strip())
    return gates


def dotted(version: Sequence[int]) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))
