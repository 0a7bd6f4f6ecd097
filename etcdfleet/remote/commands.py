"""Commands on a host: what one gave, several in one round trip, files put in place; pure."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etcdfleet.errors import RemoteError

AT_WORK = 8
"""The descriptor on which a command keeps a file open for as long as it works. No script uses it for anything else."""


@dataclass(frozen=True)
class CommandResult:
    """What a command gave: exit code, both outputs as text, and the seconds it took."""

    rc: int
    stdout: str
    stderr: str
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the exit code was 0."""
        return self.rc == 0

    @property
    def text(self) -> str:
        """Standard output without the white space around it."""
        return self.stdout.strip()


@dataclass(frozen=True)
class RemoteFile:
    """A file to be put on a host. ``content`` is not shown in a repr, since it may be a private key."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"


def whole(script: str) -> str:
    """Return a script of which a shell does nothing before it has read all of it.

    It comes by the connection: where that is lost on the way, the first half alone would be run.
    """
    return f"{{\n:\n{script}\n}}\n"


def at_work(file: str) -> str:
    """Return a line of shell in front of a script: all that it starts has a file open, if that is there, until it ends.

    A command goes on when its connection is lost, with SIGKILL to the run for instance. Whoever works on the host next
    sees by the open file (`/proc/*/fd`) that it has not ended. It costs no process.
    """
    return f"[ ! -r {shlex.quote(file)} ] || exec {AT_WORK}<{shlex.quote(file)}\n"


def outliving(command: str) -> str:
    """Return shell that carries a command through, whatever becomes of the connection and of this shell meanwhile.

    It runs in a session of its own. What it prints goes to a file first, and to standard error at the end: a program
    that writes to a connection that is gone is ended by that, and OpenRC then takes the start of a service for done.
    What the command leaves running, as a service, does not count as work of a run (`at_work`).
    """
    command = f"(\nexec {AT_WORK}<&-\n{command}\n)\nexit $?"
    return f"""out=$(mktemp /run/etcdfleet.XXXXXX 2>/dev/null || mktemp 2>/dev/null || echo /dev/null)
setsid sh -c {shlex.quote(command)} >"$out" 2>&1 </dev/null
code=$?
cat "$out" >&2
[ "$out" = /dev/null ] || rm -f "$out"
(exit $code)"""


def batch_script(commands: Mapping[str, str], parallel: bool) -> str:
    """Return a script that runs others and tells their exit codes and outputs apart."""
    # Outputs go to /run first (a tmpfs: works with a full disk), then out together, after all exit codes and lengths:
    # starting a process is what takes time on a small host, so there are three for all commands, not four for each.
    lines = [
        "d=$(mktemp -d /run/etcdfleet.XXXXXX 2>/dev/null || mktemp -d) || exit 98",
        "trap 'rm -rf \"$d\"' EXIT",
        "rcs=",
    ]
    for number, command in enumerate(commands.values()):
        job = f'(\n{command}\n) >"$d/o{number}" 2>"$d/e{number}" </dev/null'
        lines += [f"{job} & p{number}=$!"] if parallel else [job, 'rcs="$rcs $?"']
    if parallel:
        lines += [f'wait $p{number}; rcs="$rcs $?"' for number in range(len(commands))]
    files = " ".join(f"o{number} e{number}" for number in range(len(commands)))
    if files:
        lines += ['echo "$rcs"; cd "$d" || exit 98', f"wc -c {files}", f"cat {files}"]
    return "\n".join([*lines, "exit 0", ""])


def parse_batch(data: bytes, names: Sequence[str], host: str) -> dict[str, CommandResult]:
    """Return the answer of such a script. Raises RemoteError when something else was said in between."""
    # A line of exit codes; a line for each output, its length first; one with their sum; and the outputs, end to end.
    results: dict[str, CommandResult] = {}
    if not names:
        return results
    *head, rest = data.split(b"\n", 2 * len(names) + 2)
    try:
        codes = [int(word) for word in head[0].split()]
        sizes = [int(line.split()[0]) for line in head[1:-1]]
    except (ValueError, IndexError):
        codes, sizes = [], []
    if len(codes) != len(names) or len(sizes) != 2 * len(names) or len(rest) != sum(sizes):
        raise RemoteError(
            "the answer to a batch of commands is garbled",
            where=host,
            remedy="a login script of this user prints to non-interactive shells; silence it",
        )
    position = 0
    for number, name in enumerate(names):
        middle = position + sizes[2 * number]
        end = middle + sizes[2 * number + 1]
        results[name] = CommandResult(
            codes[number], rest[position:middle].decode("utf-8", "replace"), rest[middle:end].decode("utf-8", "replace")
        )
        position = end
    return results


def place_script(files: Sequence[RemoteFile], before: str, after: str) -> str:
    """Return a script that puts files in place: each is whole, or the previous one is there.

    Folders that ``before`` makes on the way are open to all: user etcd must be able to pass them.
    """
    trap = "trap '[ -z \"$tmp\" ] || rm -f $tmp' EXIT"
    lines = ["set -eu", "tmp=''", trap, "umask 022", before, "umask 077"]
    renames = []
    for number, file in enumerate(files):
        folder, _, name = file.path.rpartition("/")
        encoded = base64.encodebytes(file.content).decode()
        lines += [
            f't{number}=$(mktemp {shlex.quote(f"{folder}/.{name}.XXXXXX")}); tmp="$tmp $t{number}"',
            f'base64 -d >"$t{number}" <<"EOF"\n{encoded}EOF',
            f'chown {shlex.quote(f"{file.owner}:{file.group}")} "$t{number}"; chmod {file.mode:04o} "$t{number}"',
            f'sync "$t{number}"',
        ]
        renames.append(f'mv -f "$t{number}" {shlex.quote(file.path)}')
    folders = sorted({file.path.rpartition("/")[0] for file in files})
    return "\n".join([*lines, *renames, "tmp=''", *(f"sync {shlex.quote(f)}" for f in folders), after, ""])


def last_lines(text: str, count: int = 3) -> str:
    """Return the last non-empty lines of an output, joined for a one-line message."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " | ".join(lines[-count:])


def hint(result: CommandResult, otherwise: str = "") -> str:
    """Return the remedy for a script that failed, by what it said."""
    text = result.stderr + result.stdout
    if "No space left" in text:
        hint = "free space on that file system of the host (df -h), then run again"
        return hint if otherwise else f"{hint}: nothing was half replaced"
    if "Read-only file system" in text:
        return "the file system is read-only: check the SD card (dmesg) and remount it"
    return otherwise or "run again with --debug, or look at the log of this run"
