"""What all sections of the settings are built from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from etcdfleet.settings.notes import Notes
    from etcdfleet.settings.partial import Draft


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, no value guessed from one of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class InstallSettings(Section):
    """The section ``install``, as far as all ways to install have it in common; each has a model of its own."""

    method: str
    version: str | None = None

    def resolved(self, _: Callable[[str], Path]) -> Self:
        """Return the same with paths of the controller made absolute by the given function."""
        return self

    def at(self, _version: str) -> Self:
        """Return the same with another version, where the way to install can choose one."""
        return self

    def check(self, draft: Draft, notes: Notes) -> None:
        """Note what is wrong with it beside the host's other settings, or in files of the controller."""
