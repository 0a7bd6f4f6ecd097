"""What several hosts say alike is said once, whatever host it names: pure functions over texts."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

HOST = "HOST"
"""What stands for the host's own name, FQDN or address where a text is said of several hosts."""
_PARTS = re.compile(r"\d+|\D+")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Together(Generic[K]):
    """Texts that hosts say alike; ``places`` are sorted, as people count."""

    places: tuple[str, ...]
    kind: K
    texts: tuple[str, ...]


def together(statements: Iterable[tuple[str, Iterable[str], K, tuple[str, ...]]]) -> list[Together[K]]:
    """Join what is alike: (place, the names of its host if it is one, kind, texts), in the order of the first ones."""
    equal: dict[tuple[K, tuple[str, ...]], dict[str, tuple[str, ...]]] = {}
    for place, names, kind, texts in statements:
        equal.setdefault((kind, texts), {})[place] = tuple(names)
    groups: dict[tuple[K, tuple[str, ...]], list[tuple[str, tuple[str, ...]]]] = {}
    for (kind, texts), places in equal.items():
        # What several say in the same words names none of them.
        own = next(iter(places.values())) if len(places) == 1 else ()
        masked = tuple(without_names(text, own) for text in texts)
        groups.setdefault((kind, masked), []).extend((place, texts) for place in places)
    return [
        Together(
            natural(dict.fromkeys(place for place, _ in same)),
            kind,
            same[0][1] if all(texts == same[0][1] for _, texts in same) else masked,
        )
        for (kind, masked), same in groups.items()
    ]


def without_names(text: str, names: Iterable[str]) -> str:
    """Return the text with a host's own names and addresses replaced; those of other hosts stay."""
    for name in sorted({name for name in names if name}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.:-]){re.escape(name)}(?![\w-]|\.\w)", HOST, text)
    return text


def natural(names: Iterable[str]) -> tuple[str, ...]:
    """Sorted as people count: pi-2 before pi-10."""
    return tuple(
        sorted(names, key=lambda name: [part.zfill(12) if part.isdigit() else part for part in _PARTS.findall(name)])
    )
