"""A cluster goes back by a minor version: etcd's own job first, then the programs, by the same rolling restart."""

from __future__ import annotations

from typing import Any

from etcdfleet.program.run import Run
from plays import members
from tasks.downgrade import enable_downgrade

STEP = "start"
"""The step that tells of it."""


def go_back(run: Run[Any], target: str) -> bool:
    """Ask, and have the cluster give up what the older version cannot read; return whether it was wanted.

    Leaves the cluster where etcd does not get there.
    """
    what = f"the cluster goes back to etcd {target}: it gives up what that version cannot read, and so do its data"
    if run.check:
        run.warn(f"{what}; without --check this is asked for")
    elif not run.agreed(f"{what}. A backup is taken before. Go on?"):
        return False
    else:
        members.save_before(run, members.see(run, run.hosts), "the step down", STEP)
    run.step(STEP, enable_downgrade, on=run.good[:1], target=target)
    if run.failed:
        run.leave("no older program was brought to its members, since etcd did not make them ready for it")
    return True
