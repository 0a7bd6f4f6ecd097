"""What is to be done when a run is over, whoever began it: noted by tasks, carried out by the command line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nornir.core.configuration import Config

_KEY = "etcdfleet_at_end"


def at_end(configuration: Config, action: Callable[[], None]) -> None:
    """Have ``action`` called once, at the end of the run that this configuration belongs to."""
    configuration.user_defined.setdefault(_KEY, []).append(action)


def finish(configuration: Config) -> None:
    """Call what was noted. Raises nothing: a run's result does not depend on it."""
    for action in configuration.user_defined.pop(_KEY, []):
        try:
            action()
        except Exception:
            logging.getLogger(__name__).warning("at the end of the run, %s failed", action, exc_info=True)
