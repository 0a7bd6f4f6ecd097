#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Bring a whole cluster back from a snapshot, whatever is left of it; old data are moved aside and kept."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.errors import UsageError
from etcdfleet.program.arguments import add_member_arguments
from etcdfleet.program.main import Program, run_runbook
from plays.options import RestoreOptions

STEPS = [
    ("preflight", "Preflight"),
    ("install", "Install"),
    ("snapshot", "Last snapshot"),
    ("stop", "Stop for good"),
    ("data", "Old data"),
    ("restore", "Restore"),
    ("certificates", "Certificates"),
    ("configure", "Configure"),
    ("start", "Start"),
    ("member", "Member list"),
    ("finish", "Finish"),
    ("verify", "Verify"),
]

DESCRIPTION = """\
Restores a cluster from a snapshot, once you have typed its name. FILE is a snapshot of any origin, or latest: the
newest good one of the cluster in the folder of snapshots. It is checked here, hash and pages, before anything else.
Then etcd is stopped on all hosts, old data are moved aside and kept, the snapshot is restored on one host under a new
token, that member is started and compared with the snapshot, and the others join it, so no member can be silently
empty. Of a cluster that still works a last snapshot is taken before. A run that was interrupted anywhere is continued
by the same command. What the restore loses is said in the question."""

EXAMPLES = """\
  python runbooks/restore.py latest --cluster k8s-home --check      what would be done, and what is lost
  python runbooks/restore.py latest --cluster k8s-home
  python runbooks/restore.py snapshots/k8s-home/k8s-home-20261126T020000Z-4711.db --cluster k8s-home
  python runbooks/restore.py latest --cluster k8s-home --without etcd-az-3    a host that cannot be reached
  python runbooks/restore.py --from-member etcd-az-2 --cluster k8s-home       the only one that still has its data"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument("snapshot", metavar="FILE", nargs="?", default="", help="a snapshot on this machine, or latest")
    parser.add_argument(
        "--from-member",
        default="",
        metavar="HOST",
        help="in place of FILE: of what this host still has, where no majority of the members works",
    )
    parser.add_argument(
        "--confirm", default="", metavar="NAME", help="the cluster's name once more, in place of the question for it"
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="HOST",
        help="leave out a host that cannot be reached (may be given more than once); it joins later",
    )
    parser.add_argument(
        "--without-snapshot", action="store_true", help="take no last snapshot of a cluster that still answers"
    )
    parser.add_argument(
        "--bump-revision",
        action="store_true",
        help="raise revisions by 1000000000, for clients that keep watches or caches (etcd 3.4.27, 3.5.10 and newer)",
    )
    parser.add_argument(
        "--anew",
        action="store_true",
        help="begin anew, over a restore that cannot be completed, or that was completed from this snapshot",
    )
    add_member_arguments(parser, RestoreOptions.snapshot_dir)


def restore_cluster(program: Program[RestoreOptions]) -> None:
    """Restore one cluster; say what it is now."""
    from plays.restore import restore

    options, own = program.options, program.own
    if options.limit:
        raise UsageError(
            "a cluster is restored as a whole",
            where="--limit",
            remedy="leave it out; hosts that cannot be reached are left out with --without HOST",
        )
    if len(options.clusters) != 1 or len(program.clusters) != 1:
        clusters = ", ".join(program.clusters)
        raise UsageError(
            "one cluster is restored at a time", where="--cluster", remedy=f"add --cluster with one of: {clusters}"
        )
    (cluster,) = program.clusters
    if own.confirm and own.confirm != cluster:
        raise UsageError(
            f"{own.confirm!r} is not the name of the cluster, which is {cluster!r}",
            where="--confirm",
            remedy="type the name of the cluster that you mean in both places",
        )
    if bool(own.snapshot) == bool(own.from_member):
        raise UsageError(
            "a cluster is restored from one source",
            where="FILE",
            remedy="name a snapshot, or latest, or add --from-member HOST",
        )
    if own.from_member in own.without or (own.from_member and own.from_member not in program.hosts):
        raise UsageError(
            f"{own.from_member} is no host of {cluster} that takes part",
            where="--from-member",
            remedy=f"name one of: {', '.join(program.hosts)}",
        )
    if strange := [host for host in own.without if host not in program.hosts]:
        raise UsageError(
            f"{', '.join(strange)} is no host of {cluster}",
            where="--without",
            remedy=f"name one of: {', '.join(program.hosts)}",
        )
    ended = program.play(restore)
    if ended.get(cluster):
        program.say(
            f"\nCluster {cluster} is restored: {ended[cluster]}. Old data are kept on the hosts, in folders"
            " removed-TIME of the data directory.\n"
        )


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "restore",
            restore_cluster,
            description=DESCRIPTION,
            steps=STEPS,
            own=RestoreOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
