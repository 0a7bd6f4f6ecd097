"""What a cluster can be restored from is looked for everywhere, and told; nothing is changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from etcdfleet.errors import RemoteError
from etcdfleet.etcd.restore_record import begun
from etcdfleet.etcd.restore_sources import Held, Proposal
from etcdfleet.report.record.model import ExitCode
from plays import sources
from tests.unit.etcd import test_restoration as table
from tests.unit.etcd.test_replacement import CLUSTER_ID
from tests.unit.plays.test_restore import away, done, staged
from tests.unit.support.fake_run import run_of, statuses
from tests.unit.support.snapshots import NOTE, WHOLE, put

DATA = "/var/lib/etcd"
HELD = Held(CLUSTER_ID, 900, 1000, 1010)


def found(monkeypatch: Any, *seen: Any, held: Any = None, **how: Any) -> tuple[Proposal, Any, list[str]]:
    stage, program = staged(monkeypatch, "", *seen, does={"read_held": held or {}}, **how)
    for host in table.HOSTS:
        program.fleet.hosts[host].member.data_dir = f"{DATA}/"
    proposal = sources.find(run_of(program))
    assert program.record.finish().exit_code == ExitCode.OK
    return proposal, program, done(stage)


def test_members_that_are_stopped_backups_and_the_store(monkeypatch: Any, tmp_path: Path) -> None:
    there: dict[str, Any] = {
        "h1": {DATA: HELD},
        "h2": {DATA: "its database is damaged (page 3 lies too deep)", f"{DATA}/removed-1": replace(HELD, index=5)},
        "h3": RemoteError("gone meanwhile"),
    }
    url = away(tmp_path)
    noted: dict[str, Any] = {"cluster_id": f"{CLUSTER_ID:x}", "raft_index": 500}
    mine = put(tmp_path / "here", NOTE.when.replace(day=25), **noted)
    bad = put(tmp_path / "here", NOTE.when.replace(day=27), WHOLE[:-1] + b"x")
    proposal, program, did = found(monkeypatch, table.STOPPED, held=there.get, backups=tmp_path / "here", url=url)
    assert [offer.command.partition(" --cluster")[0] for offer in proposal.offers] == [
        "python runbooks/restore.py --from-member h1",
        f"python runbooks/restore.py {mine.path}",
        f"python runbooks/restore.py --from-data h2:{DATA}/removed-1",
        f"python runbooks/restore.py home-{NOTE.when.replace(day=26):%Y%m%dT%H%M%SZ}-22.db",
    ]
    assert "loses at least 878 revisions that h1 has" in proposal.offers[1].loses
    assert any(f"of no use: {bad.path}: " in note for note in proposal.notes)
    assert any("of no use: h2: its database is damaged" in note for note in proposal.notes)
    assert set(did) <= {"read_held", "tell_sources"}
    assert set(statuses(program, "h2").values()) <= {"ok", "skipped"}


def test_a_cluster_that_works(monkeypatch: Any, tmp_path: Path) -> None:
    put(tmp_path, NOTE.when, cluster_id=f"{CLUSTER_ID:x}")
    proposal, _, _ = found(monkeypatch, table.WORKING, backups=tmp_path)
    assert "A majority of home works" in proposal.title
    (offer,) = proposal.offers
    assert "loses 28 revisions that h" in offer.loses


def test_a_host_that_cannot_be_read(monkeypatch: Any) -> None:
    proposal, _, _ = found(monkeypatch, table.TWO_LEFT, held=lambda _: {DATA: HELD})
    assert all(offer.command.endswith(" --without h3") for offer in proposal.offers)
    assert "h3 cannot be read" in proposal.as_text()


def test_a_restore_that_is_under_way_comes_first(monkeypatch: Any, tmp_path: Path) -> None:
    record = replace(table.RECORD, snapshot=WHOLE[-32:].hex())
    moved = table.sight(*(table.ground(n, 0, begun(table.OLD_MARKER, record)) for n in (1, 2, 3)))
    snapshot = put(tmp_path, NOTE.when)
    proposal, _, did = found(monkeypatch, moved, backups=tmp_path)
    assert [offer.command for offer in proposal.offers] == [
        f"python runbooks/restore.py {snapshot.path} --cluster home"
    ]
    assert "read_held" not in did


def test_a_store_that_cannot_be_looked_at_is_said(monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    proposal, _, _ = found(monkeypatch, table.STOPPED, url=f"file://{tmp_path}/file/away")
    assert "the store is not looked at" in str(proposal.notes)
