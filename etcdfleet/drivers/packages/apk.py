"""etcd from Alpine's packages ``etcd``, ``etcd-ctl`` and ``etcd-openrc``."""

from __future__ import annotations

import re
import shlex
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
from etcdfleet.settings.values import check_package_version, check_repository

if TYPE_CHECKING:
    from etcdfleet.remote import CommandResult, RemoteHost


def apk_says(output: str) -> str:
    """Return what apk complained about, once each. Why a repository was not used stands far above what is lacking."""
    lines = dict.fromkeys(line.strip() for line in output.splitlines())
    complaints = [
        line
        for line in lines
        # What stands in the way of a version that was asked for: "breaks: world[etcd=9.9]".
        if line.startswith(("WARNING:", "ERROR:", "breaks: world[")) or line.endswith("(no such package):")
    ]
    return " | ".join(line.rstrip(":") for line in complaints) or last_lines(output)


class ApkInstall(InstallSettings):
    """Alpine's packages, from ``repository`` besides the host's own ones when it is set."""

    method: Literal["apk"] = "apk"
    version: Annotated[str, AfterValidator(check_package_version)] | None = None
    repository: Annotated[str, AfterValidator(check_repository)] | None = None
    allow_untrusted: bool = False


class Apk(Packages[ApkInstall]):
    """See `etcdfleet.drivers.packages.Packages`."""

    title = "apk"
    inits = ("openrc",)
    architecture = "apk --print-arch"
    probe = (
        "apk info -v 2>/dev/null | grep '^etcd'; [ -x /usr/bin/etcdctl ] && echo etcdctl\n"
        f"grep -q '^etcd=' /etc/apk/world && echo held; [ ! -e {HELD} ] || echo held-by-us"
    )

    remove = (
        "names=$(apk info 2>/dev/null | grep -x -e etcd -e etcd-ctl -e etcd-openrc || true)\n"
        '[ -z "$names" ] || apk del --no-progress --wait 300 $names'
    )

    def read(self, result: CommandResult) -> Installed:
        """Return the version of ``etcd``; etcdctl must be there, from whichever package has it (its own since 2022)."""
        lines = result.stdout.split()
        versions = [m.group(1) for line in lines if (m := re.fullmatch(r"etcd-(\d.*)", line))]
        if versions and "etcdctl" in lines:
            return Installed(
                upstream_version(versions[0]), versions[0], held="held" in lines, held_by_us="held-by-us" in lines
            )
        return Installed(None)

    def offer(self, target: Target) -> str:
        """Return what apk itself finds, from indexes that it reads for this once."""
        text = self._add(target.remote, "", ["--simulate", "--no-cache"])
        match = re.search(r"^\(\d+/\d+\) \w+ etcd \((?:\S+ -> )?(\S+)\)", text, re.MULTILINE)
        return upstream_version(match.group(1)) if match else ""

    # Nothing is prepared: apk has no place for packages that wait, and replaces none before it has fetched all.

    def hold(self, target: Target, installed: Installed) -> None:
        """By the version in ``/etc/apk/world``, as ``apk add etcd=VERSION`` writes it."""
        pinned = shlex.quote(f"etcd={installed.package}")
        self._pin(target, f"mkdir -p {LIBRARY} && : > {HELD} && apk add --no-progress --wait 300 {pinned}")

    def release(self, target: Target) -> None:
        """Add the packages again, without a version."""
        self._pin(target, f"apk add --no-progress --wait 300 etcd && rm -f {HELD}")

    def _pin(self, target: Target, command: str) -> None:
        remedy = f"on the host, try: cat /etc/apk/world; {command}"
        target.remote.run(command, check="holding the packages", remedy=remedy)

    def install(self, target: Target, before: str) -> None:
        """``apk add``, from the given repository besides the host's own."""
        self._add(target.remote, before, [])
        if self.settings.version:
            # apk itself holds what was asked for by version.
            target.remote.run(f"mkdir -p {LIBRARY} && : > {HELD}", check="noting that the packages are held")

    def _add(self, remote: RemoteHost, before: str, more: list[str]) -> str:
        """Add the packages, and return what apk said. Raises `RemoteError`."""
        options = ["--no-progress", "--wait", "300", *more]
        if self.settings.repository:
            # Without a refresh apk would use an index as old as the last one who asked for it.
            options += [] if more else ["--update-cache"]
            options += ["--repository", self.settings.repository]
        if self.settings.allow_untrusted:
            options.append("--allow-untrusted")
        pin = f"={self.settings.version}" if self.settings.version else ""
        add = shlex.join(["apk", "add", *options]) + ' "$@"'
        installing = script(
            "apk_install", functions={"before": before, "add": add}, etcd=f"etcd{pin}", simulated=bool(more)
        )
        result = remote.run(installing, timeout=INSTALL_TIMEOUT)
        if not result.ok:
            raise RemoteError(
                f"apk could not install etcd: {apk_says(result.stderr + result.stdout)}",
                where=remote.name,
                remedy="check install.repository (etcd is in Alpine's testing or community repository, by release) and "
                "install.allow_untrusted in the inventory, and the host's network and free space",
            )
        return result.stdout

    def add(self, target: Target, name: str) -> None:
        """``apk add``, from the host's own repositories."""
        target.remote.run(
            shlex.join(["apk", "add", "--no-progress", "--wait", "300", name]),
            timeout=INSTALL_TIMEOUT,
            check=f"apk add {name}",
            remedy=f"on the host, try: apk update && apk add {name} (network? repositories? free space?)",
        )
