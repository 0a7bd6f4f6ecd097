"""A package manager that only this module knows: one class with its settings, one row, and a deploy works with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest

from etcdfleet.drivers.packages import Installed, Packages, Target, upstream_version
from etcdfleet.drivers.table import PACKAGE_MANAGERS, Row
from etcdfleet.errors import FleetError, RemoteError
from etcdfleet.remote import CommandResult
from etcdfleet.settings.base import InstallSettings
from etcdfleet.settings.load import open_nornir
from etcdfleet.settings.problems import SettingsError
from tasks.install import install
from tasks.preflight import preflight
from tests.unit.support.drill import WITHOUT_TLS, Drill, Remembered
from tests.unit.support.settings_files import write_inventory


class DnfInstall(InstallSettings):
    """Fedora's package, from ``enablerepo`` as well if it is set."""

    method: Literal["dnf"] = "dnf"
    enablerepo: str | None = None


class Dnf(Packages[DnfInstall]):
    """See `etcdfleet.drivers.packages.Packages`."""

    title = "dnf"
    inits = ("systemd",)
    architecture = "rpm --eval '%{_arch}'"
    probe = "rpm -q etcd; dnf versionlock list 2>/dev/null"

    def read(self, result: CommandResult) -> Installed:
        """The package etcd, which has etcdctl, too."""
        match = re.search(r"^etcd-(\d\S*)\.\w+$", result.stdout, re.MULTILINE)
        if not match:
            return Installed(None)
        return Installed(upstream_version(match[1]), match[1], held="held" in result.stdout)

    def offer(self, target: Target) -> str:
        """As dnf itself finds it out."""
        result = target.remote.run(f"dnf repoquery {self._name}")
        if not result.ok:
            raise RemoteError(f"dnf has no {self._name}", where=self.host, remedy="dnf makecache")
        return upstream_version(result.stdout)

    def install(self, target: Target, before: str) -> None:
        """``dnf install``."""
        repository = f"--enablerepo={self.settings.enablerepo} " if self.settings.enablerepo else ""
        target.remote.run(f"{before}\ndnf install -y {repository}{self._name}", check="dnf install")

    def hold(self, target: Target, installed: Installed) -> None:
        """``dnf versionlock``."""
        target.remote.run(f"dnf versionlock add etcd-{installed.package}")

    def add(self, target: Target, name: str) -> None:
        """``dnf install``."""
        target.remote.run(f"dnf install -y {name}")

    @property
    def _name(self) -> str:
        return f"etcd-{self.settings.version}" if self.settings.version else "etcd"


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGE_MANAGERS, "dnf", Row(f"{__name__}:Dnf", settings=f"{__name__}:DnfInstall"))


def fedora(**install: Any) -> dict[str, Any]:
    return {"groups/systemd/data/install": {"method": "dnf", **install}, **WITHOUT_TLS}


def installed(host: Remembered) -> None:
    host.answers["packages"] = "etcd-3.5.16-1.fc41.x86_64\n"


def test_a_deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edits = fedora(version="3.5.16-1.fc41", enablerepo="updates")
    drill = Drill(tmp_path, monkeypatch, edits, when={"dnf install": installed})
    done = drill.deploy()
    assert done["install"].changes[0] == "dnf: etcd or etcdctl is not installed"
    assert done["install"].summary == "etcd 3.5.16 by dnf"
    scripts = "\n".join(drill.host.scripts)
    assert "systemctl mask --quiet etcd.service\ndnf install -y --enablerepo=updates etcd-3.5.16-1.fc41" in scripts
    assert "dnf versionlock add etcd-3.5.16-1.fc41" in scripts
    assert "apt-get" not in scripts
    assert "ExecStart=/usr/bin/etcd " in drill.host.files["/etc/systemd/system/etcd.service"].content.decode()
    machine = drill.host.asked["machine"]
    assert machine.startswith("uname -m; rpm --eval '%{_arch}' 2>/dev/null || dpkg --print-architecture 2>/dev/null")
    drill.host.answers["packages"] += "held"
    assert drill.run(install).changes[0] == "user etcd is made", "the package is there, and held"


def test_what_it_cannot_install_is_found_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill(tmp_path, monkeypatch, fedora(version="9.9"))
    drill.nornir.data.dry_run = True
    monkeypatch.setattr(drill.host, "run", lambda *_, **__: CommandResult(1, "", ""))
    with pytest.raises(FleetError, match=r"dnf has no etcd-9\.9"):
        drill.run(preflight)


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        (fedora(method="dfn"), ("did you mean dnf?", "one of: apt, apk, archive, dnf")),
        (fedora(repository="x"), ("repository belongs to the method apk, but the method here is dnf",)),
        ({"groups/systemd/data/install": {"method": "apt", "enablerepo": "x"}}, ("belongs to the method dnf",)),
        (
            {"groups/openrc/data/install": {"method": "dnf"}, "hosts/b/groups": ["home", "openrc"]},
            ("method dnf is for hosts of group systemd", "use apk or archive there"),
        ),
    ],
)
def test_mistakes(tmp_path: Path, edits: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        open_nornir(write_inventory(tmp_path, edits))
    for each in words:
        assert each in str(caught.value)
