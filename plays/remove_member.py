"""A member leaves its cluster for good: the others go on without it, and nothing of it starts again.

Whether that may be is decided in ``etcdfleet/etcd/removal.py``. What was done is not done again, so that a run which
was ended anywhere is continued by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etcdfleet import timeouts
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.removal import removal
from etcdfleet.etcd.teardown import NOT_OURS
from etcdfleet.program.run import Run
from plays import lock, members
from plays.options import RemoveOptions
from tasks.certificates.revoke import refresh_crl, revoke_replaced
from tasks.members.change import noted, retire
from tasks.members.join import note_members
from tasks.members.look import read_place


def remove(run: Run[RemoveOptions]) -> None:
    """Remove a member from the list, then what is left of it on its host, where that is still in the inventory."""
    if run.own.gone:
        lock.take(run)
        _off_the_list(run, run.own.gone, run.hosts, members.folder_of(run))
        _prove(run, run.own.gone, run.hosts)
        return
    (host,) = run.hosts
    place = run.ask_members(read_place, on=[host]).get(host)
    if not place:
        name = next(member.member.name for member in run.members if member.name == host)
        run.protect(
            "nothing was changed, since the host cannot be read, and its etcd may run on",
            "bring it up, or see with status.py why it cannot be reached; only if it is gone for good: python"
            f" runbooks/remove_member.py --gone {name} --cluster {run.cluster}",
            where=host,
        )
    if place.foreign:
        run.protect(f"nothing was changed: {place.foreign}", NOT_OURS, where=host)
    lock.take(run)
    take_out(run, members.folder_of(run))


def take_out(run: Run[Any], folder: Path) -> None:
    """Remove the member on the run's only host, and see to it that nothing of it starts again."""
    (host,), others = run.hosts, run.left_out
    settings = {member.name: member for member in run.members}
    name, pki = settings[host].member.name, settings[host].pki
    words = f"{name} is not in the member list; what is left of it on its host is put away"
    if not _off_the_list(run, name, others, folder) and not run.agreed(f"{words}. Go on?"):
        run.protect("nothing was changed, since this was not confirmed", "run again and say yes, or add --yes")
    run.step("retire", retire, revoke=pki.revoke)
    if pki.revoke:
        run.step("revoke", revoke_replaced)
        run.ask_members(refresh_crl, on=[other for other in others if settings[other].pki.crl])
    else:
        run.skip("revoke", "pki.revoke is off")
    _prove(run, name, others)


def _off_the_list(run: Run[Any], name: str, others: Sequence[str], folder: Path) -> bool:
    """Take a member off the list, after a yes and a snapshot; return whether it was there."""
    cluster = members.see(run, others)
    decided = members.accept(run, removal(name, cluster))
    number = f" ({hex_id(decided.step.entry.id)})" if decided.step else ""
    words = f"member {name}{number} is removed from the cluster"
    if run.check:
        members.say(run, f"{words}, and etcd on its host is stopped for good")
    if not decided.step:
        run.skip((members.STEP, "snapshot"), f"{name} is not in the member list")
        return False
    question = "; ".join(filter(None, (words, decided.warning)))
    members.save_first(run, name, f"{question}. Go on?", cluster, others, folder, "snapshot")
    members.change(run, decided.step, words, cluster, others)
    return True


def _prove(run: Run[Any], name: str, others: Sequence[str]) -> None:
    """Have those that are left show that they are a healthy cluster without it, and note who its members are now.

    While the cluster is down, a note that still names it would make a new host look like one that lost its data.
    """
    end, why = time.monotonic() + timeouts.SETTLE, ""
    while True:
        cluster = members.see(run, others)
        why = _not_well(name, cluster)
        if not why:
            break
        if time.monotonic() > end:
            run.protect(f"{name} is removed, and those that are left are not well: {why}", members.AGAIN)
        time.sleep(1)
    run.ask_members(note_members, on=others)
    left = len(cluster.entries)
    run.step("verify", noted, on=run.hosts[:1], summary=f"the {left} that are left are healthy, with one leader")


def _not_well(name: str, cluster: Cluster) -> str:
    """Return why those that are left are not a healthy cluster without the member; empty if they are."""
    if cluster.members is None:
        return cluster.no_list or "no member gives the member list"
    if any(name in (entry.name, hex_id(entry.id)) for entry in cluster.entries):
        return f"{name} is still in the member list"
    sick = [
        f"{cluster.name(entry.id)}: {cluster.sickness(entry)}" for entry in cluster.entries if cluster.sickness(entry)
    ]
    return "; ".join(sick) or cluster.moving()
