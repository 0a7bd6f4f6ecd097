"""The options of each runbook beside those that all have (`etcdfleet.program.options.Options`), as typed values.

A field has the name of its command-line option; ``runbooks/`` declares the option itself, and what it means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from etcdfleet.program.options import PROJECT

if TYPE_CHECKING:  # --help answers at once
    from etcdfleet.roles import RoleName


SNAPSHOTS = PROJECT / "snapshots"
"""Where snapshots are kept on this machine, a folder for each cluster."""


@dataclass(frozen=True)
class LockOptions:
    """Of all runbooks that change clusters."""

    break_lock: bool = False


@dataclass(frozen=True)
class AuthOptions(LockOptions):
    """Of ``setup_auth.py``."""

    prune: bool = False


@dataclass(frozen=True)
class RotateOptions(LockOptions):
    """Of ``rotate_certs.py``. ``only`` is None for all roles."""

    force: bool = False
    only: Sequence[RoleName] | None = None
    ca: bool = False
    clients_ready: bool = False
    revoke: bool = False
    restart: bool = False
    textfile: Path | None = None
    allow_degraded: bool = False


@dataclass(frozen=True)
class MemberOptions(LockOptions):
    """Of all runbooks that change the members of a cluster.

    ``snapshot_dir`` is None for the folder of the cluster's backups.
    """

    snapshot_dir: Path | None = None


@dataclass(frozen=True)
class DeployOptions(MemberOptions):
    """Of ``deploy.py``. ``confirm`` is the name of a cluster that may begin without data though there are backups."""

    confirm: str = ""


@dataclass(frozen=True)
class ReplaceOptions(MemberOptions):
    """Of ``replace_member.py``: the host that is to hold a member, and whose place it takes, by name or id.

    With ``to``, the member on the first is healthy and moves to that host.
    """

    target: str = ""
    instead_of: str = ""
    to: str = ""


@dataclass(frozen=True)
class RemoveOptions(MemberOptions):
    """Of ``remove_member.py``: a host of the inventory, or the name or id of a member that is not in it any more."""

    target: str = ""
    gone: str = ""


@dataclass(frozen=True)
class RepairOptions(MemberOptions):
    """Of ``repair.py``. ``only`` is one kind of repair, None for all.

    ``force``: whatever the inventory says about when it is worth while to defragment.
    """

    only: Literal["data", "space", "defragment"] | None = None
    force: bool = False


@dataclass(frozen=True)
class UpgradeOptions(MemberOptions):
    """Of ``upgrade.py``. ``to`` is empty for the version of the inventory."""

    to: str = ""
    canary: bool = False


@dataclass(frozen=True)
class TeardownOptions(MemberOptions):
    """Of ``teardown.py``. ``confirm`` is the cluster's name, for a run without a terminal."""

    confirm: str = ""
    delete_data: bool = False
    without_snapshot: bool = False


@dataclass(frozen=True)
class BackupOptions:
    """Of ``backup.py``. ``folder`` is None for that of the settings; ``fetch`` is the name of a copy, or ``latest``."""

    folder: Path | None = None
    list: bool = False
    verify: bool = False
    drill: bool = False
    fetch: str | None = None
    identity: Path | None = None
    textfile: Path | None = None


@dataclass(frozen=True)
class RestoreOptions(MemberOptions):
    """Of ``restore.py``. ``snapshot`` is a file, ``latest``, or the name of a copy in the store, and empty with
    ``from_member``, a host of the cluster, or ``from_data``, ``HOST:FOLDER``. Without any, only sources are looked for.

    ``clone`` is another cluster, whose snapshot it is; ``bump_revision`` None is what the inventory says; ``confirm``
    is as for `TeardownOptions`.
    """

    snapshot: str = ""
    from_member: str = ""
    from_data: str = ""
    clone: str = ""
    identity: Path | None = None
    confirm: str = ""
    without: Sequence[str] = ()
    without_snapshot: bool = False
    bump_revision: bool | None = None
    anew: bool = False

    @property
    def origin(self) -> str:
        """Of which data a snapshot is to be taken for this restore; empty for one that is there."""
        return self.from_member or self.from_data


@dataclass(frozen=True)
class PreflightOptions:
    """Of ``preflight.py``."""

    disk: bool = False


@dataclass(frozen=True)
class VerifyOptions:
    """Of ``verify.py``."""

    no_write: bool = False


@dataclass(frozen=True)
class StatusOptions:
    """Of ``status.py``. ``watch`` is in seconds, None for one look."""

    watch: float | None = None
    days: float = 7.0


@dataclass(frozen=True)
class ClientOptions:
    """Of ``client_cert.py``. ``out`` and ``ttl`` are None for the defaults."""

    name: str
    out: Path | None = None
    ttl: timedelta | None = None
    ca_only: bool = False


@dataclass(frozen=True)
class PkiOptions:
    """Of ``setup_pki.py``. ``wrap`` is a time as people write it, such as ``10m``."""

    create_root: bool = False
    keep_names: bool = False
    csr_dir: Path = Path("pki-requests")
    signed_dir: Path | None = None
    secret_id: Path | None = None
    unwrap: Path | None = None
    wrap: str | None = None
