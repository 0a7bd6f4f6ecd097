"""Repository, release archive, PKI and clock of the lab: what can be decided without a host."""

import hashlib
import subprocess
import tarfile
import time
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import yaml

from etcdfleet.drivers.packages.archive import ArchiveInstall
from lab import apkrepo, cli, faketime, names, pki, releases, topology, userfiles, vault
from lab.errors import LabError, LabUsageError
from lab.state import Init, Lab

TOPOLOGY = """
clusters:
  k8s-home: {service_name: etcd.home}
  k3s-edge: {}
  empty: {}
hosts:
  etcd-az-1: {kind: debian, fqdn: etcd.az1.k8s.home, cluster: k8s-home, sudo_password: true}
  etcd-az-2: {kind: debian-armhf, fqdn: etcd.az2.k8s.home, cluster: k8s-home}
  x-1: {kind: alpine, fqdn: x-1.edge.home, cluster: k3s-edge}
  spare: {kind: debian, fqdn: spare.home}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault/deploy-token").write_text("s.deploy\n")
    (tmp_path / "sudo-password").write_text("it's $ecret\n")
    return topology.lay_out(topology.parse(TOPOLOGY, "test"), "t", tmp_path, IPv4Network("192.0.2.0/27"))


def test_the_release_archive_is_laid_out_as_etcds_own_and_reproducible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in releases.PROGRAMS:
        (tmp_path / name).write_text(f"#!{name}")
    monkeypatch.setattr(releases, "binary", lambda name: tmp_path / name)
    made = releases.build(tmp_path / "a")
    again = releases.build(tmp_path / "b")
    assert made.sha256 == again.sha256 == hashlib.sha256(made.file.read_bytes()).hexdigest()
    assert releases.find(tmp_path / "a") == made
    assert made.url("http://192.0.2.1:8080") == f"http://192.0.2.1:8080/releases/{made.file.name}"
    folder = f"etcd-v{releases.version()}-linux-amd64"
    with tarfile.open(made.file) as tar:
        assert tar.getnames() == [folder, f"{folder}/etcd", f"{folder}/etcdctl", f"{folder}/etcdutl"]
        assert all(member.mode == 0o755 for member in tar)


def test_a_newer_release_is_offered_as_an_inventory_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etcd").write_text("#!etcd")
    made = releases.pack(tmp_path, "3.6.14", {"etcd": tmp_path / "etcd"})
    assert releases.find(tmp_path) == made
    monkeypatch.setattr(releases, "newer", lambda _: made)
    assert cli.main(["release"]) == 0
    install = ArchiveInstall.model_validate(yaml.safe_load(capsys.readouterr().out)["install"])
    assert (install.version, install.archives["amd64"].file) == ("3.6.14", str(made.file))
    assert install.archives["amd64"].sha256 == hashlib.sha256(made.file.read_bytes()).hexdigest()


def test_a_release_that_was_not_built_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no release archive"):
        releases.find(tmp_path)


def test_packages_are_cut_as_alpine_cuts_them() -> None:
    found = {package.name: package for package in apkrepo.packages("3.5.1-r0")}
    assert set(found) == {"etcd", "etcd-ctl", "etcd-openrc"}
    assert {name for name, _, _ in found["etcd"].files} == {"usr/bin/etcd", "etc/etcd/conf.yml"}
    assert found["etcd-openrc"].install_if == "openrc etcd=3.5.1-r0"
    assert "adduser" in found["etcd"].pre_install


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (
            "k8s-home",
            ["etc-az-k8s-home-server-crt", "etc-az-k8s-home-server-only-crt", "etc-az-k8s-home-client-only-crt"],
        ),
        ("k3s-edge", ["k3s-edge-server-crt", "k3s-edge-server-only-crt", "k3s-edge-client-only-crt"]),
    ],
)
def test_role_names(cluster: str, expected: list[str]) -> None:
    assert list(pki.role_names(cluster).values()) == expected


@pytest.mark.parametrize(
    ("role", "server", "client", "any_name", "usages"),
    [
        ("peer", True, True, False, ["ServerAuth", "ClientAuth"]),
        ("server", True, False, False, ["ServerAuth"]),
        ("client", False, True, True, ["ClientAuth"]),
    ],
)
def test_role_parameters_are_document_as(
    role: pki.Role, server: bool, client: bool, any_name: bool, usages: list[str]
) -> None:
    found = pki.role_parameters(role, ["a.home"])
    assert (found["server_flag"], found["client_flag"], found["ext_key_usage"]) == (server, client, usages)
    assert found["allow_any_name"] is any_name
    assert found["allow_ip_sans"] is found["enforce_hostnames"] is found["allow_bare_domains"] is not any_name
    assert found["max_ttl"] == "87600h"
    assert "allow_glob_domains" in found
    assert "allow_glob_domain" not in found


def test_a_clusters_certificates_may_name_its_hosts_its_service_and_reserves(lab: Lab) -> None:
    assert pki.allowed_domains(lab, "k8s-home") == ("etcd.az1.k8s.home", "etcd.az2.k8s.home", "spare.home", "etcd.home")
    assert pki.allowed_domains(lab, "k3s-edge") == ("x-1.edge.home", "spare.home")


def test_the_deploy_policy_grants_no_more_than_its_roles() -> None:
    text = pki.policy({"pki_intermediate_ca": ["a", "b"]})
    assert 'path "pki_intermediate_ca/issue/a" { capabilities = ["update"] }' in text
    assert 'path "pki_intermediate_ca/roles/b" { capabilities = ["read"] }' in text
    assert "*" not in text
    assert "sudo" not in text
    assert "sys/" not in text


def test_the_inventory_is_what_a_user_would_have(lab: Lab) -> None:
    files = {name: yaml.safe_load(text) for name, text in userfiles.files(lab).items()}
    hosts = files["inventory/hosts.yaml"]
    assert list(hosts) == ["etcd-az-1", "etcd-az-2", "x-1"], "a host without a cluster is only a comment"
    assert hosts["etcd-az-1"]["groups"] == ["k8s-home", "systemd"]
    assert hosts["x-1"]["data"]["member"] == {"fqdn": "x-1.edge.home", "address": "192.0.2.4"}
    assert hosts["etcd-az-2"]["data"]["platform"] == {"architecture": "arm"}
    groups = files["inventory/groups.yaml"]
    assert list(groups) == ["systemd", "openrc", "k8s-home", "k3s-edge"], "a cluster without hosts is left out"
    assert (groups["systemd"]["username"], groups["openrc"]["username"]) == ("pi", "root")
    assert groups["openrc"]["data"]["install"]["repository"] == "http://192.0.2.1:8080/alpine"
    assert groups["k8s-home"]["data"]["cluster"]["service_name"] == "etcd.home"
    assert "service_name" not in groups["k3s-edge"]["data"]["cluster"]
    assert "election_ms" not in groups["k3s-edge"]["data"]["cluster"]
    roles = groups["k3s-edge"]["data"]["pki"]["roles"]
    assert roles["client"] == {"name": "k3s-edge-client-only-crt", "ttl": "43800h"}
    extras = files["inventory/defaults.yaml"]["connection_options"]["netmiko"]["extras"]
    assert (extras["key_file"], extras["alt_key_file"]) == (str(lab.key), str(lab.known_hosts))


def test_a_time_out_of_elections_stands_in_the_inventory_with_a_tenth_as_heartbeat(lab: Lab) -> None:
    quick = replace(lab, clusters=tuple(replace(cluster, election_ms=2500) for cluster in lab.clusters))
    groups = yaml.safe_load(userfiles.groups(quick))
    for cluster in ("k8s-home", "k3s-edge"):
        settings = groups[cluster]["data"]["cluster"]
        assert (settings["heartbeat_ms"], settings["election_ms"]) == (250, 2500)


def test_inventory_and_roles_agree_on_the_kind_of_keys(lab: Lab) -> None:
    quick = replace(lab, clusters=tuple(replace(cluster, ec_keys=True) for cluster in lab.clusters))
    for one, key_type, role in ((lab, None, ("rsa", 2048)), (quick, "ec-p256", ("ec", 256))):
        assert yaml.safe_load(userfiles.groups(one))["k8s-home"]["data"]["pki"].get("key_type") == key_type
        found = pki.role_parameters("peer", [], ec_keys=one.clusters[0].ec_keys)
        assert (found["key_type"], found["key_bits"]) == role


def test_a_posix_shell_reads_env_as_it_was_meant(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "controller_knows", lambda *_: False)
    userfiles.write(lab)
    assert (lab.dir / "env").stat().st_mode & 0o777 == 0o600
    shown = '"$VAULT_ADDR" "$VAULT_TOKEN" "$ETCDFLEET_SUDO_PASSWORD" "${VAULT_NAMESPACE-unset}"'
    command = ["/bin/sh", "-ec", f'. "{lab.dir}/env"; printf "%s|" {shown}']
    done = subprocess.run(command, env={"VAULT_NAMESPACE": "another"}, capture_output=True, text=True, check=True)
    assert done.stdout == "https://192.0.2.1:8200|s.deploy|it's $ecret|unset|"


def test_the_vault_is_named_where_its_name_is_certain(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "controller_knows", lambda *_: True)
    assert "export VAULT_ADDR=https://vault.home:8200\n" in userfiles.environment(lab)


def test_edits_by_hand_are_kept_and_other_files_follow(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "controller_knows", lambda *_: False)
    userfiles.write(lab)
    edited = lab.dir / "inventory/groups.yaml"
    edited.write_text(edited.read_text().replace("client_tls: true", "client_tls: false"))
    monkeypatch.setattr(userfiles, "CONFIG", userfiles.CONFIG + "# newer\n")
    said: list[str] = []
    userfiles.write(lab, said.append)
    assert "client_tls: false" in edited.read_text()
    assert (lab.dir / "config.yaml").read_text().endswith("# newer\n")
    assert said == [f"{edited} was edited: left as it is"]


@pytest.mark.parametrize("text", ["no", "1e3", "12", "a b", "it's", "null", "-x", "", "a: b", "#x"])
def test_scalars_stay_the_text_they_are(text: str) -> None:
    assert yaml.safe_load(f"key: {userfiles.scalar(text)}") == {"key": text}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("-365d", -31_536_000), ("+2h", 7200), ("+90m", 5400), ("-30s", -30), ("+30", 30), ("+1y", 31_536_000)],
)
def test_offsets(text: str, seconds: int) -> None:
    assert faketime.parse_offset(text) == seconds


@pytest.mark.parametrize("text", ["365d", "", "+", "-1w", "+1d2h", "+1.5d", "reset", "+1d; rm"])
def test_what_is_no_offset_is_refused(text: str) -> None:
    with pytest.raises(LabUsageError, match="no offset"):
        faketime.parse_offset(text)


def test_a_lab_without_vault_says_so(lab: Lab) -> None:
    assert vault.status(lab) == "stopped"
    with pytest.raises(LabError, match="not initialised"):
        vault.client(lab)


@pytest.mark.parametrize("init", ["systemd", "openrc"])
@pytest.mark.parametrize(
    ("arguments", "shift"),
    [(["+%s"], 86400), (["-u", "+%s"], 86400), (["-d", "@5", "+%s"], None), (["-ud", "@5", "+%s"], None)],
)
def test_the_front_of_date_shifts_now_and_nothing_else(init: Init, arguments: list[str], shift: int | None) -> None:
    script = faketime.date_front(init, 86400)
    before = time.time()
    done = subprocess.run(["/bin/sh", "-s", "--", *arguments], input=script, capture_output=True, text=True, check=True)
    found = int(done.stdout)
    if shift is None:
        assert found == 5
    else:
        assert int(before) + shift <= found <= time.time() + shift
