"""A member leaves its cluster for good: the others go on without it, and nothing of it starts again.

Whether that may be is decided in ``etcdfleet/etcd/removal.py``. What was done is not done again, so that a run which
was ended anywhere is continued by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from etcdfleet import timeouts
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.removal import Removal, removal
from etcdfleet.program.run import Run
from plays import lock, members
from plays.options import RemoveOptions
from tasks.certificates.revoke import refresh_crl, revoke_replaced
from tasks.members.change import noted, retire
from tasks.members.look import read_place


def remove(run: Run[RemoveOptions]) -> None:
    """Remove a member from the list, then what is left of it on its host, where that is still in the inventory."""
    gone = run.own.gone
    others = run.hosts if gone else run.left_out
    if not gone and not run.ask(read_place):
        run.leave("nothing was changed, since the host cannot be read (is it gone for good? see --gone)")
    on = others[0] if gone else run.hosts[0]
    settings = {member.name: member for member in run.members}
    name = gone or settings[on].member.name
    lock.take(run)
    cluster = members.see(run, others)
    decided = members.accept(run, removal(name, cluster))
    words = _words(name, decided)
    if run.check:
        run.warn(f"without --check: {words}", on)
        run.leave("nothing is changed with --check")
    if decided.step:
        question = "; ".join(filter(None, (words, decided.warning)))
        members.save_first(run, name, f"{question}. Go on?", cluster, others, run.own.snapshot_dir, "snapshot")
        members.change(run, decided.step, words, cluster, others)
    elif gone:
        run.skip((members.STEP, "snapshot", "retire", "revoke"), f"the cluster has no member {gone}")
    elif not run.agreed(f"{words}. Go on?"):
        run.protect(
            "nothing was changed, since this was not confirmed", "run again and say yes, or add --yes", where=on
        )
    if not gone:
        revoke = settings[on].pki.revoke
        run.step("retire", retire, revoke=revoke)
        if revoke:
            run.step("revoke", revoke_replaced)
            run.ask_members(refresh_crl, on=[host for host in others if settings[host].pki.crl])
        else:
            run.skip("revoke", "pki.revoke is off")
    _prove(run, name, others, on)


def _words(name: str, decided: Removal) -> str:
    if decided.step is None:
        return f"{name} is not in the member list; what is left of it on its host is put away"
    return f"member {name} ({hex_id(decided.step.entry.id)}) is removed from the cluster"


def _prove(run: Run[Any], name: str, others: Sequence[str], on: str) -> None:
    """Have those that are left show that they are a healthy cluster without it; the report about ``on`` is told."""
    end, why = time.monotonic() + timeouts.SETTLE, ""
    while True:
        cluster = members.see(run, others)
        why = _not_well(name, cluster)
        if not why:
            break
        if time.monotonic() > end:
            run.protect(f"{name} is removed, and those that are left are not well: {why}", members.AGAIN)
        time.sleep(1)
    left = len(cluster.entries)
    run.step("verify", noted, on=[on], summary=f"the {left} that are left are healthy, with one leader")


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
