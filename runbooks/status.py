#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""All clusters at a glance: what they can lose, what is wrong, and what will end or break next."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program import collector
from etcdfleet.program.main import Program, run_runbook
from plays.options import StatusOptions

STEPS = [("read", "Look"), ("judge", "Judge")]

DESCRIPTION = """\
Shows each member's service, version, term and index, database size, latency, certificates, clock, configuration drift
and last run, and per cluster how many members it can lose; then in words what is wrong and what will be next, the worst
first, each with a remedy. Reads only, takes no lock, and needs no Vault. Exit code 1 when something is wrong now; what
is only near (a certificate that ends in some days) does not count. A report is kept only where --report-dir says so."""

EXAMPLES = """\
  python runbooks/status.py                       all clusters of the inventory
  python runbooks/status.py --watch               again every 5 s, in place, until Ctrl-C
  python runbooks/status.py --cluster k8s-home    one cluster
  python runbooks/status.py --diff                and how drifted files differ from what deploy would write
  python runbooks/status.py --quiet --days 21     for cron: says only what is wrong or ends within three weeks"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this runbook's own arguments."""
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_interval,
        const=5.0,
        metavar="SECONDS",
        help="look again every so many seconds (5), in place on a terminal, until Ctrl-C",
    )
    parser.add_argument(
        "--days",
        type=_days,
        default=7.0,
        metavar="N",
        help="mention certificates that end within N days, even if they are not due for renewal (default: 7)",
    )


def status(program: Program[StatusOptions]) -> None:
    """Look at all clusters side by side, then judge each."""
    from plays.status import show, watch

    if program.own.watch:
        collector.resume()
        watch(program, program.own.watch)
    else:
        show(program)


def _interval(text: str) -> float:
    seconds = _number(text)
    if not 1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 86400")
    return seconds


def _days(text: str) -> float:
    days = _number(text)
    if not 0 <= days <= 36500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 0 upwards")
    return days


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


if __name__ == "__main__":
    collector.rest()
    sys.exit(
        run_runbook(
            "status",
            status,
            description=DESCRIPTION,
            steps=STEPS,
            own=StatusOptions,
            examples=EXAMPLES,
            add_arguments=add_arguments,
            only_looks=True,
        )
    )
