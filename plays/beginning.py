"""A cluster that would begin without data, and whose backups say that it had some."""

from __future__ import annotations

import shlex
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


def confirm_beginning(run: Run[Any], typed: str) -> None:
    """Leave a cluster that would begin without data though a backup of it is kept, unless its name was typed.

    Hosts that lost everything look as those of a new cluster do. Members that begin without data are healthy, and
    Kubernetes takes what it finds there for the truth. A yes, or ``--yes``, is no answer; nor is it with --check.
    """
    if typed == run.cluster or (found := _kept(run)) is None:
        return
    note, where, source = found
    keys = "" if note.keys is None else f", {counted(note.keys, 'key')}"
    what = (
        f"its hosts have no data, so it would begin without any, and a backup of it is kept: of"
        f" {note.when:%Y-%m-%d %H:%M} UTC, revision {note.revision}{keys}"
    )
    question = f"{run.cluster}: {what} ({where}). To begin without data, type the name of the cluster"
    if run.check or typed or not run.program.named(question, run.cluster):
        run.protect(
            what,
            f"python runbooks/restore.py {source} --cluster {run.cluster} brings its data back; if it is to begin"
            f" without them, add --confirm {run.cluster}",
            where=where,
        )


def note_end_of(run: Run[Any]) -> None:
    """Note that the cluster was taken down: what was saved of it until now is not missed when it is deployed anew."""
    for folder in members.folders_of(run):
        try:
            note_end(folder, run.cluster, datetime.now(UTC))
        except VerificationError as error:
            run.warn(f"{error.what} ({error.where}): {error.remedy}")


def _kept(run: Run[Any]) -> tuple[Note, str, str] | None:
    """Return the note of the newest backup that would be missed, where it is, and how ``restore.py`` is told of it.

    Those in the store count where there is none on this machine.
    """
    folders, settings = members.folders_of(run), run.members[0].backup
    ends = [ended(folder, run.cluster) for folder in folders]
    try:
        if here := missed((one for folder in folders for one in listed(folder, run.cluster)[0]), ends):
            return here.note, str(here.path), shlex.quote(str(here.path))
        if settings.url and (away := missed(OffHost(settings.url).listed(run.cluster).good, ends)):
            return away.note, f"{settings.url}/{away.path}", LATEST
    except VerificationError as error:
        run.warn(f"whether a backup of it is kept cannot be seen: {error.what} ({error.where}); {error.remedy}")
    return None
