"""A mistake in the settings, and the error that carries all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etcdfleet.errors import FleetError, UsageError
from etcdfleet.text import counted


@dataclass(frozen=True)
class Problem:
    """One mistake or warning.

    ``file`` has ``:line`` where that is known, ``place`` is ``host a``, ``group b`` or ``defaults``, ``key`` is dotted.
    Fields that do not apply are empty.
    """

    file: str
    place: str
    key: str
    what: str
    remedy: str

    @property
    def where(self) -> str:
        """File, place and key in one line, as far as they are known."""
        return ", ".join(part for part in (self.file, self.place, self.key) if part)

    def __str__(self) -> str:
        return str(FleetError(self.what, where=self.where, remedy=self.remedy))


class SettingsError(UsageError):
    """The settings cannot be worked with; ``problems`` holds every mistake found, and nothing was touched."""

    def __init__(self, problems: Sequence[Problem], *, where: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"{counted(len(self.problems), 'mistake')} in the settings",
            where=where,
            remedy="correct what is listed and run again; no host was touched",
        )

    def __str__(self) -> str:
        listed = "\n".join(f"{number}. {problem}" for number, problem in enumerate(self.problems, 1))
        title = f"{self.where}: {self.what}" if self.where else self.what
        return f"{title}\n{listed}\n{self.remedy}"


def did_you_mean(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `` (did you mean x?)``, or nothing when none of the ``words`` is close."""
    matches = difflib.get_close_matches(word.lower(), list(words), n=1, cutoff=cutoff)
    return f" (did you mean {matches[0]}?)" if matches else ""


def in_file_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return each problem once, by file and line, so that a person can correct a file from top to bottom."""

    def key(problem: Problem) -> tuple[str, int]:
        file, _, line = problem.file.rpartition(":")
        return (file, int(line)) if line.isdigit() else (problem.file, 0)

    return tuple(sorted(dict.fromkeys(problems), key=key))
