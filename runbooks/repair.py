#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Mend what etcd cannot mend by itself: databases that are fragmented."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.arguments import add_lock_argument
from etcdfleet.program.main import Program, run_runbook
from plays.options import RepairOptions

STEPS = [("defragment", "Defragment"), ("verify", "Verify")]

DESCRIPTION = """\
Defragments the databases in which so much is free as the inventory says (repair.defragment_free_percent and
repair.defragment_free_bytes), so that their files become smaller: one member after the other, the leader last and after
another has taken over, only while all members are healthy and hold the same data, and only where the disk has room for
the copy. It stops at the first member on which that fails. A member answers no client while it is defragmented; the
others do. For a timer as well; needs no Vault. docs/repair.md says more."""

EXAMPLES = """\
  python runbooks/repair.py --check                      what would be done, and how much it frees
  python runbooks/repair.py --cluster k8s-home
  python runbooks/repair.py --force --limit etcd-az-2    this member, however little is free in its file
  python runbooks/repair.py --yes --quiet                for a timer: only warnings and failures are printed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument(
        "--force", action="store_true", help="defragment all chosen members in whose files anything is free"
    )
    add_lock_argument(parser)


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
