#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Bring a whole cluster back from a snapshot, whatever is left of it; old data are moved aside and kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.errors import UsageError
from etcdfleet.program.arguments import add_member_arguments
from etcdfleet.program.main import Program, run_runbook
from etcdfleet.program.whole import add_confirm_argument, only_cluster
from plays.options import RestoreOptions

STEPS = [
    ("sources", "Sources"),
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
Restores a cluster from a snapshot, once you have typed its name. Without a source it changes nothing, and says what the
cluster can be restored from and what each loses, with the commands. FILE is a snapshot of any origin, or latest: the
newest good one of the cluster here, or else in the store. It is checked here, hash and pages, before anything else.
Then etcd is stopped on all hosts, old data are moved aside and kept, the snapshot is restored on one host under a new
token, that member is started and compared with the snapshot, and the others join it, so no member can be silently
empty. Of a cluster that still works a last snapshot is taken before. A run that was interrupted anywhere is continued
by the same command. What the restore loses is said in the question."""

EXAMPLES = """\
  python runbooks/restore.py --cluster k8s-home     what there is to restore from, what each loses; changes nothing
  python runbooks/restore.py latest --cluster k8s-home --check      what would be done, and what is lost
  python runbooks/restore.py latest --cluster k8s-home
  python runbooks/restore.py snapshots/k8s-home/k8s-home-20261126T020000Z-4711.db --cluster k8s-home
  python runbooks/restore.py latest --cluster k8s-home --without etcd-az-3    a host that cannot be reached
  python runbooks/restore.py --from-member etcd-az-2 --cluster k8s-home       the only one that still has its data
  python runbooks/restore.py --from-data etcd-az-2:/var/lib/etcd/removed-20261126T101500Z --cluster k8s-home
  python runbooks/restore.py latest --clone k8s-home --cluster k8s-test       a copy of another cluster"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument(
        "snapshot",
        metavar="FILE",
        nargs="?",
        default="",
        help="a snapshot on this machine, or latest, or the name of a copy in the store; without it, say what there is",
    )
    parser.add_argument(
        "--from-member",
        default="",
        metavar="HOST",
        help="in place of FILE: of what this host still has, where no majority of the members works",
    )
    parser.add_argument(
        "--from-data",
        default="",
        metavar="HOST:FOLDER",
        help="in place of FILE: of a member's data in a folder of a host, such as those moved aside (removed-TIME)",
    )
    parser.add_argument(
        "--clone",
        default="",
        metavar="CLUSTER",
        help="the snapshot is of this other cluster, and the one of --cluster becomes a copy of it",
    )
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE",
        help="the secret key of age, where a copy comes from the store (backup.url) and is encrypted",
    )
    add_confirm_argument(parser)
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
        action=argparse.BooleanOptionalAction,
        help="raise revisions by 1000000000, for clients that keep watches or caches (etcd 3.4.27, 3.5.10 and newer);"
        " if neither is given, as cluster.clients has it",
    )
    parser.add_argument(
        "--anew",
        action="store_true",
        help="begin anew, over a restore that cannot be completed, or that was completed from this snapshot",
    )
    add_member_arguments(parser)


def restore_cluster(program: Program[RestoreOptions]) -> None:
    """Restore one cluster; say what it is now."""
    from plays.restore import restore
    from plays.sources import find

    own = program.own
    cluster = only_cluster(program, "restored", "hosts that cannot be reached are left out with --without HOST")
    given = [one for one in (own.snapshot, own.from_member, own.from_data) if one]
    if len(given) > 1:
        raise UsageError(
            "a cluster is restored from one source",
            where="FILE",
            remedy="name a snapshot, or latest; or add --from-member HOST, or --from-data HOST:FOLDER",
        )
    _must_be_hosts(program, cluster)
    if not given:
        proposal = program.play(find).get(cluster)
        text = proposal.as_text() if proposal else ""
        program.terminal.ending = lambda console, _marks, quiet: None if quiet else console.out(text, highlight=False)
        return
    ended = program.play(restore)
    if ended.get(cluster):
        program.say(
            f"\nCluster {cluster} is restored: {ended[cluster]}. Old data are kept on the hosts, in folders"
            " removed-TIME of the data directory.\n"
        )


def _must_be_hosts(program: Program[RestoreOptions], cluster: str) -> None:
    """Raise `UsageError` where what is to be read or left out is no host of the cluster, or itself."""
    own = program.own
    host, colon, folder = own.from_data.partition(":")
    named = {"--from-member": own.from_member, "--from-data": host}
    for option, name in named.items():
        if name and (name in own.without or name not in program.hosts):
            raise UsageError(
                f"{name} is no host of {cluster} that takes part",
                where=option,
                remedy=f"name one of: {', '.join(program.hosts)}",
            )
    if own.from_data and not (colon and folder.startswith("/")):
        raise UsageError(
            f"{own.from_data!r} is no folder on a host", where="--from-data", remedy="write HOST:/FOLDER, in full"
        )
    if strange := [name for name in own.without if name not in program.hosts]:
        raise UsageError(
            f"{', '.join(strange)} is no host of {cluster}",
            where="--without",
            remedy=f"name one of: {', '.join(program.hosts)}",
        )
    if own.clone == cluster:
        raise UsageError(
            f"{cluster} cannot become a copy of itself",
            where="--clone",
            remedy="name the cluster that the snapshot is of; leave it out to restore the cluster from its own",
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
