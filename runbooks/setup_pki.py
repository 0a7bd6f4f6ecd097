#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Set Vault up for the clusters of the inventory: CAs, roles, and an AppRole that may have certificates of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.main import Program, run_runbook
from plays.options import PkiOptions

STEPS = [
    ("checks", "Checks"),
    ("mounts", "Mounts"),
    ("roles", "Roles"),
    ("policy", "Policy"),
    ("approle", "AppRole"),
    ("authorities", "CAs"),
]

DESCRIPTION = """\
Makes what the inventory needs of Vault (or OpenBao): for each cluster a CA for its peers and one for its clients below
the root CA, three roles, a policy that allows certificates of just these roles, and one AppRole for deploy and the
other runbooks. Needs an administrator's token, from the environment or asked for; it is stored nowhere. What is there
already is adopted: a CA is never replaced, and a role that differs is shown, and changed after a question only. A
second run changes nothing."""

EXAMPLES = """\
  python runbooks/setup_pki.py --check --diff              what would be made or changed
  python runbooks/setup_pki.py                             make it
  python runbooks/setup_pki.py --create-root               and a root CA in Vault, if there is none
  python runbooks/setup_pki.py --secret-id deploy.env      and a secret id: . ./deploy.env, then deploy
  python runbooks/setup_pki.py --signed-dir from-the-safe  certificates from a root kept offline"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument("--create-root", action="store_true", help="make a root CA in Vault if there is none")
    parser.add_argument(
        "--keep-names",
        action="store_true",
        help="let roles go on signing for names that the inventory has no more, until a deploy has moved the members",
    )
    parser.add_argument(
        "--csr-dir",
        type=Path,
        default=Path("pki-requests"),
        metavar="DIR",
        help="with a root kept offline: where requests are written to (default: %(default)s)",
    )
    parser.add_argument(
        "--signed-dir", type=Path, metavar="DIR", help="and where the signed certificates are (default: the same)"
    )
    parser.add_argument(
        "--secret-id",
        type=Path,
        metavar="FILE",
        help="make a secret id of the AppRole, and a file that sets VAULT_ROLE_ID and VAULT_SECRET_ID",
    )
    parser.add_argument(
        "--unwrap", type=Path, metavar="FILE", help="only unwrap the secret id in such a file; needs no token"
    )
    parser.add_argument(
        "--wrap",
        metavar="TIME",
        help="with --secret-id: have the secret id wrapped, to be unwrapped once within this time (10m)",
    )


def setup_pki(program: Program[PkiOptions]) -> None:
    """Carry out the steps, cluster by cluster: clusters share mounts and the AppRole."""
    from plays.setup_pki import setup_pki as set_up

    set_up(program)


def unwrap(path: Path) -> int:
    """Unwrap the secret id and do no more: read no inventory, and write no report."""
    from etcdfleet.errors import FleetError
    from tasks.vault import credentials

    try:
        print(credentials.unwrap(path))
    except FleetError as error:
        print(f"setup_pki: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--unwrap", type=Path)
    if file := early.parse_known_args()[0].unwrap:
        sys.exit(unwrap(file))
    sys.exit(
        run_runbook(
            "setup_pki",
            setup_pki,
            description=DESCRIPTION,
            steps=STEPS,
            own=PkiOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
            rows="clusters",
        )
    )
