"""What was seen of a cluster's hosts, and what is to be said about it, as frozen data for its overview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from etcdfleet.etcd.alarms import takes_part
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, ExpectedMember, MemberList
from etcdfleet.etcd.canary import Hold
from etcdfleet.etcd.learners import Learner


class Level(IntEnum):
    """How much a concern matters; the worst first."""

    BROKEN = 0
    """A member or the cluster does not do its work now."""
    UNKNOWN = 1
    """It could not be asked from here: it may work or not."""
    WRONG = 2
    """It works, and is not as it should be: the next fault, boot or run will show it."""
    SOON = 3
    """Nothing is wrong yet."""


@dataclass(frozen=True)
class Concern:
    """One sentence about some hosts of a cluster, and what to do. ``days`` from now it becomes true, for the order."""

    level: Level
    what: str
    hosts: tuple[str, ...]
    remedy: str
    days: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the concern as in the facts of report.json."""
        return {"level": self.level.name.lower(), "what": self.what, "hosts": list(self.hosts), "remedy": self.remedy}


@dataclass(frozen=True)
class Life:
    """How long a certificate pair on the host is good for, by the host's clock.

    ``ends`` is the earliest end of the leaf, its chain and the CA it leads to; ``ca`` names the CA whose end that is,
    and is empty when it is the leaf's own. ``due`` says that the renewal threshold is crossed. With a ``problem`` (a
    sentence about the certificate) it is good for nothing.
    """

    role: str
    ends: datetime | None = None
    days_left: float = 0.0
    ca: str = ""
    due: bool = False
    serial: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Key:
    """What is wrong with the private key of a pair (a sentence about it); ``broken`` says that it cannot be used."""

    role: str
    problem: str
    broken: bool = False


@dataclass(frozen=True)
class LastRun:
    """The newest run from this controller that worked on the host. ``state`` is a `RunSummary`'s."""

    id: str
    runbook: str
    started: datetime
    state: str
    failed: bool = False


@dataclass(frozen=True)
class Machine:
    """What the host itself is like. ``restart_pending`` says why etcd is due for a restart; ``drift`` are the paths of
    files that differ from what deploy would write. ``free_bytes`` is None when not known. ``keys`` are only those with
    which something is wrong. ``quota_bytes`` is what the running etcd was started with; None when not known.
    ``besides`` names, by side, CAs that are trusted and of which the host shows nothing; ``due_ca``, by side, the CA
    that issues today and the one of the certificates on the host, where these differ. ``disk_absent`` is the
    mount point of the disk that held the data, if nothing is mounted there; ``data_lost`` says that a member had data
    there, and has none; ``blank`` that there are none and no marker, as on a new host or one with a new card.
    ``cluster_id`` is of the cluster whose data lie there, 0 for none; ``restoring`` tells of a restore under way.
    ``seconds`` is how long its etcd has run; None when not known. ``other`` tells of an etcd that this project has not
    set up, and what to do; ``held`` of the other members that are held back while its own is a canary."""

    running: bool
    enabled: bool
    service: str = ""
    deployed: bool = True
    clock_offset: float = 0.0
    free_bytes: int | None = None
    restart_pending: str = ""
    drift: tuple[str, ...] = ()
    lives: tuple[Life, ...] = ()
    keys: tuple[Key, ...] = ()
    quota_bytes: int | None = None
    besides: tuple[tuple[str, str], ...] = ()
    due_ca: tuple[tuple[str, str, str], ...] = ()
    disk_absent: str = ""
    data_lost: bool = False
    blank: bool = False
    cluster_id: int = 0
    restoring: str = ""
    seconds: float | None = None
    other: tuple[str, str] | None = None
    held: Hold | None = None


@dataclass(frozen=True)
class MemberView:
    """One host, as it was seen: not at all (then ``problem`` says why), or as a machine with an etcd that may answer.

    ``silent`` is why etcd gave no answer; ``also`` are further names and addresses of the host. Sizes
    are in bytes; ``quota_bytes`` is what the inventory says.
    """

    host: str
    member: ExpectedMember
    problem: str = ""
    remedy: str = ""
    machine: Machine | None = None
    status: EndpointStatus | None = None
    health: EndpointHealth | None = None
    members: MemberList | None = None
    silent: str = ""
    quota_bytes: int = 2**30
    clock_tolerance: int = 20
    last_run: LastRun | None = None
    also: tuple[str, ...] = ()

    @property
    def down(self) -> bool:
        """Whether nothing could be learnt about the host."""
        return self.machine is None

    @property
    def quota(self) -> int:
        """The quota that counts now: that of the running etcd, if it is known."""
        return (self.machine.quota_bytes if self.machine else None) or self.quota_bytes

    @property
    def serves(self) -> bool:
        """Whether a linearizable read through this member worked: it is in touch with a leader and a majority."""
        return self.health is not None and takes_part(self.health)


@dataclass(frozen=True)
class ClusterOverview:
    """A cluster at a glance.

    ``margin`` says in words how many members it can lose, ``can_lose`` as a number (None: not known, or no quorum).
    ``leader`` is a host, or a member's name or id when its host is not among those that were looked at; empty for none.
    ``concerns`` come worst first. ``learners`` are the members without a vote, by host. ``backup`` tells in words how
    old the newest one is, empty for none.
    """

    name: str
    views: tuple[MemberView, ...]
    margin: str
    can_lose: int | None
    leader: str
    term: int
    concerns: tuple[Concern, ...]
    learners: Mapping[str, Learner] = field(default_factory=dict)
    backup: str = ""

    @property
    def needs_attention(self) -> bool:
        """Whether anything is wrong now."""
        return any(concern.level is not Level.SOON for concern in self.concerns)
