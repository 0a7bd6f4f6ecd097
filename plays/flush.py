"""Before etcd 3.6 and 3.7: raft snapshots are taken behind requests of the old v2 API in the logs, member by member."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etcdfleet.etcd.v2_entries import V2Entries
from etcdfleet.etcd.v2_residue import Residue
from etcdfleet.program.run import Run
from etcdfleet.program.runners import RollingRunner
from plays.interruption import confirm_interruption
from tasks.old_requests import leave_behind
from tasks.planning import MemberSeen, read_member

STEP = "start"
"""The step that tells of it: these are restarts like those that follow."""


def flush(run: Run[Any], left: Mapping[str, Residue | V2Entries]) -> None:
    """Restart the members with such requests so that a snapshot lies behind them; leave the cluster where one fails.

    The leader comes last. Nothing else of these hosts has changed by then.
    """
    reads: dict[str, MemberSeen] = run.ask(read_member, on=[host for host, one in left.items() if one.count])
    order = sorted(reads, key=lambda host: (_leads(reads[host]), host))
    if not order:
        return
    confirm_interruption(run, order, reads)
    runner = RollingRunner(
        order, not_reached=lambda host, failed: run.skip(STEP, f"not restarted, since {failed} failed", on=[host])
    )
    run.step(STEP, leave_behind, on=order, runner=runner, left=dict(left))
    if run.failed:
        run.leave("no other version was brought to its members, since requests of the v2 API are left in a raft log")


def _leads(seen: MemberSeen) -> bool:
    status = seen.answers.status
    return status is not None and status.leader_id == status.member_id
