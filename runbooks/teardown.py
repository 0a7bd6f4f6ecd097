#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Take a whole cluster down, after a last snapshot; its data are kept unless you say otherwise."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.arguments import add_member_arguments
from etcdfleet.program.main import Program, run_runbook
from etcdfleet.program.whole import add_confirm_argument, only_cluster
from plays.options import TeardownOptions

STEPS = [
    ("snapshot", "Snapshot"),
    ("stop", "Stop for good"),
    ("data", "Data"),
    ("revoke", "Revoke"),
    ("remove", "Remove"),
]

DESCRIPTION = """\
Takes a whole cluster down, once you have typed its name: a last verified snapshot comes to this machine; etcd is
stopped on all hosts and starts at boot no more; only then are its data moved aside, where they are kept (--delete-data
deletes them); with pki.revoke its certificates are revoked; etcd's programs and all files of ours are removed. Every
host must be reachable: a member that runs on could come back. A run that was interrupted is continued by the same
command, with --delete-data by that and --without-snapshot once its members are stopped."""

EXAMPLES = """\
  python runbooks/teardown.py --cluster k8s-home --check
  python runbooks/teardown.py --cluster k8s-home
  python runbooks/teardown.py --cluster k8s-home --confirm k8s-home --delete-data    no question, nothing kept"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    add_confirm_argument(parser)
    parser.add_argument(
        "--delete-data",
        action="store_true",
        help="delete all data of members on the hosts, those that were moved aside earlier included",
    )
    parser.add_argument(
        "--without-snapshot", action="store_true", help="take no last snapshot, or go on though none can be taken"
    )
    add_member_arguments(parser)


def teardown(program: Program[TeardownOptions]) -> None:
    """Take one cluster down; say what is left of it."""
    from plays.teardown import take_down

    options, own = program.options, program.own
    cluster = only_cluster(program, "taken down", "a single member is taken out with runbooks/remove_member.py")
    ended = program.play(take_down)
    if ended and not options.check and program.hosts == program.good_hosts:
        kept = (
            "" if own.delete_data else " Its data are kept on the hosts, in folders removed-TIME of the data directory."
        )
        saved = f" Its last snapshot is {ended[cluster]}." if ended[cluster] else ""
        program.say(
            f"\nCluster {cluster} is taken down.{saved}{kept} Take its hosts out of the inventory, or deploy it anew.\n"
        )


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "teardown",
            teardown,
            description=DESCRIPTION,
            steps=STEPS,
            own=TeardownOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
