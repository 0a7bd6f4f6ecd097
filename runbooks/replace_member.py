#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Bring a host back into its cluster that has lost its data: a dead SD card, a new machine in its place."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.errors import UsageError
from etcdfleet.program.arguments import add_member_arguments
from etcdfleet.program.main import Program, run_runbook
from plays.options import ReplaceOptions

STEPS = [
    ("preflight", "Preflight"),
    ("snapshot", "Snapshot"),
    ("member", "Member list"),
    ("install", "Install"),
    ("certificates", "Certificates"),
    ("configure", "Configure"),
    ("start", "Join"),
    ("retire", "Stop for good"),
    ("revoke", "Revoke"),
    ("verify", "Verify"),
]

DESCRIPTION = """\
Makes HOST a member of its cluster anew, as long as a majority of the others works: a verified snapshot comes to this
machine; the old entry is removed; what is left of a member on the host is moved aside and kept; the host is added as a
learner, gets all data from the others, and then its vote. A learner costs the cluster no quorum, however long it takes.
A host that is a healthy member is left as it is, but with --with it moves: NEWHOST becomes a member first, and then the
one on HOST is removed, so that the cluster can lose as many as before all the time. Each step is looked at before the
next, so a run that was interrupted anywhere is continued by the same command."""

EXAMPLES = """\
  python runbooks/replace_member.py etcd-az-2 --check              what would be done
  python runbooks/replace_member.py etcd-az-2                      it has a new SD card, or lost its data
  python runbooks/replace_member.py etcd-az-4 --instead-of etcd-az-2    a spare takes the place of one that is gone
  python runbooks/replace_member.py etcd-az-2 --with etcd-az-4          a healthy member moves to another machine"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument("target", metavar="HOST", help="the host in the inventory that is to hold the member")
    parser.add_argument(
        "--instead-of",
        default="",
        metavar="MEMBER",
        help="name or id of the member that is gone, where it has another name than the host's",
    )
    parser.add_argument(
        "--with",
        dest="to",
        default="",
        metavar="NEWHOST",
        help="move the healthy member on HOST to this one, which is in the inventory, too",
    )
    add_member_arguments(parser)


def replace_member(program: Program[ReplaceOptions]) -> None:
    """Replace the member on one host; the others of its cluster are asked, and go on."""
    from plays.replace_member import move, replace

    wanted = [name for name in (program.own.target, program.own.to) if name]
    if sorted(wanted) != sorted(program.hosts):
        raise UsageError(
            f"one member is replaced at a time, and {' and '.join(wanted)} would be {', '.join(program.hosts)}",
            where="HOST",
            remedy="name single hosts of the inventory",
        )
    if len(program.clusters) != 1 or (program.own.to and program.own.instead_of):
        raise UsageError(
            f"{program.own.target} cannot move to {program.own.to}",
            where="--with",
            remedy="name another host of the same cluster; --instead-of is for a member that is gone",
        )
    program.play(move if program.own.to else replace)


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "replace_member",
            replace_member,
            description=DESCRIPTION,
            steps=STEPS,
            own=ReplaceOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
