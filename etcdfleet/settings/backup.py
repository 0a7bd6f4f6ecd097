"""The section ``backup``: where a cluster's backups are kept, and how many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from etcdfleet.settings.base import Section
from etcdfleet.settings.values import Duration

_Count = Annotated[int, Field(ge=0, le=10_000)]


class BackupSettings(Section):
    """Of a whole cluster. ``folder`` is on the controller; None is the project's own ``snapshots``."""

    folder: Annotated[str, Field(min_length=1)] | None = None
    daily: _Count = 7
    weekly: _Count = 4
    monthly: _Count = 6
    max_age: Duration | None = None

    def resolved(self, resolve: Callable[[str], Path]) -> Self:
        """Return the same with the path of the folder made absolute."""
        return self if self.folder is None else self.model_copy(update={"folder": str(resolve(self.folder))})
