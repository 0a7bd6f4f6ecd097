"""A snapshot of what a lone member still has: a copy of its data is started alone, and the data stay as they are."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from nornir.core.task import Result, Task

from etcdfleet.backup.note import time_text
from etcdfleet.backup.store import Snapshot, incoming, keep
from etcdfleet.errors import FleetError, VerificationError
from etcdfleet.etcd.answers import EndpointStatus
from etcdfleet.etcd.etcdctl import etcdctl
from etcdfleet.etcd.snapshot_contents import read_contents
from etcdfleet.etcd.snapshot_file import check_snapshot
from etcdfleet.host.paths import RESTORING, HostPaths
from etcdfleet.remote.scripts import script
from etcdfleet.settings.models import HostSettings
from tasks.configure import unsupported_arch
from tasks.lock import still_ours
from tasks.members.change import must_be_stopped, stop_for_good
from tasks.members.held import held_in
from tasks.members.snapshot import note_of
from tasks.observe import Site, site_of

_USER = "etcd"
_NO_ROOM = 28
IN_USE = 26
_UP = 120
"""Seconds for etcd to come up on the copy: it replays the log of the member."""
_LONGEST = 3600.0
"""Seconds for all of it: the data are copied on a card, and come here by a link, both of which may be slow."""


def extract_snapshot(task: Task, folder: Path, place: str = "") -> Result:
    """Stop etcd on this host, and take a snapshot of a copy of its data: a `Snapshot`, or why there is none, as text.

    With ``place``, a folder on this host with data of a member, of those, and etcd runs on.

    The copy is started with ``--force-new-cluster`` on ports of the loop-back, so that what is in the log of the member
    alone is in the snapshot as well. Nothing of it stays on the host.
    """
    try:
        site = site_of(task)
        still_ours(task)
        if not place:
            stop_for_good(task, site)
            must_be_stopped(task, site)
        result: Snapshot | str = _extract(site, folder, place)
    except FleetError as error:
        result = "; ".join(filter(None, (f"{task.host.name}: {error.what}", error.remedy)))
    return Result(task.host, result=result)


def _extract(site: Site, folder: Path, place: str) -> Snapshot:
    observed, cluster = site.observe(), site.settings.cluster.name
    ids, version = held_in(site, place) if place else observed.facts.data.ids, observed.installed.version or ""
    if not version:
        raise VerificationError(
            "etcd is not installed there, which must be started on a copy of the data",
            where=site.settings.name,
            remedy="name a host of the cluster that has it, and put the data there",
        )
    if ids is None:
        raise VerificationError("no data of a member lie there", where=site.settings.name, remedy="name another host")
    try:
        with incoming(folder, cluster) as (part, file):
            site.remote.fetch(
                _script(site, version, place),
                file,
                timeout=_LONGEST,
                check="taking a snapshot of a copy of its data",
                remedy=f"see what it says; its data are as they were{'' if place else ', and etcd is stopped'}",
            )
            file.flush()
            os.fsync(file.fileno())
            checked, contents = check_snapshot(part), read_contents(part)
            status = EndpointStatus(
                endpoint="",
                member_id=ids.member_id,
                version=version,
                db_size=checked.size,
                db_size_in_use=checked.size,
                leader_id=0,
                term=contents.term,
                raft_index=contents.raft_index,
                raft_applied=contents.raft_index,
                revision=contents.revision,
                cluster_id=ids.cluster_id,
            )
            return keep(part, note_of(site, status, contents, checked, time_text(datetime.now(UTC))))
    except OSError as error:
        raise VerificationError(
            f"the snapshot cannot be kept: {error.strerror or error}",
            where=str(folder / cluster),
            remedy="make room on this machine, or name another folder: --snapshot-dir",
        ) from error


def _script(site: Site, version: str, place: str) -> str:
    observed, settings = site.observe(), site.settings
    client, peer = (20000 + 2 * secrets.randbelow(5000) + more for more in (0, 1))
    url = f"{'https' if settings.cluster.client_tls else 'http'}://127.0.0.1:{client}"
    data_dir = settings.member.data_dir.rstrip("/")
    return script(
        "extract_snapshot",
        observed.installed.binary,
        *_options(settings, url, peer),
        functions={
            "serves": etcdctl(settings, "endpoint health", [url], seconds=5),
            "save": etcdctl(settings, 'snapshot save "$1"', [url], seconds=_LONGEST),
        },
        data_dir=data_dir,
        source=place.rstrip("/") or data_dir,
        in_use=IN_USE,
        work=f"{data_dir}/{RESTORING}copy",
        user=_USER,
        seconds=_UP,
        no_room=_NO_ROOM,
        architecture=unsupported_arch(observed.facts.architecture, version),
    )


def _options(settings: HostSettings, url: str, peer_port: int) -> list[str]:
    """Return etcd's options for the copy: alone, and for this host's own programs with the client's certificate."""
    name, peer, paths = settings.member.name, f"http://127.0.0.1:{peer_port}", HostPaths.of(settings)
    options = ["--force-new-cluster", f"--name={name}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
    options += [
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={name}={peer}",
    ]
    options += ["--logger=zap", f"--quota-backend-bytes={settings.cluster.quota_bytes}"]
    if settings.cluster.client_tls:
        options += [f"--cert-file={paths.certificate('server')}", f"--key-file={paths.key('server')}"]
        options += [f"--trusted-ca-file={paths.anchor('client')}", "--client-cert-auth"]
    return options
