"""Where things lie on a host: the layout of document A, with a versioned folder behind each certificate pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etcdfleet.settings.base import RoleName
from etcdfleet.settings.models import MemberSettings

CONFIG = "/etc/etcd/conf.yml"
CERTIFICATES = "/etc/etcd/certs"
SETS = f"{CERTIFICATES}/sets"
TRUST_ANCHOR = f"{CERTIFICATES}/rootCA.pem"
ETCDCTL_ENVIRONMENT = "/etc/profile.d/etcdctl.sh"
ESTABLISHED = "/etc/etcd/cluster.json"
"""Written once this member has been part of a healthy cluster: which cluster, and which members it had."""
RUN_FOLDER = "/run/etcdfleet"
RESTART_PENDING = f"{RUN_FOLDER}/restart-pending"
"""Written before a change of what etcd reads at its start only, removed after the restart; a boot clears it too."""

ROLE_FOLDERS: Mapping[RoleName, str] = {"peer": "server", "server": "client", "client": "etcdctl"}


@dataclass(frozen=True)
class HostPaths:
    """The paths of one host's certificates, which carry its FQDN. Also what templates get as ``paths``."""

    fqdn: str
    config: str = CONFIG
    trust_anchor: str = TRUST_ANCHOR
    established: str = ESTABLISHED

    @classmethod
    def of(cls, member: MemberSettings) -> HostPaths:
        """The paths of a member's host."""
        return cls(member.fqdn)

    def folder(self, role: RoleName) -> str:
        """The well-known folder of a pair: a symbolic link to the set in use."""
        return f"{CERTIFICATES}/{ROLE_FOLDERS[role]}"

    def certificate(self, role: RoleName) -> str:
        """The leaf followed by its chain."""
        return f"{self.folder(role)}/{self.fqdn}.pem"

    def key(self, role: RoleName) -> str:
        """The private key."""
        return f"{self.folder(role)}/{self.fqdn}.key"


def mark_restart_pending(reason: str) -> str:
    """Shell: notes, before a change, that etcd must be restarted for it; lasts until then or until a reboot."""
    return f"mkdir -p -m 0755 {RUN_FOLDER}\nprintf '%s\\n' '{reason}' >> {RESTART_PENDING}"
