"""Members of a running cluster are brought to other addresses, names or ports, one after the other.

Where the inventory differs from that is seen by the planner (`etcdfleet.etcd.start_model.Readdress`); whether a member
may be moved now is decided in ``etcdfleet/etcd/readdressing.py``. The member keeps its id and its data: certificates
that fit both, its peer URL in the member list, its configuration, a restart. Each is done only where it is not done
yet, so that a run which was ended anywhere is continued by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from etcdfleet.etcd.answers import ExpectedMember
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.configuration import Addresses
from etcdfleet.etcd.expected import expected_member
from etcdfleet.etcd.interruption import interruption
from etcdfleet.etcd.readdressing import may_be_restarted, may_move, names_in_use, update_of
from etcdfleet.program.run import Run
from plays import members, trusted
from tasks.configure import configure
from tasks.members.readdress import addresses_there, fit_both, forget_names, own_answers
from tasks.start import restart_member

STEP = "start"


def readdress(run: Run[Any], hosts: Sequence[str]) -> None:
    """Bring the members of these hosts to where the inventory has them; leave the cluster where that is refused."""
    if run.check:
        words = []
        for host in hosts:
            member, cluster = _look(run, host)
            members.accept(run, may_move(host, member, cluster))
            words.append(_words(member, cluster))
        members.say(run, "; ".join(words), STEP)
    for host in hosts:
        _bring(run.about(host), host)


def _bring(run: Run[Any], host: str) -> None:
    trusted.keep_known(run)
    member, cluster = _look(run, host)
    members.accept(run, may_move(host, member, cluster))
    _confirm(run, host, member, cluster)
    there: Addresses = run.ask(addresses_there).get(host, {})
    run.step("certificates", fit_both, names=names_in_use(there, member, cluster))
    if run.failed:
        run.leave("its address stays as it is")
    update = update_of(member, cluster)
    if update:
        old = ", ".join(update.entry.peer_urls)
        told = f"the others look for {member.name} at {member.peer_url}, no longer at {old}"
        members.change(run, update, told, cluster, [*run.left_out, host], STEP)
    run.step("configure", configure, fresh=frozenset())
    run.step(STEP, restart_member, gate=may_be_restarted)
    if run.failed:
        run.leave("its new address is in the member list, and it does not serve there yet: run again, which goes on")
    run.ask(forget_names)


def _look(run: Run[Any], host: str) -> tuple[ExpectedMember, Cluster]:
    """Return the member that is to be on the host, and the cluster as it is.

    As one of the others sees it; what the member says itself is asked on its own host, since its old address may be
    dead, or the new one its own already.
    """
    settings = next(member for member in run.members if member.name == host)
    member = expected_member(settings, settings.member)
    cluster = members.see(run, [*(each.name for each in run.members if each.name != host), host])
    mine = cluster.entry(member.name)
    if mine and mine.id not in cluster.by_id and mine.client_urls:
        status, health = run.ask_members(own_answers, on=[host]).get(host, (None, None))
        url = mine.client_urls[0]
        if status and status.member_id == mine.id:
            cluster = replace(
                cluster,
                statuses=(*cluster.statuses, replace(status, endpoint=url)),
                healths=(*cluster.healths, *([replace(health, endpoint=url)] if health else [])),
            )
    return member, cluster


def _words(member: ExpectedMember, cluster: Cluster) -> str:
    update = update_of(member, cluster)
    old = f" (now {', '.join(update.entry.peer_urls)})" if update else ""
    return (
        f"{member.name} is brought to {member.peer_url}{old}: certificates for both, its entry in the member list, its"
        " configuration, and a restart"
    )


def _confirm(run: Run[Any], host: str, member: ExpectedMember, cluster: Cluster) -> None:
    """Ask before a restart that clients notice; leave the cluster unless it is confirmed."""
    mine = cluster.entry(member.name)
    status = cluster.by_id.get(mine.id) if mine else None
    schemes = {host: status.endpoint.partition(":")[0]} if status else {}
    what = interruption(len(run.members), [host], schemes, member.client_url.partition(":")[0])
    if what and not run.agreed(f"{member.name} is brought to another address: {what}. Go on?"):
        run.protect(
            f"not brought to another address, since this was not confirmed: {what}",
            "run again when it suits, and say yes or add --yes; until then all stays as it is",
            where=host,
        )
