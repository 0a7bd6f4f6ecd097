"""Sections whose keys depend on the value of one of them, which names a driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etcdfleet.drivers.table import PACKAGE_MANAGERS, Row, load
from etcdfleet.settings.base import Section


@dataclass(frozen=True)
class Choice:
    """The key that chooses a driver, such as ``method``, and the drivers there are."""

    key: str
    rows: Mapping[str, Row]

    def model(self, name: str) -> type[Section]:
        """The model of the section with this driver. Raises `KeyError` for one that is not known."""
        model: type[Section] = load(self.rows[name].settings)
        return model

    def owners(self, key: str) -> tuple[str, ...]:
        """The drivers whose section has ``key``."""
        return tuple(name for name in self.rows if key in self.model(name).model_fields)

    def name_of(self, model: type[Section]) -> str:
        """The driver that has this model."""
        return next(name for name in self.rows if self.model(name) is model)


CHOICES: Mapping[str, Choice] = {"install": Choice("method", PACKAGE_MANAGERS)}
"""By section."""
