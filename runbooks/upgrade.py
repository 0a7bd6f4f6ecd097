#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Bring clusters to another version of etcd, over several minor versions if need be, one proven hop after the other."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.errors import UsageError
from etcdfleet.program.arguments import add_member_arguments
from etcdfleet.program.main import Program, run_runbook
from plays.options import UpgradeOptions

STEPS = [
    ("plan", "Plan"),
    ("preflight", "Preflight"),
    ("snapshot", "Backup"),
    ("install", "Install"),
    ("trust", "Trust"),
    ("certificates", "Certificates"),
    ("configure", "Configure"),
    ("start", "Start"),
    ("auth", "Roles and users"),
    ("verify", "Verify"),
    ("proof", "Proof"),
]

DESCRIPTION = """\
Plans the way of each cluster from the version that it runs to the one of the inventory (install.version), or to the one
that --to names: no minor version is left out, and 3.6 and 3.7 are entered from certain patch releases alone. The plan
says for each hop why it is one, and until when there is a way back; --check prints it and changes nothing. After one
question, each hop is a backup, then what deploy.py does with that version in the inventory (one healthy member at a
time, the leader last), then the proof: cluster version, storage version, equal data. A run that was ended anywhere is
continued by the same command.

More than one version is named by install.releases in the inventory (docs/settings.md). With --canary one member gets
the first version and the others are held back, until this command goes on without it. docs/upgrade.md says more."""

EXAMPLES = """\
  python runbooks/upgrade.py --check                       the plan, and nothing else
  python runbooks/upgrade.py --cluster k8s-home            to the version of the inventory
  python runbooks/upgrade.py --to 3.6.14 --yes
  python runbooks/upgrade.py --canary --cluster k8s-home   one member first"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument(
        "--to", default="", metavar="VERSION", help="another version than the inventory's, of those in install.releases"
    )
    parser.add_argument(
        "--canary", action="store_true", help="one member of each cluster alone, a follower; the others are held back"
    )
    add_member_arguments(parser)


def upgrade(program: Program[UpgradeOptions]) -> None:
    """Upgrade the chosen clusters, side by side."""
    from etcdfleet.etcd.versions import parse
    from plays.upgrade import upgrade as play

    if program.own.to and parse(program.own.to) is None:
        raise UsageError(f"{program.own.to} is no version", where="--to", remedy="write it in full: --to 3.6.14")
    program.play(play)


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "upgrade",
            upgrade,
            description=DESCRIPTION,
            steps=STEPS,
            own=UpgradeOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
