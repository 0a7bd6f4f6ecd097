"""Durations and sizes as people write them, and as etcd and Vault want them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

_UNIT_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(?:\d+(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNIT_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)")
_FRACTION = re.compile(r"(\d+)\s*/\s*(\d+)")


def parse_duration(text: str) -> timedelta:
    """A duration such as ``43800h``, ``30d``, ``90s``, ``15m``, ``1h30m`` or ``0s``.

    Raises ValueError when ``text`` is none: a number alone has no unit and is refused.
    """
    text = text.strip()
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration")
    milliseconds = sum(int(number) * _UNIT_MILLISECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    try:
        return timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None


def go_duration(duration: timedelta) -> str:
    """``duration`` in Go's syntax, which etcd and Vault read and which has no days: ``43800h``, ``1h30m``, ``0s``."""
    milliseconds = duration // timedelta(milliseconds=1)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(value: int | str) -> int:
    """Bytes from a number of bytes, or from ``1GiB``, ``512MiB``, ``64KiB``.

    Raises ValueError when ``value`` is none of these (``1GB`` included: it would be a guess which of two it means).
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(str(value).strip())
    if not match:
        raise ValueError(f"{value!r} is not a size")
    return int(match[1]) * _UNIT_BYTES[match[2]]


def size_text(size: int) -> str:
    """Bytes in the largest unit that holds them without a remainder: ``1GiB``, ``1536MiB``, ``1000B``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _UNIT_BYTES[unit] == 0:
            return f"{size // _UNIT_BYTES[unit]}{unit}"
    return f"{size}B"


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
        """A certificate with ``lifetime`` (end minus start) is renewed once no more than this much of it is left."""
        if self.fraction is not None:
            return lifetime * self.fraction.numerator / self.fraction.denominator
        return self.duration if self.duration is not None else timedelta(0)

    def __str__(self) -> str:
        return str(self.fraction) if self.fraction is not None else go_duration(self.duration or timedelta(0))
