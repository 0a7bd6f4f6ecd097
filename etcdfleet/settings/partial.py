"""One host's settings while they are being read: what could not be read yet is None."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from etcdfleet.settings.auth import AuthSettings
from etcdfleet.settings.base import InstallSettings
from etcdfleet.settings.merge import KeyPath, Merged
from etcdfleet.settings.models import (
    ClusterSettings,
    HostSettings,
    MemberSettings,
    PlatformSettings,
    PreflightSettings,
)
from etcdfleet.settings.pki import PkiSettings


@dataclass
class Draft:
    """A section with a mistake in it has a stand-in for what is wrong, or is None when nothing of it can be used.

    ``bad`` holds the keys with mistakes: a check that needs one of them is skipped, so that no mistake causes others.
    """

    name: str
    hostname: str
    port: int
    merged: Merged
    init: str | None = None
    cluster_group: str | None = None
    member: MemberSettings | None = None
    cluster: ClusterSettings | None = None
    pki: PkiSettings | None = None
    auth: AuthSettings | None = None
    install: InstallSettings | None = None
    platform: PlatformSettings | None = None
    preflight: PreflightSettings | None = None
    bad: set[KeyPath] = field(default_factory=set)

    def sound(self, *keys: str) -> bool:
        """Whether no mistake was found at, above or below any of these dotted keys."""
        paths = [tuple(key.split(".")) for key in keys]
        return not any(one[: len(other)] == other[: len(one)] for one in self.bad for other in paths)

    def finish(self, members: tuple[MemberSettings, ...]) -> HostSettings:
        """The settings, for a draft in which everything could be read."""
        return HostSettings(
            name=self.name,
            hostname=self.hostname,
            init=cast(str, self.init),
            member=cast(MemberSettings, self.member),
            cluster=cast(ClusterSettings, self.cluster),
            pki=cast(PkiSettings, self.pki),
            auth=cast(AuthSettings, self.auth),
            install=cast(InstallSettings, self.install),
            platform=cast(PlatformSettings, self.platform),
            preflight=cast(PreflightSettings, self.preflight),
            members=members,
        )
