"""A cluster gets another version of etcd, by as many hops as that takes, each of them a deploy of its own.

Which versions come between is decided in ``etcdfleet/etcd/hops.py``. What runs is looked at anew at the beginning, so
a run that was ended anywhere is continued by the next one. A hop is what deploy does with that version in the
inventory, after a backup, and is proven before the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from etcdfleet.drivers.packages import upstream_version
from etcdfleet.etcd.canary import Hold, in_force
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.corruption import hashes_differ
from etcdfleet.etcd.hops import Course, Hop, Supply, plan_hops, unfit, wanted_by_all
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.v2_residue import READS_NO_V2, enters
from etcdfleet.etcd.versions import parse
from etcdfleet.program.run import Run
from plays import lock, members, versions
from plays.deploy import admit, converge
from plays.options import UpgradeOptions
from tasks.canary import end_hold, hold_back
from tasks.corruption import see_hashes
from tasks.hops import look_at_supply, prove_version, tell_plan

STEPS = ("preflight", "snapshot", "install", "trust", "certificates", "configure", "start", "auth", "verify", "proof")
"""Those of a hop."""


def upgrade(run: Run[UpgradeOptions]) -> None:
    """Plan the hops, ask, and take one after the other; with ``--canary``, the first of them on one member alone."""
    if run.left_out:
        run.protect(
            f"nothing was changed: {', '.join(run.left_out)} takes no part in this run, and a hop is for all members",
            "run again for the whole cluster: --cluster in place of --limit",
        )
    planned = _plan(run)
    if not planned.course.hops:
        run.skip(STEPS, "its version runs already")
        _tell_the_inventory(run, planned.course)
        return
    if run.own.canary and planned.hold:
        run.warn(f"{planned.hold.told()}; {planned.hold.ways()}")
        run.leave("a member is a canary already")
    canary = _canary(run, planned) if run.own.canary else None
    question = f"{canary.host} gets etcd {canary.new} first, as a canary" if canary else planned.course.words
    if danger := _danger(run, planned):
        question += f"; {danger}"
    if run.check:
        run.warn(f"without --check: {question}; this is asked for")
        versions.refuse_unfit(_at(run, planned.course.hops[0].version), goes_on=True, saved=True)
        run.leave("nothing is changed with --check")
    if not run.agreed(f"{question}. Go on?"):
        run.protect(
            "nothing was changed, since this was not confirmed",
            "run again and say yes, or add --yes; --check says what would be done",
        )
    for number, hop in enumerate(planned.course.hops):
        wanting = _at(run, hop.version)
        admit(wanting)
        if not number:
            lock.take(wanting)
        entering = wanting.about(canary.host) if canary else wanting
        versions.refuse_unfit(entering, goes_on=True, saved=True)  # before a backup is worth its time
        if not number:
            wanting.ask(end_hold)
        # A hop has no other way back once the last member is new.
        members.save_before(wanting, members.see(wanting, wanting.hosts), "each hop")
        if canary:
            _try_out(wanting, canary)
            return
        converge(wanting, saved=True)
        _arrive(wanting, hop)
    _tell_the_inventory(run, planned.course)


def _at(run: Run[UpgradeOptions], version: str) -> Run[UpgradeOptions]:
    """Return the run as it is with this version in the inventory."""
    return run.wanting({one.name: replace(one, install=one.install.at(version)) for one in run.members})


@dataclass(frozen=True)
class _Planned:
    """The way, what is known of the members, the cluster as it is, and the hold of a canary that counts."""

    course: Course
    members: Sequence[MemberVersion]
    cluster: Cluster
    hold: Hold | None


def _plan(run: Run[UpgradeOptions]) -> _Planned:
    """Return the way to the version that is wanted, which people and the report are told."""
    seen, cluster_version, looks = versions.look(run)
    supplies: list[Supply] = list(run.ask(look_at_supply).values())
    if run.failed:
        run.leave(f"nothing was changed, since {', '.join(run.failed)} could not be read")
    target = run.own.to or members.accept(run, wanted_by_all(supplies))
    course = members.accept(run, plan_hops(seen, supplies, target, cluster_version))
    cluster = members.see(run, run.hosts)
    if course.hops and (refusal := unfit(cluster)):
        run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    if course.hops:  # a run that was ended before it had proven its last hop has left that to this one
        _refuse_other_data(run, f"before the hop to etcd {course.hops[0].version}")
    first, *others = told = course.told()
    run.program.say("\n".join([f"{run.cluster}: {first}", *(f"  {line}" for line in others)]))
    run.step("plan", tell_plan, on=run.hosts[:1], summary=course.words, lines=told if course.hops else ())
    run.step("plan", tell_plan, on=run.hosts[1:], summary=course.words)
    running = {one.host: one.running for one in seen}
    return _Planned(course, seen, cluster, in_force((one.held for one in looks), running))


def _danger(run: Run[UpgradeOptions], planned: _Planned) -> str:
    """Return what stands against a later hop as far as that shows today: a person should know before the first one."""
    into = next((hop for hop in planned.course.hops if (parse(hop.version) or (0,))[:2] >= READS_NO_V2), None)
    if into is None or into == planned.course.hops[0]:
        return ""  # then it is looked at before anything is changed
    entering = enters(replace(one, brings=into.version) for one in planned.members)
    found, _ = versions.dangers(run, entering)
    return f"of the hop to {into.version}: {'; '.join(refusal.what for refusal in found)}" if found else ""


def _canary(run: Run[UpgradeOptions], planned: _Planned) -> Hold:
    """Return the hold of the member that gets the first version before the others: one of those that follow."""
    if len(run.members) < 2:
        run.protect(
            "nothing was changed: a cluster of one member has none that could be held back",
            "leave --canary out: a backup is taken before each hop",
        )
    hop, leader = planned.course.hops[0], planned.cluster.leader[0]
    names = {one.name: one.member.name for one in run.members}
    host = next((host for host in hop.hosts if names[host] != planned.cluster.name(leader)), hop.hosts[0])
    running = {one.host: one.running for one in planned.members}
    return Hold(host, running[host], hop.version, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")


def _try_out(run: Run[UpgradeOptions], canary: Hold) -> None:
    """Upgrade one member; that the others are held back is noted before, so that no later run takes them along."""
    alone = run.about(canary.host)
    alone.ask(hold_back, hold=canary)
    converge(alone, saved=True)
    if run.failed:
        run.leave(f"{canary.host} is no canary yet: the same command goes on")
    run.skip(STEPS, f"held back: {canary.host} tries it out", on=[host for host in run.hosts if host != canary.host])
    run.skip("proof", "the others are held back", on=[canary.host])
    run.warn(f"{canary.told()}; {canary.ways()}")


def _arrive(run: Run[UpgradeOptions], hop: Hop) -> None:
    """Prove that all members have arrived; leave the cluster if not, since the next hop must not begin then."""
    if run.failed:
        run.leave(f"the hop to etcd {hop.version} is not complete: the same command goes on where it stopped")
    run.step("proof", prove_version, version=hop.version)
    if run.failed:
        run.leave(f"the hop to etcd {hop.version} is not proven: the same command looks again")
    _refuse_other_data(run, f"after the hop to etcd {hop.version}")


def _refuse_other_data(run: Run[UpgradeOptions], when: str) -> None:
    """Leave a cluster whose members do not hold the same data, by their hashes at one revision."""
    cluster: Cluster = run.ask_members(see_hashes, on=run.hosts[:1]).get(run.hosts[0], Cluster())
    if hashes_differ(cluster) or cluster.divergence:
        run.protect(
            f"{when}, members do not hold the same data",
            "python runbooks/repair.py (docs/repair.md, Data that differ); then run again",
        )


def _tell_the_inventory(run: Run[UpgradeOptions], course: Course) -> None:
    """Say what the inventory must say so that deploy agrees."""
    versions_set = {one.install.version for one in run.members if one.install.version}
    others = sorted(version for version in versions_set if upstream_version(version) != course.target)
    if others:
        run.warn(
            f"etcd {course.target} runs: write install.version: {course.target} into the inventory (it has"
            f" {', '.join(others)}); until then deploy.py stops at this cluster"
        )
