"""Imported first by each runbook, so that ``python3 runbooks/deploy.py`` works from any folder, with any Python.

Puts the project on the import path, and goes on with the project's own ``.venv`` where the interpreter that was called
lacks what a runbook needs. Works on old interpreters too: it is they who need the explanation.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
NEEDED = ("nornir", "nornir_netmiko", "nornir_jinja2", "hvac", "pydantic", "rich", "yaml", "cryptography")
COMPLETION_NEEDS = ("argcomplete", "yaml")


def missing(needed: tuple[str, ...]) -> list[str]:
    """Return the names of packages that this interpreter lacks."""
    return [name for name in needed if importlib.util.find_spec(name) is None]


def there(python: Path) -> bool:
    """Return whether there is such an interpreter; leave with exit code 2 when it is closed to this user."""
    try:
        python.stat()
    except FileNotFoundError:
        return False
    except PermissionError:
        # The link may well be readable, and what it leads to lie in the home of who made it: /root, with pyenv or uv.
        sys.stderr.write(
            f"{Path(sys.argv[0]).name}: {python} cannot be run by this user: it leads to {os.path.realpath(python)}\n"
            "  remedy: work as the user who ran make setup, or in a clone of your own\n"
        )
        raise SystemExit(2) from None
    return True


def start() -> None:
    """Make the project importable, by another interpreter if need be; leave with exit code 2 if there is none."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    completing = "_ARGCOMPLETE" in os.environ
    lacking = missing(COMPLETION_NEEDS if completing else NEEDED)
    if not lacking and sys.version_info >= (3, 11):
        return
    python = VENV / "bin" / "python"
    # Compared as it was called, since it is a link to the base interpreter; equal means that this was tried already.
    if Path(sys.executable) != python and there(python):
        sys.stdout.flush()
        sys.stderr.flush()
        arguments = getattr(sys, "orig_argv", [sys.executable, *sys.argv])[1:]
        os.execv(python, [str(python), *arguments])  # noqa: S606  the same command, another interpreter
    sys.stderr.write(
        f"{Path(sys.argv[0]).name}: {sys.executable} (Python {sys.version.split()[0]}) cannot run this: "
        f"{'it lacks ' + ', '.join(lacking) if lacking else 'Python 3.11 or later is needed'}\n"
        f"  remedy: make -C {ROOT} setup\n"
    )
    raise SystemExit(2)


def quiet_interrupt(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Say nothing of Ctrl-C before the runbook itself has begun: nothing has happened."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = quiet_interrupt
start()
