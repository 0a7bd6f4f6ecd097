#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Earlier runs: list them, show one, compare two, make their pages, remove old ones."""

from __future__ import annotations

import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from plays.report import main

DESCRIPTION = """\
Lists the runs whose reports are kept, newest first; with a RUN, shows it as it was shown at its end. Needs no inventory
and no Vault, touches no host, and leaves no report of its own."""

EXAMPLES = """\
  python runbooks/report.py                                   the newest runs
  python runbooks/report.py --failed --host etcd-az-2         what went wrong on a host
  python runbooks/report.py latest --runbook deploy --diff    the latest deploy, and what it changed in files
  python runbooks/report.py --compare latest~1 latest         what is different from the time before
  python runbooks/report.py --html 20261123T17                the page of a run, as report.html beside its report.json
  python runbooks/report.py --prune 90 --keep 20              remove runs of more than 90 days ago, not the newest 20"""


if __name__ == "__main__":
    sys.exit(main(DESCRIPTION, EXAMPLES))
