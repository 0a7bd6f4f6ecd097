"""Shell that runs on hosts, a file each. `script` puts values and commands in front of one.

A file is plain POSIX shell, for dash and for busybox. It begins with a comment that says what it does, and names each
value that it needs as ``: "${value?}"``, for the shell, for shellcheck and for `script`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
_NEEDED = re.compile(r'^: "\$\{\w+\?\}".*$', re.MULTILINE)


def script(
    name: str, /, *arguments: str, functions: Mapping[str, str] | None = None, **values: str | int | float
) -> str:
    """Return the script of this name with all that it needs in front, ready to run.

    ``values`` become quoted assignments (True is ``yes``, False is empty), ``functions`` shell functions of these
    names, and ``arguments`` the positional parameters. Raises TypeError unless ``values`` are those that the file
    names, as a call with wrong keywords does.
    """
    body, needed = _read(name)
    if needed != values.keys():
        raise TypeError(f"{name}.sh needs the values {sorted(needed)}, not {sorted(values)}")
    lines = [f"{key}={shlex.quote(_text(value))}" for key, value in values.items()]
    lines += [f"{key}() {{\n{command or ':'}\n}}" for key, command in (functions or {}).items()]
    return "\n".join([*lines, " ".join(["set --", *map(shlex.quote, arguments)]), body])


@cache
def program(name: str) -> str:
    """Return the text of a file that is no shell, such as a program for perl. It is the value of a script."""
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def _read(name: str) -> tuple[str, frozenset[str]]:
    """Return the script without the comment at its head, which hosts do not need, and the names of its values."""
    lines = program(f"{name}.sh").splitlines(keepends=True)
    head = next(number for number, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    body = "".join(lines[head:])
    return body, frozenset(re.findall(r"\$\{(\w+)\?\}", " ".join(_NEEDED.findall(body))))


def _text(value: str | int | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)
