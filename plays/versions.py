"""Whether the programs that a deploy would bring fit the cluster, asked before anything is changed on its hosts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import address
from etcdfleet.etcd.canary import Hold, going_back, in_force, refuse_held
from etcdfleet.etcd.downgrades import downgrade_target, follows_job, refuse_turning
from etcdfleet.etcd.removed_members import NotedMembers, refuse_mistaken
from etcdfleet.etcd.upgrades import MemberVersion, changes_minor, patch_downgrades, refuse_programs
from etcdfleet.etcd.v2_entries import V2Entries, enters_3_7, told_of_entries
from etcdfleet.etcd.v2_residue import Residue, enters, refuse_keys, told_of
from etcdfleet.program.run import Run
from etcdfleet.settings.models import HostSettings, client_url
from plays import members
from plays.downgrade import STEP, go_back, go_on
from plays.flush import flush
from tasks.canary import end_hold
from tasks.upgrades import VersionsSeen, is_due, look_at_versions, read_noted_members, read_residue, read_v2_entries


def refuse_unfit(run: Run[Any], *, goes_on: bool = False, saved: bool = False) -> None:
    """Leave a cluster whose members would get a version that does not fit; make fit what can be.

    Where no program is due, or there is no cluster yet, nothing is asked. Requests of the old v2 API in raft logs are
    left behind raft snapshots before etcd 3.6 and 3.7 (`plays.flush`). Before another minor version a backup is taken,
    unless one was ``saved`` already. ``goes_on``: members that are held back for a canary are to follow it.
    """
    answers: dict[str, tuple[bool, bool]] = run.ask(is_due)
    if not (any(due for due, _ in answers.values()) and any(exists for _, exists in answers.values())):
        return
    ours, running, looks = look(run)
    hold = None if goes_on else held(run, looks)
    if hold and (refusal := refuse_held(hold, ours)):
        run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    job = next((one.job for one in looks if one.job), "")
    if refusal := refuse_turning(ours, job):
        run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    if refusal := refuse_programs(ours, running):
        target = downgrade_target(ours, running)
        went_back = bool(target) and go_back(run, target)
        saved |= went_back
        if not went_back:
            run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    elif follows_job(ours, job):
        go_on(run, job, ours)
    found, residues = dangers(run, enters(one.member for one in looks))
    entries = left_in_log(run, enters_3_7(one.member for one in looks))
    for refusal in found:
        run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    _take_back(run, hold, ours)
    downgrades = patch_downgrades(one for one in ours if not (hold and one.host == hold.host))
    for warning in downgrades:
        run.warn(warning)
    running = ", ".join(sorted({one.running for one in ours if one.running}))
    remedy = f"put what runs into install.version ({running}); or run again and say yes, or add --yes"
    _confirm(run, "; ".join(downgrades), "Is that what is wanted?", remedy)
    for told in (told_of(list(residues.values())), told_of_entries(list(entries.values()))):
        if told:
            run.warn(told)
    if not saved:
        _save(run, ours)
    flush(run, {**residues, **entries})


def dangers(run: Run[Any], entering: Collection[str]) -> tuple[list[Refusal], dict[str, Residue]]:
    """Return what of the data on these hosts etcd 3.6 would not survive, and what of it can be left behind before.

    Leaves the cluster if they cannot be read.
    """
    noted: dict[str, NotedMembers] = run.ask(read_noted_members, on=entering)
    residues: dict[str, Residue] = run.ask(read_residue, on=entering)
    if run.failed:
        run.leave(f"nothing was changed, since the data of {', '.join(run.failed)} could not be read")
    found = refuse_mistaken(list(noted.values())), refuse_keys(list(residues.values()))
    return [refusal for refusal in found if refusal], residues


def left_in_log(run: Run[Any], entering: Collection[str]) -> dict[str, V2Entries]:
    """Return what of the raft logs on these hosts etcd 3.7 would not survive; leave the cluster if it is not known."""
    entries: dict[str, V2Entries] = run.ask(read_v2_entries, on=entering)
    if run.failed:
        run.leave(f"nothing was changed, since the raft log of {', '.join(run.failed)} could not be read")
    return entries


def look(run: Run[Any]) -> tuple[list[MemberVersion], str, list[VersionsSeen]]:
    """Return what all members run, the cluster version, and what was read of the hosts of this run."""
    looks: list[VersionsSeen] = list(run.ask(look_at_versions).values())
    versions = [*(one.member for one in looks), *_others(run.members, looks)]
    return versions, next((one.cluster for one in looks if one.cluster), ""), looks


def held(run: Run[Any], looks: Collection[VersionsSeen]) -> Hold | None:
    """Return the hold of a canary that counts; the marker of a host that this run leaves out is read, too."""
    others: Collection[VersionsSeen] = run.ask_members(look_at_versions, on=run.left_out).values()
    everywhere = [*looks, *others]
    return in_force((one.held for one in everywhere), {one.member.host: one.member.running for one in everywhere})


def _save(run: Run[Any], ours: Sequence[MemberVersion]) -> None:
    """Take a backup before another minor version: nothing else leads back once all members run it."""
    if run.check or not changes_minor(ours):
        return
    cluster = members.see(run, run.hosts)
    if cluster.serving:
        members.save_before(run, cluster, "another minor version of etcd", STEP)
    else:
        run.warn("another minor version of etcd is brought without a backup before it: no majority of members answers")


def _take_back(run: Run[Any], hold: Hold | None, ours: list[MemberVersion]) -> None:
    """Ask before a canary goes back to the version of the others; then nothing is held any more."""
    if what := going_back(hold, ours):
        remedy = f"{hold.ways() if hold else ''}; run again and say yes, or add --yes"
        _confirm(run, what, "That ends the trial.", remedy)
        if not run.check and hold:
            run.ask_members(end_hold, on=[hold.host])


def _confirm(run: Run[Any], what: str, more: str, remedy: str) -> None:
    """Ask before a step that a person must want; leave the cluster unless it is confirmed."""
    if what and run.check:
        run.warn(f"{what}; without --check this is asked for")
    elif what and not run.agreed(f"{what}. {more} Go on?"):
        run.protect(f"nothing was changed, since this was not confirmed: {what}", remedy)


def _others(hosts: tuple[HostSettings, ...], looks: Collection[VersionsSeen]) -> list[MemberVersion]:
    """Return the members whose hosts this run does not touch, as those that it does touch hear of them."""
    ours = {one.member.host for one in looks}
    heard = {where: version for one in looks for where, version in one.others.items()}
    return [
        MemberVersion(host.name, running=version)
        for host in hosts
        if host.name not in ours and (version := heard.get(address(client_url(host.member, host.cluster))))
    ]
