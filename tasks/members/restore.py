"""What a restore asks of a host: what lies there, the record of it, the data of a snapshot, and the start with them.

Which step is next is decided in ``etcdfleet/etcd/restoration.py``; ``plays/restore.py`` carries it out.
"""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.errors import FleetError, ProtectionError, VerificationError
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.restore_model import Ground
from etcdfleet.etcd.restore_record import RestoreRecord, begun, completed, is_only_record
from etcdfleet.etcd.restore_tool import RestoredMember, RestoreTool, restore_tool, restore_words
from etcdfleet.host.paths import ESTABLISHED, RESTORING
from etcdfleet.outcome import done
from etcdfleet.remote import last_lines
from etcdfleet.remote.scripts import script
from etcdfleet.settings.models import peer_url
from etcdfleet.text import mib
from tasks.lock import still_ours
from tasks.marker import marker_file, noted_of
from tasks.member import MemberAnswers, ask_member
from tasks.members.change import must_be_stopped, put_data_away
from tasks.members.look import place_of
from tasks.observe import Site, site_of
from tasks.programs import offered
from tasks.start import note_established, place_readable, run_and_wait, wait_for_names

USER = "etcd"
_SLOWEST = 1 << 20  # bytes a second that a card and a link make together


def read_ground(task: Task, *, versions: bool = False) -> Result:
    """Read all that a restore must know of a host: a `Ground`, with the version of etcd if that is asked for.

    Raises `FleetError`.
    """
    site = site_of(task)
    observed = site.observe()
    data_dir = site.settings.member.data_dir
    ground = Ground(
        place_of(site),
        noted=observed.facts.established,
        enabled=observed.service.enabled,
        free=observed.facts.free_bytes.get(data_dir),
        etcd=_version(site) if versions else "",
    )
    return Result(task.host, result=ground)


def _version(site: Site) -> str:
    """Return the etcd that the restored member would run: the one that is to be installed, or is."""
    observed = site.observe()
    try:
        brings = None if observed.service.running else offered(site, observed)
    except FleetError:
        brings = None  # the step `install` says why
    return brings or observed.in_force.version or ""


def find_tool(task: Task) -> Result:
    """Return the `RestoreTool` of this host, or why there is none, as text."""
    return Result(task.host, result=_tool(site_of(task)))


def _tool(site: Site) -> RestoreTool | str:
    utility = site.remote.run("command -v etcdutl").ok
    return restore_tool(site.observe().installed.version, etcdutl=utility)


def note_restore(task: Task, record: RestoreRecord) -> Result:
    """Note on this host that a restore is under way, in place of the cluster that was noted: etcd must be stopped."""
    site = site_of(task)
    must_be_stopped(task, site)
    if not task.is_dry_run():
        still_ours(task)
        noted = begun(site.observe().facts.established, record)
        site.place([marker_file(noted)], before=f"mkdir -p {ESTABLISHED.rpartition('/')[0]}", what="noting the restore")
    return done(task, "the restore is noted", [f"{ESTABLISHED} notes the restore"])


def move_old_data(task: Task, record: RestoreRecord) -> Result:
    """Move old data on this host aside, where they are kept. Data of this very restore are never touched."""
    site = site_of(task)
    data = site.observe().facts.data.ids
    if data is not None and data.cluster_id == record.cluster_id:
        raise ProtectionError(
            "the restored data are there already",
            where=task.host.name,
            remedy="something else works on this host; see what it is, then run again",
        )
    changes = put_data_away(task, site, keep_marker=True)
    return done(task, "old data are kept" if changes else "no old data", changes)


def restore_data(task: Task, record: RestoreRecord, file: Path, size: int) -> Result:
    """Send the snapshot to this host, restore it as user etcd, and make it the data of the member.

    All of it happens in a folder in the data directory, whose name is that of this restore. Raises `FleetError`; what
    was done by then is not done again.
    """
    site = site_of(task)
    tool = _tool(site)
    if isinstance(tool, str):
        raise VerificationError(tool, where=task.host.name, remedy="install the programs of that release on the host")
    must_be_stopped(task, site)
    still_ours(task)
    data_dir, seconds = site.settings.member.data_dir.rstrip("/"), timeouts.RESTORE + 2 * size / _SLOWEST
    work = f"{data_dir}/{RESTORING}{hex_id(record.cluster_id)}"
    own = site.settings.member
    words = restore_words(
        RestoredMember(own.name, peer_url(own, site.settings.cluster), record.token, bump=record.bump)
    )
    try:
        with file.open("rb") as source:
            site.remote.send(
                script("receive_snapshot", work=work, all=f"{data_dir}/{RESTORING}", user=USER, size=size),
                source,
                timeout=seconds,
                check="sending the snapshot",
                remedy="make room on the file system of the data directory, then run again",
            )
        site.remote.run(
            script(
                "restore_snapshot",
                *words,
                program=tool.program,
                snapshot=f"{work}/snapshot.db",
                into=f"{work}/data",
                user=USER,
            ),
            timeout=seconds,
            check=f"{tool.program} snapshot restore",
            remedy="see what it says; run again, which goes on where it stopped",
        )
        site.remote.run(
            script("take_restored", work=work, data_dir=data_dir), timeout=seconds, check="placing the restored data"
        )
    except OSError as error:
        raise VerificationError(
            f"the snapshot cannot be read: {error.strerror or error}",
            where=str(file),
            remedy="run again with that file",
        ) from error
    finally:
        site.forget()
    change = f"{mib(size)} are restored by {tool.program}, as a cluster of one member with the token {record.token}"
    return done(task, f"revision {record.revision}, {record.keys} keys", [change])


def start_restored(task: Task, record: RestoreRecord) -> Result:
    """Start the member with the restored data, compare it with the snapshot, and note which cluster it is.

    Raises `VerificationError` when it does not become healthy, or holds something else than the snapshot.
    """
    site = site_of(task)
    still_ours(task)
    changes = ["etcd is started"]
    if site.observe().service.running:
        changes = []
    else:
        place_readable(task, site)
        run_and_wait(site, site.service.start)
    members = wait_for_names(site)
    if members.cluster_id != record.cluster_id:
        raise VerificationError(
            f"it is in cluster {hex_id(members.cluster_id)}, and not in the restored one, {hex_id(record.cluster_id)}",
            where=task.host.name,
            remedy="see etcd's log there; what was restored begins anew with --anew",
        )
    told, warnings = "it runs", list[str]()
    if is_only_record(site.observe().facts.established):
        told, warnings = _compared(site, record, ask_member(site))
        note_established(task, site, members)
        changes.append(f"{ESTABLISHED} notes the restored cluster")
    return done(task, told, changes, warnings)


def _compared(site: Site, record: RestoreRecord, answers: MemberAnswers) -> tuple[str, list[str]]:
    """Return what was compared, and a warning about what could not be. Raise `VerificationError` for a difference."""
    host = site.settings.name
    revision = answers.status.revision if answers.status else 0
    if revision < record.expected:
        raise VerificationError(
            f"the restored member is at revision {revision}, and the snapshot gives {record.expected}",
            where=host,
            remedy="keep its data and the snapshot, and restore another snapshot: --anew",
        )
    # At the snapshot's own revision: clients may be back, and may have written. The count is of all, whatever the limit
    # (3.4's etcdctl has no --count-only).
    asked = site.remote.run(
        etcdctl(
            site.settings,
            f"-w json get '' --prefix --keys-only --limit=1 --rev={record.expected}",
            [local_endpoint(site.settings)],
            seconds=timeouts.ETCDCTL_PATIENT,
        )
    )
    if not asked.ok:
        why = last_lines(asked.stderr or asked.stdout)
        return f"revision {revision}, as in the snapshot", [f"its keys could not be counted: {why}"]
    keys = json.loads(asked.stdout).get("count", 0)
    if keys != record.keys:
        raise VerificationError(
            f"the restored member has {keys} keys at revision {record.expected}, and the snapshot {record.keys}",
            where=host,
            remedy="keep its data and the snapshot, and restore another snapshot: --anew",
        )
    return f"revision {record.expected} and {keys} keys, as in the snapshot", []


def forget_record(task: Task) -> Result:
    """Take the record of the restore off a host that joins now: the record on the first host stays until the end."""
    site = site_of(task)
    observed = site.observe()
    if is_only_record(observed.facts.established) and observed.facts.data.ids is None:
        still_ours(task)
        site.remote.run(f"rm -f {ESTABLISHED} && sync", check="making way for the new marker")
        site.forget()
    return Result(task.host, result=None)


def finish_restore(task: Task, record: RestoreRecord) -> Result:
    """Note that the restore is complete, with the token and the count of restores. What is left of the work goes."""
    site = site_of(task)
    still_ours(task)
    members = ask_member(site).members
    if members is None or members.cluster_id != record.cluster_id:
        raise VerificationError(
            "its member does not answer as one of the restored cluster",
            where=task.host.name,
            remedy="see etcd's log there, then run again",
        )
    noted: dict[str, Any] = completed(noted_of(site, members), record, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    left = f"{shlex.quote(site.settings.member.data_dir.rstrip('/'))}/{RESTORING}*"
    site.place([marker_file(noted)], after=f"rm -rf {left}", what="noting that the restore is complete")
    return done(task, "complete", [f"{ESTABLISHED} notes that the restore is complete"])
