"""What is true of a host, for all tasks of a run: read once, read again only after something was changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nornir.core.task import Task

from etcdfleet.drivers.init import Service, ServiceState, programs, service_for
from etcdfleet.drivers.packages import Installed, Packages, Target, packages_for
from etcdfleet.errors import RemoteError
from etcdfleet.etcd.configuration import client_port_in
from etcdfleet.etcd.etcdctl import local_endpoint
from etcdfleet.host import facts
from etcdfleet.host.facts import HostFacts
from etcdfleet.host.paths import CONFIG, CRLS, ETCDCTL_ENVIRONMENT
from etcdfleet.remote import CommandResult, RemoteFile, RemoteHost, connect
from etcdfleet.session import session_of
from etcdfleet.settings.load import settings_of
from etcdfleet.settings.models import HostSettings

_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Observed:
    """Everything that one round trip tells about a host."""

    facts: HostFacts
    service: ServiceState
    installed: Installed
    init_fits: bool
    other_version: str = ""
    """The version of the program that the service starts, where that is not the one of the install method."""

    @property
    def in_force(self) -> Installed:
        """What a running etcd's next start runs: after a change of the install method, the old program till its turn.

        Files are rendered for this one.
        """
        started = self.service.program
        if self.service.running and started and started != self.installed.binary:
            return Installed(self.other_version or None, binary=started)
        return self.installed


@dataclass(eq=False)
class Site:
    """A host as a task works with it: settings, connection, and the modules for its init system and packages.

    One for as long as the connection lasts, so it also holds what was read and measured by it: ``seen`` (see
    `observe`), the times of synced writes in milliseconds, the version that the packages offer, and the warnings about
    its configuration that were ``told``.
    """

    settings: HostSettings
    remote: RemoteHost
    service: Service
    packages: Packages[Any]
    seen: Observed | None = None
    sync_latencies: tuple[float, ...] = ()
    offered: str | None = None
    told: set[str] = field(default_factory=set)

    def observe(self) -> Observed:
        """Return what is true of the host. Cached: whatever changes the host calls `forget`. Raise `RemoteError`."""
        if self.seen is None:
            self.seen, _ = self.look_with({})
        return self.seen

    @property
    def target(self) -> Target:
        """The host as its `packages` install on it. Raise `RemoteError`."""
        return Target(self.remote, self.observe().facts.architecture)

    def here(self, *, tls: bool | None = None, restarted: bool = False) -> str:
        """Return the member's own endpoint on the loop-back of its host, at the port where its etcd listens.

        The inventory may have another one already, and so may the configuration, before the restart; once it is
        ``restarted``, that is the one. ``tls`` overrides what the settings say. Raise `RemoteError`.
        """
        observed = self.observe()
        file = observed.facts.files.get(CONFIG)
        wanted = client_port_in(file.content if file else None) or self.settings.cluster.client_port
        process = f"(pid {observed.service.pid})"
        local = [one for one in observed.facts.listeners if process in one.process and one.address in _LOOPBACK]
        ports = [one.port for one in local]
        port = wanted if restarted or wanted in ports or not ports else min(ports)
        return local_endpoint(self.settings, tls=tls, port=port)

    def want(self, settings: HostSettings) -> None:
        """Work by other settings from now on (`etcdfleet.program.run.Run.wanting`)."""
        self.settings, self.packages = settings, packages_for(settings)
        self.seen = self.offered = None

    def forget(self) -> None:
        """Let the next `observe` look again."""
        self.seen = None

    def place(self, files: Sequence[RemoteFile], *, what: str, before: str = "", after: str = "") -> None:
        """Place files (`RemoteHost.place`), and let the next `observe` look again. Raise `RemoteError`."""
        self.remote.place(files, before=before, after=after, what=what)
        self.forget()

    def look_with(
        self, more: Mapping[str, str], *, without: Collection[str] = (), timeout: float | None = None
    ) -> tuple[Observed, dict[str, CommandResult]]:
        """Read the host anew and run ``more`` scripts, all side by side in one round trip. Raise `RemoteError`.

        What is read is not cached, since ``without`` names parts of `facts.probe` that are left out: what
        they would have told is empty.
        """
        files = [CONFIG, ETCDCTL_ENVIRONMENT, *CRLS.values(), *(file.path for file in self.service.files)]
        commands = {
            **facts.probe(self.settings, files),
            "service": f"{self.service.probe}\n{programs(self.service.program)}",
            "packages": self.packages.probe,
            "program": _version_of_another(self.service, self.packages),
            "init": self.service.detect,
            **more,
        }
        commands = {name: command for name, command in commands.items() if name not in without}
        asked = facts.now()
        results = self.remote.batch(commands, timeout=timeout, parallel=bool(more))
        results |= dict.fromkeys(without, CommandResult(0, "", ""))
        try:
            host_facts = facts.read(self.settings, results, asked, facts.now())
        except ValueError as error:
            raise RemoteError(
                f"its answers cannot be read: {error}",
                where=self.settings.name,
                remedy="run again with --debug; the host needs a POSIX shell with coreutils or busybox",
            ) from error
        observed = Observed(
            host_facts,
            self.service.read(results["service"]),
            self.packages.read(results["packages"]),
            results["init"].ok,
            results["program"].text,
        )
        return observed, {name: results[name] for name in more}


def _version_of_another(service: Service, packages: Packages[Any]) -> str:
    """Return shell that prints the version of the service's program, unless that is the packages' own."""
    return f"""p=$({service.program} 2>/dev/null)
[ -z "$p" ] || [ "$p" = {packages.binary} ] || [ ! -x "$p" ] ||
  {{ ETCD_UNSUPPORTED_ARCH=arm64 "$p" --version || ETCD_UNSUPPORTED_ARCH=arm "$p" --version; }} 2>/dev/null |
  sed -n 's/^etcd Version: //p'"""


def site_of(task: Task) -> Site:
    """Return the site of a task's host; connect if that was not done yet. Raise `FleetError`."""
    settings, remote = settings_of(task.host), connect(task.host, task.nornir.config)

    def made() -> Site:
        return Site(settings, remote, service_for(settings.init), packages_for(settings))

    site = session_of(task.nornir.config).keep((Site, task.host.name), made, of=remote)
    if site.settings is not settings:
        site.want(settings)
    return site
