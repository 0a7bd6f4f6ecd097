"""Where the checks of the settings write what they found."""

from __future__ import annotations

from pathlib import Path

from etcdfleet.settings.inventory_files import Sources
from etcdfleet.settings.merge import KeyPath
from etcdfleet.settings.partial import Draft
from etcdfleet.settings.problems import Problem


class Notes:
    """Where checks write what they found, with the place looked up from where the value was written."""

    def __init__(self, sources: Sources, mistakes: list[Problem], warnings: list[Problem]) -> None:
        self._sources = sources
        self._mistakes = mistakes
        self._warnings = warnings

    def mistake(self, draft: Draft, key: str | KeyPath, what: str, remedy: str) -> None:
        """Note a mistake at ``key`` of a host: dotted, or in parts where one has dots of its own."""
        self._mistakes.append(self._problem(draft, key, what, remedy))

    def warning(self, draft: Draft, key: str, what: str, remedy: str) -> None:
        """Note a warning at ``key`` (dotted) of a host."""
        self._warnings.append(self._problem(draft, key, what, remedy))

    def plain_warning(self, place: str, key: str, what: str, remedy: str) -> None:
        """Note a warning about something outside the inventory."""
        self._warnings.append(Problem("", place, key, what, remedy))

    def place(self, draft: Draft, key: str) -> str:
        """Return ``host a, inventory/hosts.yaml:12`` for use within a sentence."""
        path = key_path(key)
        origin = draft.merged.origin(path)
        where = self._sources.where(origin, path)
        return f"{origin}, {where}" if where else str(origin)

    def _problem(self, draft: Draft, key: str | KeyPath, what: str, remedy: str) -> Problem:
        path = key_path(key) if isinstance(key, str) else key
        return self._sources.problem(draft.merged.origin(path), ".".join(path), what, remedy, path)


def key_path(key: str) -> KeyPath:
    """Return a dotted key as a path."""
    return tuple(key.split("."))


def must_exist(draft: Draft, key: str | KeyPath, file: str, notes: Notes) -> None:
    """Note a mistake when there is no such file on this machine."""
    if not Path(file).is_file():
        remedy = "correct the path: a relative one starts at the folder of config.yaml"
        notes.mistake(draft, key, f"there is no file {file} on this machine", remedy)
