"""A host becomes a member of its running cluster anew: what it lost comes from the others, by way of a learner.

Which step is next is decided in ``etcdfleet/etcd/replacement.py``; what happens on hosts is in ``tasks/members/``.
After each step the cluster is looked at again, so that a run which was ended anywhere is continued by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from etcdfleet.certs import accepts, still_shown
from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.gates import move_leader_to
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.replacement import (
    AddLearner,
    JoinCluster,
    Place,
    RemoveEntry,
    SetAside,
    Step,
    course,
    next_step,
)
from etcdfleet.program.run import Run
from etcdfleet.roles import SIDES
from etcdfleet.text import mib
from plays import certificates, lock, trust
from plays.options import ReplaceOptions
from tasks.certificates.trust import trusted_by
from tasks.configure import configure
from tasks.install import install
from tasks.members.change import add_learner, noted, remove_entry, set_aside
from tasks.members.join import join_member, note_members
from tasks.members.look import read_place, see_cluster
from tasks.members.snapshot import SavedSnapshot, save_snapshot, told
from tasks.preflight import preflight
from tasks.verify.member import verify

STEP = "member"
ROUNDS = 6
"""After each step the cluster is looked at and decided upon anew; more than these there are not."""
AGAIN = "see etcd's log on the other hosts, then run again: it goes on where it stopped"


def replace(run: Run[ReplaceOptions]) -> None:
    """Bring one host into its cluster: the old entry away, old data aside, added as a learner, joined, promoted."""
    run.step("preflight", preflight, data_may_go=True)
    if run.failed:
        run.leave("nothing was changed, since the preflight failed")
    lock.take(run)
    _trusted(run)
    saved = False
    for _ in range(ROUNDS):
        place, cluster = _look(run)
        step = _decided(run, course(place, cluster) if run.check else next_step(place, cluster))
        if step is None:
            run.skip((STEP, "snapshot", "install", "certificates", "configure", "start"), "it is a healthy member")
            break
        if run.check:
            run.warn(f"without --check: {'; '.join(_words(place, each) for each in step)}", place.host)
            run.leave("nothing is changed with --check")
        if isinstance(step, JoinCluster):
            _join(run)
            break
        if not saved:
            _save(run, place, cluster, step)
            saved = True
        _carry_out(run, place, cluster, step)
    run.step("verify", verify)


def _decided(run: Run[ReplaceOptions], decided: Any) -> Any:
    """Return what was decided, None for nothing to do; leave the cluster where it was refused."""
    if isinstance(decided, Refusal):
        run.protect(decided.what, decided.remedy, where=", ".join(decided.hosts))
    return decided or None


def _look(run: Run[ReplaceOptions]) -> tuple[Place, Cluster]:
    """Return what lies on the host, and the cluster as one of the others sees it that works."""
    places = run.ask(read_place, gone=run.own.instead_of)
    if not places:
        run.leave("the host cannot be read")
    place: Place = places[run.hosts[0]]
    cluster = Cluster()
    for seen in _views(run):
        if seen.members and seen.leader[0]:
            return place, seen
        cluster = cluster if cluster.members else seen
    return place, cluster


def _views(run: Run[ReplaceOptions]) -> Iterator[Cluster]:
    """Yield the cluster as each other host sees it, one after the other: mostly the first one will do."""
    for host in run.left_out:
        yield from run.ask_members(see_cluster, on=[host]).values()


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


def _save(run: Run[ReplaceOptions], place: Place, cluster: Cluster, step: Step) -> None:
    """Ask before the first change, and take the snapshot that comes before it."""
    if not run.agreed(_question(place, cluster, step)):
        run.protect(
            "nothing was changed, since this was not confirmed",
            "run again and say yes, or add --yes; --check says what would be done",
            where=place.host,
        )
    saved = _snapshot(run, cluster)
    if isinstance(saved, str):
        run.protect(
            f"nothing was changed, since no snapshot could be taken: {saved}",
            "a snapshot comes before any change of members; see what it says, then run again",
            where=place.host,
        )
    run.step("snapshot", noted, summary=f"{mib(saved.size)}, revision {saved.revision}", change=told(saved))


def _snapshot(run: Run[ReplaceOptions], cluster: Cluster) -> SavedSnapshot | str:
    """Return the snapshot of the first of the others that gives a good one, or why there is none."""
    leader = cluster.by_id.get(cluster.leader[0])
    least = leader.raft_applied if leader else 0
    reasons = []
    for host in _holders(run, cluster):
        answers = run.ask_members(save_snapshot, on=[host], folder=run.own.snapshot_dir, least=least)
        saved = answers.get(host, f"{host} could not be reached")
        if isinstance(saved, SavedSnapshot):
            return saved
        reasons.append(saved)
    return "; ".join(reasons) or "there is no other host"


def _question(place: Place, cluster: Cluster, step: Step) -> str:
    words = _words(place, step)
    if isinstance(step, RemoveEntry) and place.data and place.data.member_id == step.entry.id:
        runs = "its etcd runs, and is not healthy" if place.running else "its etcd does not run"
        words += f", although its data lie on {place.host} ({runs}); they are moved aside and kept"
    voters = sum(not entry.learner for entry in cluster.entries)
    return f"{words}; {voters} members have a vote now. Go on?"


def _holders(run: Run[ReplaceOptions], cluster: Cluster) -> list[str]:
    """Return the other hosts, that of the leader first: nobody has more than it."""
    leader = cluster.name(cluster.leader[0])
    names = {member.name: member.member.name for member in run.members}
    return sorted(run.left_out, key=lambda host: names[host] != leader)


def _carry_out(run: Run[ReplaceOptions], place: Place, cluster: Cluster, step: Step) -> None:
    """Change the member list through one of the others, or set aside what lies on the host."""
    if isinstance(step, SetAside):
        run.step(STEP, set_aside)
        if run.failed:
            run.leave("what was left of a member could not be moved aside")
        return
    why = "no other host is left"
    for host in run.left_out:
        if isinstance(step, RemoveEntry):
            target = move_leader_to(cluster, step.entry.id) if step.leads else None
            said = run.ask_members(remove_entry, on=[host], step=step, other_leader=hex_id(target.id) if target else "")
        else:
            said = run.ask_members(add_learner, on=[host], member=place.member)
        if "" in said.values():
            run.step(STEP, noted, summary=f"changed through {host}", change=_words(place, step))
            return
        why = "; ".join([*said.values(), *([] if said else [f"{host} could not be reached"])])
    run.protect(f"the member list could not be changed: {why}", AGAIN, where=place.host)


def _join(run: Run[ReplaceOptions]) -> None:
    """Install, certificates, configuration; then the host joins, and the others note that it did."""
    run.step("install", install)
    certificates.place(run)
    run.step("configure", configure, final=frozenset(SIDES), fresh=frozenset())
    run.step("start", join_member)
    if run.failed:
        run.leave("it is no member with a vote yet: run again, which goes on where this run stopped")
    run.ask_members(note_members, on=run.left_out)


def _trusted(run: Run[ReplaceOptions]) -> None:
    """Leave the cluster while its CA changes: the others would refuse the host's new certificates, or it theirs."""
    mine, others = trust.states_of(run), run.ask_members(trusted_by, on=run.left_out)
    now = datetime.now(UTC)
    for sides in mine.values():
        for side, state in sides.items():
            members = [each[side] for each in others.values() if side in each and each[side].live]
            late = [each.name for each in members if not all(accepts(way, each.trusted, at=now) for way in state.ways)]
            late += [each.name for each in still_shown(members, state.anchors, at=now)]
            if late:
                run.protect(
                    f"{', '.join(dict.fromkeys(late))} and this host would refuse each other's certificates: the CA of"
                    f" the cluster's {side}s is being changed",
                    "let the previous CA issue again until this member is back (in Vault: as the mount's default"
                    " issuer), and run again; then go on with the change",
                )
