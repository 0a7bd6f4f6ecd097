"""What hosts note of a restore, in the marker (``/etc/etcd/cluster.json``), before the first data are moved. Pure.

A run that was ended is continued by what stands there: which snapshot, under which new token, on which host first. As
long as the restore is under way, the marker of a host without restored data names no cluster: the guard of the service
and the plan of a deploy refuse every start without data there, an older release's, too. What the marker said before is
kept in it. After the end the record stays, with its time: so the same command does not restore the same snapshot twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

Noted = Mapping[str, Any]
KEY = "restore"
_BEFORE = "before"


@dataclass(frozen=True)
class RestoreRecord:
    """A restore: of the snapshot with this SHA-256, under a new token, on this host, which the others join.

    ``cluster_id`` is the new cluster's, ``revision`` and ``keys`` are the snapshot's, ``bump`` by how much the revision
    was raised. ``restores`` counts the cluster's restores, this one included. ``survivor`` is the host of whose data a
    snapshot was taken for this restore, empty for one that was there. ``done`` is when it was completed.
    """

    snapshot: str
    token: str
    cluster_id: int
    host: str
    revision: int
    keys: int
    restores: int
    begun: str
    bump: int = 0
    survivor: str = ""
    done: str = ""

    @property
    def expected(self) -> int:
        """The revision of the restored data before anybody writes."""
        return self.revision + self.bump


def record_of(noted: Noted | None) -> RestoreRecord | None:
    """Return the record in a marker; None where there is none that can be read."""
    said = (noted or {}).get(KEY)
    if not isinstance(said, Mapping):
        return None
    given = {field.name: said[field.name] for field in fields(RestoreRecord) if field.name in said}
    try:
        record = RestoreRecord(**given)
    except TypeError:
        return None
    texts = (record.snapshot, record.token, record.host, record.begun, record.survivor, record.done)
    numbers = (record.cluster_id, record.revision, record.keys, record.restores, record.bump)
    good = all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers)
    return record if good else None


def under_way(noted: Noted | None) -> RestoreRecord | None:
    """Return the record of a restore that was not completed; None for none."""
    record = record_of(noted)
    return record if record and not record.done else None


def is_only_record(noted: Noted | None) -> bool:
    """Return whether a marker says nothing but that a restore is under way: no cluster."""
    return noted is not None and "cluster_id" not in noted and isinstance(noted.get(KEY), Mapping)


def begun(noted: Noted | None, record: RestoreRecord) -> dict[str, Any]:
    """Return what a host is to note before its data go: the record alone, and what was noted before, in it."""
    before = noted.get(_BEFORE) if noted is not None and is_only_record(noted) else noted
    kept = {_BEFORE: before} if before else {}
    return {"version": 2, KEY: _said(record), **kept}


def carried_into(noted: Noted | None, cluster_id: int) -> dict[str, Any]:
    """Return what the marker of a member of the restored cluster has from the record on its host; empty for none."""
    record = record_of(noted)
    if record is None or record.cluster_id != cluster_id:
        return {}
    return {"token": record.token, "restores": record.restores, KEY: _said(record)}


def completed(noted: Noted, record: RestoreRecord, when: str) -> dict[str, Any]:
    """Return the marker of a member once all members are in the restored cluster."""
    done = replace(record, done=when)
    return {**noted, "token": record.token, "restores": record.restores, KEY: _said(done)}


def _said(record: RestoreRecord) -> dict[str, Any]:
    return asdict(record)
