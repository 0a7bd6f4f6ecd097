"""The snapshot of a restore is taken of what a lone member still has, where no majority of the cluster works."""

from __future__ import annotations

from etcdfleet.backup.source import source_of
from etcdfleet.backup.store import Snapshot
from etcdfleet.etcd.restore_fit import beside_survivor, no_bump, unfit_hosts, unfit_survivor
from etcdfleet.etcd.restore_model import Sight, Source, Wish
from etcdfleet.program.run import Run
from plays import members, sources
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
    given = {"folder": members.folder_of(run)}
    saved = run.ask_members(extract_snapshot, on=[host], **given).get(host, "it cannot be reached")
    if isinstance(saved, str):
        run.protect(
            f"etcd on {host} is stopped, and no snapshot of its data could be taken: {saved}",
            "run the same command again; or begin with another source: python runbooks/restore.py --cluster NAME says"
            " which there are",
            where=host,
        )
    return _noted(run, host, saved)


def bring_out_folder(run: Run[RestoreOptions], sight: Sight, wish: Wish) -> Source:
    """Return the snapshot of a copy of a folder with a member's data, which no etcd uses. It is only read."""
    if refusal := unfit_hosts(sight, wish) or no_bump(sight, wish):
        run.protect(refusal.what, refusal.remedy, where=", ".join(refusal.hosts))
    host, _, place = wish.survivor.partition(":")
    if run.check:
        run.warn(f"without --check: a copy of the data in {place} is started alone on {host}, for a snapshot of it")
        run.leave("nothing is changed with --check")
    given = {"folder": sources.from_data(run), "place": place}
    saved = run.ask_members(extract_snapshot, on=[host], **given).get(host, "it cannot be reached")
    if isinstance(saved, str):
        run.protect(
            f"nothing was changed: no snapshot could be taken of what is in {place}: {saved}",
            "see what it says; python runbooks/restore.py --cluster NAME says what other sources there are",
            where=host,
        )
    return _noted(run, host, saved)


def _noted(run: Run[RestoreOptions], host: str, saved: Snapshot) -> Source:
    source = source_of(saved.path)
    summary = f"revision {source.revision}, {source.keys} keys"
    run.step("snapshot", noted, on=[host], summary=summary, change=told(saved))
    return source
