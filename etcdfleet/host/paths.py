"""Where things lie on a host, with a versioned folder behind each certificate pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etcdfleet.roles import RoleName, Side
from etcdfleet.settings.models import HostSettings

CONFIG = "/etc/etcd/conf.yml"
CERTIFICATES = "/etc/etcd/certs"
SETS = f"{CERTIFICATES}/sets"
ROOT_ANCHOR = f"{CERTIFICATES}/rootCA.pem"
SIDE_ANCHORS: Mapping[Side, str] = {"peer": f"{CERTIFICATES}/peerCA.pem", "client": f"{CERTIFICATES}/clientCA.pem"}
ANCHORS = (ROOT_ANCHOR, *SIDE_ANCHORS.values())
"""All files of trust anchors that there may be: with a single CA the first one, with separate trust the other two."""
CRLS: Mapping[Side, str] = {"peer": f"{CERTIFICATES}/peer.crl", "client": f"{CERTIFICATES}/client.crl"}
"""With ``pki.crl``: whose certificates etcd refuses on a side. It refuses everybody when the file is not there."""
ETCDCTL_ENVIRONMENT = "/etc/profile.d/etcdctl.sh"
ESTABLISHED = "/etc/etcd/cluster.json"
"""Written once this member has been part of a healthy cluster: which cluster, and which members it had."""
DATA_MOUNT = "/etc/etcd/data-mount"
"""The mount point of the disk that holds the data, where that is not the root file system: without it, no start."""
ASIDE = "removed-"
"""How the folders in a data directory begin in which the data of a member that was removed are kept."""
RESTORING = "restoring-"
"""How the folders in a data directory begin in which a snapshot is restored, as long as that takes."""
RUN_FOLDER = "/run/etcdfleet"
LOCK_COUNT = f"{RUN_FOLDER}/lock.count"
"""Counts up whenever a lock is taken and freed: what was read at another count may have been changed since."""
WORKING = f"{RUN_FOLDER}/working"
"""Open, as descriptor `AT_WORK`, in every command of a run that has the lock, also when its run is gone by then."""
RESTART_PENDING = f"{RUN_FOLDER}/restart-pending"
"""Written before a change of what etcd reads at its start only, removed after the restart; a boot clears it too."""
UNPROVEN = f"{CERTIFICATES}/unproven"
"""Roles whose pair a rotation has placed and not proven yet, a line each: there while it works, and after its death."""

ROLE_FOLDERS: Mapping[RoleName, str] = {"peer": "server", "server": "client", "client": "etcdctl"}


@dataclass(frozen=True)
class HostPaths:
    """The paths of one host's certificates, which carry its FQDN. Also what templates get as ``paths``."""

    fqdn: str
    separate_trust: bool = True
    config: str = CONFIG
    established: str = ESTABLISHED
    data_mount: str = DATA_MOUNT

    @classmethod
    def of(cls, settings: HostSettings) -> HostPaths:
        """Return the paths of a host."""
        return cls(settings.member.fqdn, separate_trust=settings.pki.trust == "separate")

    def anchor(self, side: Side) -> str:
        """Return the trust anchors of a side: the CAs that etcd accepts there, and that vouch for its certificate."""
        return SIDE_ANCHORS[side] if self.separate_trust else ROOT_ANCHOR

    def crl(self, side: Side) -> str:
        """Return the revocation list of a side."""
        return CRLS[side]

    def folder(self, role: RoleName) -> str:
        """Return the well-known folder of a pair: a symbolic link to the set in use."""
        return f"{CERTIFICATES}/{ROLE_FOLDERS[role]}"

    def certificate(self, role: RoleName) -> str:
        """Return the leaf followed by its chain."""
        return f"{self.folder(role)}/{self.fqdn}.pem"

    def key(self, role: RoleName) -> str:
        """Return the private key."""
        return f"{self.folder(role)}/{self.fqdn}.key"


def mark_restart_pending(reason: str) -> str:
    """Return shell that notes, before a change, that etcd must be restarted for it; lasts until then or a reboot."""
    return f"mkdir -p -m 0755 {RUN_FOLDER}\nprintf '%s\\n' '{reason}' >> {RESTART_PENDING}"
