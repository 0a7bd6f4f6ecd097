"""When a certificate is due, as people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from etcdfleet.text import go_duration, parse_duration

_FRACTION = re.compile(r"(\d+)\s*/\s*(\d+)")


@dataclass(frozen=True)
class RenewBefore:
    """When a certificate is due: a share of its life that is left, or a time before its end (one is set)."""

    fraction: Fraction | None = None
    duration: timedelta | None = None

    @classmethod
    def parse(cls, text: str) -> RenewBefore:
        """From ``1/3`` or ``720h``; raises ValueError for anything else, and for a fraction not between 0 and 1."""
        match = _FRACTION.fullmatch(text.strip())
        if not match:
            return cls(duration=parse_duration(text))
        if not 0 < int(match[1]) < int(match[2]):
            raise ValueError(f"{text!r} is not between 0 and 1")
        return cls(fraction=Fraction(int(match[1]), int(match[2])))

    def threshold(self, lifetime: timedelta) -> timedelta:
        """Return how much of ``lifetime`` (end minus start) is left when a certificate is due to be renewed."""
        if self.fraction is not None:
            return lifetime * self.fraction.numerator / self.fraction.denominator
        return self.duration if self.duration is not None else timedelta(0)

    def __str__(self) -> str:
        return str(self.fraction) if self.fraction is not None else go_duration(self.duration or timedelta(0))
