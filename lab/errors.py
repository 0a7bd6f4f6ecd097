"""The lab's own errors, shaped like the framework's: what, where, remedy."""

from __future__ import annotations

from etcdfleet.errors import FleetError, UsageError


class LabError(FleetError):
    """The lab could not do what it was asked (exit code 1)."""


class LabUsageError(UsageError):
    """Wrong arguments or a wrong topology; nothing was touched (exit code 2)."""
