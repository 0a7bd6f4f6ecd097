"""Certificates by the real cfssl, the server's faulty at first, on Alpine hosts, with no Vault in sight."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.state import Lab
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    TOPOLOGIES,
    Outcome,
    deploy,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
    unhealthy,
)
from tests.lab.load import Pair, etcdctl_outside
from tests.lab.secret_search import Needles
from tests.lab.watch import watching

CLUSTER = "k3s-files"
NO_VAULT = dict.fromkeys(("VAULT_ADDR", "VAULT_TOKEN", "VAULT_CACERT", "VAULT_NAMESPACE", "VAULT_ROLE_ID"))
USAGES = {
    "server": ["signing", "key encipherment", "server auth"],  # no usage for clients, which etcd's gateway needs
    "peer": ["signing", "key encipherment", "server auth", "client auth"],
    "client": ["signing", "key encipherment", "client auth"],
}
TRACES = "ls -d /etc/etcd /var/lib/etcd /usr/bin/etcd* /etc/init.d/etcd /var/log/etcd; id etcd"


@dataclass
class Cfssl:
    """A folder in which a person works with cfssl."""

    folder: Path
    plan: Lab
    usages: dict[str, list[str]] = field(default_factory=lambda: dict(USAGES))

    def profile(self, name: str, *usages: str) -> None:
        """Give a profile other usages; the CA's own life is cfssl's default of five years, and this is ten."""
        self.usages[name] = list(usages)
        profiles = {name: {"expiry": "87600h", "usages": usages} for name, usages in self.usages.items()}
        text = json.dumps({"signing": {"default": {"expiry": "87600h"}, "profiles": profiles}}, indent=4)
        (self.folder / "ca-config.json").write_text(text)

    def ca(self, name: str) -> None:
        """A new CA as ``ca.pem``."""
        self.request("ca", name)
        self.run("cfssl gencert -initca ca.json | cfssljson -bare ca -")

    def make(self, stem: str, profile: str, *hosts: str) -> Path:
        """``stem.pem`` and ``stem-key.pem``."""
        self.request(stem, stem, *hosts)
        signed = f"cfssl gencert -ca=ca.pem -ca-key=ca-key.pem -config=ca-config.json -profile={profile} {stem}.json"
        self.run(f"{signed} | cfssljson -bare {stem}")
        return self.folder / f"{stem}.pem"

    def make_all(self) -> None:
        """Everything that is needed, and right."""
        self.make("server", "server", *self.server_names())
        for host in self.plan.hosts:
            self.make(host.name, "peer", host.fqdn, host.name, host.address)
        self.make("client", "client", "")

    def server_names(self) -> list[str]:
        """What etcd is connected to by."""
        service = self.plan.clusters[0].service_name or ""
        hosts = self.plan.hosts
        return [service, "127.0.0.1", *(host.address for host in hosts), *(host.fqdn for host in hosts)]

    def request(self, stem: str, name: str, *hosts: str) -> None:
        text = {"CN": name, "hosts": list(hosts), "key": {"algo": "rsa", "size": 2048}, "names": [{"O": "huatai.me"}]}
        (self.folder / f"{stem}.json").write_text(json.dumps(text, indent=4))

    def run(self, command: str) -> None:
        done = subprocess.run(
            ["sh", "-euc", command], cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def serial(self, name: str) -> str:
        return said_by_openssl(self.folder / name, "-serial")

    @property
    def pair(self) -> Pair:
        return Pair(self.folder / "client.pem", self.folder / "client-key.pem", self.folder / "ca.pem")


def said_by_openssl(certificate: Path, what: str) -> str:
    argv = ["openssl", "x509", "-in", str(certificate), "-noout", what]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


@pytest.fixture(scope="module")
def hosts(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    assert shutil.which("cfssl"), "sh lab/system.sh installs what is missing"
    with own_lab("test-files", TOPOLOGIES / "files.yaml") as handle:
        yield handle


@pytest.fixture(scope="module")
def cfssl(hosts: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Cfssl:
    """The CA, the members' and the client's certificates; and a server certificate that lacks a usage."""
    made = Cfssl(tmp_path_factory.mktemp("cfssl"), hosts.plan)
    made.profile("server", *USAGES["server"])
    made.ca("etcd of k3s")
    made.make_all()
    service, *_ = made.server_names()
    made.make("server", "server", service, *(host.address for host in hosts.plan.hosts))
    return made


@pytest.fixture(scope="module")
def config(hosts: LabHandle, cfssl: Cfssl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def edit(files: dict[str, Any]) -> None:
        files["inventory/defaults.yaml"]["data"]["pki"] = {
            "source": "files",
            "folder": str(cfssl.folder),
            "trust": "single",
            "renew_before": "30d",
        }
        group = files["inventory/groups.yaml"][CLUSTER]["data"]
        group["cluster"]["gateway"] = True
        group["pki"] = {"roles": {"server": {"usages": ["server", "client"]}}}

    return inventory_variant(hosts, tmp_path_factory.mktemp("inventory"), edit)


def run(hosts: LabHandle, config: Path, *args: str) -> Outcome:
    return deploy(hosts, *args, config=config, env=NO_VAULT, timeout=600)


def served(hosts: LabHandle, cfssl: Cfssl, host: str) -> str:
    """The serial of what the host serves to clients, verified by openssl."""
    target, pair = hosts.plan.host(host), cfssl.pair
    argv = ["openssl", "s_client", "-connect", f"{target.address}:2379", "-verify_return_error"]
    argv += ["-CAfile", str(pair.anchors), "-cert", str(pair.certificate), "-key", str(pair.key)]
    argv += ["-verify_hostname", target.fqdn]
    seen = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert "Verification: OK" in seen.stdout, f"{host}: {seen.stdout}{seen.stderr}"
    shown = cfssl.folder / "served"
    shown.write_text(seen.stdout[seen.stdout.index("-----BEGIN CERT") :])
    return said_by_openssl(shown, "-serial")


def by_gateway(hosts: LabHandle, cfssl: Cfssl, host: str) -> str:
    """What the JSON gateway says of a key, over the cluster's own CA and with the client's certificate."""
    context = ssl.create_default_context(cafile=str(cfssl.pair.anchors))
    context.load_cert_chain(cfssl.pair.certificate, cfssl.pair.key)
    url = f"https://{hosts.plan.host(host).address}:2379/v3/kv/range"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(url, data=b'{"key": "Zm9v"}', timeout=30) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.thorough(
    "unit/drivers/certificates/test_files.py::test_what_is_not_fit_is_refused_with_file_reason_and_remedy",
    "unit/drivers/certificates/test_files.py::test_all_faulty_files_are_said_at_once",
    "lab/test_failures.py::test_several_faults_at_once",
)
def test_document_bs_server_certificate_is_refused_before_anything_is_changed(
    hosts: LabHandle, cfssl: Cfssl, config: Path
) -> None:
    before = {name: on_host(hosts, name, f"({TRACES}) 2>&1").stdout for name in members(hosts, CLUSTER)}
    outcome = run(hosts, config)
    assert outcome.exit_code == 1, outcome.text
    missing = ", ".join(f'"{host.fqdn}"' for host in hosts.plan.hosts)
    for name in members(hosts, CLUSTER):
        said = outcome.error(name)
        assert said.startswith("preflight"), said
        assert str(cfssl.folder / "server.pem") in said, said
        assert "it may not be used as a client certificate (extended key usage ServerAuth)" in said, said
        assert "etcd's gateway connects to etcd itself with it" in said, said
        assert '"certificate specifies an incompatible key usage"' in said, said
        assert '"usages": ["signing", "key encipherment", "server auth", "client auth"]' in said, said
        assert f'add {missing}, "127.0.0.1" to "hosts" in server.json' in said, said
        assert "-profile=server server.json | cfssljson -bare server" in said, said
    after = {name: on_host(hosts, name, f"({TRACES}) 2>&1").stdout for name in members(hosts, CLUSTER)}
    assert after == before, "the hosts were changed"
    assert not any("/etc/init.d/etcd\n" in text for text in before.values()), "the hosts were not fresh"


@pytest.fixture(scope="module")
def running(hosts: LabHandle, cfssl: Cfssl, config: Path) -> Outcome:
    """The cluster with what the error asked for: the profile's line, and the names."""
    cfssl.profile("server", *USAGES["peer"])
    cfssl.make("server", "server", *cfssl.server_names())
    outcome = run(hosts, config)
    assert outcome.exit_code == 0, outcome.text
    return outcome


def test_corrected_they_make_a_healthy_cluster(hosts: LabHandle, cfssl: Cfssl, running: Outcome) -> None:
    assert unhealthy(hosts, CLUSTER) == ""
    done = etcdctl_outside(hosts, CLUSTER, cfssl.pair, "endpoint", "health")
    assert (done.stdout + done.stderr).count(" is healthy") == 3, done.stderr
    for name in members(hosts, CLUSTER):
        assert served(hosts, cfssl, name) == cfssl.serial("server.pem")
        assert '"revision"' in by_gateway(hosts, cfssl, name)
        modes = output(hosts, name, f"stat -Lc '%a %U' {CERTS}/*/*.key").split("\n")
        assert set(modes) == {"600 etcd", ""}, modes
    # cfssl's default for a CA is five years, and these certificates are for ten.
    warnings = {warning["text"] for warning in running.report["warnings"]}
    assert len([text for text in warnings if "the CA 'etcd of k3s' ends at" in text]) == 1, running.text


def test_there_is_nothing_in_the_log_of_document_bs_flood(hosts: LabHandle, cfssl: Cfssl, running: Outcome) -> None:
    del running
    for name in members(hosts, CLUSTER):
        assert '"revision"' in by_gateway(hosts, cfssl, name)
        log = output(hosts, name, "cat /var/log/etcd/etcd.log")
        assert "serving client traffic" in log, log[-2000:]
        flood = [line for line in log.splitlines() if "incompatible key usage" in line or "bad certificate" in line]
        assert flood == [], name


def test_no_private_key_is_in_what_the_runs_left_on_the_controller(
    hosts: LabHandle, cfssl: Cfssl, running: Outcome
) -> None:
    del running
    keys = {path.name: path.read_text() for path in cfssl.folder.glob("*-key.pem")}
    assert len(keys) == 6
    files = [path for path in (hosts.dir / "runs").rglob("*") if path.is_file()]
    assert any(path.name == "report.json" for path in files)
    assert Needles.of(keys, {}).in_files(files) == {}


@pytest.mark.thorough(
    "lab/test_files.py::test_a_new_ca_is_trusted_by_all_before_its_certificates_are_placed",
    "unit/drivers/certificates/test_files.py::test_a_pair_stays_as_long_as_the_file_is_the_same",
)
def test_a_second_run_changes_nothing(hosts: LabHandle, config: Path, running: Outcome) -> None:
    del running
    before = start_times(hosts)
    again = run(hosts, config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
    assert start_times(hosts) == before


@pytest.mark.thorough(
    "unit/drivers/certificates/test_files.py::test_a_pair_stays_as_long_as_the_file_is_the_same",
    "lab/test_rotate.py::test_deploy_replaces_pairs_one_member_at_a_time",
)
def test_a_replaced_certificate_is_placed_without_a_restart(
    hosts: LabHandle, cfssl: Cfssl, config: Path, running: Outcome
) -> None:
    del running
    before, old = start_times(hosts), cfssl.serial("server.pem")
    cfssl.make("server", "server", *cfssl.server_names())
    assert cfssl.serial("server.pem") != old
    outcome = run(hosts, config)
    assert outcome.exit_code == 0, outcome.text
    for name in members(hosts, CLUSTER):
        assert outcome.step(name, "certificates")["changes"] == [
            f"server certificate is renewed: another certificate is in {cfssl.folder / 'server.pem'}"
        ]
        assert served(hosts, cfssl, name) == cfssl.serial("server.pem")
    assert set(outcome.changed.values()) == {1}, outcome.text
    assert start_times(hosts) == before, "etcd was restarted"


def test_a_new_ca_is_trusted_by_all_before_its_certificates_are_placed(
    hosts: LabHandle, cfssl: Cfssl, config: Path, running: Outcome
) -> None:
    del running
    names = members(hosts, CLUSTER)
    assert etcdctl_outside(hosts, CLUSTER, cfssl.pair, "put", "before", "kept").returncode == 0
    cfssl.ca("etcd of k3s")
    cfssl.make_all()
    with watching(hosts, names) as watch:
        outcome = run(hosts, config, "--yes")
    assert outcome.exit_code == 0, outcome.text
    assert watch.most_down <= 1, f"down at the same time: {watch.down}"
    assert unhealthy(hosts, CLUSTER) == ""
    assert "kept" in etcdctl_outside(hosts, CLUSTER, cfssl.pair, "get", "before").stdout
    for name in names:
        assert served(hosts, cfssl, name) == cfssl.serial("server.pem")
        assert output(hosts, name, f"grep -c BEGIN {CERTS}/rootCA.pem").strip() == "1"
    again = run(hosts, config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
