"""What the templates make of settings, what init systems and package managers answer, and who runs when."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import yaml
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.task import Result, Task

from etcdfleet.drivers.init import ran_seconds
from etcdfleet.drivers.init.openrc import OpenRC
from etcdfleet.drivers.init.systemd import Systemd
from etcdfleet.drivers.packages import Installed, pinned_reason, upstream_version
from etcdfleet.drivers.packages.apk import Apk, ApkInstall
from etcdfleet.drivers.packages.archive import Archive, ArchiveInstall
from etcdfleet.etcd.tls_settings import tls_settings
from etcdfleet.host.facts import FileFacts
from etcdfleet.host.paths import HostPaths
from etcdfleet.program.runners import RollingRunner, TogetherRunner
from etcdfleet.remote import CommandResult, RemoteFile
from etcdfleet.rendering import environment
from etcdfleet.report.record.recorder import RunInterruptedError
from etcdfleet.settings.vault import VaultPki
from tasks.configure import log_rotation, same, stop_seconds, unified_diff, unsupported_arch
from tests.unit.support.site import apt, settings


def render(template: str, host: Any, **more: Any) -> str:
    variables = {
        "settings": host,
        "paths": HostPaths.of(host),
        "binary": "/usr/bin/etcd",
        "corruption_checks": False,
        "unsupported_arch": "",
        "stop_seconds": 35,
        "initial_cluster": host.initial_cluster,
        "initial_cluster_state": "new",
        "service": OpenRC().environment(),
        **tls_settings(host),
        "data_mount": "",
        "log_rotation": "",
        "proxy_variables": "http_proxy https_proxy",
        "past_proxies": "no_proxy=a",
        "endpoints": ["https://a:2379", "https://b:2379"],
        **more,
    }
    return environment().get_template(template).render(**variables)


def test_the_configuration_is_yaml_with_what_document_a_has() -> None:
    config = yaml.safe_load(render("conf.yml.j2", settings(2, pki=VaultPki(trust="single"))))
    assert config["name"] == "az-2"
    assert config["listen-peer-urls"] == "https://198.51.100.12:2380"
    assert config["listen-client-urls"] == "https://198.51.100.12:2379,https://127.0.0.1:2379"
    assert config["advertise-client-urls"] == "https://etcd.az2.k8s.home:2379"
    assert config["initial-cluster"].count("=https://etcd.az") == 3
    assert config["initial-cluster-token"] == "k8s-home"
    assert config["enable-grpc-gateway"] is False
    assert config["auto-compaction-retention"] == "8h"
    assert config["client-transport-security"] == {
        "cert-file": "/etc/etcd/certs/client/etcd.az2.k8s.home.pem",
        "key-file": "/etc/etcd/certs/client/etcd.az2.k8s.home.key",
        "trusted-ca-file": "/etc/etcd/certs/rootCA.pem",
        "client-cert-auth": True,
    }
    assert config["peer-transport-security"]["cert-file"] == "/etc/etcd/certs/server/etcd.az2.k8s.home.pem"


def test_the_first_stage_of_document_a_has_plain_clients() -> None:
    config = yaml.safe_load(render("conf.yml.j2", settings(client_tls=False)))
    assert config["listen-client-urls"] == "http://198.51.100.11:2379,http://127.0.0.1:2379"
    assert "client-transport-security" not in config
    assert "peer-transport-security" in config
    assert "ETCDCTL_CERT" not in render("etcdctl.sh.j2", settings(client_tls=False))


def test_a_name_that_yaml_would_read_as_something_else_stays_a_name() -> None:
    for token in ("0x10", "yes", "1.5", "2026-01-01"):
        assert yaml.safe_load(render("conf.yml.j2", settings(token=token)))["initial-cluster-token"] == token


def test_the_architecture_variable_is_where_etcd_reads_it() -> None:
    assert "Environment=ETCD_UNSUPPORTED_ARCH=arm\n" in render("etcd.service.j2", settings(), unsupported_arch="arm")
    assert 'export ETCD_UNSUPPORTED_ARCH="arm64"' in render("etcd.confd.j2", settings(), unsupported_arch="arm64")
    for template in ("etcd.service.j2", "etcd.confd.j2"):
        assert "ETCD_UNSUPPORTED_ARCH" not in render(template, settings())


def test_etcd_gets_no_proxy_of_the_system() -> None:
    assert "\nUnsetEnvironment=http_proxy https_proxy\n" in render("etcd.service.j2", settings())
    assert "\nunset http_proxy https_proxy\n" in render("etcd.initd.j2", settings())
    assert render("etcdctl.sh.j2", settings()).endswith("\nno_proxy=a\n")


@pytest.mark.parametrize(("election_ms", "seconds"), [(1000, 19), (1001, 20), (5000, 35), (50_000, 215)])
def test_how_long_etcd_may_take_to_end(election_ms: int, seconds: int) -> None:
    """Longer than etcd waits for clients at two addresses: each time 5 s and twice the election time-out."""
    assert stop_seconds(election_ms) == seconds > 2 * (5 + 2 * election_ms / 1000)
    assert f"TimeoutStopSec={seconds}\n" in render("etcd.service.j2", settings(), stop_seconds=seconds)
    assert f'retry="SIGTERM/{seconds}/SIGKILL/5"' in render("etcd.initd.j2", settings(), stop_seconds=seconds)


def test_units_say_only_where_the_configuration_is() -> None:
    unit = render("etcd.service.j2", settings())
    assert "ExecStart=/usr/bin/etcd --config-file=/etc/etcd/conf.yml\n" in unit
    assert "Type=notify" in unit
    assert "Alias=etcd-server.service" in unit
    assert "LimitNOFILE=65536" in unit
    assert 'command_args="--config-file=/etc/etcd/conf.yml"' in render("etcd.initd.j2", settings())


@pytest.mark.parametrize(
    ("version", "bounded"), [("3.4.23", False), ("3.5.1", True), ("3.6.0", True), ("3.10.2", True), (None, True)]
)
def test_a_log_in_a_file_is_bounded_by_etcd_itself(version: str | None, bounded: bool) -> None:
    config = yaml.safe_load(render("conf.yml.j2", settings(init="openrc"), log_rotation=log_rotation(version)))
    assert config["log-outputs"] == (["/var/log/etcd/etcd.log"] if bounded else ["stderr"])
    assert config.get("enable-log-rotation", False) is bounded
    if bounded:
        kept = json.loads(config["log-rotation-config-json"])
        assert kept["maxsize"] * (1 + kept["maxbackups"]) <= 10
    assert 'output_log="/var/log/etcd/etcd.log"' in render("etcd.initd.j2", settings(init="openrc"))


@pytest.mark.parametrize(
    ("architecture", "version", "value"),
    [
        ("arm", "3.4.23", "arm"),
        ("arm", "3.6.1", "arm"),
        ("arm", None, "arm"),
        ("arm64", "3.4.23", "arm64"),
        ("arm64", "3.5.1", ""),
        ("arm64", "3.10.0", ""),
        ("arm64", None, ""),
        ("amd64", "3.4.23", ""),
    ],
)
def test_which_architectures_etcd_wants_to_be_told_of(architecture: str, version: str | None, value: str) -> None:
    assert unsupported_arch(architecture, version) == value


def test_a_file_differs_by_content_mode_or_owner() -> None:
    wanted = RemoteFile("/etc/x", b"a\n", 0o644)
    assert same(wanted, FileFacts(b"a\n", 0o644, "root", "root"))
    for there in (None, FileFacts(b"b\n", 0o644, "root", "root"), FileFacts(b"a\n", 0o600, "root", "root")):
        assert not same(wanted, there)
    assert "0600 root:root -> 0644 root:root" in unified_diff(FileFacts(b"a\n", 0o600, "root", "root"), wanted)
    assert "-b\n+a\n" in unified_diff(FileFacts(b"b\n", 0o644, "root", "root"), wanted)


def answer(text: str, rc: int = 0) -> CommandResult:
    return CommandResult(rc, text, "")


def test_what_systemd_says() -> None:
    text = "MainPID=77\nActiveState=active\nSubState=running\nUnitFileState=enabled\nFragmentPath=/etc/x\nNRestarts=2\n"
    state = Systemd().read(answer(text))
    assert (state.running, state.enabled, state.pid) == (True, True, 77)
    assert "2 automatic restarts" in state.detail
    waiting = text.replace("active\n", "activating\n", 1).replace("SubState=running", "SubState=start")
    assert Systemd().read(answer(waiting)).running
    crashed = "MainPID=0\nActiveState=activating\nSubState=auto-restart\nUnitFileState=enabled\n"
    assert not Systemd().read(answer(crashed)).running
    assert not Systemd().read(answer("MainPID=0\nActiveState=inactive\nSubState=dead\nUnitFileState=masked\n")).enabled


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("67701.37 6757546", 125.91), ("5.00 500", 0.0), ("5.00 501", 0.0), ("5.00 ", None), ("", None), ("a b", None)],
)
def test_how_long_the_process_has_run(text: str, seconds: float | None) -> None:
    """By two numbers since the boot: no clock that was set meanwhile has part in it."""
    assert ran_seconds(text) == (seconds if seconds is None else pytest.approx(seconds))
    for said in (Systemd().read(answer(f"MainPID=77\nActiveState=active\nran={text}\n")),
                 OpenRC().read(answer(f"rc=0\npid=77\nran={text}\n"))):  # fmt: skip
        assert said.seconds == ran_seconds(text)


def test_what_openrc_says_counts_only_with_a_process() -> None:
    up = OpenRC().read(answer(" * status: started\nrc=0\nenabled=yes\npid=77\nstarted=1790000000\n"))
    assert (up.running, up.enabled, up.pid, up.detail) == (True, True, 77, "status: started")
    looping = OpenRC().read(answer(" * status: started\nrc=0\nenabled=yes\n"))
    assert not looping.running
    assert not OpenRC().read(answer(" * status: stopped\nrc=3\n")).running


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("ii  etcd-server 3.4.23+dfsg-4+b9\nii  etcd-client 3.4.23+dfsg-4+b9\n", "3.4.23"),
        ("iF  etcd-server 3.2.26+dfsg-3\nii  etcd-client 3.2.26+dfsg-3\n", None),
        ("rc  etcd-server 3.4.23+dfsg-4\n", None),
        ("ii  etcd-server 3.4.23+dfsg-4+b9\n", None),
        ("", None),
    ],
)
def test_what_dpkg_says(text: str, version: str | None) -> None:
    assert apt().read(answer(text)).version == version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("etcd-3.5.1-r0\netcd-ctl-3.5.1-r0\netcd-openrc-3.5.1-r0\netcdctl\n", "3.5.1"),
        ("etcd-3.5.1-r0\netcd-openrc-3.5.1-r0\n", None),
        ("etcdctl\n", None),
    ],
)
def test_what_apk_says(text: str, version: str | None) -> None:
    assert Apk(ApkInstall(), "az-1").read(answer(text)).version == version


def test_an_archive_is_there_only_if_its_programs_are_the_noted_ones() -> None:
    note = '{"version": "3.5.1", "sha256": "ab", "files": ["/usr/local/bin/etcd 9 1", "/usr/local/bin/etcdctl 8 1"]}'
    stat = "/usr/local/bin/etcd 9 1\n/usr/local/bin/etcdctl 8 1\n"
    archive = Archive(ArchiveInstall.model_construct(version="3.5.1"), "az-1")
    assert archive.read(answer(f"{note}\n{stat}")) == Installed("3.5.1", "ab", "/usr/local/bin/etcd")
    assert archive.read(answer(f"{note}\n{stat.replace(' 9 1', ' 9 2')}")).version is None
    assert archive.read(answer("")).version is None


def test_versions_and_pins() -> None:
    assert upstream_version("1:3.4.23+dfsg-4+b9") == "3.4.23"
    there = Installed("3.4.23", "3.4.23+dfsg-4+b9")
    assert pinned_reason(None, there) == ""
    assert pinned_reason("3.4.23", there) == ""
    assert pinned_reason("3.4.23+dfsg-4+b9", there) == ""
    assert "3.4.30 is wanted" in pinned_reason("3.4.30", there)
    assert pinned_reason(None, Installed(None)) != ""


def nornir(*names: str) -> Nornir:
    hosts = Hosts({name: Host(name, groups=None, defaults=Defaults()) for name in names})
    return Nornir(inventory=Inventory(hosts, Groups(), Defaults()))


def test_a_rolling_run_has_one_host_of_a_cluster_in_flight_and_stops_it_at_a_failure() -> None:
    lock, busy, order, skipped = threading.Lock(), set[str](), list[str](), list[tuple[str, str]]()
    overlaps = []

    def work(task: Task) -> Result:
        cluster = task.host.name[0]
        with lock:
            overlaps.append(cluster in busy)
            busy.add(cluster)
            order.append(task.host.name)
        time.sleep(0.01)
        with lock:
            busy.discard(cluster)
        if task.host.name == "b2":
            raise RuntimeError("broken")
        return Result(task.host)

    runner = RollingRunner(["b3", "b2", "b1", "b4"], not_reached=lambda host, failed: skipped.append((host, failed)))
    results = nornir("b1", "b2", "b3", "b4").with_runner(runner).run(work)
    assert not any(overlaps)
    assert order == ["b3", "b2"]
    assert skipped == [("b1", "b2"), ("b4", "b2")]
    assert set(results) == {"b3", "b2"}


def test_an_interrupted_rolling_run_blames_nobody() -> None:
    skipped: list[tuple[str, str]] = []

    def work(task: Task) -> Result:
        if task.host.name == "a2":
            raise RunInterruptedError
        return Result(task.host)

    runner = RollingRunner(["a1", "a2", "a3"], not_reached=lambda host, failed: skipped.append((host, failed)))
    results = nornir("a1", "a2", "a3").with_runner(runner).run(work)
    assert (set(results), skipped) == ({"a1", "a2"}, [])


def test_first_members_start_together_even_with_a_single_worker() -> None:
    # A barrier that only opens when all three are there: held back for want of a worker, they would time out.
    barrier = threading.Barrier(3, timeout=5)

    def work(task: Task) -> Result:
        barrier.wait()
        return Result(task.host, result=task.host.name)

    results = nornir("a1", "a2", "a3").with_runner(TogetherRunner()).run(work)
    assert not results.failed
    assert list(results) == ["a1", "a2", "a3"]


def test_with_separate_trust_each_side_has_the_anchors_of_its_own_ca() -> None:
    config = yaml.safe_load(render("conf.yml.j2", settings(1)))
    assert config["client-transport-security"]["trusted-ca-file"] == "/etc/etcd/certs/clientCA.pem"
    assert config["peer-transport-security"]["trusted-ca-file"] == "/etc/etcd/certs/peerCA.pem"
