"""Whether the hosts of a cluster are fit for etcd, and what would be better for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import Run
from etcdfleet.program.runners import RollingRunner, TogetherRunner
from tasks.advice import advise
from tasks.preflight import preflight
from tasks.reach import Meeting, reach


def check(run: Run[Any]) -> dict[str, StepOutcome]:
    """Check what must be true before a deploy. Return what was found on the hosts that passed."""
    outcomes: dict[str, StepOutcome] = run.step("preflight", preflight)
    try_ports(run, outcomes)
    return {host: outcome for host, outcome in outcomes.items() if host in run.good}


def try_ports(run: Run[Any], checked: Mapping[str, StepOutcome]) -> None:
    """Have the good hosts try each other's ports, where at least one of them has no member data yet.

    ``checked`` is what the preflight has found, by host; this is recorded as a part of it.
    """
    hosts = run.good
    if any(checked[host].facts.get("has_member_data") is False for host in hosts if host in checked):
        run.step("preflight", reach, on=hosts, runner=TogetherRunner(), meeting=Meeting(hosts))


def give_advice(run: Run[Any], *, disk: bool) -> None:
    """Advice for the hosts that passed. With ``disk``, those with the data of a member are measured, too.

    One member is measured after the other: a quorum keeps its own pace.
    """
    run.step("advice", advise, runner=RollingRunner(run.hosts) if disk else None, disk=disk)
