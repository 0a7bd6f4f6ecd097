"""Sections whose keys depend on the value of one of them, which names a driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from etcdfleet.drivers.table import CERTIFICATE_SOURCES, PACKAGE_MANAGERS, Row, load

if TYPE_CHECKING:
    from etcdfleet.settings.base import InstallSettings, Section
    from etcdfleet.settings.pki import PkiSettings

S = TypeVar("S", bound="Section")


@dataclass(frozen=True)
class Choice(Generic[S]):
    """The key that chooses a driver, such as ``method``, the drivers there are, and which one is meant without it."""

    key: str
    rows: Mapping[str, Row]
    default: str = ""

    def chosen(self, section: Mapping[str, Any]) -> str:
        """Return the driver that a section names; empty for none, and for what is no driver."""
        name = section.get(self.key, self.default)
        return name if isinstance(name, str) and name in self.rows else ""

    def model(self, name: str) -> type[S]:
        """Return the model of the section with this driver. Raises `KeyError` for one that is not known."""
        model: type[S] = load(self.rows[name].settings)
        return model

    def owners(self, key: str) -> tuple[str, ...]:
        """Return the drivers whose section has ``key``."""
        return tuple(name for name in self.rows if key in self.model(name).model_fields)

    def name_of(self, model: type[Section]) -> str:
        """Return the driver that has this model."""
        return next(name for name in self.rows if self.model(name) is model)


INSTALL: Choice[InstallSettings] = Choice("method", PACKAGE_MANAGERS)
PKI: Choice[PkiSettings] = Choice("source", CERTIFICATE_SOURCES, default="vault")
CHOICES: Mapping[str, Choice[Any]] = {"install": INSTALL, "pki": PKI}
"""By section."""
