"""What is put away and removed on a host, and what stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.drivers.init.openrc import OpenRC
from etcdfleet.drivers.init.systemd import Systemd
from etcdfleet.drivers.packages.apk import Apk
from etcdfleet.drivers.packages.apt import Apt
from etcdfleet.etcd.wal import DataIds
from etcdfleet.remote import CommandResult
from etcdfleet.remote.scripts import script
from tasks.members.teardown import put_host_away, remove_files, stop_host
from tests.unit.host.test_preflight import GOOD
from tests.unit.remote.test_scripts_run import needs_busybox
from tests.unit.support.site import BusyBox, LocalHost
from tests.unit.support.stand_ins import RUNNING, STOPPED, Place, Scripted, carry_out, error_of, seen


@pytest.fixture(name="here", params=["sh", pytest.param("busybox", marks=needs_busybox)])
def _here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalHost:
    return LocalHost() if request.param == "sh" else BusyBox(tmp_path_factory.mktemp("busybox"))


def test_etcd_is_disabled_before_it_is_stopped() -> None:
    host = Scripted()
    result = carry_out(stop_host, Place(host, seen(RUNNING), seen(replace(STOPPED, enabled=False)))).result
    assert result.changes == ("etcd is stopped", "etcd is not enabled at boot any more")
    assert ["disable" in sent for sent in host.sent] == [True, False]
    assert "systemctl stop etcd.service" in host.sent[1]
    still = carry_out(stop_host, Place(Scripted(), seen(RUNNING)))
    assert "could not be stopped" in error_of(still)
    unasked = Scripted()
    assert carry_out(stop_host, Place(unasked, seen(RUNNING)), check=True).result.changed
    assert unasked.sent == []


@pytest.mark.parametrize("delete", [False, True])
def test_nothing_is_put_away_under_an_etcd_that_runs(delete: bool) -> None:
    host = Scripted()
    assert "etcd runs again" in error_of(carry_out(put_host_away, Place(host, seen(RUNNING)), delete=delete))
    assert host.sent == []


def test_data_are_kept_unless_they_are_to_be_deleted() -> None:
    kept, deleted, nothing = Scripted(), Scripted(), Scripted()
    there = seen(STOPPED, data=replace(GOOD.data, exists=True, ids=DataIds(1, 12, 100)))
    result = carry_out(put_host_away, Place(kept, there)).result
    assert "moved to /var/lib/etcd/removed-2" in result.changes[0]
    assert not kept.was_sent("rm -rf")
    result = carry_out(put_host_away, Place(deleted, there), delete=True, revoke=True).result
    assert result.changes == ("all data of members in /var/lib/etcd are deleted",)
    assert "data_dir=/var/lib/etcd\n" in deleted.sent[0]
    assert "rm -f /etc/etcd/certs/server /etc/etcd/certs/client /etc/etcd/certs/etcdctl" in deleted.sent[1]
    for delete in (False, True):
        assert not carry_out(put_host_away, Place(nothing, seen(STOPPED)), delete=delete).result.changes
    assert nothing.sent == []
    aside = seen(STOPPED, data=replace(GOOD.data, exists=True, foreign=("removed-2026",)))
    assert carry_out(put_host_away, Place(Scripted(), aside), delete=True).result.changes


def test_files_are_removed_and_the_init_system_is_told() -> None:
    host = Scripted()
    result = carry_out(remove_files, Place(host, seen(STOPPED))).result
    assert result.changes[0] == "etcd is removed (apt)"
    (sent,) = host.sent
    for path in (
        "/etc/etcd/conf.yml",
        "/etc/systemd/system/etcd.service",
        "/etc/etcd/certs",
        "/etc/profile.d/etcdctl.sh",
    ):
        assert path in sent
    assert "systemctl daemon-reload" in sent
    assert "/var/lib/etcd" not in sent
    failed = Scripted({"rmdir": CommandResult(1, "", "E: Could not get lock")})
    assert "Could not get lock" in error_of(carry_out(remove_files, Place(failed, seen(STOPPED))))


def run_in(here: LocalHost, name: str, *arguments: str, **more: Any) -> CommandResult:
    return here.run(script(name, *arguments, **more))


def test_what_is_deleted_and_what_is_not(here: LocalHost, tmp_path: Path) -> None:
    for path in (
        "member/wal/1.wal",
        "removed-2026/member/snap/db",
        "restoring-9/snapshot.db",
        "mine/kept",
        "etc/cluster.json",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    values = {
        "data_dir": str(tmp_path),
        "aside": "removed-",
        "restoring": "restoring-",
        "marker": str(tmp_path / "etc/cluster.json"),
    }
    for _ in range(2):
        assert run_in(here, "delete_data", **values).ok
        assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "mine"]
        assert list((tmp_path / "etc").iterdir()) == []
    alone = tmp_path / "alone"
    (alone / "member").mkdir(parents=True)
    assert run_in(here, "delete_data", **values | {"data_dir": str(alone)}).ok
    assert not alone.exists()
    refused = run_in(here, "delete_data", **values | {"data_dir": ""})
    assert not refused.ok, "never from the root"


@pytest.mark.parametrize("mine", [False, True])
def test_what_is_not_ours_stays_with_its_folder(here: LocalHost, tmp_path: Path, mine: bool) -> None:
    etc = tmp_path / "etc"
    (etc / "certs/sets").mkdir(parents=True)
    (etc / "conf.yml").touch()
    if mine:
        (etc / "notes").touch()
    files = [str(etc / "conf.yml"), str(etc / "certs"), str(tmp_path / "never was")]
    functions = {"retire": f"touch {tmp_path}/retired", "reload": f"touch {tmp_path}/reloaded"}
    for _ in range(2):
        assert run_in(here, "remove_files", *files, functions=functions, configuration=str(etc)).ok
        assert [path.name for path in etc.iterdir()] == ["notes"] if mine else not etc.exists()
        assert (tmp_path / "retired").exists()
        assert (tmp_path / "reloaded").exists()
    functions["retire"] = "false"
    assert not run_in(here, "remove_files", *files, functions=functions, configuration=str(etc)).ok


@pytest.mark.parametrize("there", ["", "etcd-server", "etcd-server etcd-client"])
def test_packages_are_removed_and_not_purged(here: LocalHost, tmp_path: Path, there: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    lines = "".join(f"installed {name}\\n" for name in there.split())
    here.stand_ins(
        programs,
        dpkg_query=f"printf 'config-files other\\n{lines}'; exit 1",
        apt_get=f'echo "$@" >>{tmp_path}/asked',
    )
    assert here.run(f"set -e\n{Apt.remove}").ok
    asked = (tmp_path / "asked").read_text() if there else ""
    assert asked.endswith(f" remove {there}\n") if there else not (tmp_path / "asked").exists()
    assert "purge" not in asked


def test_alpine_s_packages_are_removed(here: LocalHost, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    here.stand_ins(programs, apk=f'[ "$1" != info ] || cat {tmp_path}/there; echo "$@" >>{tmp_path}/asked')
    removed = "info\ndel --no-progress --wait 300 etcd-ctl etcd\n"
    for there, asked in (("musl\netcd-ctl\netcd\n", removed), ("musl\n", "info\n")):
        (tmp_path / "there").write_text(there)
        (tmp_path / "asked").write_text("")
        assert here.run(f"set -e\n{Apk.remove}").ok
        assert (tmp_path / "asked").read_text() == asked


def test_each_init_system_names_what_else_it_makes() -> None:
    assert OpenRC().made == ("/var/log/etcd",)
    assert Systemd().made == ("/etc/systemd/system/etcd-server.service",)
