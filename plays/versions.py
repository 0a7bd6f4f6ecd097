"""Whether the programs that a deploy would bring fit the cluster, asked before anything is changed on its hosts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from etcdfleet.etcd.answers import address
from etcdfleet.etcd.upgrades import MemberVersion, patch_downgrades, refuse_programs
from etcdfleet.etcd.v2_residue import Residue, enters, refuse_residue, unproven_step
from etcdfleet.program.run import Run
from etcdfleet.settings.models import HostSettings, client_url
from tasks.upgrades import VersionsSeen, is_due, look_at_versions, read_residue


def refuse_unfit(run: Run[Any]) -> None:
    """Leave a cluster whose members would get a version that does not fit.

    Where no program is due, or there is no cluster yet, nothing is asked.
    """
    answers: dict[str, tuple[bool, bool]] = run.ask(is_due)
    if not (any(due for due, _ in answers.values()) and any(exists for _, exists in answers.values())):
        return
    looks: list[VersionsSeen] = list(run.ask(look_at_versions).values())
    members = [*(one.member for one in looks), *_others(run.members, looks)]
    running = next((one.cluster for one in looks if one.cluster), "")
    if refusal := refuse_programs(members, running):
        run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    entering = enters(one.member for one in looks)
    residues: dict[str, Residue] = run.ask(read_residue, on=entering)
    if run.failed:
        run.leave(f"nothing was changed, since the raft log of {', '.join(run.failed)} could not be read")
    if refusal := refuse_residue(list(residues.values())):
        run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    _confirm(run, unproven_step(list(residues.values())))
    for warning in patch_downgrades(members):
        run.warn(warning)


def _confirm(run: Run[Any], what: str) -> None:
    """Ask before a step that may cost the cluster its quorum; leave the cluster unless it is confirmed."""
    if what and run.check:
        run.warn(f"{what}; without --check this is asked for")
    elif what and not run.agreed(f"{what}. Did this cluster begin with 3.5, and is there a backup of it? Go on?"):
        run.protect(
            f"nothing was changed, since this was not confirmed: {what}",
            "keep the 3.5 that runs; where the cluster began with 3.5: python runbooks/backup.py first, then run again"
            " and say yes, or add --yes",
        )


def _others(hosts: tuple[HostSettings, ...], looks: Collection[VersionsSeen]) -> list[MemberVersion]:
    """Return the members whose hosts this run does not touch, as those that it does touch hear of them."""
    ours = {one.member.host for one in looks}
    heard = {where: version for one in looks for where, version in one.others.items()}
    return [
        MemberVersion(host.name, running=version)
        for host in hosts
        if host.name not in ours and (version := heard.get(address(client_url(host.member, host.cluster))))
    ]
