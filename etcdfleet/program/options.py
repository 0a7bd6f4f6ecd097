"""What the user asked for, as a typed value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
"""Root of the installed code: where config.yaml is looked for and reports are kept."""


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    ``timeout`` is in seconds per remote operation; None leaves each operation its own. ``json`` is None, ``-`` for
    standard output, or a path. ``extra`` holds a runbook's own arguments by destination.
    """

    config: Path = PROJECT / "config.yaml"
    limit: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    yes: bool = False
    json: str | None = None
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    report_dir: Path = PROJECT / "reports"
    junit: Path | None = None
    forks: int | None = None
    timeout: float | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def as_json(self) -> dict[str, Any]:
        """Return the choices that shape a run, for report.json."""
        return {
            "config": str(self.config),
            "limit": list(self.limit),
            "clusters": list(self.clusters),
            "check": self.check,
            "diff": self.diff,
            "yes": self.yes,
            "forks": self.forks,
            "timeout": self.timeout,
            **{name: value if _is_plain(value) else str(value) for name, value in self.extra.items()},
        }


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list)
