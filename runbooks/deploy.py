#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Turn hosts into verified, TLS-secured etcd clusters, and keep them so: run it as often as you like."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.arguments import add_member_arguments
from etcdfleet.program.main import Program, run_runbook
from plays.options import DeployOptions

STEPS = [
    ("preflight", "Preflight"),
    ("install", "Install"),
    ("trust", "Trust"),
    ("certificates", "Certificates"),
    ("configure", "Configure"),
    ("start", "Start"),
    ("auth", "Roles and users"),
    ("verify", "Verify"),
]

DESCRIPTION = """\
Installs etcd on all hosts of the inventory, places certificates, renders the configuration, starts the members of each
cluster, brings etcd's roles and users to what the inventory says, and proves that all of it works. Each cluster goes
through all of that by itself, side by side with the others; nothing of it is changed before all of its chosen hosts
have passed the preflight. A second run changes nothing; a changed setting is brought to a live cluster by a rolling
restart, one healthy member at a time."""

EXAMPLES = """\
  python runbooks/deploy.py --check --diff          what would change, and how
  python runbooks/deploy.py                         all clusters of the inventory
  python runbooks/deploy.py --cluster k8s-home      one cluster
  python runbooks/deploy.py --limit 'etcd-az-*'     some hosts"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument(
        "--confirm",
        default="",
        metavar="CLUSTER",
        help="this cluster may begin without data, though backups of it are kept (restore.py brings them back)",
    )
    add_member_arguments(parser)


def deploy(program: Program[DeployOptions]) -> None:
    """Take each cluster through all steps by itself."""
    from etcdfleet.errors import UsageError
    from plays.deploy import deploy as play

    confirm = program.own.confirm
    if confirm and confirm not in program.clusters:
        raise UsageError(
            f"{confirm!r} is not the name of a cluster of this run",
            where="--confirm",
            remedy=f"type the one that may begin without data: {' or '.join(program.clusters)}",
        )
    program.play(play)


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "deploy",
            deploy,
            description=DESCRIPTION,
            steps=STEPS,
            own=DeployOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
