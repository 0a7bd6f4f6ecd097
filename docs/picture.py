#!/usr/bin/env python3
"""Draws a real session as ``docs/deploy.svg``, ``status.svg`` and ``rotate.svg``.

Runs deploy, status and a rotation on a lab, each in a pseudo-terminal as a person has it, and keeps what they showed.

From the root of the project, with a lab whose hosts are still new (the first deploy is the one to see)::

    .venv/bin/python -m lab up --name picture
    .venv/bin/python docs/picture.py --name picture
    .venv/bin/python -m lab down --name picture

With ``--replay FOLDER`` the bytes of an earlier session (kept with ``--keep FOLDER``) are drawn again.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich import _export_format
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from etcdfleet.report.show.format import PRETTY  # noqa: E402  found by the line above

# What a live display does before it draws itself anew: up a line, erase it, as often as it had lines.
REDRAW = re.compile(r"(?:\r|\x1b\[1A|\x1b\[2K)*\x1b\[1A(?:\r|\x1b\[1A|\x1b\[2K)*")
CURSOR = re.compile(r"\x1b\[\?25[lh]|\x1b\]8;[^\x1b]*\x1b\\")


SESSION = {
    "deploy": ["python3", "runbooks/deploy.py"],
    "status": ["python3", "runbooks/status.py"],
    "rotate": ["python3", "runbooks/rotate_certs.py", "--force"],
}
"""The commands of the session by the name of their picture; the lab's configuration comes last."""


def command_of(run: str, lab: str) -> str:
    """Return the command as it is typed."""
    return shlex.join([*SESSION[run], "--config", f".lab/{lab}/config.yaml"])


def record(run: str, name: str, columns: int, rows: int) -> bytes:
    """Run it on the lab as its user would, on a terminal of that size; gives what it wrote. Exits if it fails."""
    command = f". .lab/{name}/env && exec {command_of(run, name)}"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True
    )
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end was closed: Linux says so with an error
            break
        if not piece:
            break
        written += piece
        sys.stderr.buffer.write(piece)
        sys.stderr.flush()
    os.close(ours)
    if process.wait():
        raise SystemExit(f"picture: {run} ended with exit code {process.returncode}; nothing was drawn")
    return bytes(written)


def frames(written: bytes) -> tuple[list[str], str]:
    """Return what the live display showed, frame by frame, and what the run printed after it."""
    text = CURSOR.sub("", written.decode("utf-8", "replace")).replace("\r\n", "\n")
    *drawn, end = REDRAW.split(text)
    return [frame.strip("\n") for frame in drawn if frame.strip()], end.strip("\n")


def busiest(drawn: list[str]) -> str:
    """Return the frame with most to see: hosts in as many different states as possible, most of them at work."""

    def seen(numbered: tuple[int, str]) -> tuple[int, int, int]:
        number, frame = numbered
        lines = [words for line in frame.splitlines() if len(words := Text.from_ansi(line).plain.split()) > 3]
        working = [words for words in lines if words[0] in PRETTY.spinner]
        states = {tuple(words[2 : 4 if words in working else 5]) for words in lines}
        return len(states) if len(working) > 1 else 0, len(working), number

    return max(enumerate(drawn), key=seen)[1] if drawn else ""


def draw(run: str, written: bytes, name: str, columns: int) -> str:
    """Return the run as SVG: command, live display at work, and end. Needs no network: fonts are the reader's."""
    drawn, end = frames(written)
    console = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    if run == "deploy":
        console.print(Text.assemble(("$ ", "bold green"), f". .lab/{name}/env"))
    console.print(Text.assemble(("$ ", "bold green"), command_of(run, name)))
    if drawn:
        console.print(Text.from_ansi(busiest(drawn)))
        console.print(Text("⋮", "dim"))
    console.print(Text.from_ansi(end))
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", _export_format.CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    template = template.replace("Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace")
    svg = console.export_svg(title="etcdfleet", theme=MONOKAI, code_format=template, unique_id=run)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> int:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description="Draw deploy, status and a rotation on a lab for the README.")
    # Without an argument, argparse looks for the empty list among the choices.
    parser.add_argument("runs", nargs="*", choices=[*SESSION, []], metavar="RUN", help=f"default: {' '.join(SESSION)}")
    parser.add_argument("--name", default="demo", help="the lab to deploy on, which is up (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=120, help="width of the terminal (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=40, help="height of the terminal (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what the runs wrote to the terminal")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="draw what was kept, run nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", metavar="FOLDER")
    options = parser.parse_args()
    for run in options.runs or SESSION:
        if options.replay:
            written = (options.replay / run).read_bytes()
        else:
            written = record(run, options.name, options.columns, options.rows)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / run).write_bytes(written)
        target = options.output / f"{run}.svg"
        target.write_text(draw(run, written, options.name, options.columns), encoding="utf-8")
        print(f"picture: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
