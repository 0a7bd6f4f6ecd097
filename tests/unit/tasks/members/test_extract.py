"""A snapshot of a copy of a lone member's data: under no etcd that runs, kept with a note, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from etcdfleet.backup.store import Snapshot, listed
from etcdfleet.etcd.wal import DataIds
from etcdfleet.host.facts import DataFacts
from tasks.members.extract import extract_snapshot
from tests.unit.support.site import settings
from tests.unit.support.snapshots import WHOLE
from tests.unit.support.stand_ins import RUNNING, STOPPED, Place, Scripted, carry_out, seen

DATA = DataFacts(exists=True, ids=DataIds(7, 9, 100))
MARKER = {"cluster_id": 9, "token": "home-2", "restores": 1}


class Giving(Scripted):
    """Prints a snapshot where it is asked to."""

    def fetch(self, script: str, into: BinaryIO, **_: Any) -> None:
        self.sent.append(script)
        into.write(WHOLE)


def test_it_is_kept_with_a_note(tmp_path: Path) -> None:
    host = Giving()
    place = Place(host, seen(RUNNING, data=DATA, established=MARKER), seen(STOPPED, data=DATA, established=MARKER))
    saved = carry_out(extract_snapshot, place, folder=tmp_path).result
    assert isinstance(saved, Snapshot), saved
    (found,), bad = listed(tmp_path, "k8s-home")
    assert (found, bad) == (saved, ())
    note = saved.note
    assert (note.revision, note.keys, note.etcd, note.member) == (22, 412, "3.5.16", "az-1")
    assert (note.cluster_id, note.member_id, note.token, note.restores) == ("9", "7", "home-2", 1)
    *_, disable, stop, extract = host.sent
    assert "systemctl disable" in disable
    assert "stop etcd" in stop
    for text in (
        "set -- /usr/bin/etcd --force-new-cluster --name=az-1 --listen-client-urls=https://127.0.0.1:",
        " --client-cert-auth\n",
        "data_dir=/var/lib/etcd\nsource=/var/lib/etcd\nin_use=26\nwork=/var/lib/etcd/restoring-copy\nuser=etcd\n",
        "/etc/etcd/certs/etcdctl/etcd.az1.k8s.home.pem",
    ):
        assert text in extract
    assert "198.51.100" not in extract, "nobody else can reach it"


def test_without_tls_for_clients_there_is_none(tmp_path: Path) -> None:
    host = Giving()
    place = Place(host, seen(STOPPED, data=DATA), of=settings(client_tls=False))
    assert isinstance(carry_out(extract_snapshot, place, folder=tmp_path).result, Snapshot)
    assert "--listen-client-urls=http://127.0.0.1:" in host.sent[-1]
    assert "--client-cert-auth" not in host.sent[-1]


def test_why_there_is_none(tmp_path: Path) -> None:
    host = Giving()
    still = carry_out(extract_snapshot, Place(host, seen(RUNNING, data=DATA)), folder=tmp_path).result
    assert "etcd could not be stopped" in still
    assert not host.was_sent("force-new-cluster"), "nothing is copied under an etcd that runs"
    bare = carry_out(extract_snapshot, Place(Giving(), seen(STOPPED)), folder=tmp_path).result
    assert "az-1: no data of a member lie there" in bare
    assert listed(tmp_path, "k8s-home") == ((), ())
