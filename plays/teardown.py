"""A cluster is taken down: a last snapshot, all members stopped for good, then data, certificates and files put away.

Whether that may be is decided in ``etcdfleet/etcd/teardown.py``. What was done is not done again, so that a run which
was ended anywhere is continued by the next one.
"""

from __future__ import annotations

from etcdfleet.etcd.teardown import Teardown, teardown
from etcdfleet.program.run import Run
from plays import beginning, lock, members
from plays.options import TeardownOptions
from tasks.certificates.revoke import revoke_replaced
from tasks.members.look import read_place
from tasks.members.teardown import put_host_away, remove_files, stop_host

STEP = "data"


def take_down(run: Run[TeardownOptions]) -> str:
    """Take down the whole cluster, after its name was typed in full. Return where the last snapshot is."""
    lock.take(run)
    own = run.own
    plan = _plan(run)
    _confirm(run, plan)
    saved = _save(run, plan)
    run.step("stop", stop_host)
    if run.failed:
        run.leave(f"no data were touched, since etcd on {', '.join(run.failed)} could not be stopped for good")
    revoke = [member.name for member in run.members if member.pki.revoke]
    for chosen, revokes in ((revoke, True), ([host for host in run.hosts if host not in revoke], False)):
        run.step(STEP, put_host_away, on=chosen, delete=own.delete_data, revoke=revokes)
    if not run.check:
        run.step("revoke", revoke_replaced, on=revoke)
    run.skip("revoke", "nothing is taken out of use with --check" if run.check else "pki.revoke is off", on=run.good)
    run.step("remove", remove_files)
    if not run.check and not run.failed:
        beginning.note_end_of(run)
    return saved


def _plan(run: Run[TeardownOptions]) -> Teardown:
    own = run.own
    places = run.ask_members(read_place, on=run.hosts)
    cluster = members.see(run, [host for host in run.hosts if host in places])
    plan = teardown(run.hosts, places, cluster, deletes=own.delete_data, without_snapshot=own.without_snapshot)
    return members.accept(run, plan)


def _confirm(run: Run[TeardownOptions], plan: Teardown) -> None:
    """Leave the cluster unless a person has typed its name, here or on the command line."""
    own, hosts = run.own, ", ".join(run.hosts)
    data = "ALL DATA OF IT ARE DELETED" if own.delete_data else "its data are moved aside, and kept"
    words = f"cluster {run.cluster} is taken down for good: etcd on {hosts} is stopped and removed, and {data}"
    if plan.warning:
        run.warn(plan.warning)
        words = f"{words}; {plan.warning}"
    members.confirm_by_name(run, words, own.confirm)


def _save(run: Run[TeardownOptions], plan: Teardown) -> str:
    """Take the last snapshot, and return where it is; leave the cluster where a member answers and gives none."""
    if run.own.without_snapshot:
        run.skip("snapshot", "--without-snapshot")
        return ""
    if not plan.answers:
        run.skip("snapshot", "no member answers")
        if plan.with_data and not run.own.delete_data:
            run.warn(f"no member answers, so no snapshot was taken; the data on {', '.join(plan.with_data)} are kept")
        return ""
    if run.check:
        run.skip("snapshot", "not with --check")
        return ""
    cluster = members.see(run, run.hosts)
    saved = members.keep_snapshot(run, cluster, run.hosts, members.folder_of(run), "snapshot")
    if isinstance(saved, str):
        run.protect(
            f"nothing was changed, since no snapshot could be taken: {saved}",
            "see what it says, then run again; --without-snapshot goes on without one",
        )
    run.skip("snapshot", "one for the cluster", on=run.hosts[1:])
    return str(saved.path)
