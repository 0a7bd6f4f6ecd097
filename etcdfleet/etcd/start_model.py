"""What is known of a cluster's members before the start step, and what the step may come to, as frozen data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from etcdfleet.errors import Refusal
from etcdfleet.etcd.wal import DataIds


@dataclass(frozen=True)
class MemberState:
    """What is known of one member of the inventory before the start step.

    ``seen`` is False if its host could not be read: then ``data``, ``established`` and ``running`` mean nothing.
    ``data`` is None if there is no segment in ``member/wal`` (which is what etcd itself goes by: ``wal.Exist``);
    ``data_unreadable`` says why the ids could not be read although there is one. ``established`` is the marker file's
    content (an unreadable marker is ``{}``, and still a marker). ``running``: the service manager has a process.
    ``answering``: its own etcd answered ``endpoint status``. ``restart_pending``: its configuration, unit, trust
    anchor or binary changed after the process started. ``data_dir`` is the wanted data directory,
    ``configured_dir`` that of the configuration on the host, and ``data_elsewhere`` the same if it is another one and
    has member data in it. ``disk_absent`` is the mount point of the disk that held the data, if nothing
    is mounted there. ``quota_bytes`` is the quota in the configuration on the host. ``moves``: its
    addresses, names or ports in that configuration are not the wanted ones; ``renamed``: that is so for its peer URL,
    by which the others reach it. ``chosen``: part of this run.
    ``ready``: its earlier steps succeeded.
    """

    host: str
    name: str
    data: DataIds | None = None
    data_unreadable: str = ""
    established: Mapping[str, Any] | None = None
    running: bool = False
    answering: bool = False
    restart_pending: bool = False
    data_dir: str = ""
    configured_dir: str = ""
    data_elsewhere: str = ""
    disk_absent: str = ""
    quota_bytes: int | None = None
    moves: bool = False
    renamed: bool = False
    chosen: bool = True
    ready: bool = True
    seen: bool = True

    @property
    def ours(self) -> bool:
        """Whether this run may touch the member."""
        return self.chosen and self.ready and self.seen

    @property
    def empty(self) -> bool:
        """Whether the host was read and has no data."""
        return self.seen and self.data is None


@dataclass(frozen=True)
class Bootstrap:
    """A first start: start (or restart, where a process hangs in it) the members of these hosts at the same time.

    Those without data start with ``initial-cluster-state: new``, and so do no others.
    """

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Join:
    """Start these members, which have no data, into the cluster of the others: ``initial-cluster-state: existing``.

    Observe and plan again afterwards.
    """

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Rolling:
    """Start all of ``start_first`` at the same time, observe and plan again; restart ``order`` one by one, gated.

    Only ``order`` of a plan with an empty ``start_first`` is to be carried out. ``joining`` are hosts without data that
    can join only once those of ``start_first`` run, so the cluster is not complete before.
    """

    order: tuple[str, ...]
    start_first: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()


@dataclass(frozen=True)
class Readdress:
    """Bring these members of a running cluster to other addresses, one after the other (`plays.readdress`).

    Observe and plan again afterwards.
    """

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Nothing:
    """Everything that this run may touch runs, with its current configuration."""


Plan = Bootstrap | Join | Rolling | Readdress | Nothing | Refusal


def hosts_of(states: Iterable[MemberState]) -> tuple[str, ...]:
    """Return the names of the hosts."""
    return tuple(state.host for state in states)
