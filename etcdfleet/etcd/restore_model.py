"""What is known before a step of a restore, and what was asked for, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.replacement import Place
from etcdfleet.etcd.restore_record import Noted


@dataclass(frozen=True)
class Ground:
    """One host before or amid a restore: what lies there, its marker, and what etcd it would run.

    ``enabled`` says that etcd starts at boot there, ``free`` is the room for data in bytes, None where it is not known.
    """

    place: Place
    noted: Noted | None = None
    enabled: bool = False
    free: int | None = None
    etcd: str = ""


@dataclass(frozen=True)
class Source:
    """A good snapshot: its file, what is in it, and what is known of where it comes from.

    ``minor`` is the version of its cluster, empty where it does not say one, ``auth`` whether authentication is on in
    it; ``cluster``, ``cluster_id`` and ``taken`` are what the note beside it says, empty without one. ``roots`` are
    those of its ``users`` that have the role root.
    """

    file: str
    sha256: str
    size: int
    revision: int
    keys: int
    minor: str = ""
    auth: bool = False
    alarms: tuple[str, ...] = ()
    peer_urls: tuple[str, ...] = ()
    cluster: str = ""
    taken: str = ""
    cluster_id: int = 0
    users: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What was asked for: with which new token, and when, in case that none is under way; by how much to raise
    revisions; whether to begin ``anew`` over a restore that was begun or completed; hosts that are left out; and the
    ``survivor`` whose data are to be restored, where it is not a snapshot that is there: a host, or ``HOST:FOLDER``.
    ``cluster`` is the name of what is restored, ``clone`` of which other one it is to become a copy, and ``user`` the
    one that the hosts' client certificates name, empty where they have none.
    """

    token: str
    begun: str
    bump: int = 0
    anew: bool = False
    without: frozenset[str] = frozenset()
    survivor: str = ""
    cluster: str = ""
    clone: str = ""
    user: str = "root"


@dataclass(frozen=True)
class Sight:
    """All that was seen: the cluster's hosts in the inventory, those that could be read, and what its members say."""

    hosts: tuple[str, ...]
    grounds: Mapping[str, Ground]
    cluster: Cluster = field(default_factory=Cluster)

    @property
    def placed(self) -> tuple[str, ...]:
        """The hosts that could be read."""
        return tuple(host for host in self.hosts if host in self.grounds)
