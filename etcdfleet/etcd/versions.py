"""What differs between versions of etcd. A version is written as etcd says it: ``3.5.16``, perhaps with more behind."""

from __future__ import annotations

import re

from etcdfleet.etcd.config_keys import reads

Version = tuple[int, int, int]


def parse(text: str | None) -> Version | None:
    """Return the three numbers of a version; ``None`` for a text that does not begin with them."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text or "")
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def minor_of(version: str | None) -> str:
    """Return the minor version, such as ``3.5``; empty for one that is not known."""
    numbers = parse(version)
    return f"{numbers[0]}.{numbers[1]}" if numbers else ""


def newer(version: str | None, minor: str) -> bool:
    """Return whether a version is of a newer minor than ``minor`` is; not so for one that is not known."""
    numbers, measure = parse(version), parse(f"{minor}.0")
    return numbers is not None and measure is not None and numbers[:2] > measure[:2]


MAINTAINED_FROM = (3, 5)
"""The oldest minor version that still gets fixes. etcd maintains the newest two (documentation, "Versioning"), so 3.4
has had none since 3.6 was released in May 2025. Debian 12 has 3.4."""


def past_its_end(version: str | None) -> str:
    """Return what to know of a version that gets no fixes any more, and what to do; empty for others, and for none."""
    numbers = parse(version)
    if numbers is None or numbers[:2] >= MAINTAINED_FROM:
        return ""
    return (
        f"etcd {numbers[0]}.{numbers[1]} gets no fixes any more, of security neither; install.method: archive brings a "
        "newer one, as does a newer distribution (docs/hosts.md, Another version of etcd)"
    )


def knows_tls_min_version(version: str | None) -> bool:
    """Return whether ``tls-min-version`` has an effect in that version; true for one that is not known."""
    return reads("tls-min-version", parse(version))


def health_leaves_no_trace(version: str | None) -> bool:
    """Return whether ``/health`` may be asked of that version; not of one that is not known.

    etcd 3.4 answers it by a request of the old v2 API, which goes into the raft log of all members (3.4.23:
    etcdserver/api/etcdhttp/metrics.go). etcd 3.6 ends when it reads such an entry again (etcdserver/apply_v2.go).
    """
    numbers = parse(version)
    return numbers is not None and numbers >= (3, 5, 0)
