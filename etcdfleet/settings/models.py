"""The settings of a fleet as frozen, typed models; one class per section of the inventory's ``data``.

A model checks one section by itself. What needs more than one section or host is in ``checks``. Every message here is
shown to a person beside the file, host and key that it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from etcdfleet.settings.auth import AuthSettings
from etcdfleet.settings.backup import BackupSettings
from etcdfleet.settings.base import InstallSettings, Section
from etcdfleet.settings.ciphers import GOOD
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.values import (
    CipherSuites,
    Duration,
    Fqdn,
    Port,
    Size,
    Words,
    check_address,
    check_data_dir,
    check_member_name,
    check_token,
)

Architecture = Literal["amd64", "arm64", "arm"]

DERIVED: Mapping[str, str] = {
    "member.name": "the host's name in the inventory",
    "cluster.name": "the group's name",
    "cluster.token": "the cluster's name",
    "pki.mounts.peer": "`pki_etcd_<cluster>_peer`",
    "pki.mounts.client": "`pki_etcd_<cluster>_client`",
}
"""Keys whose default is taken from the inventory, in words."""


class MemberSettings(Section):
    """One host as a member of its cluster."""

    name: Annotated[str, AfterValidator(check_member_name)]
    fqdn: Fqdn
    address: Annotated[str, BeforeValidator(check_address)]
    data_dir: Annotated[str, AfterValidator(check_data_dir)] = "/var/lib/etcd"


class ClusterSettings(Section):
    """What all members of a cluster have in common. Ports in 1..65535, times in milliseconds, sizes in bytes."""

    name: Annotated[str, AfterValidator(check_member_name)]
    token: Annotated[str, AfterValidator(check_token)]
    service_name: Fqdn | None = None
    peer_port: Port = 2380
    client_port: Port = 2379
    peer_tls: bool = True
    client_tls: bool = True
    cipher_suites: CipherSuites | None = None
    tls_min_version: Literal["TLS1.2", "TLS1.3"] = "TLS1.2"
    gateway: bool = False
    heartbeat_ms: Annotated[int, Field(ge=10, le=10_000)] = 500
    election_ms: Annotated[int, Field(ge=50, le=50_000)] = 5000
    quota_bytes: Annotated[Size, Field(ge=64 * 2**20, le=8 * 2**30)] = 2**30
    auto_compaction: Duration = timedelta(hours=8)
    snapshot_count: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    corruption_checks: bool = True
    log_level: Literal["debug", "info", "warn", "error", "panic", "fatal"] = "info"
    clients: Literal["any", "kubernetes"] = "any"

    @property
    def suites(self) -> tuple[str, ...]:
        """The cipher suites that both ports offer by TLS 1.2, in the order of preference; none with TLS 1.3 alone."""
        if self.tls_min_version == "TLS1.3":
            return ()
        return tuple(GOOD) if self.cipher_suites is None else self.cipher_suites


class PlatformSettings(Section):
    """What preflight expects of the host; empty or ``None`` expects nothing and takes what it finds."""

    distributions: Words = ()
    architecture: Architecture | None = None


class PreflightSettings(Section):
    """Limits of the checks that come before any change."""

    clock_tolerance_seconds: Annotated[int, Field(ge=1, le=86_400)] = 20
    min_free_bytes: Annotated[Size, Field(ge=0)] = 2**30
    sync_warn_ms: Annotated[int, Field(ge=1, le=60_000)] = 10
    controller_reaches_members: bool = True


class RepairSettings(Section):
    """From when on it is worth while to defragment a database: both must be free. Sizes in bytes."""

    defragment_free_percent: Annotated[int, Field(ge=1, le=99)] = 50
    defragment_free_bytes: Annotated[Size, Field(ge=2**20)] = 64 * 2**20


def host_port(host: str, port: int) -> str:
    """Return a place to connect to, as URLs and people write it: ``[fd00::1]:2379``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(host: str, port: int, *, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{host_port(host, port)}"


def peer_url(member: MemberSettings, cluster: ClusterSettings) -> str:
    """Return the URL by which the other members reach ``member``, by its FQDN."""
    return _url(member.fqdn, cluster.peer_port, tls=cluster.peer_tls)


def client_url(member: MemberSettings, cluster: ClusterSettings) -> str:
    """Return the URL by which clients reach ``member``, by its FQDN."""
    return _url(member.fqdn, cluster.client_port, tls=cluster.client_tls)


@dataclass(frozen=True)
class HostSettings:
    """Everything that is set for one host. ``hostname`` is where SSH goes; ``members`` are all members of its cluster.

    ``members`` is in the order of the inventory and includes the host's own. ``init`` is the name of its init system.
    """

    name: str
    hostname: str
    init: str
    member: MemberSettings
    cluster: ClusterSettings
    pki: PkiSettings
    auth: AuthSettings
    install: InstallSettings
    platform: PlatformSettings
    preflight: PreflightSettings
    backup: BackupSettings
    repair: RepairSettings
    members: tuple[MemberSettings, ...]

    @property
    def peer_url(self) -> str:
        """The advertised peer URL."""
        return peer_url(self.member, self.cluster)

    @property
    def client_url(self) -> str:
        """The advertised client URL."""
        return client_url(self.member, self.cluster)

    @property
    def listen_peer_urls(self) -> tuple[str, ...]:
        """Where etcd listens for members: by address, as etcd demands."""
        return (_url(self.member.address, self.cluster.peer_port, tls=self.cluster.peer_tls),)

    @property
    def listen_client_urls(self) -> tuple[str, ...]:
        """Where etcd listens for clients: by its own address, and on the loop-back for etcdctl on the host."""
        port, tls = self.cluster.client_port, self.cluster.client_tls
        return tuple(_url(address, port, tls=tls) for address in (self.member.address, "127.0.0.1"))

    @property
    def initial_cluster(self) -> str:
        """``name=peer URL`` of every member, joined by commas, in the order of the inventory."""
        return ",".join(f"{member.name}={peer_url(member, self.cluster)}" for member in self.members)
