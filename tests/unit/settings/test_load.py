"""Opening Nornir from config.yaml, and reading settings from an inventory without files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from etcdfleet.errors import FleetError, UsageError
from etcdfleet.settings.fleet import load_fleet
from etcdfleet.settings.load import open_nornir, settings_of
from etcdfleet.settings.problems import SettingsError
from etcdfleet.settings.vault import vault_pki
from tests.unit.support.paths import ROOT
from tests.unit.support.settings_files import DROP, write_inventory


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_ADDR", "NORNIR_INVENTORY_OPTIONS", "NORNIR_INVENTORY_PLUGIN", "NORNIR_RUNNER_PLUGIN"):
        monkeypatch.delenv(name, raising=False)


def test_example_of_the_project_is_sound_and_without_warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    nornir, fleet = open_nornir(ROOT / "config.yaml")

    assert fleet.warnings == ()
    assert {name: len(hosts) for name, hosts in fleet.clusters.items()} == {"k8s-home": 3, "k3s-edge": 3}
    host = settings_of(nornir.inventory.hosts["etcd-az-3"])
    assert (host.init, host.install.method, host.platform.architecture) == ("systemd", "apt", "arm")
    assert [member.name for member in host.members] == ["etcd-az-1", "etcd-az-2", "etcd-az-3"]
    assert list(tmp_path.iterdir()) == []


def test_urls(tmp_path: Path) -> None:
    _, fleet = open_nornir(write_inventory(tmp_path, {"groups/home/data/cluster": {"client_tls": False}}))
    host = fleet.hosts["b"]

    assert host.peer_url == "https://b.home.test:2380"
    assert host.client_url == "http://b.home.test:2379"
    assert host.listen_peer_urls == ("https://192.0.2.2:2380",)
    assert host.listen_client_urls == ("http://192.0.2.2:2379", "http://127.0.0.1:2379")
    assert host.initial_cluster == ",".join(f"{name}=https://{name}.home.test:2380" for name in "abc")


def test_ipv6_address_is_put_in_brackets(tmp_path: Path) -> None:
    _, fleet = open_nornir(write_inventory(tmp_path, {"hosts/a/data/member/address": "2001:db8:0::1"}))

    assert fleet.hosts["a"].listen_peer_urls == ("https://[2001:db8::1]:2380",)


def test_names_and_token_are_derived(tmp_path: Path) -> None:
    _, fleet = open_nornir(write_inventory(tmp_path, {"groups/home/data/cluster": None}))
    host = fleet.hosts["a"]

    assert (host.member.name, host.cluster.name, host.cluster.token) == ("a", "home", "home")


def test_nested_groups_count(tmp_path: Path) -> None:
    edits = {
        "groups/all": {"data": {"cluster": {"heartbeat_ms": 300}}},
        "groups/home/groups": ["all", "pi"],
        "groups/pi": {"groups": ["systemd"]},
        "hosts/a/groups": ["home"],
    }
    _, fleet = open_nornir(write_inventory(tmp_path, edits))

    assert fleet.hosts["a"].init == "systemd"
    assert fleet.hosts["a"].cluster.heartbeat_ms == 300
    assert list(fleet.clusters) == ["home"]


def test_vault_address_of_the_environment_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:8200")
    _, fleet = open_nornir(write_inventory(tmp_path, {"defaults/data/pki": {}}))

    assert [problem.key for problem in fleet.warnings] == ["VAULT_ADDR"]


def test_paths_of_the_settings_start_at_config_yaml(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    _, fleet = open_nornir(write_inventory(tmp_path, {"defaults/data/pki/trust_anchor": {"file": "ca.pem"}}))

    assert vault_pki(fleet.hosts["a"]).trust_anchor.file == str(tmp_path / "ca.pem")


def test_logging_of_nornir_stays_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_inventory(tmp_path)
    config.write_text(config.read_text() + "logging: {enabled: true}\n")
    _, fleet = open_nornir(config)

    assert [problem.key for problem in fleet.warnings] == ["logging.enabled"]
    assert not (tmp_path / "nornir.log").exists()
    assert logging.getLogger("nornir").handlers == []


def test_forks_and_dry_run(tmp_path: Path) -> None:
    nornir, _ = open_nornir(write_inventory(tmp_path), forks=3, dry_run=True)

    assert nornir.runner.num_workers == 3  # type: ignore[attr-defined]
    assert nornir.data.dry_run is True
    with pytest.raises(UsageError, match="0 hosts at once"):
        open_nornir(tmp_path / "config.yaml", forks=0)


def test_options_of_the_environment_start_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_inventory(tmp_path, {"hosts/c": DROP})
    config.write_text("runner: {plugin: serial}\n")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    (tmp_path / "hosts.yaml").rename(tmp_path / "cwd" / "mine.yaml")
    monkeypatch.setenv("NORNIR_INVENTORY_OPTIONS", "{'host_file': 'mine.yaml'}")
    nornir, fleet = open_nornir(config)

    assert list(fleet.hosts) == ["a", "b"]
    assert type(nornir.runner).__name__ == "SerialRunner"


@pytest.mark.parametrize(
    ("config", "key", "what"),
    [
        ("inventroy: {}", "inventroy", "did you mean inventory?"),
        ("inventory: {plugins: x}", "inventory.plugins", "did you mean plugin?"),
        ("inventory: {options: {hosts_file: x}}", "inventory.options.hosts_file", "did you mean host_file?"),
        ("runner: {options: {workers: 3}}", "runner.options.workers", "did you mean num_workers?"),
        ("runner: threaded", "runner", "must be a mapping"),
        ("core: {raise_on_error: true}", "core.raise_on_error", "hide the results of the others"),
        ("runner: {}\nrunner: {}", "runner", "is written twice"),
        ("runner: [", "runner", "is not valid YAML"),
        ("- a", "", "holds a list"),
    ],
)
def test_mistakes_in_config_yaml(config: str, key: str, what: str, tmp_path: Path) -> None:
    path = write_inventory(tmp_path)
    path.write_text(config)
    with pytest.raises(SettingsError) as caught:
        open_nornir(path)

    (problem,) = caught.value.problems
    assert problem.key == key
    assert what in problem.what
    assert "config.yaml" in problem.file


@pytest.mark.parametrize("name", ["hosts", "groups", "defaults"])
def test_missing_inventory_file_is_a_mistake(name: str, tmp_path: Path) -> None:
    config = write_inventory(tmp_path)
    (tmp_path / f"{name}.yaml").unlink()
    with pytest.raises(SettingsError, match="there is no such file") as caught:
        open_nornir(config)

    assert len(caught.value.problems) == 1


def test_missing_config_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such configuration file") as caught:
        open_nornir(tmp_path / "config.yaml")

    assert "--config" in caught.value.remedy


def test_plugin_that_is_not_installed(tmp_path: Path) -> None:
    config = write_inventory(tmp_path)
    config.write_text("inventory: {plugin: NetBoxInventory}\n")
    with pytest.raises(UsageError, match="not installed"):
        open_nornir(config)


def test_inventory_without_hosts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no hosts"):
        open_nornir(write_inventory(tmp_path, {"hosts": {}}))


@pytest.mark.parametrize("content", ["a: [", "- a", "a: {}\na: {}\n", "1: {}\n"])
def test_file_that_cannot_be_read(content: str, tmp_path: Path) -> None:
    config = write_inventory(tmp_path)
    (tmp_path / "hosts.yaml").write_text(content)
    with pytest.raises(SettingsError) as caught:
        open_nornir(config)

    assert len(caught.value.problems) == 1
    assert "hosts.yaml" in caught.value.problems[0].file


def test_key_twice_in_one_host(tmp_path: Path) -> None:
    config = write_inventory(tmp_path)
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(hosts.read_text().replace("  hostname: 192.0.2.2\n", "  hostname: x\n  hostname: 192.0.2.2\n"))
    with pytest.raises(SettingsError, match="is written twice"):
        open_nornir(config)


def test_merge_keys_of_yaml_work(tmp_path: Path) -> None:
    config = write_inventory(tmp_path)
    groups = tmp_path / "groups.yaml"
    groups.write_text(
        "home: &home\n  data: {cluster: {token: home}}\n"
        "systemd: {data: {install: {method: apt}}}\nother:\n  <<: *home\n"
    )

    assert list(open_nornir(config)[1].clusters) == ["home"]


def inventory_in_memory(member: dict[str, Any]) -> Inventory:
    groups = Groups(
        home=Group("home", data={"cluster": {}}), openrc=Group("openrc", data={"install": {"method": "apk"}})
    )
    defaults = Defaults(data={"pki": {"address": "https://vault.test:8200"}})
    host = Host("a", groups=ParentGroups(groups.values()), data={"member": member}, defaults=defaults)
    return Inventory(hosts=Hosts(a=host), groups=groups, defaults=defaults)


def test_inventory_without_files() -> None:
    fleet = load_fleet(inventory_in_memory({"fqdn": "a.home.test", "address": "192.0.2.1"}))
    assert fleet.hosts["a"].hostname == "a"

    with pytest.raises(SettingsError) as caught:
        load_fleet(inventory_in_memory({"fqdn": "a.home.test", "address": "a.home.test"}))
    assert caught.value.problems[0].where == "host a, member.address"


def test_settings_that_are_not_bound() -> None:
    host = inventory_in_memory({}).hosts["a"]
    with pytest.raises(FleetError, match="no settings are bound"):
        settings_of(host)
