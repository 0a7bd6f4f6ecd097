"""An init system that only this module knows: one class, one template, one row, and a deploy works with it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.drivers.init import Hidden, ServiceFile, ServiceState
from etcdfleet.drivers.table import INIT_SYSTEMS, Row
from etcdfleet.errors import PreflightError
from etcdfleet.host.others import read_others
from etcdfleet.host.preflight_others import other_problems
from etcdfleet.remote import CommandResult
from etcdfleet.settings.load import open_nornir
from etcdfleet.settings.problems import SettingsError
from tasks.preflight import preflight
from tests.unit.support.drill import WITHOUT_TLS, Drill
from tests.unit.support.settings_files import write_inventory

TEMPLATE = """#!/bin/sh
exec 2>&1
[ ! -e {{ paths.established }} ] || ls {{ settings.member.data_dir }}/member/wal/*.wal >/dev/null || exit 1
exec chpst -u etcd:etcd {{ binary }} --config-file={{ paths.config }} >>{{ service.log }}
"""


class Runit:
    """See `etcdfleet.drivers.init.Service`."""

    name = "runit"
    hides: tuple[Hidden, ...] = (Hidden(("/mnt/flash",), "which runit's user does not see"),)
    detect = "[ -d /run/runit ]"
    files: tuple[ServiceFile, ...] = (ServiceFile("etcd.run.j2", "/etc/sv/etcd/run", 0o755),)
    program = "sed -n 's|^exec chpst -u etcd:etcd \\([^ ]*\\) .*|\\1|p' /etc/sv/etcd/run"
    probe = "sv status etcd; [ -L /var/service/etcd ] && echo enabled; pid=$(cat /etc/sv/etcd/supervise/pid)"
    installed = "true"
    prevent_autostart = "touch /etc/sv/etcd/down"
    start = "sv start etcd"
    restart = "sv restart etcd"
    stop = "sv stop etcd"
    enable = "ln -sf /etc/sv/etcd /var/service/etcd"
    disable = "rm -f /var/service/etcd"
    pid = "cat /etc/sv/etcd/supervise/pid"
    respawns = "echo 0"
    gave_up = "false"

    def read(self, result: CommandResult) -> ServiceState:
        """The state out of ``sv status``."""
        return ServiceState(running=result.stdout.startswith("run:"), enabled="enabled" in result.stdout)

    def in_force(self, content: bytes) -> tuple[str, ...]:
        """All lines."""
        return tuple(content.decode().splitlines())

    def logs(self, lines: int) -> str:
        """A file."""
        return f"tail -n {lines} /var/log/etcd.log"

    def environment(self) -> Mapping[str, str]:
        """Where the log is."""
        return {"log": "/var/log/etcd.log"}

    def stop_other(self, _: str) -> str:
        """By hand."""
        return "rm /var/service/etcd"


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INIT_SYSTEMS, "runit", Row(f"{__name__}:Runit", hosts="Void Linux"))


def archive(folder: Path) -> dict[str, Any]:
    """Settings for a release archive, which has no say about init systems; the archive is made here."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as made:
        for name in ("etcd", "etcdctl"):
            made.addfile(tarfile.TarInfo(name), io.BytesIO())
    (folder / "etcd.tar.gz").write_bytes(data.getvalue())
    source = {"file": "etcd.tar.gz", "sha256": hashlib.sha256(data.getvalue()).hexdigest()}
    return {"method": "archive", "version": "3.5.16", "source": {"amd64": source}}


def void(folder: Path, **more: Any) -> dict[str, Any]:
    """All hosts of the small inventory in the group of the new init system."""
    groups = {f"hosts/{host}/groups": ["home", "runit"] for host in "abc"}
    return {"groups/runit": {"data": {"install": archive(folder)}}, **groups, **WITHOUT_TLS, **more}


def test_a_deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill(tmp_path, monkeypatch, void(tmp_path), templates={"etcd.run.j2": TEMPLATE})
    assert drill.fleet.hosts["a"].init == "runit"
    done = drill.deploy()
    assert "/etc/sv/etcd/run is placed" in done["configure"].changes
    assert "etcd is enabled at boot" in done["configure"].changes
    placed = drill.host.files["/etc/sv/etcd/run"]
    assert placed.mode == 0o755
    assert "exec chpst -u etcd:etcd /usr/local/bin/etcd --config-file=/etc/etcd/conf.yml" in placed.content.decode()
    scripts = "\n".join(drill.host.scripts)
    for words in (Runit.prevent_autostart, Runit.enable, Runit.start):
        assert words in scripts
    assert drill.host.asked["init"] == Runit.detect
    assert "systemctl" not in scripts
    assert "rc-service" not in scripts


def test_a_host_that_another_init_system_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill(tmp_path, monkeypatch, void(tmp_path), templates={"etcd.run.j2": TEMPLATE})
    answer = drill.host._answer
    monkeypatch.setattr(
        drill.host,
        "_answer",
        lambda name, command: CommandResult(1, "", "") if name == "init" else answer(name, command),
    )
    with pytest.raises(PreflightError, match="into the group runit, but it was not booted by runit") as caught:
        drill.run(preflight)
    assert "move it to the group systemd or openrc if that is what it runs" in caught.value.remedy


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"hosts/b/groups": ["home"]}, ("none of the groups systemd, openrc and runit", "runit for Void Linux")),
        ({"hosts/b/groups": ["home", "runit", "openrc"]}, ("is in both groups openrc and runit",)),
        ({"hosts/b/groups": ["home", "runit", "openrc", "systemd"]}, ("the groups systemd, openrc and runit",)),
        ({"groups/runit/data/install": {"method": "apk"}}, ("apk is for hosts of group openrc", "use archive there")),
        ({"hosts/b/data/member/data_dir": "/mnt/flash/etcd"}, ("which runit's user does not see",)),
    ],
)
def test_mistakes(tmp_path: Path, edits: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        open_nornir(write_inventory(tmp_path, void(tmp_path, **edits)))
    for each in words:
        assert each in str(caught.value)


def test_an_etcd_that_is_there_already() -> None:
    (trouble,) = other_problems("/var/lib/etcd", read_others("process 131 |/srv/x|1"), "runit")
    assert "rm /var/service/etcd" in trouble.remedy
