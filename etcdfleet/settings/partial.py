"""One host's settings while they are being read and checked."""

from __future__ import annotations

from dataclasses import dataclass

from etcdfleet.settings.merge import KeyPath, Merged
from etcdfleet.settings.models import HostSettings


@dataclass(frozen=True)
class Draft(HostSettings):
    """A value with a mistake has a stand-in, or its whole section when nothing of that can be used.

    ``bad`` holds the keys with mistakes, and the sections that are stand-ins: a check that needs one of them is
    skipped, so that no mistake causes others. ``cluster_group`` is empty when the host is in no cluster or in several,
    ``init`` when that is so of init systems.
    """

    port: int
    merged: Merged
    cluster_group: str
    bad: set[KeyPath]

    def sound(self, *keys: str) -> bool:
        """Return whether no mistake was found at, above or below any of these dotted keys."""
        paths = [tuple(key.split(".")) for key in keys]
        return not any(one[: len(other)] == other[: len(one)] for one in self.bad for other in paths)
