"""A cluster that would begin without data, and whose backups say that it had some."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from etcdfleet.backup.ended import ended, missed, note_end
from etcdfleet.backup.note import Note
from etcdfleet.backup.offhost import OffHost
from etcdfleet.backup.source import LATEST
from etcdfleet.backup.store import listed
from etcdfleet.errors import VerificationError
from etcdfleet.program.run import Run
from etcdfleet.text import counted
from plays import members


@dataclass(frozen=True)
class Found:
    """Why a cluster should not begin without data, where that was found, and what to do."""

    what: str
    where: str
    remedy: str


def confirm_beginning(run: Run[Any], typed: str) -> None:
    """Leave a cluster that would begin without data though a backup of it is kept, unless its name was typed.

    Where that cannot be seen, it is left, too: another user's folder of backups, a store that cannot be reached.

    Hosts that lost everything look as those of a new cluster do. Members that begin without data are healthy, and
    Kubernetes takes what it finds there for the truth. A yes, or ``--yes``, is no answer; nor is it with --check.
    """
    if typed == run.cluster:
        return
    try:
        found = _kept(run)
    except VerificationError as error:
        what = f"its hosts have no data, and whether a backup of it is kept cannot be seen: {error.what}"
        found = Found(what, error.where, error.remedy)
    if found is None:
        return
    question = f"{run.cluster}: {found.what} ({found.where}). To begin without data, type the name of the cluster"
    if run.check or typed or not run.program.named(question, run.cluster):
        meant = f"if it is to begin without data, add --confirm {run.cluster}"
        run.protect(found.what, f"{found.remedy}; {meant}", where=found.where)


def note_end_of(run: Run[Any]) -> None:
    """Note that the cluster was taken down: what was saved of it until now is not missed when it is deployed anew."""
    for folder in members.folders_of(run):
        try:
            note_end(folder, run.cluster, datetime.now(UTC))
        except VerificationError as error:
            run.warn(f"{error.what} ({error.where}): {error.remedy}")


def _kept(run: Run[Any]) -> Found | None:
    """Return what there is of a backup that would be missed: on this machine, else in the store.

    Raises `VerificationError` where that cannot be seen.
    """
    folders, settings = members.folders_of(run), run.members[0].backup
    ends = [ended(folder, run.cluster) for folder in folders]
    lists = [listed(folder, run.cluster) for folder in folders]
    if here := missed((one for good, _ in lists for one in good), ends):
        return _found(run, here.note, str(here.path), shlex.quote(str(here.path)))
    if (bad := [one for _, others in lists for one in others]) and not any(ends):
        what, remedy = "a file is named as a backup of it, and", "look at it and its note, as the user who wrote them"
        raise VerificationError(f"{what} {bad[0].why}", where=str(bad[0].path), remedy=remedy)
    if settings.url and (away := missed(OffHost(settings.url).listed(run.cluster).good, ends)):
        encrypted = away.note.stored is not None and away.note.stored.encrypted
        source = f"{LATEST} --identity KEYFILE" if encrypted else LATEST
        return _found(run, away.note, f"{settings.url}/{away.path}", source)
    return None


def _found(run: Run[Any], note: Note, where: str, source: str) -> Found:
    keys = "" if note.keys is None else f", {counted(note.keys, 'key')}"
    what = (
        f"its hosts have no data, so it would begin without any, and a backup of it is kept: of"
        f" {note.when:%Y-%m-%d %H:%M} UTC, revision {note.revision}{keys}"
    )
    return Found(what, where, f"python runbooks/restore.py {source} --cluster {run.cluster} brings its data back")
