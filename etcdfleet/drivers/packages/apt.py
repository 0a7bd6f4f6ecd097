"""etcd from Debian's packages ``etcd-server`` and ``etcd-client``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator

from etcdfleet.drivers.packages import (
    HELD,
    INSTALL_TIMEOUT,
    LIBRARY,
    Installed,
    Packages,
    Target,
    upstream_version,
)
from etcdfleet.errors import RemoteError
from etcdfleet.remote import last_lines
from etcdfleet.remote.scripts import script
from etcdfleet.settings.base import InstallSettings
from etcdfleet.settings.values import check_package_version

if TYPE_CHECKING:
    from etcdfleet.remote import CommandResult, RemoteHost

LOCK_TRIES = 150
"""Two seconds each: how often dpkg's lock is tried, beside apt's own waiting for it."""
_NAMES = ("etcd-server", "etcd-client")
_GET = (
    "apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "
    '-o Dpkg::Options::=--force-confdef -o Acquire::Retries=3 "$@"'
)
_POLICY = "/usr/sbin/policy-rc.d"


class AptInstall(InstallSettings):
    """Debian's packages; ``version`` pins one, ``None`` takes what the distribution has."""

    method: Literal["apt"] = "apt"
    version: Annotated[str, AfterValidator(check_package_version)] | None = None


class Apt(Packages[AptInstall]):
    """See `etcdfleet.drivers.packages.Packages`."""

    title = "apt"
    inits = ("systemd",)
    architecture = "dpkg --print-architecture"
    probe = (
        "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n' etcd-server etcd-client 2>/dev/null\n"
        f"[ ! -e {HELD} ] || echo held by us"
    )

    # Not purged: Debian's package would then delete /var/lib/etcd, whatever lies there.
    remove = (
        "names=$(dpkg-query -W -f '${db:Status-Status} ${Package}\\n' etcd-server etcd-client 2>/dev/null |"
        " sed -n 's/^installed //p')\n"
        '[ -z "$names" ] || DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0'
        " --allow-change-held-packages remove $names"
    )

    def read(self, result: CommandResult) -> Installed:
        """Return the server's version. Both packages must be installed (``ii``, or ``hi`` where they are held)."""
        versions, states = {}, set()
        lines = result.stdout.splitlines()
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[0] in {"ii", "hi"} and words[1] in _NAMES:
                versions[words[1]] = words[2]
                states.add(words[0])
        if len(versions) < len(_NAMES):
            return Installed(None)
        package = versions[_NAMES[0]]
        return Installed(upstream_version(package), package, held=states == {"hi"}, held_by_us="held by us" in lines)

    def offer(self, target: Target) -> str:
        """Return what apt itself finds. Lists that are missing or too old are fetched into a folder of their own."""
        names, remote = self._names(), target.remote
        result = remote.run(script("apt_simulate", *names, functions={"get": _GET}), timeout=INSTALL_TIMEOUT)
        if not result.ok:
            raise _failed(remote, names, result)
        match = re.search(r"^Inst etcd-server (?:\[\S+\] )?\((\S+)", result.stdout, re.MULTILINE) or re.search(
            r"^etcd-server is already the newest version \((\S+)\)", result.stdout, re.MULTILINE
        )
        return upstream_version(match.group(1)) if match else ""

    def prepare(self, target: Target) -> None:
        """Download the packages."""
        names, remote = self._names(), target.remote
        result = remote.run(script("apt_download", *names, functions={"get": _GET}), timeout=INSTALL_TIMEOUT)
        if not result.ok:
            raise _failed(remote, names, result)

    def hold(self, target: Target, _: Installed) -> None:
        """``apt-mark hold``."""
        self._mark(target, f"mkdir -p {LIBRARY} && : > {HELD} && apt-mark hold {' '.join(_NAMES)}")

    def release(self, target: Target) -> None:
        """``apt-mark unhold``."""
        self._mark(target, f"apt-mark unhold {' '.join(_NAMES)} && rm -f {HELD}")

    def install(self, target: Target, before: str) -> None:
        """``apt-get install``, after ``apt-get update`` if the packages are not known yet."""
        self._install(target.remote, self._names(), before)

    def add(self, target: Target, name: str) -> None:
        """``apt-get install``."""
        self._install(target.remote, [name], "")

    def _mark(self, target: Target, command: str) -> None:
        remedy = f"on the host, try: apt-mark showhold; {command}"
        target.remote.run(command, check="holding the packages", remedy=remedy)

    def _names(self) -> list[str]:
        pin = f"={self.settings.version}" if self.settings.version else ""
        return [f"{name}{pin}" for name in _NAMES]

    def _install(self, remote: RemoteHost, names: Sequence[str], before: str) -> None:
        commands = {"before": before, "get": _GET}
        installing = script("apt_install", *names, functions=commands, policy=_POLICY, lock_tries=LOCK_TRIES)
        result = remote.run(installing, timeout=INSTALL_TIMEOUT)
        if not result.ok:
            raise _failed(remote, names, result)


def _failed(remote: RemoteHost, packages: Sequence[str], result: CommandResult) -> RemoteError:
    names = shlex.join(packages)
    return RemoteError(
        f"apt-get could not install {names}: {last_lines(result.stderr or result.stdout)}",
        where=remote.name,
        remedy=f"on the host, try: apt-get update && apt-get install {names} (free space? "
        "network? sources?); a version that was pinned must be in the sources (apt-cache policy)",
    )
