"""Requests of the old v2 API in a raft log, on which etcd 3.6 ends when it reads them again. Pure.

etcd 3.4 writes one into the log of all members for every question for ``/health``
(etcdserver/api/etcdhttp/metrics.go), and others where a client used the v2 API. They stay there until a snapshot of the
log lies behind them, which on a quiet cluster may take years, and through the upgrade to 3.5. etcd 3.6 accepts none but
its own (``v2ToV3Request`` in server/etcdserver/apply_v2.go; issues 20809, 20870, 21849). ``etcdutl check v2store``
looks at the old store alone, and at the log only since 3.5.32.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etcdfleet.errors import Refusal
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.etcd.versions import parse
from etcdfleet.etcd.wal import Entry, fields_of

READS_NO_V2 = (3, 6)
"""The first minor version that does not survive them."""
_OWN = re.compile(r"/0/members/[0-9a-fA-F]{1,16}/attributes|/0/version")
_METHODS = frozenset({"GET", "QGET", "PUT", "POST", "DELETE", "SYNC"})
_SEGMENT = re.compile(r"[0-9a-f]{16}-([0-9a-f]{16})\.wal")
_SNAPSHOT = re.compile(r"[0-9a-f]{16}-([0-9a-f]{16})\.snap")


@dataclass(frozen=True)
class Residue:
    """What a host's log holds of the v2 API after its newest snapshot: how many requests, and the last of them.

    ``snapshot`` is the raft index of that snapshot, 0 for none.
    """

    host: str
    count: int = 0
    example: str = ""
    snapshot: int = 0


def snapshot_index(names: Iterable[str]) -> int:
    """Return the raft index of the newest of these snapshot files (``member/snap``), 0 where there is none."""
    return max((int(match[1], 16) for name in names if (match := _SNAPSHOT.fullmatch(name))), default=0)


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


def refuse_residue(residues: Sequence[Residue]) -> Refusal | None:
    """Return why these hosts must not get etcd 3.6 or newer yet, or None."""
    found = [residue for residue in residues if residue.count]
    if not found:
        return None
    told = ", ".join(f"{one.host}: {one.count}, the last is {one.example}" for one in found)
    return Refusal(
        f"the raft log holds requests of the old v2 API, on which etcd 3.6 would end at its start ({told})",
        tuple(residue.host for residue in found),
        "with 3.5: deploy cluster.snapshot_count: 1 with install.version as it is, write two keys through any member,"
        " then put back both and run again. Let no load balancer ask etcd 3.4 for /health: it writes them",
    )
