"""Requests of the old v2 API in a raft log, on which etcd 3.6 ends when it reads them again. Pure.

etcd 3.4 writes one into the log of all members for every question for ``/health``
(etcdserver/api/etcdhttp/metrics.go), and others where a client used the v2 API. They stay there until a snapshot of the
log lies behind them, which on a quiet cluster may take years, and through the upgrade to 3.5. etcd 3.6 accepts none but
its own (``v2ToV3Request`` in server/etcdserver/apply_v2.go; issues 20809, 20870, 21849). ``etcdutl check v2store``
looks at the old store alone, and at the log only since 3.5.32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etcdfleet.errors import Refusal
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.versions import parse
from etcdfleet.etcd.wal import Entry, fields_of

READS_NO_V2 = (3, 6)
"""The first minor version that does not survive them."""
_OWN = re.compile(r"/0/members/[0-9a-fA-F]{1,16}/attributes|/0/version")
_METHODS = frozenset({"GET", "QGET", "PUT", "POST", "DELETE", "SYNC"})
KEEPING = ("PUT ", "POST ")
"""How requests begin that store a key."""
_SEGMENT = re.compile(r"[0-9a-f]{16}-([0-9a-f]{16})\.wal")
_SNAPSHOT = re.compile(r"[0-9a-f]{16}-([0-9a-f]{16})\.snap")


@dataclass(frozen=True)
class Residue:
    """What a host's log holds of the v2 API after its newest snapshot: how many requests, and the last of them.

    ``key`` is one that was stored by that API, in the snapshot or in the log, or the request that did; empty for none.
    """

    host: str
    count: int = 0
    example: str = ""
    key: str = ""


def newest_snapshot(names: Iterable[str]) -> str:
    """Return the newest of these snapshot files (``member/snap``), empty where there is none."""
    found = [(int(match[1], 16), name) for name in names if (match := _SNAPSHOT.fullmatch(name))]
    return max(found, default=(0, ""))[1]


def snapshot_index(names: Iterable[str]) -> int:
    """Return the raft index of the newest of these snapshot files, 0 where there is none."""
    match = _SNAPSHOT.fullmatch(newest_snapshot(names))
    return int(match[1], 16) if match else 0


def kept_key(snapshot: bytes) -> str:
    """Return a key that the old store holds in this raft snapshot, other than etcd's own; empty for none.

    As 3.6 judges at its start (``IsMetaStoreOnly`` in ``server/etcdserver/api/membership/storev2.go``): it refuses any
    but what lies below /0, and what is left of authentication below /2. Snapshot{1: crc, 2: Snapshot{1: JSON}}. Raises
    ValueError for what is none.
    """
    inner = fields_of(snapshot).get(2)
    state = fields_of(inner).get(1) if isinstance(inner, bytes) else None
    if not isinstance(state, bytes):
        raise ValueError("this is no raft snapshot")  # noqa: TRY004 - it is the content that is wrong
    try:
        folders = {name: _below(node) for name, node in _below(json.loads(state)["Root"]).items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("the old store in this raft snapshot cannot be read") from error
    for name, nodes in folders.items():
        kept = {key for key, node in nodes.items() if name != "2" or _below(node)}
        if name != "0" and kept:
            return f"/{name}/{min(kept)}"
    return ""


def _below(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return node["Children"] or {}


def with_snapshots_at_once(configuration: bytes) -> bytes:
    """Return a configuration of etcd with which it takes a raft snapshot after every second entry."""
    line = b"snapshot-count: 1"
    text, found = re.subn(rb"(?m)^snapshot-count[ \t]*:.*$", line, configuration)
    return text if found else configuration.rstrip(b"\n") + b"\n" + line + b"\n"


def segments_after(names: Iterable[str], index: int) -> tuple[str, ...]:
    """Return the segments (``member/wal``) that hold entries after this raft index, in order.

    A segment is named by the index of its first entry, so the last one that begins at or before it counts, too.
    """
    found = sorted(name for name in names if _SEGMENT.fullmatch(name))
    begins = [int(match[1], 16) for name in found if (match := _SEGMENT.fullmatch(name))]
    first = max((at for at, begin in enumerate(begins) if begin <= index + 1), default=0)
    return tuple(found[first:])


def requests(entries: Iterable[Entry], after: int) -> list[str]:
    """Return method and path of the v2 requests after this raft index that etcd 3.6 would end on."""
    found = []
    for entry in entries:
        request = _request(entry.data) if entry.index > after and entry.normal else None
        if request and not (request[0] == "PUT" and _OWN.fullmatch(request[1])):
            found.append(" ".join(request).strip())
    return found


def _request(data: bytes, *, whole: bool = True) -> tuple[str, str] | None:
    """Return method and path of the v2 request in an entry, on its own or within one of the v3 API; None if none.

    Request{2: Method, 3: Path}; InternalRaftRequest{2: V2}, which is such a request.
    """
    try:
        fields = fields_of(data)
    except ValueError:
        return None
    method, path = fields.get(2), fields.get(3)
    if not isinstance(method, bytes):
        return None
    name = method.decode("latin-1")
    if name in _METHODS:
        return name, path.decode("utf-8", "replace") if isinstance(path, bytes) else ""
    return _request(method, whole=False) if whole else None


def enters(members: Iterable[MemberVersion]) -> tuple[str, ...]:
    """Return the hosts with data whose program would be the first that does not survive such requests."""
    return tuple(
        member.host
        for member in members
        if member.data and (new := parse(member.brings)) and new[:2] >= READS_NO_V2
        if (now := parse(member.running or member.installed)) and now[:2] < READS_NO_V2
    )


def refuse_keys(residues: Sequence[Residue]) -> Refusal | None:
    """Return why these hosts must not get etcd 3.6 or newer, or None: it does not start where v2 keys are stored."""
    found = [residue for residue in residues if residue.key]
    if not found:
        return None
    told = ", ".join(f"{one.host}: {one.key}" for one in found)
    return Refusal(
        f"there are keys of the old v2 API, with which etcd 3.6 does not start ({told})",
        tuple(residue.host for residue in found),
        "keep the 3.5 that runs, until nothing needs these keys and they are deleted by that API",
    )


def told_of(residues: Sequence[Residue]) -> str:
    """Return which raft logs must be left behind a snapshot before etcd 3.6, and why; empty for none."""
    found = [f"{one.host}: {one.count}, the last is {one.example}" for one in residues if one.count]
    if not found:
        return ""
    return (
        "the raft log holds requests of the old v2 API, on which etcd 3.6 would end at its start"
        f" ({', '.join(found)}): each of these members is restarted once more before, so that a raft snapshot lies"
        " behind them"
    )
