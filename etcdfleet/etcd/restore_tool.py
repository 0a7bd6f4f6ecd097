"""Which program makes a data directory out of a snapshot, and with which words, by the version of etcd. Pure.

Up to 3.5 ``etcdctl snapshot restore`` does it, from 3.5 on ``etcdutl snapshot restore``, and in 3.6 the former is gone
(etcd: CHANGELOG-3.5.md, CHANGELOG-3.6.md). Debian 12 and Alpine's packages have no etcdutl for 3.4; where 3.5 lacks it,
its etcdctl restores just as well, and warns. The program must be of the minor version that is to run on what it makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from etcdfleet.etcd.versions import parse

Program = Literal["etcdctl", "etcdutl"]
USUAL_BUMP = 1_000_000_000
"""By how much revisions are raised: more than a week of 1500 writes a second (etcd's documentation, "Recovery")."""
_FIRST_WITHOUT_ETCDCTL = (3, 6, 0)
_FIRST_WITH_ETCDUTL = (3, 5, 0)


@dataclass(frozen=True)
class RestoreTool:
    """The program that restores, and why it cannot raise revisions; empty where it can."""

    program: Program
    no_bump: str = ""


@dataclass(frozen=True)
class RestoredMember:
    """The one member of the cluster that the restored data are of: others are added once it runs.

    ``bump`` is by how much its revision is raised, 0 for not at all. ``without_hash`` is for a database that was copied
    from a stopped member, which has no hash at its end.
    """

    name: str
    peer_url: str
    token: str
    bump: int = 0
    without_hash: bool = False


def restore_tool(version: str | None, *, etcdutl: bool) -> RestoreTool | str:
    """Return what restores for this version of etcd, where ``etcdutl`` says whether that program is there; or why not.

    A version that cannot be read is taken for a new one.
    """
    numbers = parse(version) or _FIRST_WITHOUT_ETCDCTL
    if numbers < (3, 4, 0):
        return f"etcd {version} is older than 3.4, which is the oldest that can be restored"
    if etcdutl and numbers >= _FIRST_WITH_ETCDUTL:
        return RestoreTool("etcdutl", _no_bump(version))
    if numbers >= _FIRST_WITHOUT_ETCDCTL:
        return f"etcd {version or 'of an unknown version'} restores with etcdutl alone, and that is not there"
    return RestoreTool("etcdctl", _no_bump(version))


def _no_bump(version: str | None) -> str:
    """Return why revisions cannot be raised: that came with 3.4.27, 3.5.10 and 3.6.0 (etcd: CHANGELOG)."""
    numbers = parse(version)
    if numbers is None or numbers >= {(3, 4): (3, 4, 27), (3, 5): (3, 5, 10)}.get(numbers[:2], (3, 6, 0)):
        return ""
    least = "3.4.27" if numbers[:2] == (3, 4) else "3.5.10"
    return f"etcd {version} cannot raise revisions at a restore: {least} is the first that can"


def restore_words(member: RestoredMember) -> Sequence[str]:
    """Return what follows ``snapshot restore FILE --data-dir FOLDER``, the same for both programs."""
    words = [
        f"--name={member.name}",
        f"--initial-cluster={member.name}={member.peer_url}",
        f"--initial-advertise-peer-urls={member.peer_url}",
        f"--initial-cluster-token={member.token}",
    ]
    # Without it, a client that watches from an earlier revision would get what comes as if nothing were missing.
    words += [f"--bump-revision={member.bump}", "--mark-compacted"] if member.bump else []
    return words + (["--skip-hash-check"] if member.without_hash else [])
