#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Look whether hosts are fit for etcd, as deploy does before it changes anything, and say what would be better."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.main import Program, run_runbook
from etcdfleet.text import counted
from plays.options import PreflightOptions

STEPS = [("preflight", "Preflight"), ("advice", "Advice")]

DESCRIPTION = """\
Does deploy's preflight alone: SSH and root, init system, distribution, architecture, clock, names, ports, space, data,
Vault with its roles. Then advises: what the latency of synced writes and the round trips between the members mean for
heartbeat_ms and election_ms. Advice is no failure, and nothing is changed."""

EXAMPLES = """\
  python runbooks/preflight.py                        all hosts
  python runbooks/preflight.py --limit etcd-az-2      one host
  python runbooks/preflight.py --disk                 measure the disks of running members, too"""

DISK_QUESTION = """\
{hosts} with the data of a member: at most 100 synced writes of 2300 bytes within 5 seconds go to the same disk, one
member of a cluster after the other. etcd is slower meanwhile. Measure?"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument(
        "--disk", action="store_true", help="measure synced writes on running members, too (a few seconds; asks first)"
    )


def preflight(program: Program[PreflightOptions]) -> None:
    """Run the preflight of all hosts, then advise for those that passed."""
    from etcdfleet.program.terminal import reading_width
    from etcdfleet.report.show.checklist import advice_lines
    from plays.preflight import check, give_advice

    outcomes = program.play(check)
    live = sum(bool(outcome.facts.get("has_member_data")) for hosts in outcomes.values() for outcome in hosts.values())
    disk = program.own.disk and live > 0 and not program.options.check
    if disk:
        disk = program.confirm(DISK_QUESTION.format(hosts=counted(live, "host")))
    program.play(give_advice, disk=disk)
    if lines := advice_lines(program.record.record.clusters, reading_width(program.terminal.console)):
        program.say("\n".join(lines))


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "preflight",
            preflight,
            description=DESCRIPTION,
            steps=STEPS,
            own=PreflightOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
