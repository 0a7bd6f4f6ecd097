"""Each member takes a raft snapshot, so that nothing of its log before is read at its next start."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from etcdfleet.etcd.v2_entries import enters_3_7
from etcdfleet.program.run import Run
from plays import trust, versions
from plays.start import bring_up
from tasks.configure import configure
from tasks.hops import write_through

ROUNDS = 5
"""So often keys are written for each member to take a raft snapshot; they apply them within a moment."""


def leave_v2_behind(run: Run[Any]) -> None:
    """Have each member take a raft snapshot where etcd 3.7 would end on what is in its log before.

    A restart with ``snapshot-count: 1``, after which two entries are enough; the hop puts the setting back. The program
    stays: only the configuration differs.
    """
    members_now, *_ = versions.look(run)
    entering = enters_3_7(members_now)
    if not versions.left_in_log(run, entering):
        return
    settings = {
        one.name: replace(one, cluster=one.cluster.model_copy(update={"snapshot_count": 1})) for one in run.members
    }
    flushing = run.wanting(settings)
    flushing.step("configure", configure, final=trust.no_longer_needed(flushing), fresh=frozenset())
    bring_up(flushing)
    for _ in range(ROUNDS):
        flushing.ask(write_through, on=flushing.hosts[:1])
        if flushing.failed:
            flushing.leave("entries of the old v2 API are left in the raft logs: the same command goes on")
        time.sleep(1)
        if not versions.left_in_log(flushing, entering):
            break
    run.wanting({one.name: one for one in run.members})
