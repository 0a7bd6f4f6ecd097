#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Backups of clusters, each checked as it arrives; lists them, reads them again, and removes old ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.main import Program, run_runbook
from plays.options import BackupOptions

TAKE = [("look", "Look"), ("snapshot", "Snapshot"), ("retention", "Retention"), ("copies", "Copies")]
LIST = [("look", "Look"), ("copies", "Copies")]
VERIFY = [("verify", "Verify")]
DRILL = [("look", "Look"), ("drill", "Drill")]
FETCH = [("fetch", "Fetch")]

DESCRIPTION = """\
Brings a snapshot of each chosen cluster to this machine, several at a time: from the leader, or from a member that has
all that the leader had. Its hash and its pages are checked here, a note beside it says what it is of, and nothing stays
on the host. Then backups go that are not wanted any more (backup.daily, weekly, monthly), once those that stay were
read and found good: the last good one never goes, nor what this project has not written. A cluster whose members
differ, or that has no leader, gives none. Takes no lock; of a cluster any host may be chosen, and all are asked."""

EXAMPLES = """\
  python runbooks/backup.py --quiet                a backup of every cluster: for a timer
  python runbooks/backup.py --cluster k8s-home     of one
  python runbooks/backup.py --list                 what there is, with the age and the last check of each
  python runbooks/backup.py --verify               read all copies again; touches no host
  python runbooks/backup.py --drill                restore the newest one for a trial, and compare
  python runbooks/backup.py --fetch --cluster k8s-home --identity key.txt    the newest copy, back from the store"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list the snapshots that there are, and do no more")
    what.add_argument(
        "--verify", action="store_true", help="read all snapshots that there are again, and say which are bad"
    )
    what.add_argument(
        "--drill",
        action="store_true",
        help="restore the newest good one for a trial, and compare it with its note",
    )
    what.add_argument(
        "--fetch",
        nargs="?",
        const="latest",
        metavar="NAME",
        help="bring a copy from the store (backup.url) to this machine: the newest one, or the one of this name",
    )
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE",
        help="with --fetch: the secret key of age, where copies are encrypted (backup.recipients)",
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="in place of backup.folder of the settings")
    parser.add_argument(
        "--textfile",
        type=Path,
        metavar="FILE",
        help="write the time of the last good backup for Prometheus (node_exporter's textfile collector)",
    )


def backup(program: Program[BackupOptions]) -> None:
    """Do for all clusters side by side what was asked for."""
    from etcdfleet.report.export.metrics import write_at_end
    from plays.backup import back_up, drill, fetch, list_them, read_again

    own = program.own
    if own.list:
        from etcdfleet.report.show.backups import print_backups

        found = program.play(list_them)
        program.terminal.ending = lambda console, _marks, quiet: None if quiet else print_backups(console, found)
        return
    if own.textfile:
        write_at_end(program.nornir.config, program.record.record, own.textfile, program.terminal.complain)
    program.play(read_again if own.verify else drill if own.drill else fetch if own.fetch else back_up)


if __name__ == "__main__":
    words = {word.partition("=")[0] for word in sys.argv[1:]}
    other = {"--list": LIST, "--verify": VERIFY, "--drill": DRILL, "--fetch": FETCH}
    steps = next((steps for word, steps in other.items() if word in words), TAKE)
    sys.exit(
        run_runbook(
            "backup",
            backup,
            description=DESCRIPTION,
            steps=steps,
            own=BackupOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
            rows="clusters",
            only_looks=steps is LIST,
        )
    )
