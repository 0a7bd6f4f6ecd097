#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Bring etcd's roles, users and authentication to what the inventory says, on clusters that run."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.arguments import add_lock_argument
from etcdfleet.program.main import Run, run_runbook

STEPS = [("look", "Look"), ("auth", "Roles and users"), ("verify", "Verify")]

DESCRIPTION = """\
Makes roles with their permissions and users with their roles as the section auth of each cluster's inventory says, and
turns etcd's authentication on or off. Before it is turned on, the client certificate of every host is proven to be
root's; should it not be obeyed afterwards, authentication is turned off again at once. Users and roles that the
inventory does not know are reported, and removed with --prune. deploy does the same, without --prune."""

EXAMPLES = """\
  python runbooks/setup_auth.py --check --diff        what would change, and how
  python runbooks/setup_auth.py --cluster k8s-home    one cluster
  python runbooks/setup_auth.py --prune               remove users and roles that are not in the inventory, too"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This runbook's own arguments."""
    add_lock_argument(parser)
    parser.add_argument("--prune", action="store_true", help="remove users and roles that the inventory does not know")


def setup_auth(run: Run) -> None:
    """The steps, in order; one member of each cluster makes the changes."""
    from etcdfleet.errors import UsageError
    from tasks.access import converge, managed
    from tasks.lock import take_locks
    from tasks.verify import verify

    clusters = {name: hosts for name, hosts in run.clusters.items() if managed(run, name)}
    for name, hosts in run.clusters.items():
        if name not in clusters:
            run.record.skip_rest(hosts, "the inventory has no section auth for this cluster")
    if not clusters:
        raise UsageError(
            "no chosen cluster has roles, users or authentication in the inventory",
            where="section auth",
            remedy="write a section auth into the cluster's group: docs/auth.md",
        )
    clusters = dict(take_locks(run, clusters))
    converge(run, clusters, prune=run.options.extra["prune"])
    changed = {
        host for hosts in clusters.values() for host in hosts if run.record.record.hosts[host].steps["auth"].changes
    }
    if run.options.check and changed:
        run.record.skip(run.hosts, "verify", "something would change")
    good = [host for hosts in clusters.values() for host in hosts if host in run.good_hosts]
    if good and not (run.options.check and changed):
        run.step("verify", verify, only=good)


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "setup_auth",
            setup_auth,
            description=DESCRIPTION,
            steps=STEPS,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
