#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Prove that clusters are what the inventory says, by everything that deploy verifies and more; changes nothing."""

from __future__ import annotations

import argparse
import secrets
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.main import Program, run_runbook
from plays.options import VerifyOptions

STEPS = [("verify", "Verify")]

DESCRIPTION = """\
Verifies each member, and the cluster as each of its members sees it: members, leader, raft, alarms, equal data; who is
let in with which certificate; the certificates on disk and as served; what a restart would meet (enabled at boot,
files, modes, space, clock); and etcd's log. A key under /etcdfleet/verify/ is written through each member, read through
the others and deleted. Needs no Vault. docs/verify.md says what each check proves."""

EXAMPLES = """\
  python runbooks/verify.py                        all clusters
  python runbooks/verify.py --verbose              each check with what was seen
  python runbooks/verify.py --no-write --diff      write no key; show how files differ from what deploy would write
  python runbooks/verify.py --limit etcd-az-2      one host, and its cluster as it sees it"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument("--no-write", action="store_true", help="leave out the key that is written, read and deleted")


def verify(program: Program[VerifyOptions]) -> None:
    """Take one step on all hosts, then list the checks."""
    from etcdfleet.program.terminal import reading_width
    from etcdfleet.report.show.checklist import failed_lines, lines
    from plays.verify import verify as play
    from tasks.certificates.issuing import Issuing

    program.play(play, secrets.token_hex(6), Issuing())
    hosts, options = program.record.record.clusters, program.options
    if options.quiet or options.json == "-":
        if failures := failed_lines(hosts):
            program.terminal.complain("\n".join(failures))
    else:
        program.say("\n".join(lines(hosts, verbose=options.verbose, width=reading_width(program.terminal.console))))


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "verify",
            verify,
            description=DESCRIPTION,
            steps=STEPS,
            own=VerifyOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
