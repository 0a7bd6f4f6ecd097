"""One run at a time works on a cluster: its lock is taken before anything is changed, and kept until the run ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from etcdfleet.host.lock import AtWork, LeftAtWork, LockInfo
from etcdfleet.program.run import Run
from plays.options import LockOptions
from tasks.lock import take_lock

Locking = TypeVar("Locking", bound=LockOptions)


def take(run: Run[Locking]) -> None:
    """Take the cluster's lock until the run ends, or leave the cluster to the run that has it. Not with --check.

    The lock is taken on all members that can be reached, those that this run leaves out included: so two runs on
    different hosts of a cluster exclude each other as well.
    """
    if run.check:
        return
    info = LockInfo.of_this_run(run.program.name)
    answers = run.ask_members(take_lock, on=[member.name for member in run.members], info=info)
    others = {host: answer for host, answer in answers.items() if isinstance(answer, AtWork)}
    if others and _may_break(run, others):
        answers |= run.ask_members(take_lock, on=others, info=info, break_lock=True)
    for host, answer in answers.items():
        if isinstance(answer, LockInfo):
            run.protect(
                f"{answer} is working on it",
                "wait until that run has ended; if it is dead, its lock ends by itself within a minute, or with "
                "--break-lock at once (which asks first, unless --yes is given)",
                where=host,
                why=f"another run is working on {run.cluster}",
            )
        if isinstance(answer, LeftAtWork):
            run.protect(
                f"{answer} is working on it",
                "wait until it has ended, then run again; where it hangs, --break-lock ends it (which asks first, "
                "unless --yes is given)",
                where=host,
                why=f"what another run has begun is not finished on {run.cluster}",
            )
        if answer and host in run.good:
            run.warn(f"no lock keeps other runs away from it: {answer}", host)


def _may_break(run: Run[Locking], others: Mapping[str, AtWork]) -> bool:
    """With --break-lock, whether the other run is confirmed to be dead."""
    if not run.own.break_lock:
        return False
    what = "; ".join(dict.fromkeys(f"{info} is working on {host}" for host, info in others.items()))
    return run.program.agreed(f"{what}. Is that run dead, and may its lock be broken and what it began be ended?")
