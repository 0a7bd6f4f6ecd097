"""A cluster goes back by a minor version: etcd's own job first, then the programs, by the same rolling restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.versions import newer
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
    _make_ready(run, run.good[:1], target)
    return True


def go_on(run: Run[Any], target: str, members_seen: Sequence[MemberVersion]) -> None:
    """Go on where a run that was ended has begun: wait for the members that have not been brought there."""
    by = [one.host for one in members_seen if one.host in run.good and newer(one.running, target)]
    _make_ready(run, by[:1], target, under_way=True)


def _make_ready(run: Run[Any], by: Sequence[str], target: str, *, under_way: bool = False) -> None:
    run.step(STEP, enable_downgrade, on=by, target=target, under_way=under_way)
    if run.failed:
        run.leave("no older program was brought to its members, since etcd did not make them ready for it")
