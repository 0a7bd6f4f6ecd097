#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Renew the certificates that are due on live clusters, one member after the other, without a restart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.arguments import add_lock_argument
from etcdfleet.program.main import Program, run_runbook
from plays.options import RotateOptions

STEPS = [
    ("decide", "Decide"),
    ("trust", "Trust"),
    ("rotate", "Rotate"),
    ("start", "Restart"),
    ("verify", "Verify"),
    ("revoke", "Revoke"),
    ("crl", "Revocation list"),
]

DESCRIPTION = """\
Replaces the certificates that are due: those with too little of their life left (pki.renew_before), those that are not
as the inventory says, and with --force all. One member of a cluster after the other, clusters side by side: before each
all members must be healthy; after each the new certificate is read back from both ports, and health and data are
compared. If anything is wrong, the previous certificates are restored, and this cluster is left alone. etcd is not
restarted: it reads certificates at each new connection. A cluster whose certificates have expired is brought back.
With --ca the cluster moves to another CA, without downtime: members are restarted one after the other, once to trust
both CAs and once to trust the new one alone. In between, before members show certificates that clients with the
previous CA alone would refuse, it is asked whether clients have a file with both; without an answer the run stops
there. A run that was interrupted anywhere is continued by the next."""

EXAMPLES = """\
  python runbooks/rotate_certs.py --check                    what is due, why, and when the rest will be
  python runbooks/rotate_certs.py --quiet                    every night
  python runbooks/rotate_certs.py --force --only client      new keys for etcdctl on all hosts
  python runbooks/rotate_certs.py --force --limit etcd-az-2  all new on a host whose keys may be known to others
  python runbooks/rotate_certs.py --force --limit etcd-az-2 --revoke    and revoke the previous ones
  python runbooks/rotate_certs.py --ca --cluster k8s-home    after Vault was given another issuing CA"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    add_lock_argument(parser)
    parser.add_argument("--force", action="store_true", help="replace those that are good, too")
    parser.add_argument(
        "--only",
        action="append",
        choices=("peer", "server", "client"),
        help="only certificates of this role; may be given several times",
    )
    parser.add_argument(
        "--ca",
        action="store_true",
        help="move to the CA that issues now: trusted beside the previous one, then used, then trusted alone",
    )
    parser.add_argument(
        "--clients-ready",
        action="store_true",
        help="clients have a ca.pem with both CAs: with --ca, show them certificates of the new one without a question",
    )
    parser.add_argument(
        "--revoke",
        action="store_true",
        help="revoke in Vault what lies on the hosts and is not used any more (always with pki.revoke: true)",
    )
    parser.add_argument(
        "--restart", action="store_true", help="restart etcd on the hosts with new certificates, one after the other"
    )
    parser.add_argument(
        "--textfile",
        type=Path,
        metavar="FILE",
        help="write the end of each certificate and the result for Prometheus (node_exporter's textfile collector)",
    )
    parser.add_argument(
        "--allow-degraded",
        action="store_true",
        help="go on although a member is not healthy, as long as a majority is; the sick ones are left out",
    )


def rotate_certs(program: Program[RotateOptions]) -> None:
    """Take each cluster through all steps by itself; with --check, show what is due everywhere as one table."""
    from etcdfleet.report.export.metrics import write_at_end
    from etcdfleet.report.show.rotation_table import due_lines
    from plays.rotate import Members, rotate

    if program.own.textfile:
        write_at_end(program.nornir.config, program.record.record, program.own.textfile, program.terminal.complain)
    decided: dict[str, Members] = {}
    try:
        program.play(rotate, decided)
    finally:
        clusters = {name: list(decided[name].values()) for name in program.clusters if decided.get(name)}
        if clusters and (program.options.check or program.options.verbose):
            program.say("\n".join(["", *due_lines(clusters, program.terminal.width), ""]))


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "rotate_certs",
            rotate_certs,
            description=DESCRIPTION,
            steps=STEPS,
            own=RotateOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
