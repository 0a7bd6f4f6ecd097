"""Members hold different data: the one that the majority does not agree with is replaced, and all are compared again.

Who that is, is decided in ``etcdfleet/etcd/corruption.py``. The bad member is stopped and its data are moved aside
before anything else, so that it serves no client, and so that nothing but a replacement brings it back. Only then is
the alarm CORRUPT ended: while it stands, no member can join.
"""

from __future__ import annotations

from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.corruption import Verdict, hashes_differ, judge
from etcdfleet.etcd.replacement import Place
from etcdfleet.program.run import Run
from etcdfleet.text import listed
from plays import members, replace_member
from plays.options import RepairOptions
from tasks.corruption import end_corrupt_alarm, see_hashes
from tasks.members.change import noted, set_aside
from tasks.members.look import read_place
from tasks.verify.member import verify


def make_equal(run: Run[RepairOptions], cluster: Cluster) -> bool:
    """Find the member with the wrong data, replace it, and end the alarm CORRUPT; return whether that was needed."""
    alarm = "CORRUPT" in cluster.alarms
    verdict = _verdict(run, alarmed=alarm or cluster.divergence is not None)
    names = {member.member.name: member.name for member in run.members}
    bad = names.get(verdict.bad, "")
    if not alarm and (not verdict.bad or (verdict.silent and not _set_aside_before(run, bad))):
        return False
    if verdict.bad and bad not in run.hosts:
        run.protect(
            f"nothing was changed: {verdict.bad} does not hold what the majority holds ({verdict.why}), and takes no"
            " part in this run",
            "run again for the whole cluster: --cluster in place of --limit",
        )
    words = _words(verdict, bad, alarm=alarm)
    if run.check:
        run.warn(f"without --check: {words}; this is asked for", bad)
        run.step("member", noted, on=[bad or run.hosts[0]], summary="would be mended", change=words)
        run.leave("nothing is changed with --check")
    good = [names[name] for name in verdict.agree if name in names]
    members.save_first(run, bad, f"{words}. Go on?", cluster, good, members.folder_of(run), "snapshot")
    if bad:
        _put_away(run, bad)
    if alarm:
        run.step("alarm", end_corrupt_alarm, on=_chosen(run, good))
        if run.failed:
            run.leave("the alarm CORRUPT stands: no member can join")
    if bad:
        replace_member.bring_in(run.about(bad), members.folder_of(run))
    after = _verdict(run, alarmed=True)
    if after.bad:
        run.protect(f"{after.bad} does not hold what the others hold ({after.why})", members.AGAIN)
    run.step("verify", verify)
    run.skip(OTHERS, "data that differ come first")
    return True


OTHERS = ("snapshot", "compact", "defragment", "member", "alarm", "install", "certificates", "configure", "start")


def _set_aside_before(run: Run[RepairOptions], bad: str) -> bool:
    """Return whether the data of a silent member were moved aside by a run that was ended then."""
    place: Place | None = run.ask(read_place, on=[bad]).get(bad) if bad in run.hosts else None
    return place is not None and place.removed and not place.left_over


def _verdict(run: Run[RepairOptions], *, alarmed: bool) -> Verdict:
    """Return what two of the members' hosts agree on; one look alone may be an accident of timing.

    Where nothing says that data differ (not ``alarmed``), a cluster of which too little is known is none of this.
    """
    found: list[Verdict | Refusal] = []
    for member in run.members:
        cluster: Cluster = run.ask_members(see_hashes, on=[member.name]).get(member.name, Cluster())
        if cluster.members and (alarmed or hashes_differ(cluster) or not isinstance(judge(cluster), Refusal)):
            found.append(judge(cluster))
        if len(found) > 1:
            break
    if not found and not alarmed:
        return Verdict(())
    verdicts = [members.accept(run, one) for one in found or [judge(Cluster(no_list="no member answers"))]]
    if len({(one.bad, one.agree) for one in verdicts}) > 1:
        run.protect("what members say of each other's data changes from one look to the next", "run again in a moment")
    return verdicts[-1]


def _chosen(run: Run[RepairOptions], good: list[str]) -> list[str]:
    """Return one of the hosts with a good member that are part of this run."""
    chosen = [host for host in good if host in run.good]
    if not chosen:
        run.protect(
            "the alarm CORRUPT stands, and no host of a member with good data takes part in this run",
            "run again for the whole cluster: --cluster in place of --limit",
        )
    return chosen[:1]


def _put_away(run: Run[RepairOptions], bad: str) -> None:
    """Stop the member with the wrong data, and move them aside; what is done is not done again."""
    place: Place | None = run.ask(read_place, on=[bad]).get(bad)
    if place is None:
        run.leave(f"{bad} cannot be read, and its etcd may run on")
    if place.foreign:
        run.protect(f"nothing was changed: {place.foreign}", "put that right first, then run again", where=bad)
    if place.data is not None or place.data_unreadable or place.marked or place.running:
        run.step("member", set_aside, on=[bad])
        if run.failed:
            run.leave("its etcd could not be stopped, or its data not be moved aside")


def _words(verdict: Verdict, bad: str, *, alarm: bool) -> str:
    ends = "the alarm CORRUPT is ended"
    if not bad:
        return f"{listed(verdict.agree)} hold the same data: {ends}"
    then = f"; {ends}" if alarm else ""
    return (
        f"{verdict.bad} on {bad} does not hold what the majority holds ({verdict.why}): its etcd is stopped, and its"
        f" data are moved aside, and kept{then}; then it gets all data anew from the others"
    )
