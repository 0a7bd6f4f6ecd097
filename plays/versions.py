"""Whether the programs that a deploy would bring fit the cluster, asked before anything is changed on its hosts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from etcdfleet.etcd.answers import address
from etcdfleet.etcd.removed_members import NotedMembers, refuse_mistaken
from etcdfleet.etcd.upgrades import MemberVersion, patch_downgrades, refuse_programs
from etcdfleet.etcd.v2_residue import Residue, enters, refuse_keys, told_of
from etcdfleet.program.run import Run
from etcdfleet.settings.models import HostSettings, client_url
from plays.flush import flush
from tasks.upgrades import VersionsSeen, is_due, look_at_versions, read_noted_members, read_residue


def refuse_unfit(run: Run[Any]) -> None:
    """Leave a cluster whose members would get a version that does not fit; make fit what can be.

    Where no program is due, or there is no cluster yet, nothing is asked. Requests of the old v2 API in raft logs are
    left behind raft snapshots before etcd 3.6 (`plays.flush`).
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
    noted: dict[str, NotedMembers] = run.ask(read_noted_members, on=entering)
    residues: dict[str, Residue] = run.ask(read_residue, on=entering)
    if run.failed:
        run.leave(f"nothing was changed, since the data of {', '.join(run.failed)} could not be read")
    for refusal in (refuse_mistaken(list(noted.values())), refuse_keys(list(residues.values()))):
        if refusal:
            run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    for warning in patch_downgrades(members):
        run.warn(warning)
    if told := told_of(list(residues.values())):
        run.warn(told)
        flush(run, residues)


def _others(hosts: tuple[HostSettings, ...], looks: Collection[VersionsSeen]) -> list[MemberVersion]:
    """Return the members whose hosts this run does not touch, as those that it does touch hear of them."""
    ours = {one.member.host for one in looks}
    heard = {where: version for one in looks for where, version in one.others.items()}
    return [
        MemberVersion(host.name, running=version)
        for host in hosts
        if host.name not in ours and (version := heard.get(address(client_url(host.member, host.cluster))))
    ]
