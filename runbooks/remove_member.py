#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Take a member out of its cluster for good; the others go on without it."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.errors import UsageError
from etcdfleet.program.arguments import add_member_arguments
from etcdfleet.program.main import Program, run_runbook
from plays.options import RemoveOptions

STEPS = [
    ("snapshot", "Snapshot"),
    ("member", "Member list"),
    ("retire", "Stop for good"),
    ("revoke", "Revoke"),
    ("verify", "Verify"),
]

DESCRIPTION = """\
Takes the member on HOST out of its cluster, as long as all that are left are healthy: a verified snapshot comes to this
machine, a leader hands its leadership over, the entry is removed; etcd on the host is stopped and starts at boot no
more; its data are moved aside and kept; with pki.revoke its certificates are revoked. The last member is never removed.
A member whose host is gone is removed by its name: --gone NAME --cluster CLUSTER. The inventory is yours: the end says
the line to take out. A run that was interrupted is continued by the same command."""

EXAMPLES = """\
  python runbooks/remove_member.py etcd-az-4 --check
  python runbooks/remove_member.py etcd-az-4
  python runbooks/remove_member.py --gone etcd-az-9 --cluster k8s-home    its host is not in the inventory any more"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument("target", nargs="?", default="", metavar="HOST", help="the host whose member is to go")
    parser.add_argument(
        "--gone", default="", metavar="MEMBER", help="in place of HOST: name or id of a member whose host is gone"
    )
    add_member_arguments(parser)


def remove_member(program: Program[RemoveOptions]) -> None:
    """Remove one member; say which lines of the inventory are left of it."""
    from etcdfleet.settings.config import where_host
    from plays.remove_member import remove

    target, gone = program.own.target, program.own.gone
    if bool(target) == bool(gone):
        raise UsageError(
            "one member is removed at a time", where="HOST", remedy="name its host, or with --gone the member"
        )
    if target and program.hosts != (target,):
        hosts = ", ".join(program.hosts)
        raise UsageError(
            f"{target!r} is no single host: it stands for {hosts}", where="HOST", remedy=f"name one of them: {hosts}"
        )
    if gone and len(program.clusters) != 1:
        clusters = ", ".join(program.clusters)
        raise UsageError("which cluster is it of?", where="--gone", remedy=f"add --cluster with one of: {clusters}")
    ended = program.play(remove)
    if target and ended and not program.options.check and program.hosts == program.good_hosts:
        place = where_host(program.options.config, program.hosts[0])
        program.say(f"\nNow take {program.hosts[0]} out of the inventory ({place}), and deploy the others.\n")


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "remove_member",
            remove_member,
            description=DESCRIPTION,
            steps=STEPS,
            own=RemoveOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
