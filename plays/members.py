"""What all changes of a cluster's members have in common: looks through the others, the snapshot before, the change.

Which step is next is decided in ``etcdfleet/etcd/{replacement,removal}.py``; what happens on hosts is in
``tasks/members/``. After each step the cluster is looked at again, so that a run which was ended anywhere is continued
by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from etcdfleet.backup.fit import fit_for_backup
from etcdfleet.backup.note import Purpose
from etcdfleet.backup.store import Snapshot
from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import ExpectedMember
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.gates import move_leader_to
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.readdressing import UpdateEntry
from etcdfleet.etcd.replacement import RemoveEntry
from etcdfleet.program.run import Run
from etcdfleet.text import mib
from plays.options import SNAPSHOTS, MemberOptions
from tasks.members.change import add_learner, noted, remove_entry, update_entry
from tasks.members.look import see_cluster
from tasks.members.snapshot import save_snapshot, told

STEP = "member"
AGAIN = "see etcd's log on the other hosts, then run again: it goes on where it stopped"
Decided = TypeVar("Decided")
Members = TypeVar("Members", bound=MemberOptions)


def accept(run: Run[Any], decided: Decided | Refusal) -> Decided:
    """Return what was decided, or leave the cluster where it was refused."""
    if isinstance(decided, Refusal):
        run.protect(decided.what, decided.remedy, where=", ".join(decided.hosts))
    return decided


def say(run: Run[Any], words: str, told_as: str = STEP) -> NoReturn:
    """Say what would be done without --check, and end there."""
    run.warn(f"without --check: {words}", run.hosts[0])
    run.step(told_as, noted, on=run.hosts[:1], summary="the members would be changed", change=words)
    run.leave("nothing is changed with --check")


def confirm_by_name(run: Run[Any], words: str, typed: str) -> None:
    """Leave the cluster unless a person has typed its name, here or on the command line. Not with --check.

    For what cannot be undone by a run: a yes, or ``--yes``, is no answer.
    """
    if run.check or typed == run.cluster:
        return
    if typed or not run.program.named(f"{words}. To go on, type the name of the cluster", run.cluster):
        run.protect(
            "nothing was changed, since the name of the cluster was not typed",
            f"type it in full when you are asked, or add --confirm {run.cluster}; --check says what would be done",
        )


def folder_of(run: Run[Members]) -> Path:
    """Return the folder of this machine for snapshots: what was asked for, else that of the cluster's backups."""
    return run.own.snapshot_dir or Path(run.members[0].backup.folder or SNAPSHOTS)


def folders_of(run: Run[Members]) -> tuple[Path, ...]:
    """Return the folders of this machine that may have snapshots of the cluster: that of its backups comes first."""
    return tuple(dict.fromkeys((Path(run.members[0].backup.folder or SNAPSHOTS), folder_of(run))))


def see(run: Run[Any], others: Sequence[str]) -> Cluster:
    """Return the cluster as the first of these hosts sees it that has a leader, else as any does."""
    best = Cluster()
    for host in others:
        cluster: Cluster = run.ask_members(see_cluster, on=[host]).get(host, Cluster())
        if cluster.members and cluster.leader[0]:
            return cluster
        best = best if best.members else cluster
    return best


def save_first(
    run: Run[Any],
    where: str,
    question: str,
    cluster: Cluster,
    others: Sequence[str],
    folder: Path,
    told_as: str,
) -> None:
    """Ask before the first change, and take the snapshot that comes before it; leave the cluster without either.

    ``where`` is what the change is about; without a ``question`` nothing is asked. The snapshot comes into a folder of
    this machine; the report about the run's first host is told, in the step ``told_as``.
    """
    if question and not run.agreed(question):
        run.protect(
            "nothing was changed, since this was not confirmed",
            "run again and say yes, or add --yes; --check says what would be done",
            where=where,
        )
    saved = keep_snapshot(run, cluster, others, folder, told_as)
    if isinstance(saved, str):
        run.protect(
            f"nothing was changed, since no snapshot could be taken: {saved}",
            "a snapshot comes before the first change; see what it says, then run again",
            where=where,
        )


def save_before(run: Run[Members], cluster: Cluster, what: str, told_as: str = "snapshot") -> None:
    """Take a backup of a cluster that was seen so, before ``what``, or leave it.

    The report about the run's first host is told, in the step ``told_as``.
    """
    saved = save_proven(run, cluster, folder_of(run), told_as)
    if isinstance(saved, Refusal):
        run.protect(f"no backup could be taken, which comes before {what}: {saved.what}", saved.remedy)


def save_proven(run: Run[Any], cluster: Cluster, folder: Path, told_as: str = "snapshot") -> Snapshot | Refusal:
    """Take a backup of a cluster that was seen so, proven where it arrives, and return it; or why there is none."""
    if unfit := fit_for_backup(cluster):
        return unfit
    hosts = [member.name for member in run.members]
    saved = keep_snapshot(run, cluster, hosts, folder, told_as, purpose="backup")
    return Refusal(saved, (), "see what it says, then run again") if isinstance(saved, str) else saved


def keep_snapshot(
    run: Run[Any],
    cluster: Cluster,
    others: Sequence[str],
    folder: Path,
    told_as: str,
    *,
    purpose: Purpose = "change",
) -> Snapshot | str:
    """Take a snapshot through one of these hosts, and tell the report about the run's first host in this step.

    Returns it, or why there is none.
    """
    saved = _snapshot(run, cluster, others, folder, purpose)
    if isinstance(saved, Snapshot):
        summary = f"{mib(saved.note.size)}, revision {saved.note.revision}"
        run.step(told_as, noted, on=run.hosts[:1], summary=summary, change=told(saved))
    return saved


def _snapshot(run: Run[Any], cluster: Cluster, others: Sequence[str], folder: Path, purpose: Purpose) -> Snapshot | str:
    """Return the snapshot of the first of these hosts that gives a good one, or why there is none.

    The leader's host comes first, no member has more than it; without a leader, that of the member that has most.
    """
    best = cluster.by_id.get(cluster.leader[0]) or max(
        cluster.statuses, key=lambda status: status.raft_applied, default=None
    )
    least, name = (best.raft_applied, cluster.name(best.member_id)) if best else (0, "")
    names = {member.name: member.member.name for member in run.members}
    reasons = []
    for host in sorted(others, key=lambda host: names[host] != name):
        answers = run.ask_members(save_snapshot, on=[host], folder=folder, least=least, purpose=purpose)
        saved = answers.get(host, f"{host} could not be reached")
        if isinstance(saved, Snapshot):
            return saved
        reasons.append(saved)
    return "; ".join(reasons) or "there is no other host"


def change(
    run: Run[Any],
    step: RemoveEntry | UpdateEntry | ExpectedMember,
    words: str,
    cluster: Cluster,
    others: Sequence[str],
    told_as: str = STEP,
) -> None:
    """Remove an entry, give it another peer URL, or add a learner, through the first of these hosts that does it.

    Leaves the cluster if none does.

    The report about the run's first host is told in ``words``, in the step ``told_as``.
    """
    reasons = []
    for host in others:
        if isinstance(step, RemoveEntry):
            target = move_leader_to(cluster, step.entry.id) if step.leads else None
            leader = hex_id(target.id) if target else ""
            answers = run.ask_members(remove_entry, on=[host], step=step, other_leader=leader)
        elif isinstance(step, UpdateEntry):
            answers = run.ask_members(update_entry, on=[host], step=step)
        else:
            answers = run.ask_members(add_learner, on=[host], member=step)
        why = answers.get(host, "it could not be reached")
        if not why:
            run.step(told_as, noted, on=run.hosts[:1], summary=f"changed through {host}", change=words)
            return
        reasons.append(f"{host}: {why}")
    run.protect(f"the member list could not be changed: {'; '.join(reasons) or 'there is no other host'}", AGAIN)
