"""etcd from Debian's packages ``etcd-server`` and ``etcd-client``."""

from __future__ import annotations

import shlex

from etcdfleet.errors import RemoteError
from etcdfleet.remote import CommandResult, RemoteHost, last_lines
from etcdfleet.settings.models import AptInstall, HostSettings
from tasks.packages import INSTALL_TIMEOUT, Installed, pinned_reason, upstream_version

LOCK_TRIES = 150
"""Two seconds each: how often dpkg's lock is tried, beside apt's own waiting for it."""
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


class Apt:
    """See `tasks.packages.Packages`."""

    title = "apt"
    adds = True
    probe = "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n' etcd-server etcd-client 2>/dev/null; true"

    def read(self, result: CommandResult) -> Installed:
        """Both packages must be installed (``ii``); the server's version counts."""
        found = {}
        for line in result.stdout.splitlines():
            words = line.split()
            if len(words) == 3 and words[0] == "ii":
                found[words[1]] = words[2]
        if {"etcd-server", "etcd-client"} <= found.keys():
            return Installed(upstream_version(found["etcd-server"]), found["etcd-server"])
        return Installed(None)

    def reason(self, settings: HostSettings, installed: Installed, architecture: str) -> str:  # noqa: ARG002
        """Missing, or another version than the pinned one."""
        assert isinstance(settings.install, AptInstall)  # noqa: S101
        return pinned_reason(settings.install.version, installed)

    def install(self, remote: RemoteHost, settings: HostSettings, architecture: str, before: str) -> None:  # noqa: ARG002
        """``apt-get install``, after ``apt-get update`` if the packages are not known yet."""
        assert isinstance(settings.install, AptInstall)  # noqa: S101
        pin = f"={settings.install.version}" if settings.install.version else ""
        names = " ".join(shlex.quote(f"{name}{pin}") for name in ("etcd-server", "etcd-client"))
        self._install(remote, names, before)

    def add(self, remote: RemoteHost, settings: HostSettings, name: str) -> None:  # noqa: ARG002
        """``apt-get install``."""
        self._install(remote, shlex.quote(name), "")

    def _install(self, remote: RemoteHost, names: str, before: str) -> None:
        apt = (
            "apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "
            "-o Dpkg::Options::=--force-confdef -o Acquire::Retries=3"
        )
        script = f"""set -e
export DEBIAN_FRONTEND=noninteractive
{before}
# Another apt, perhaps that of a killed run, is waited for first: dpkg itself does not wait for a lock.
{apt} check >/dev/null 2>&1 || true
{_NO_RESTARTS}
tries=0
until said=$(dpkg --configure -a 2>&1); do
  tries=$((tries + 1))
  case $said in *lock*) [ $tries -lt {LOCK_TRIES} ] && sleep 2 && continue ;; esac
  echo "$said" >&2
  exit 1
done
install="{apt} --no-install-recommends --allow-downgrades --allow-change-held-packages install {names}"
# Lists that are missing or too old show as a package that is unknown or no longer there: one update, one more try.
$install || {{ {apt} update && $install; }}
"""
        result = remote.run(script, timeout=INSTALL_TIMEOUT)
        if not result.ok:
            raise RemoteError(
                f"apt-get could not install {names}: {last_lines(result.stderr or result.stdout)}",
                where=remote.name,
                remedy=f"on the host, try: apt-get update && apt-get install {names} (free space? "
                "network? sources?); a version that was pinned must be in the sources (apt-cache policy)",
            )
