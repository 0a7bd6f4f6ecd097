"""etcd from Debian's packages ``etcd-server`` and ``etcd-client``."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator

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
from etcdfleet.settings.base import InstallSettings
from etcdfleet.settings.values import check_package_version

if TYPE_CHECKING:
    from etcdfleet.remote import CommandResult, RemoteHost

LOCK_TRIES = 150
"""Two seconds each: how often dpkg's lock is tried, beside apt's own waiting for it."""
_NAMES = ("etcd-server", "etcd-client")
_APT = (
    "apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "
    "-o Dpkg::Options::=--force-confdef -o Acquire::Retries=3"
)
_INSTALL = "--no-install-recommends --allow-downgrades --allow-change-held-packages"
_SIMULATE = """simulate() {{
  {apt} "$@" -s -o Debug::NoLocking=1 --no-install-recommends --allow-downgrades --allow-change-held-packages \\
    install {names}
}}
said=$(simulate 2>&1) && {{ echo "$said"; exit 0; }}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
chmod 755 "$t"; mkdir -p "$t/lists/partial"
o="-o Dir::State::lists=$t/lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
{apt} $o update >/dev/null 2>&1
simulate $o"""
_POLICY = "/usr/sbin/policy-rc.d"
# Maintainer scripts ask policy-rc.d before they start or restart a service. On a live member the restart is ours to
# time; a foreign policy is kept aside and put back. The file names its maker's process: what a killed run left is taken
# away, and a run that ends does not take away another's.
_NO_RESTARTS = rf"""
mine="# etcdfleet $$"
undo() {{
  if grep -qx "$mine" {_POLICY} 2>/dev/null; then rm -f {_POLICY}; fi
  if [ -e {_POLICY}.etcdfleet-saved ] && [ ! -e {_POLICY} ]; then mv -f {_POLICY}.etcdfleet-saved {_POLICY}; fi
}}
old=$(sed -n 's/^# etcdfleet \([0-9]*\)$/\1/p' {_POLICY} 2>/dev/null || true)
if [ -n "$old" ] && ! kill -0 "$old" 2>/dev/null; then rm -f {_POLICY}; fi
trap undo EXIT
if [ -e {_POLICY} ] && ! grep -q '^# etcdfleet ' {_POLICY}; then mv -f {_POLICY} {_POLICY}.etcdfleet-saved; fi
printf '#!/bin/sh\n%s\nexit 101\n' "$mine" > {_POLICY}
chmod 755 {_POLICY}
"""


class AptInstall(InstallSettings):
    """Debian's packages; ``version`` pins one, ``None`` takes what the distribution has."""

    method: Literal["apt"] = "apt"
    version: Annotated[str, BeforeValidator(check_package_version)] | None = None


class Apt(Packages[AptInstall]):
    """See `etcdfleet.drivers.packages.Packages`."""

    title = "apt"
    inits = ("systemd",)
    architecture = "dpkg --print-architecture"
    probe = (
        "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n' etcd-server etcd-client 2>/dev/null\n"
        f"[ ! -e {HELD} ] || echo held by us"
    )

    def read(self, result: CommandResult) -> Installed:
        """Both packages must be installed (``ii``, or ``hi`` where they are held); the server's version counts."""
        found, states = {}, set()
        lines = result.stdout.splitlines()
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[0] in {"ii", "hi"} and words[1] in _NAMES:
                found[words[1]] = words[2]
                states.add(words[0])
        if len(found) < len(_NAMES):
            return Installed(None)
        package = found[_NAMES[0]]
        return Installed(upstream_version(package), package, held=states == {"hi"}, held_by_us="held by us" in lines)

    def offer(self, target: Target) -> str:
        """As apt itself finds it out. Lists that are missing or too old are fetched into a folder of their own."""
        names, remote = self._names(), target.remote
        result = remote.run(_SIMULATE.format(apt=_APT, names=names), timeout=INSTALL_TIMEOUT)
        if not result.ok:
            raise _failed(remote, names, result)
        found = re.search(r"^Inst etcd-server (?:\[\S+\] )?\((\S+)", result.stdout, re.MULTILINE) or re.search(
            r"^etcd-server is already the newest version \((\S+)\)", result.stdout, re.MULTILINE
        )
        return upstream_version(found.group(1)) if found else ""

    def prepare(self, target: Target) -> None:
        """Downloads the packages."""
        names, remote = self._names(), target.remote
        script = f"""export DEBIAN_FRONTEND=noninteractive
get="{_APT} {_INSTALL} --download-only install {names}"
$get || {{ {_APT} update && $get; }}"""
        result = remote.run(script, timeout=INSTALL_TIMEOUT)
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
        self._install(target.remote, shlex.quote(name), "")

    def _mark(self, target: Target, script: str) -> None:
        remedy = f"on the host, try: apt-mark showhold; {script}"
        target.remote.run(script, check="holding the packages", remedy=remedy)

    def _names(self) -> str:
        pin = f"={self.settings.version}" if self.settings.version else ""
        return " ".join(shlex.quote(f"{name}{pin}") for name in _NAMES)

    def _install(self, remote: RemoteHost, names: str, before: str) -> None:
        script = f"""set -e
export DEBIAN_FRONTEND=noninteractive
{before}
# Another apt, perhaps that of a killed run, is waited for first: dpkg itself does not wait for a lock.
{_APT} check >/dev/null 2>&1 || true
{_NO_RESTARTS}
tries=0
until said=$(dpkg --configure -a 2>&1); do
  tries=$((tries + 1))
  case $said in *lock*) [ $tries -lt {LOCK_TRIES} ] && sleep 2 && continue ;; esac
  echo "$said" >&2
  exit 1
done
install="{_APT} {_INSTALL} install {names}"
# Lists that are missing or too old show as a package that is unknown or no longer there: one update, one more try.
$install || {{ {_APT} update && $install; }}
"""
        result = remote.run(script, timeout=INSTALL_TIMEOUT)
        if not result.ok:
            raise _failed(remote, names, result)


def _failed(remote: RemoteHost, names: str, result: CommandResult) -> RemoteError:
    from etcdfleet.remote import last_lines

    return RemoteError(
        f"apt-get could not install {names}: {last_lines(result.stderr or result.stdout)}",
        where=remote.name,
        remedy=f"on the host, try: apt-get update && apt-get install {names} (free space? "
        "network? sources?); a version that was pinned must be in the sources (apt-cache policy)",
    )
