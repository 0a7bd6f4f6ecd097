"""A cluster is repaired: what is wrong is told from what its members say, and mended as far as a program may.

Nothing is repaired beside a worse fault: data that differ between members come before a full database, and that before
one that is merely fragmented.
"""

from __future__ import annotations

from etcdfleet.program.run import Run
from plays import corrupt, defragment, full, lock, members
from plays.options import RepairOptions
from tasks.verify.member import verify

REPLACING = ("member", "install", "certificates", "configure", "start")
"""The steps by which a member with wrong data is replaced."""


def repair(run: Run[RepairOptions]) -> None:
    """Look what is wrong with the cluster, and mend it."""
    lock.take(run)
    cluster = members.see(run, [member.name for member in run.members])
    only = run.own.only
    if only in (None, "data"):
        if corrupt.make_equal(run, cluster):
            return
        run.skip(REPLACING, "no data differ")
    elif "CORRUPT" in cluster.alarms or cluster.divergence:
        what = cluster.diverged() or "the alarm CORRUPT is raised: the data of members differ"
        run.protect(f"nothing was changed: {what}", f"python runbooks/repair.py --cluster {run.cluster}")
    else:
        run.skip(REPLACING, f"--only {only}")
    if only == "data":
        run.leave("no data differ")
    if "NOSPACE" in cluster.alarms:
        if only == "defragment":
            run.protect(
                "nothing was defragmented: the database is full (alarm NOSPACE), which --only defragment leaves alone",
                f"python runbooks/repair.py --cluster {run.cluster}",
            )
        full.take_writes_again(run, cluster)
        return
    run.skip(("snapshot", "compact", "alarm"), "the database is not full")
    if only == "space":
        run.leave("the database is not full")
    defragment.by_thresholds(run)
    if run.changed(defragment.STEP) and not run.check:
        run.step("verify", verify)
    run.skip("verify", "nothing was changed", on=run.pending("verify"))
