"""A deploy: hosts become members of a verified cluster, and a live cluster gets what has changed in the inventory."""

from __future__ import annotations

from typing import Any

from etcdfleet.program.run import Run, restart_due
from etcdfleet.text import some
from plays import access, beginning, certificates, clients, lock, replace_member, start, trust, versions
from plays.options import DeployOptions
from plays.preflight import try_ports
from tasks.configure import configure
from tasks.install import install
from tasks.preflight import preflight
from tasks.verify.member import verify


def deploy(run: Run[DeployOptions]) -> None:
    """Take the steps in order; a host that fails one takes no part in the later ones."""
    admit(run)
    lock.take(run)
    converge(run, confirmed=run.own.confirm)


def admit(run: Run[Any]) -> None:
    """Leave the cluster unless all of its hosts have passed the preflight: nothing of it is changed before."""
    outcomes = run.step("preflight", preflight)
    if not run.failed:
        try_ports(run, outcomes)
    if run.failed:
        run.leave(f"nothing was changed, since {some(run.failed)} failed the preflight")


def converge(run: Run[Any], *, saved: bool = False, confirmed: str = "") -> None:
    """Bring the cluster, whose lock is held, to what its settings say, and prove it.

    ``saved``: there is a backup already, as comes before another minor version of etcd. ``confirmed`` is the name of a
    cluster that may begin without the data that are in its backups.
    """
    replace_member.take_in(run)
    if fresh := start.look_ahead(run):
        beginning.confirm_beginning(run, confirmed)
    versions.refuse_unfit(run, saved=saved)
    access.keep_root(run)
    due = restart_due(run.step("install", install))
    due |= trust.spread(run)
    clients.keep(run)
    late = certificates.place(run)
    due |= restart_due(run.step("configure", configure, final=trust.no_longer_needed(run), fresh=fresh))
    start.bring_up(run, due=due if run.check else (), programs=True)
    if late:
        certificates.replace_shown(run)
    access.converge(run)
    _verify(run)


def _verify(run: Run[Any]) -> None:
    """With --check, a cluster on which something would change cannot be as the inventory says."""
    if run.check and run.changed():
        run.skip("verify", "its cluster differs from the inventory", on=run.good)
        return
    run.step("verify", verify, may_end_alarm=not run.left_out and run.good == run.hosts)
