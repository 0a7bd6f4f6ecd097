"""Whether the members of a cluster that is about to begin can reach each other, tried before the first etcd starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import Run
from etcdfleet.program.runners import TogetherRunner
from tasks.reach import Meeting, reach


def try_ports(run: Run[Any], checked: Mapping[str, StepOutcome]) -> None:
    """Have the good hosts try each other's ports, where at least one of them has no member data yet.

    ``checked`` is what the preflight has found, by host; this is recorded as a part of it.
    """
    hosts = run.good
    if any(checked[host].facts.get("has_member_data") is False for host in hosts if host in checked):
        run.step("preflight", reach, on=hosts, runner=TogetherRunner(), meeting=Meeting(hosts))
