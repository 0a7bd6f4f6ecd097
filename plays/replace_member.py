"""A host becomes a member of its running cluster anew: what it lost comes from the others, by way of a learner.

Which step is next is decided in ``etcdfleet/etcd/replacement.py``. After each step the cluster is looked at again, so
that a run which was ended anywhere is continued by the next one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.member_changes import unfit_version
from etcdfleet.etcd.removal import not_well
from etcdfleet.etcd.replacement import (
    AddLearner,
    JoinCluster,
    Place,
    RemoveEntry,
    SetAside,
    Step,
    course,
    is_new,
    next_step,
)
from etcdfleet.program.run import Run
from etcdfleet.roles import SIDES
from plays import certificates, lock, members, trusted
from plays.options import MemberOptions, ReplaceOptions
from plays.remove_member import take_out
from tasks.configure import configure
from tasks.install import install
from tasks.members.change import set_aside
from tasks.members.join import join_member, note_members, read_note
from tasks.members.look import read_place
from tasks.preflight import preflight
from tasks.upgrades import VersionsSeen, look_at_versions
from tasks.verify.member import verify

ROUNDS = 6
"""After each step the cluster is looked at and decided upon anew; more than these there are not."""


def replace(run: Run[ReplaceOptions]) -> None:
    """Bring one host into its cluster: the old entry away, old data aside, added as a learner, joined, promoted."""
    run.step("preflight", preflight, data_may_go=True)
    if run.failed:
        run.leave("nothing was changed, since the preflight failed")
    lock.take(run)
    if not bring_in(run, members.folder_of(run), run.own.instead_of):
        run.skip((members.STEP, "snapshot", "install", "certificates", "configure", "start"), "a healthy member")
    run.step("verify", verify)


def move(run: Run[ReplaceOptions]) -> None:
    """Move a healthy member to another host: that one becomes a member first, then the old one is removed.

    So the cluster can lose as many members as before, all the time.
    """
    old, new = run.own.target, run.own.to
    run.step("preflight", preflight, data_may_go=True)
    if run.failed:
        run.leave("nothing was changed, since the preflight failed")
    lock.take(run)
    names = {member.name: member.member.name for member in run.members}
    cluster = members.see(run, [member.name for member in run.members if member.name != new])
    members.accept(run, not_well(names[old], new, cluster))
    if run.check:
        run.warn(f"without --check: once {new} is a member with a vote, the one on {old} is removed", old)
    bring_in(run.about(new), members.folder_of(run))
    run.step("verify", verify, on=[new])
    if run.failed:
        run.leave(f"the member on {old} stays")
    take_out(run.about(old), members.folder_of(run))


def take_in(run: Run[MemberOptions]) -> None:
    """Bring the hosts that are new to a running cluster into it, one after the other; for a deploy of all of it."""
    places: dict[str, Place] = run.ask(read_place)
    candidates = [place for place in places.values() if not place.marked]
    old = [member.name for member in run.members if places.get(member.name) not in candidates]
    if not candidates or not old:
        return
    cluster = members.see(run, old)
    new = [place for place in candidates if is_new(place, cluster)]
    if run.check and new:
        joins = (_words(place, step) for place in new for step in members.accept(run, course(place, cluster)))
        members.say(run, "; ".join(joins), "start")
    for place in new:
        bring_in(run.about(place.host), members.folder_of(run), told_as="start")


def bring_in(run: Run[Any], folder: Path | None, gone: str = "", told_as: str = "") -> bool:
    """Take the steps, one after the other, until the run's only host is a member; return whether there were any.

    ``told_as`` is the step of the report that tells of snapshot and member list, where they are no steps of their own.
    Without a ``folder`` there is nothing to be saved, and nothing is asked: the cluster was just restored.
    """
    trusted.keep_known(run)
    saved = folder is None
    for _ in range(ROUNDS):
        place, cluster = _look(run, gone)
        if run.check:
            _say(run, place, members.accept(run, course(place, cluster)), told_as or members.STEP)
        step = members.accept(run, next_step(place, cluster))
        if step is None:
            return False
        _keep_version(run, cluster)
        if isinstance(step, JoinCluster):
            break
        if folder and not saved:
            question = "" if isinstance(step, AddLearner) else _question(place, cluster, step)
            members.save_first(run, place.host, question, cluster, run.left_out, folder, told_as or "snapshot")
            saved = True
        _carry_out(run, place, cluster, step, told_as or members.STEP)
    else:
        run.protect(f"no member after {ROUNDS} steps: something else changes the members", members.AGAIN)
    _join(run)
    return True


def _look(run: Run[Any], gone: str) -> tuple[Place, Cluster]:
    """Return what lies on the host, and the cluster as one of the others sees it that works."""
    places = run.ask(read_place, gone=gone)
    if not places:
        run.leave("the host cannot be read")
    return places[run.hosts[0]], members.see(run, run.left_out)


def _say(run: Run[Any], place: Place, steps: tuple[Step, ...], told_as: str) -> None:
    """Say what would be done, and end there."""
    if steps:
        members.say(run, "; ".join(_words(place, step) for step in steps), told_as)


def _words(place: Place, step: Step) -> str:
    name = place.member.name
    match step:
        case RemoveEntry(entry):
            return f"member {entry.name or name} ({hex_id(entry.id)}) is removed from the cluster"
        case SetAside():
            return "what is left of a member on the host is moved aside, and kept"
        case AddLearner():
            return f"{name} is added as a learner"
        case JoinCluster():
            return f"{name} starts without data, gets all of it from the others, and is promoted"


def _question(place: Place, cluster: Cluster, step: Step) -> str:
    words = _words(place, step)
    if isinstance(step, RemoveEntry) and place.data and place.data.member_id == step.entry.id:
        runs = "its etcd runs, and is not healthy" if place.running else "its etcd does not run"
        words += f", although its data lie on {place.host} ({runs}); they are moved aside and kept"
    voters = sum(not entry.learner for entry in cluster.entries)
    return f"{words}; {voters} members have a vote now. Go on?"


def _carry_out(run: Run[Any], place: Place, cluster: Cluster, step: Step, told_as: str) -> None:
    """Change the member list through one of the others, or set aside what lies on the host."""
    if isinstance(step, SetAside):
        run.step(told_as, set_aside)
        if run.failed:
            run.leave("what was left of a member could not be moved aside")
        return
    wanted = step if isinstance(step, RemoveEntry) else place.member
    members.change(run, wanted, _words(place, step), cluster, run.left_out, told_as)


def prepare(run: Run[Any]) -> None:
    """Install, certificates, configuration, as a host needs them that is no first member of its cluster."""
    run.step("install", install)
    certificates.place(run)
    run.step("configure", configure, final=frozenset(SIDES), fresh=frozenset())


def _join(run: Run[Any]) -> None:
    """Prepare the host; then it joins, and the others note that it did."""
    prepare(run)
    noted = [note for note in run.ask_members(read_note, on=run.left_out).values() if note]
    run.step("start", join_member, noted=noted)
    if run.failed:
        run.leave("it is no member with a vote yet: run again, which goes on where this run stopped")
    run.ask_members(note_members, on=run.left_out)


def _keep_version(run: Run[Any], cluster: Cluster) -> None:
    """Leave the cluster where the host would bring another minor version of etcd into it."""
    looks: dict[str, VersionsSeen] = run.ask(look_at_versions)
    for host, look in looks.items():
        version = look.member.running or look.member.brings or look.member.installed
        members.accept(run, unfit_version(host, version, cluster))
