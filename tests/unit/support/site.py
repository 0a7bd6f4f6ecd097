"""Settings of a small cluster, and a host that is this machine's own shell: for tests of tasks without any SSH."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from etcdfleet.drivers.packages.apt import Apt, AptInstall
from etcdfleet.remote import CommandResult, RemoteHost
from etcdfleet.settings.auth import AuthSettings
from etcdfleet.settings.backup import BackupSettings
from etcdfleet.settings.base import InstallSettings
from etcdfleet.settings.models import (
    ClusterSettings,
    HostSettings,
    MemberSettings,
    PlatformSettings,
    PreflightSettings,
    RepairSettings,
)
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.vault import VaultPki

MEMBERS = tuple(
    MemberSettings(name=f"az-{number}", fqdn=f"etcd.az{number}.k8s.home", address=f"198.51.100.{10 + number}")
    for number in (1, 2, 3)
)


def settings(
    number: int = 1,
    *,
    init: Any = "systemd",
    install: InstallSettings | None = None,
    platform: PlatformSettings | None = None,
    preflight: PreflightSettings | None = None,
    repair: RepairSettings | None = None,
    pki: PkiSettings | None = None,
    auth: AuthSettings | None = None,
    backup: BackupSettings | None = None,
    **cluster: Any,
) -> HostSettings:
    """The settings of the host az-1, az-2 or az-3 of a three-member cluster."""
    return HostSettings(
        name=f"az-{number}",
        hostname=MEMBERS[number - 1].address,
        init=init,
        member=MEMBERS[number - 1],
        cluster=ClusterSettings.model_validate({"name": "k8s-home", "token": "k8s-home", **cluster}),
        pki=pki or VaultPki(),
        auth=auth or AuthSettings(),
        install=install or AptInstall(),
        platform=platform or PlatformSettings(),
        preflight=preflight or PreflightSettings(),
        backup=backup or BackupSettings(),
        repair=repair or RepairSettings(),
        members=MEMBERS,
    )


def apt(version: str | None = None) -> Apt:
    """Debian's packages of the host az-1."""
    return Apt(AptInstall(version=version), "az-1")


class LocalHost(RemoteHost):
    """Runs what it is given in this machine's ``sh``, as the user of the tests."""

    def __init__(self) -> None:
        super().__init__("local", None)  # type: ignore[arg-type]
        self._shell = "sh -s"
        self._first = b""

    def _exec_into(
        self, command: str, stdin: bytes | Iterator[bytes], timeout: float, keep: Callable[[bytes], object]
    ) -> CommandResult:
        self.round_trips += 1
        given = stdin if isinstance(stdin, bytes) else b"".join(stdin)
        if self._first:
            assert given.count(b" PATH=/usr/local/sbin:") == 1, "a stand-in must be found first"
            given = given.replace(b" PATH=", b" PATH=" + self._first)
        done = subprocess.run(command.split(), input=given, capture_output=True, timeout=timeout, check=False)
        keep(done.stdout)
        return CommandResult(done.returncode, "", done.stderr.decode())

    def stand_ins(self, folder: Path, **programs: str) -> None:
        """Has scripts find these programs (shell, "_" in a name for "-") in ``folder`` before this machine's own."""
        for name, text in programs.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        self._first = f"{folder}:".encode() + self._first


class BusyBox(LocalHost):
    """Runs it in busybox's shell, with busybox's programs where Debian's busybox has them, as on an Alpine host."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        subprocess.run(["busybox", "--install", "-s", folder], check=True)
        (folder / "dd").unlink()  # Alpine's says how long it took, Debian's is built without that
        self._shell = "busybox ash -s"
        self._first = f"{folder}:".encode()
