"""Which earlier run is meant: an id, its beginning, ``latest``, ``latest~1`` for the one before, or a path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from etcdfleet.errors import UsageError
from etcdfleet.report.record import history
from etcdfleet.report.record.history import RunSummary

Filter = Callable[[RunSummary], bool]
_LATEST = re.compile(r"latest(?:~(\d+))?")
_SHOWN = 5


def run_filter(*, runbook: str = "", host: str = "", failed: bool = False) -> Filter:
    """Return whether a run is one of ``runbook``, with ``host`` in it, and with ``failed`` one that did not go well."""

    def wanted(run: RunSummary) -> bool:
        return (
            (not runbook or run.runbook == runbook)
            and (not host or host in run.hosts)
            and (not failed or run.state not in ("ok", "running"))
        )

    return wanted


def chosen(report_dir: Path, word: str, wanted: Filter = lambda _: True) -> RunSummary:
    """Return the run that ``word`` means; ``latest`` among those ``wanted``. Raises UsageError with near ones."""
    if matched := _LATEST.fullmatch(word):
        back = int(matched[1] or 0)
        run = next(islice(filter(wanted, history.runs(report_dir)), back, None), None)
        if run is None:
            what = f"there are not {back + 1} such runs" if back else "there is no such run yet"
            raise UsageError(what, where=str(report_dir), remedy=_which(report_dir))
        return run
    if "/" in word or word == ".":
        return _at(Path(word).expanduser())
    folders = history.folders(report_dir)
    exact = [folder for folder in folders if folder.name == word]
    near = exact or [folder for folder in folders if folder.name.startswith(word)]
    if len(near) == 1:
        return history.summary_of(near[0])
    if near:
        names = "\n  ".join(folder.name for folder in near[:_SHOWN])
        more = f"\n  and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
        raise UsageError(
            f"{len(near)} runs begin like this", where=word, remedy=f"give more of its name:\n  {names}{more}"
        )
    raise UsageError("there is no such run", where=word, remedy=_which(report_dir, word))


def _at(path: Path) -> RunSummary:
    folder = path.resolve()
    folder = folder if folder.is_dir() else folder.parent
    if not (folder / history.REPORT).is_file():
        raise UsageError(
            "there is no report.json", where=str(path), remedy="give the folder of a run, or its report.json"
        )
    return history.summary_of(folder)


def _which(report_dir: Path, word: str = "") -> str:
    names = [folder.name for folder in history.folders(report_dir)]
    if not names:
        return f"no runs are kept in {report_dir}; another folder is chosen with --report-dir"
    near = [name for name in names if word and word in name] or difflib.get_close_matches(word, names, _SHOWN, 0.7)
    shown = "\n  ".join((near or names)[:_SHOWN])
    which = "near it" if near else "the newest ones"
    return f"{which}, of {len(names)} (all: python3 runbooks/report.py --all):\n  {shown}"
