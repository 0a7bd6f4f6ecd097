#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Look whether hosts are fit for etcd, as deploy does before it changes anything, and say what would be better."""

from __future__ import annotations

import argparse
import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.main import Run, run_runbook

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
    """This runbook's own arguments."""
    parser.add_argument(
        "--disk", action="store_true", help="measure synced writes on running members, too (a few seconds; asks first)"
    )


def preflight(run: Run) -> None:
    """The preflight on all hosts at once, then advice for those that passed."""
    from etcdfleet.program.runners import RollingRunner
    from etcdfleet.report.show.checklist import advice_lines
    from etcdfleet.report.show.terminal import reading_width
    from tasks.advice import advise
    from tasks.preflight import preflight as look
    from tasks.reach import look_between

    run.step("preflight", look)
    look_between(run, run.clusters)
    hosts = {host.name: host for group in run.record.record.clusters.values() for host in group}
    live = [name for name in run.good_hosts if hosts[name].facts.get("has_member_data")]
    disk = bool(run.options.extra["disk"] and live and not run.options.check)
    if disk and not run.confirm(DISK_QUESTION.format(hosts=f"{len(live)} host{'s' if len(live) > 1 else ''}")):
        disk = False
    if run.good_hosts:
        # One member of a cluster after the other: a quorum keeps its own pace.
        runner = RollingRunner(run.clusters, num_workers=run.workers)
        run.step("advice", advise, only=run.good_hosts, runner=runner if disk else None, disk=disk)
    if found := advice_lines(run.record.record.clusters, reading_width(run.terminal.console)):
        run.say("\n".join(found))


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "preflight",
            preflight,
            description=DESCRIPTION,
            steps=STEPS,
            examples=EXAMPLES,
            add_arguments=add_arguments,
        )
    )
