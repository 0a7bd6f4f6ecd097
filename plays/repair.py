"""A cluster is repaired: what is wrong is told from what its members say, and mended as far as a program may.

Nothing is repaired beside a worse fault: a cluster whose members hold different data is left to a person, and a full
database comes before one that is merely fragmented.
"""

from __future__ import annotations

from typing import NoReturn

from etcdfleet.etcd.alarms import CORRUPT_FIRST
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.equal import DIVERGED
from etcdfleet.program.run import Run
from plays import defragment, full, lock, members
from plays.options import RepairOptions
from tasks.verify.member import verify


def repair(run: Run[RepairOptions]) -> None:
    """Look what is wrong with the cluster, and mend it."""
    lock.take(run)
    cluster = members.see(run, [member.name for member in run.members])
    if "CORRUPT" in cluster.alarms or cluster.divergence:
        _leave_to_a_person(run, cluster)
    if "NOSPACE" in cluster.alarms:
        if run.own.only == "defragment":
            run.protect(
                "nothing was defragmented: the database is full (alarm NOSPACE), which --only defragment leaves alone",
                f"python runbooks/repair.py --cluster {run.cluster}",
            )
        full.take_writes_again(run, cluster)
        return
    run.skip(("snapshot", "compact", "alarm"), "the database is not full")
    if run.own.only == "space":
        run.leave("the database is not full")
    defragment.by_thresholds(run)
    if run.changed(defragment.STEP) and not run.check:
        run.step("verify", verify)
    run.skip("verify", "nothing was changed", on=run.pending("verify"))


def _leave_to_a_person(run: Run[RepairOptions], cluster: Cluster) -> NoReturn:
    """Leave a cluster whose members hold different data; say which host is to be replaced, where a majority tells."""
    what = cluster.diverged() or "the alarm CORRUPT is raised: the data of members differ"
    odd = [cluster.name(status.member_id) for status in cluster.divergence.odd] if cluster.divergence else []
    hosts = [member.name for member in run.members if member.member.name in odd]
    remedy = DIVERGED.replace("HOST", hosts[0]) if len(hosts) == 1 else DIVERGED
    if "NOSPACE" in cluster.alarms:
        remedy = f"{CORRUPT_FIRST}; {remedy}" if "CORRUPT" in cluster.alarms else remedy
    run.protect(f"nothing was changed: {what}", remedy, where=", ".join(hosts))
