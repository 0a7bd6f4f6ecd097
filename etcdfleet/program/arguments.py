"""The command line that all runbooks share: what it says for help, what it refuses, what it is parsed into."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from etcdfleet import __version__
from etcdfleet.errors import UsageError
from etcdfleet.program.options import Options

COMMON_HELP = """\
exit codes:
  0    all is well on every chosen host
  1    something failed; the other hosts' results stand
  2    wrong use or wrong settings; no host was touched
  3    stopped to protect a cluster
  130  interrupted; the report is complete up to there, run again to finish
       (Ctrl-C once: running steps end, no other begins; twice: leave at once)

environment:
  VAULT_ADDR, VAULT_CACERT, VAULT_NAMESPACE   which Vault, before the inventory's settings
  VAULT_TOKEN | VAULT_ROLE_ID, VAULT_SECRET_ID   how to log in to it (else ~/.vault-token)
  ETCDFLEET_SUDO_PASSWORD   password for sudo on the hosts, where sudo asks for one
  NO_COLOR   no colours

Every run is kept in reports/<UTC time>-<runbook>/: report.json (docs/report.md) and the log.
"""

_FOREIGN = {
    **dict.fromkeys(("--dry-run", "--dryrun", "-n", "-C", "--noop"), "--check"),
    **dict.fromkeys(("-l", "--host", "--hosts", "--group", "--groups", "--only-hosts"), "--limit"),
    **dict.fromkeys(("-i", "--inventory", "-c"), "--config"),
    **dict.fromkeys(("-f", "--parallel", "--workers", "-j"), "--forks"),
    **dict.fromkeys(("-y", "--assume-yes", "--no-input"), "--yes"),
    **dict.fromkeys(("-v", "-vv", "-vvv"), "--verbose"),
    **dict.fromkeys(("-q", "--silent"), "--quiet"),
    **dict.fromkeys(("-o", "--output"), "--report-dir"),
    **dict.fromkeys(("-t", "--time-out"), "--timeout"),
    **dict.fromkeys(("-D",), "--diff"),
    **dict.fromkeys(("--trace", "--traceback"), "--debug"),
}
"""What other tools call our options."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in the words, the form and the events of every other refusal."""

    _given: Sequence[str] = ()

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Refuse as argparse does, with a hint for what it does not know."""
        self._given = sys.argv[1:] if args is None else list(args)
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._unknown(unknown[0].partition("=")[0])
        return parsed

    def _unknown(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            how = f"; --limit {word} chooses hosts" if "--limit" in self._option_string_actions else ""
            self._refuse(UsageError(f"unexpected argument {word!r}{how}", remedy=self._remedy))
        near = near_option(word, tuple(self._option_string_actions))
        hint = f" (did you mean {near}?)" if near else ""
        self._refuse(UsageError(f"there is no option {word}{hint}", remedy=self._remedy))

    def error(self, message: str) -> NoReturn:
        """Refuse: exit code 2."""
        place = re.fullmatch(r"argument (?:-\w/)?([^:]+): (.+)", message, re.DOTALL)
        where, what = (place[1], place[2]) if place else ("", message)
        self._refuse(UsageError(what, where=where, remedy=self._remedy))

    @property
    def _remedy(self) -> str:
        return f"python3 {self.prog} --help shows all options, with examples"

    def _refuse(self, error: UsageError) -> NoReturn:
        if "_ARGCOMPLETE" in os.environ:  # a line that is not finished
            self.exit(2)
        from etcdfleet.program.terminal import refuse
        from etcdfleet.report.record.secrets import REDACTOR

        events = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        events.add_argument("--json", nargs="?")
        target = events.parse_known_args(self._given)[0].json
        self.exit(refuse(Path(self.prog).stem, error, Options(json=target), REDACTOR))


def near_option(word: str, options: Sequence[str]) -> str:
    """Return the one of ``options`` that was most likely meant by ``word``; empty when none comes near."""
    foreign = _FOREIGN.get(word, "")
    if foreign in options:
        return foreign
    if not word.startswith("--"):
        return ""
    beginnings = [option for option in options if option.startswith(word)]
    return next(iter(beginnings or difflib.get_close_matches(word, options, n=1)), "")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Lists stay as they are written; prose gets as wide as the terminal, as the options do."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        filled = [p if "\n " in p else textwrap.fill(p, width, break_on_hyphens=False) for p in paragraphs]
        return textwrap.indent("\n\n".join(filled), indent) + "\n"


def parser_of(name: str, description: str, examples: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser without arguments for ``runbooks/<name>.py``, which refuses as all of them do.

    ``examples`` holds one command a line; the help shows them before ``epilog``.
    """
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    epilog = f"examples:\n{lines}\n\n{epilog}" if lines else epilog
    prog = f"runbooks/{name}.py"
    return _Parser(prog=prog, description=description, epilog=epilog, formatter_class=_Help, allow_abbrev=False)


def build_parser(
    name: str,
    description: str,
    examples: str = "",
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.ArgumentParser:
    """Return the parser of runbook ``name``, with the arguments of all; ``add_arguments`` adds its own."""
    parser = parser_of(name, description, examples, COMMON_HELP)
    if add_arguments:
        add_arguments(parser)
    which = parser.add_argument_group("which hosts")
    which.add_argument(
        "--config",
        type=Path,
        default=Options.config,
        metavar="FILE",
        help="Nornir's configuration (default: %(default)s)",
    )
    which.add_argument(
        "--limit",
        type=_words,
        action="extend",
        default=[],
        metavar="NAMES",
        help="only these: host names, globs, groups or clusters, comma separated; !name leaves out",
    )
    which.add_argument(
        "--cluster", type=_words, action="extend", default=[], metavar="NAMES", help="only hosts of these clusters"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--check", action="store_true", help="change nothing, show what would change")
    how.add_argument("--diff", action="store_true", help="show changes of files (never of keys)")
    how.add_argument("--yes", action="store_true", help="answer yes to every question")
    how.add_argument("--forks", type=_count, metavar="N", help="hosts worked on at once (default: config.yaml's)")
    how.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="limit of remote operations that have none of their own (60)",
    )
    shown_as = parser.add_argument_group("output")
    loudness = shown_as.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="only warnings and failures, at the end")
    loudness.add_argument("--verbose", action="store_true", help="each change, too")
    shown_as.add_argument("--json", metavar="FILE", help="events as JSON lines; - for standard output, and only they")
    shown_as.add_argument(
        "--report-dir", type=Path, default=Options.report_dir, metavar="DIR", help="default: %(default)s"
    )
    shown_as.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML, for CI systems")
    shown_as.add_argument("--debug", action="store_true", help="details in the log, tracebacks here")
    parser.add_argument("--version", action="version", version=f"etcdfleet {__version__}")
    return parser


def add_lock_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument of runbooks that let one run at a time work on a cluster."""
    parser.add_argument(
        "--break-lock", action="store_true", help="end another run's hold on a cluster (be sure that it is dead)"
    )


def add_member_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of runbooks that change members or their minor version; a snapshot comes before that."""
    parser.add_argument(
        "--snapshot-dir",
        type=Path,
        metavar="DIR",
        help="where the snapshot is kept that comes before the first change (default: backup.folder, else snapshots)",
    )
    add_lock_argument(parser)


def parse_options(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> Options:
    """Parse ``argv`` (default: the process's). Wrong use ends the process with exit code 2 and a message.

    Asked by a shell what can follow, it answers that, and the process ends.
    """
    if argv is None and "_ARGCOMPLETE" in os.environ:
        from etcdfleet.program.completion import complete

        complete(parser)
    given = vars(parser.parse_args(argv))
    if target := given.get("target"):  # of runbooks that are about one host, or one and another
        given["limit"] = [target, *filter(None, [given.get("to")])]
    return Options(
        config=given.pop("config").expanduser(),
        limit=tuple(given.pop("limit")),
        clusters=tuple(given.pop("cluster")),
        report_dir=given.pop("report_dir").expanduser(),
        **{
            name: given.pop(name)
            for name in ("check", "diff", "yes", "json", "quiet", "verbose", "debug", "junit", "forks", "timeout")
        },
        extra=MappingProxyType(given),
    )


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise argparse.ArgumentTypeError("names at least one host, group or cluster")
    return words


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 upwards")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
