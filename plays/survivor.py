"""The snapshot of a restore is taken of what a lone member still has, where no majority of the cluster works."""

from __future__ import annotations

from etcdfleet.backup.source import source_of
from etcdfleet.etcd.restore_fit import beside_survivor, unfit_survivor
from etcdfleet.etcd.restore_model import Sight, Source, Wish
from etcdfleet.program.run import Run
from plays import members
from plays.options import RestoreOptions
from tasks.members.change import noted
from tasks.members.extract import extract_snapshot
from tasks.members.snapshot import told


def bring_out(run: Run[RestoreOptions], sight: Sight, wish: Wish) -> Source:
    """Return the snapshot of a copy of this host's data, after the cluster's name was typed in full.

    Its etcd is stopped for that; its data are only read.
    """
    if refusal := unfit_survivor(sight, wish):
        run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    host = wish.survivor
    words = (
        f"cluster {run.cluster} is restored from what {host} still has: etcd there is stopped, a copy of its data is"
        f" started alone for a moment, and a snapshot of that is taken; then etcd on {', '.join(sight.placed)} is"
        f" stopped, old data are moved aside and kept, and all begin with that snapshot; {host} may lack the last"
        " writes that were acknowledged, for which the others may have voted; "
    )
    words += "; ".join(beside_survivor(sight, wish))
    if run.check:
        run.warn(f"without --check: {words}")
        run.leave("nothing is changed with --check")
    members.confirm_by_name(run, words, run.own.confirm)
    saved = run.ask_members(extract_snapshot, on=[host], folder=run.own.snapshot_dir).get(host, "it cannot be reached")
    if isinstance(saved, str):
        run.protect(
            f"etcd on {host} is stopped, and no snapshot of its data could be taken: {saved}",
            "run the same command again; or begin with a snapshot that is there: python runbooks/restore.py latest",
            where=host,
        )
    source = source_of(saved.path)
    summary = f"revision {source.revision}, {source.keys} keys"
    run.step("snapshot", noted, on=[host], summary=summary, change=told(saved))
    return source
