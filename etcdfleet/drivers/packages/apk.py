"""etcd from Alpine's packages ``etcd``, ``etcd-ctl`` and ``etcd-openrc``."""

from __future__ import annotations

import re
import shlex

from etcdfleet.drivers.packages import (
    HELD,
    INSTALL_TIMEOUT,
    LIBRARY,
    RETIRE_ARCHIVE,
    Installed,
    pinned_reason,
    upstream_version,
)
from etcdfleet.errors import RemoteError
from etcdfleet.remote import CommandResult, RemoteHost, last_lines
from etcdfleet.settings.models import ApkInstall, HostSettings


def apk_says(output: str) -> str:
    """What apk complained about, once each: why a repository was not used stands far above what is lacking for it."""
    lines = dict.fromkeys(line.strip() for line in output.splitlines())
    found = [
        line
        for line in lines
        # What stands in the way of a version that was asked for: "breaks: world[etcd=9.9]".
        if line.startswith(("WARNING:", "ERROR:", "breaks: world[")) or line.endswith("(no such package):")
    ]
    return " | ".join(line.rstrip(":") for line in found) or last_lines(output)


class Apk:
    """See `etcdfleet.drivers.packages.Packages`."""

    title = "apk"
    adds = True
    binary = "/usr/bin/etcd"
    probe = (
        "apk info -v 2>/dev/null | grep '^etcd'; [ -x /usr/bin/etcdctl ] && echo etcdctl\n"
        f"grep -q '^etcd=' /etc/apk/world && echo held; [ ! -e {HELD} ] || echo held-by-us"
    )
    retire = RETIRE_ARCHIVE

    def read(self, result: CommandResult) -> Installed:
        """The package ``etcd``, and etcdctl from whichever package has it (its own since 2022)."""
        lines = result.stdout.split()
        versions = [m.group(1) for line in lines if (m := re.fullmatch(r"etcd-(\d.*)", line))]
        if versions and "etcdctl" in lines:
            return Installed(
                upstream_version(versions[0]), versions[0], held="held" in lines, held_by_us="held-by-us" in lines
            )
        return Installed(None)

    def reason(self, settings: HostSettings, installed: Installed, architecture: str) -> str:  # noqa: ARG002
        """Missing, or another version than the pinned one."""
        assert isinstance(settings.install, ApkInstall)  # noqa: S101
        return pinned_reason(settings.install.version, installed)

    def offer(self, remote: RemoteHost, settings: HostSettings, architecture: str) -> str:  # noqa: ARG002
        """As apk itself finds it out, from indexes that it reads for this once."""
        text = self._add(remote, settings, "", ["--simulate", "--no-cache"])
        found = re.search(r"^\(\d+/\d+\) \w+ etcd \((?:\S+ -> )?(\S+)\)", text, re.MULTILINE)
        return upstream_version(found.group(1)) if found else ""

    def prepare(self, remote: RemoteHost, settings: HostSettings, architecture: str) -> None:
        """Nothing: apk has no place for packages that wait, and replaces none before it has fetched all."""

    def hold(self, remote: RemoteHost, installed: Installed, *, release: bool = False) -> None:
        """By the version in ``/etc/apk/world``, as ``apk add etcd=VERSION`` writes it."""
        script = f"apk add --no-progress --wait 300 etcd && rm -f {HELD}"
        if not release:
            pinned = shlex.quote(f"etcd={installed.package}")
            script = f"mkdir -p {LIBRARY} && : > {HELD} && apk add --no-progress --wait 300 {pinned}"
        remote.run(script, check="holding the packages", remedy=f"on the host, try: cat /etc/apk/world; {script}")

    def install(self, remote: RemoteHost, settings: HostSettings, architecture: str, before: str) -> None:  # noqa: ARG002
        """``apk add``, from the given repository besides the host's own."""
        assert isinstance(settings.install, ApkInstall)  # noqa: S101
        self._add(remote, settings, before, [])
        if settings.install.version:
            # apk itself holds what was asked for by version.
            remote.run(f"mkdir -p {LIBRARY} && : > {HELD}", check="noting that the packages are held")

    def _add(self, remote: RemoteHost, settings: HostSettings, before: str, more: list[str]) -> str:
        """Gives what apk said. Raises `RemoteError`."""
        assert isinstance(settings.install, ApkInstall)  # noqa: S101
        options = ["--no-progress", "--wait", "300", *more]
        if settings.install.repository:
            # Without a refresh apk would use an index as old as the last one who asked for it.
            options += [] if more else ["--update-cache"]
            options += ["--repository", settings.install.repository]
        if settings.install.allow_untrusted:
            options.append("--allow-untrusted")
        pin = f"={settings.install.version}" if settings.install.version else ""
        add = shlex.join(["apk", "add", *options])
        script = f"""{before}
add() {{ {add} "$@"; }}
add {shlex.quote(f"etcd{pin}")} etcd-openrc etcd-ctl && exit 0
# Before etcd-ctl was split off, the package etcd held etcdctl.
add {shlex.quote(f"etcd{pin}")} etcd-openrc && {"true" if more else "[ -x /usr/bin/etcdctl ]"}
"""
        result = remote.run(script, timeout=INSTALL_TIMEOUT)
        if not result.ok:
            raise RemoteError(
                f"apk could not install etcd: {apk_says(result.stderr + result.stdout)}",
                where=remote.name,
                remedy="check install.repository (etcd is in Alpine's testing or community repository, by release) and "
                "install.allow_untrusted in the inventory, and the host's network and free space",
            )
        return result.stdout

    def add(self, remote: RemoteHost, settings: HostSettings, name: str) -> None:  # noqa: ARG002
        """``apk add``, from the host's own repositories."""
        remote.run(
            shlex.join(["apk", "add", "--no-progress", "--wait", "300", name]),
            timeout=INSTALL_TIMEOUT,
            check=f"apk add {name}",
            remedy=f"on the host, try: apk update && apk add {name} (network? repositories? free space?)",
        )
