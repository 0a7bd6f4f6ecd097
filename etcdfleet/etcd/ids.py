"""The ids that a statically bootstrapped cluster gives itself, computed before it exists.

They make it possible to tell an interrupted first start of *this* cluster from data of another one, without asking a
single etcd. Checked against the write-ahead logs and member lists of real 3.4.23 and 3.5.1 clusters.

Sources: ``computeMemberId`` (3.4: ``NewMember``) in ``server/etcdserver/api/membership/member.go`` and ``genID`` in
``cluster.go`` of the same folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StaticIds:
    """Cluster id and, by member name, the member ids that ``initial-cluster`` and the token lead to."""

    cluster_id: int
    members: Mapping[str, int]


def hex_id(number: int) -> str:
    """Return an id as etcd's own logs and tables write it: hexadecimal, without leading zeros."""
    return f"{number:x}"


def member_id(peer_urls: Iterable[str], token: str) -> int:
    """Return the id that a member with these advertised peer URLs gets at a static bootstrap.

    The first eight bytes, big-endian, of SHA-1 over the sorted peer URLs joined *without* a separator, followed by the
    cluster token. (A member that was added later with ``member add`` has the time in its hash: it cannot be computed,
    and never equals this.)
    """
    return _first_eight_bytes("".join(sorted(peer_urls)).encode() + token.encode())


def cluster_id(member_ids: Iterable[int]) -> int:
    """Return the id of a cluster bootstrapped from these members: SHA-1 over their sorted ids, big-endian."""
    return _first_eight_bytes(b"".join(number.to_bytes(8, "big") for number in sorted(member_ids)))


def static_ids(peer_urls_by_name: Mapping[str, Iterable[str]], token: str) -> StaticIds:
    """Return all ids of the cluster with these members and this ``initial-cluster-token``.

    Member names are no part of any id. The URLs must be written as etcd gets them in ``initial-cluster``.
    """
    members = {name: member_id(urls, token) for name, urls in peer_urls_by_name.items()}
    return StaticIds(cluster_id(members.values()), members)


def _first_eight_bytes(content: bytes) -> int:
    # An identifier, not a protection: the algorithm is etcd's.
    return int.from_bytes(hashlib.sha1(content, usedforsecurity=False).digest()[:8], "big")
