#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Mend what etcd cannot mend by itself: members with other data, databases that are full or fragmented."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.arguments import add_member_arguments
from etcdfleet.program.main import Program, run_runbook
from plays.options import RepairOptions

STEPS = [
    ("snapshot", "Snapshot"),
    ("compact", "Compact"),
    ("defragment", "Defragment"),
    ("member", "Member list"),
    ("alarm", "Alarm"),
    ("install", "Install"),
    ("certificates", "Certificates"),
    ("configure", "Configure"),
    ("start", "Join"),
    ("verify", "Verify"),
]

DESCRIPTION = """\
Mends the worst that it finds in each cluster. First, a member whose data differ from what the majority holds, by hash
and by revision (with or without the alarm CORRUPT): it is stopped, its data are moved aside and kept, the alarm is
ended, and it gets all data anew, as by replace_member.py. Second, a database that is full (alarm NOSPACE): a snapshot
comes to this machine, history is compacted where that is needed, the members are defragmented, and once all have room
the alarm is ended, which a write proves. Else databases in which much is free (repair.defragment_free_percent and
repair.defragment_free_bytes) are defragmented, so that their files become smaller.

One member after the other, the leader last and after another has taken over; only while all are healthy and hold the
same data, and where the disk has room for the copy. It stops at the first one on which that fails, and the same
command goes on. A member answers no client while it is defragmented; the others do. Vault is needed only where a
member is replaced. docs/repair.md says more."""

EXAMPLES = """\
  python runbooks/repair.py --check                             what would be done, and how much it frees
  python runbooks/repair.py --cluster k8s-home
  python runbooks/repair.py --force --limit etcd-az-2           this member, however little is free in its file
  python runbooks/repair.py --only defragment --yes --quiet     for a timer: prints warnings and failures alone"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument(
        "--only",
        choices=("data", "space", "defragment"),
        default=None,
        help="data: members whose data differ; space: full databases; defragment: what is worse is left to you, and the"
        " data of members are not compared by hash",
    )
    parser.add_argument(
        "--force", action="store_true", help="defragment all chosen members in whose files anything is free"
    )
    add_member_arguments(parser)


def repair(program: Program[RepairOptions]) -> None:
    """Repair the chosen clusters, side by side."""
    from plays.repair import repair as play

    program.play(play)


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "repair",
            repair,
            description=DESCRIPTION,
            steps=STEPS,
            own=RepairOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
