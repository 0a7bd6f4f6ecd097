"""What differs between versions of etcd. A version is written as etcd says it: ``3.5.16``, perhaps with more behind."""

from __future__ import annotations

import re

Version = tuple[int, int, int]


def parse(text: str | None) -> Version | None:
    """The three numbers of a version; ``None`` for a text that does not begin with them."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def health_leaves_no_trace(version: str | None) -> bool:
    """Whether ``/health`` may be asked of that version; not of one that is not known.

    etcd 3.4 answers it by a request of the old v2 API, which goes into the raft log of all members (3.4.23:
    etcdserver/api/etcdhttp/metrics.go). etcd 3.6 ends when it reads such an entry again (etcdserver/apply_v2.go).
    """
    known = parse(version)
    return known is not None and known >= (3, 5, 0)
