"""Running system programs, with errors a person can act on."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lab.errors import LabError


def run(argv: Sequence[str], *, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
    """Run a program and return its standard output.

    ``check=False`` ignores failure. Raises LabError if the program is missing, fails, or takes more than ``timeout``
    seconds. Nothing secret may be in ``argv``; ``stdin`` may be.
    """
    command = " ".join(argv)
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed", where="this machine", remedy="sh lab/system.sh") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"took longer than {timeout:.0f} s", where=command, remedy="look for what blocks it") from error
    if check and done.returncode != 0:
        message = (done.stderr or done.stdout).strip()[-2000:] or "it said nothing"
        raise LabError(f"exit code {done.returncode}: {message}", where=command, remedy="see the message above")
    return done.stdout
