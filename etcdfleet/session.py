"""What belongs to one run of Nornir, and is shared by its tasks: one typed value behind Nornir's configuration."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from nornir.core.configuration import Config

    from etcdfleet.remote import Held

_KEY = "etcdfleet_session"
T = TypeVar("T")


@dataclass
class Session:
    """``timeout`` and ``connect_timeout`` are in seconds, None for the defaults of each operation.

    ``locks`` are the locks that this run holds, by host.
    """

    timeout: float | None = None
    connect_timeout: float | None = None
    locks: dict[str, Held] = field(default_factory=dict)
    _endings: list[Callable[[], None]] = field(default_factory=list)
    _kept: dict[Hashable, tuple[object, Any]] = field(default_factory=dict)
    _making: threading.RLock = field(default_factory=threading.RLock)

    def keep(self, key: Hashable, make: Callable[[], T], *, of: object = None) -> T:
        """Return what ``make`` first gave for this key; made anew when it belongs to another ``of``."""
        with self._making:
            owner, made = self._kept.get(key, (self, None))
            if owner is not of:
                made = make()
                self._kept[key] = of, made
        value: T = made
        return value

    def at_end(self, action: Callable[[], None]) -> None:
        """Have ``action`` called once, at the end of the run."""
        self._endings.append(action)

    def finish(self) -> None:
        """Call what was noted. Raises nothing: a run's result does not depend on it."""
        while self._endings:
            action = self._endings.pop(0)
            try:
                action()
            except Exception:
                logging.getLogger(__name__).warning("at the end of the run, %s failed", action, exc_info=True)


def session_of(configuration: Config) -> Session:
    """Return the session that this configuration belongs to."""
    session: Session = configuration.user_defined.setdefault(_KEY, Session())
    return session
