"""Sizes, durations, counts and lists of names as texts, and back: for sentences, for tables, for etcd and Vault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

_UNIT_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(?:\d+(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+)(ms|s|m|h|d)")
_GO_UNIT_SECONDS = {
    **{unit: count / 1000 for unit, count in _UNIT_MILLISECONDS.items()},
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
}
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|μs|ns|d)")
_UNIT_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)")
_DAY = 86400


def parse_duration(text: str) -> timedelta:
    """Return the duration of a text such as ``43800h``, ``30d``, ``90s``, ``15m``, ``1h30m`` or ``0s``.

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
    for unit in ("h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, _UNIT_MILLISECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def go_seconds(text: str) -> float | None:
    """Return a duration of Go (``1m2.5s``, ``3.59ms``) or Vault (which has days) in seconds; None if it is none."""
    if not re.fullmatch(rf"(?:{_GO_PART.pattern})+", text):
        return None
    return sum(float(number) * _GO_UNIT_SECONDS[unit] for number, unit in _GO_PART.findall(text))


def parse_size(value: int | str) -> int:
    """Return bytes from a number of bytes, or from ``1GiB``, ``512MiB``, ``64KiB``.

    Raises ValueError when ``value`` is none of these (``1GB`` included: it would be a guess which of two it means).
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(str(value).strip())
    if not match:
        raise ValueError(f"{value!r} is not a size")
    return int(match[1]) * _UNIT_BYTES[match[2]]


def exact_size(size: int) -> str:
    """Return a size as a setting, in the largest unit that divides it: ``1GiB``, ``1536MiB``, ``1000B``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _UNIT_BYTES[unit] == 0:
            return f"{size // _UNIT_BYTES[unit]}{unit}"
    return f"{size}B"


def size_text(size: int) -> str:
    """Return a size for a table, in the unit that leaves two or three digits: ``20 KiB``, ``1.5 GiB``."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def mib(size: int) -> str:
    """Return a size for a sentence that compares, in MiB whatever the size: ``0.5 MiB``, ``1024 MiB``."""
    return f"{size / 2**20:.0f} MiB" if size >= 10 * 2**20 else f"{size / 2**20:.1f} MiB"


def seconds_text(seconds: float | None) -> str:
    """Return how long something took: ``0.04s``, ``1.2s``, ``34s``, ``2m05s``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 0.095:
        return f"{seconds:.2f}s"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    return clock_text(round(seconds))


def clock_text(seconds: float) -> str:
    """``0s``, ``34s``, ``2m05s``: whole seconds, for a display that counts."""
    whole = int(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60:02d}s"


def span_text(seconds: float) -> str:
    """Return a time for a sentence, in the unit that says most: ``3.0 days``, ``40 hours``, ``12 min``, ``2.1 s``."""
    if seconds >= 2 * _DAY:
        return f"{seconds / _DAY:.1f} days" if seconds < 10 * _DAY else f"{seconds / _DAY:.0f} days"
    if seconds >= 7200:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.1f} s"


def whole_span(length: timedelta) -> str:
    """Return a time for a sentence, rounded down so that it promises no more: ``3 days``, ``5 h``, ``42 s``."""
    seconds = abs(length.total_seconds())
    for unit, size in (("days", _DAY), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def age_text(age: timedelta) -> str:
    """``40 s ago``, ``5 min ago``, ``3 h ago``, ``12 d ago``."""
    seconds = max(age.total_seconds(), 0)
    for unit, size, enough in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < size * enough:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds // _DAY:.0f} d ago"


def days_cell(days: float) -> str:
    """Return the life left, for a narrow column: ``40d``, ``3.0d``, ``30h``, ``90min``."""
    if days >= 2:
        return f"{days:.1f}d" if days < 10 else f"{int(days)}d"
    return f"{days * 24:.0f}h" if days > 1 / 12 else f"{days * 1440:.0f}min"


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 host``, ``3 hosts``; ``plural`` where it is not the noun and an s."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first ``most`` names, and how many more there are: ``a, b, c and 4 more``."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
