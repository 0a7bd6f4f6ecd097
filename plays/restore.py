"""A cluster is brought back from a snapshot, whatever is left of it: restored on one host, which the others join.

Which step is next is decided in ``etcdfleet/etcd/restoration.py``. After each step the hosts are looked at again, so
that a run which was ended anywhere is continued by the same command.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

from etcdfleet.errors import Refusal
from etcdfleet.etcd.alarms import may_end
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.restoration import (
    BringIn,
    Complete,
    Finish,
    MoveAside,
    NoteRestore,
    RestoreData,
    StartRestored,
    Step,
    StopAll,
    done_from,
    next_step,
    restore_of,
    under_way_on,
)
from etcdfleet.etcd.restore_fit import losses
from etcdfleet.etcd.restore_model import Sight, Source, Wish
from etcdfleet.etcd.restore_record import RestoreRecord
from etcdfleet.etcd.restore_tool import USUAL_BUMP
from etcdfleet.program.run import Run
from etcdfleet.roles import SIDES
from etcdfleet.settings.models import client_url
from plays import lock, members, sources, survivor
from plays.options import RestoreOptions
from plays.replace_member import bring_in, prepare
from tasks.configure import configure
from tasks.install import install
from tasks.members.change import noted
from tasks.members.restore import (
    find_tool,
    finish_restore,
    forget_record,
    move_old_data,
    note_restore,
    restore_data,
    start_restored,
)
from tasks.members.teardown import stop_host
from tasks.preflight import preflight
from tasks.verify.member import verify

STEPS = ("preflight", "install", "snapshot", "stop", "data", "restore", "certificates", "configure", "start", "member")
_ROUNDS = 12
"""Looks beside one for each host: more there are only where something else works on the hosts."""


def restore(run: Run[RestoreOptions]) -> str:
    """Restore the whole cluster, after its name was typed in full. Return what was restored, in words."""
    own = run.own
    run.program.record.skip_rest(own.without, "left out: --without")
    run = run.about(*(host for host in run.hosts if host not in own.without))
    run.skip(sources.STEP, "a source was named")
    lock.take(run)
    sight = sources.look(run, versions=True)
    wish = _wish(run, sight)
    fresh = bool(own.origin) and not under_way_on(sight)
    decided: RestoreRecord | Complete | Refusal | None = None
    if fresh and not own.anew:
        decided = done_from(sight, own.origin)
    if decided is None:
        bring_out = survivor.bring_out if own.from_member else survivor.bring_out_folder
        source = bring_out(run, sight, wish) if fresh else sources.chosen(run, sight)
        decided = restore_of(sight, source, wish)
    if isinstance(decided, Complete):
        when = decided.record.done
        run.skip((*STEPS, "finish"), f"it was restored from this at {when} (--anew does it again)")
        _verify(run)
        return ""
    record = members.accept(run, decided)
    if not (fresh and own.from_member):  # else the name was typed already
        _ask(run, sight, source, wish, record)
    if run.check:
        told = f"the cluster is restored: revision {record.expected}, {record.keys} keys"
        run.step("restore", noted, on=[record.host], summary="would be restored", change=told)
        run.leave("nothing is changed with --check")
    run.step("preflight", preflight, data_may_go=True)
    if run.failed:
        run.leave("nothing was changed, since the preflight failed")
    _make_ready(run, sight, record)
    _carry_through(run, record, source)
    for step in (*STEPS, "finish"):
        run.skip(step, "nothing to do there", on=run.pending(step))
    _verify(run)
    if run.members[0].auth.enabled not in (None, source.auth):
        run.warn("authentication in the snapshot is not as the inventory has it: run deploy, which brings it to that")
    return f"revision {record.expected}, {record.keys} keys, token {record.token}"


def _wish(run: Run[RestoreOptions], sight: Sight) -> Wish:
    own, now, member = run.own, datetime.now(UTC), run.members[0]
    begun, by_clients = under_way_on(sight), member.cluster.clients == "kubernetes"
    bump = USUAL_BUMP if (by_clients if own.bump_revision is None else own.bump_revision) else 0
    if begun and own.bump_revision is None and not own.anew:
        bump = begun.bump
    return Wish(
        # Never again the same: etcd is to refuse each member that has data of another life of the cluster.
        token=f"{member.cluster.token}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        begun=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        bump=bump,
        anew=own.anew,
        without=frozenset(own.without),
        survivor=own.origin,
        cluster=run.cluster,
        clone=own.clone,
        user=member.pki.client_common_name if member.cluster.client_tls else "",
    )


def _ask(run: Run[RestoreOptions], sight: Sight, source: Source, wish: Wish, record: RestoreRecord) -> None:
    """Say what is to be done and what is lost by it, and leave the cluster unless its name is typed."""
    taken = f", taken {source.taken}" if source.taken else ""
    what = f"{source.file}{taken}: revision {source.revision}, {source.keys} keys, etcd {source.minor or 'unknown'}"
    if record.token == wish.token:
        others = [host for host in sight.placed if host != record.host]
        joins = f", which {', '.join(others)} join without data" if others else ""
        words = (
            f"cluster {run.cluster} is restored from {what}. etcd on {', '.join(sight.placed)} is stopped, its data are"
            f" moved aside and kept, and {record.host} gets the data of the snapshot{joins}"
        )
        words = "; ".join([words, *losses(sight, source, wish, run.cluster)])
        if record.bump:
            why = " (cluster.clients is kubernetes)" if run.own.bump_revision is None else ""
            words += f"; revisions are raised by {record.bump}{why}, so that no client takes what comes for what it"
            words += " knows"
    else:
        words = f"the restore of cluster {run.cluster} that was begun at {record.begun} goes on: {what}"
    if run.check:
        run.warn(f"without --check: {words}")
    members.confirm_by_name(run, words, run.own.confirm)


def _make_ready(run: Run[RestoreOptions], sight: Sight, record: RestoreRecord) -> None:
    """Do what comes before the first member is stopped: programs, and a last snapshot of what runs."""
    run.step("install", install)
    if run.failed:
        run.leave(f"no member was stopped and no data were touched, since {', '.join(run.failed)} failed")
    tool = run.ask_members(find_tool, on=[record.host]).get(record.host, "it cannot be asked")
    if isinstance(tool, str):
        run.protect(
            f"nothing was stopped: {tool}",
            "install the programs of that release on the host, etcdutl as well, then run again",
            where=record.host,
        )
    if own_source := run.own.from_member:
        run.skip("snapshot", f"it is that of {own_source}", on=run.pending("snapshot"))
        return
    if under_way_on(sight) or not sight.cluster.statuses:
        run.skip("snapshot", "no member of the old cluster answers")
        return
    if run.own.without_snapshot:
        run.skip("snapshot", "--without-snapshot")
        return
    saved = members.keep_snapshot(run, sight.cluster, sight.placed, members.folder_of(run), "snapshot")
    if isinstance(saved, str) and sight.cluster.serving:
        run.protect(
            f"nothing was stopped: the cluster works, and no last snapshot of it could be taken: {saved}",
            "see what it says, then run again; --without-snapshot goes on without one",
        )
    if isinstance(saved, str):
        run.warn(f"no snapshot of what still runs could be taken, its data are kept on the hosts: {saved}")
    run.skip("snapshot", "one for the cluster", on=run.pending("snapshot"))


def _carry_through(run: Run[RestoreOptions], record: RestoreRecord, source: Source) -> None:
    """Take one step after the other, each by what is seen then, until the restore is complete."""
    for _ in range(_ROUNDS + len(run.hosts)):
        step = members.accept(run, next_step(sources.look(run), record))
        if step is None:
            return
        _carry_out(run, step, record, source)
        if run.failed:
            run.leave(
                f"{', '.join(run.failed)} failed: run the same command again, which goes on where this one stopped"
            )
    run.protect(
        "the restore is not complete after all of its steps: something else works on the hosts",
        "see etcd's log on them; run the same command again, which goes on where this one stopped",
    )


def _carry_out(run: Run[RestoreOptions], step: Step, record: RestoreRecord, source: Source) -> None:
    match step:
        case StopAll(hosts):
            run.step("stop", stop_host, on=hosts)
        case NoteRestore(hosts):
            run.step("data", note_restore, on=hosts, record=record)
        case MoveAside(hosts):
            run.step("data", move_old_data, on=hosts, record=record)
        case RestoreData(host):
            run.step("restore", restore_data, on=[host], record=record, file=Path(source.file), size=source.size)
        case StartRestored(host):
            prepare(run.about(host))
            run.step("start", start_restored, on=[host], record=record)
        case BringIn(host):
            run.ask(forget_record, on=[host])
            bring_in(run.about(host), None, told_as="member")
        case Finish(hosts):
            # One that joined has the list of that moment in its configuration, and a deploy is to find nothing to do.
            run.step("configure", configure, on=hosts, final=frozenset(SIDES), fresh=frozenset())
            run.step("finish", finish_restore, on=hosts, record=record)


def _verify(run: Run[RestoreOptions]) -> None:
    """Verify all; an alarm that came with the snapshot is ended, with a yes, once its cause is gone."""
    ends = False
    left_out = [member.member.name for member in run.members if member.name in run.own.without]
    if not left_out and not run.check:
        ends = _may_end_alarm(run, members.see(run, run.hosts))
    run.step("verify", verify, without=left_out, may_end_alarm=ends)
    if left_out:
        run.warn(
            f"left out: {', '.join(run.own.without)}. Once it is back, python runbooks/replace_member.py HOST brings it"
            " in, with its old data moved aside; if it is gone for good, take it out of the inventory"
        )


def _may_end_alarm(run: Run[RestoreOptions], cluster: Cluster) -> bool:
    if "NOSPACE" not in cluster.alarms:
        return False
    settings = run.members[0].cluster
    urls = [client_url(member.member, settings) for member in run.members]
    if may_end(cluster.statuses, urls, settings.quota_bytes):
        return False  # verify says what is wrong
    if run.agreed(
        "the alarm NOSPACE came with the snapshot, so writes are refused; all members have room now. End it?"
    ):
        return True
    run.warn("the alarm NOSPACE came with the snapshot; all members have room: the same command with --yes ends it")
    return False
