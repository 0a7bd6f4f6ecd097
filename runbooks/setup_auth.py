#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Bring etcd's roles, users and authentication to what the inventory says, on clusters that run."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.arguments import add_lock_argument
from etcdfleet.program.main import Program, run_runbook
from plays.options import AuthOptions

STEPS = [("access", "Access"), ("auth", "Roles and users"), ("verify", "Verify")]

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
    """Add this runbook's own arguments."""
    add_lock_argument(parser)
    parser.add_argument("--prune", action="store_true", help="remove users and roles that the inventory does not know")


def setup_auth(program: Program[AuthOptions]) -> None:
    """Take each cluster by itself; one member makes the changes. Raises UsageError when there is nothing to set up."""
    from etcdfleet.errors import UsageError
    from plays import access

    if not any(program.fleet.clusters[name][0].auth.managed for name in program.clusters):
        raise UsageError(
            "no chosen cluster has roles, users or authentication in the inventory",
            where="section auth",
            remedy="write a section auth into the cluster's group: docs/auth.md",
        )
    program.play(access.setup_auth)


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "setup_auth",
            setup_auth,
            description=DESCRIPTION,
            steps=STEPS,
            own=AuthOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
