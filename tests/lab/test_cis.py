"""The CIS Kubernetes Benchmark's section on etcd (2.1 to 2.7), control by control, on every host.

Each control is looked up in what the running process was started with, and then tried from outside.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import etcd_processes, on_host, output
from tests.lab.outside import SIDES, Outside, from_outside, of_certificate, serial

HOSTS = ("s-sd-1", "s-sd-2", "s-sd-3", "s-rc-1", "s-rc-2", "s-rc-3")
CONFIG = "/etc/etcd/conf.yml"
SECTIONS = {2379: "client-transport-security", 2380: "peer-transport-security"}


@dataclass(frozen=True)
class Started:
    """A host's etcd as it was started. ``config`` is its only source: with it, etcd ignores flags and environment."""

    outside: Outside
    host: str
    config: dict[str, Any] = field(repr=False)

    def section(self, port: int) -> dict[str, Any]:
        """The settings for TLS at a port."""
        found: dict[str, Any] = self.config[SECTIONS[port]]
        return found

    def file(self, path: str) -> str:
        """The text of a file of the host, as its etcd sees it."""
        return output(self.outside.handle, self.host, f"cat {path}")


@pytest.fixture(scope="module")
def outside(sight: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with from_outside(sight, tmp_path_factory.mktemp("cis")) as client:
        yield client


THE_OTHERS = pytest.mark.thorough(
    "lab/test_verify.py::test_healthy",
    "lab/test_deploy.py::test_hosts_serve_the_placed_certificates_to_the_outside",
    "unit/drivers/init/test_render_and_services.py::test_the_configuration_is_yaml_with_what_document_a_has",
)


@pytest.fixture(params=[one if one.endswith("-1") else pytest.param(one, marks=THE_OTHERS) for one in HOSTS])
def etcd(outside: Outside, request: pytest.FixtureRequest) -> Started:
    """The one etcd of a host, with the configuration file of its command line, which is older than the process."""
    host = str(request.param)
    (process,) = etcd_processes(outside.handle, host)
    named = [word for word in process.argv if word.startswith("--")]
    assert named == [f"--config-file={CONFIG}"], "nothing but the file says how etcd runs"
    assert {word for word in process.environ if word.startswith("ETCD_") and "UNSUPPORTED_ARCH" not in word} == set()
    file = Path(f"/proc/{process.pid}/root{CONFIG}")
    config = yaml.safe_load(file.read_text())
    written, started = file.stat().st_ctime, started_at(process.started)
    if written > started:
        # After a first start it is written once more, together with the marker, for a key that counts at starts alone.
        assert config["initial-cluster-state"] == "existing"
        marker = Path(f"/proc/{process.pid}/root/etc/etcd/cluster.json").stat().st_ctime
        assert written <= marker <= started + 300, f"{host}: {CONFIG} was changed since its cluster was noted"
    assert on_host(outside.handle, host, "test -e /run/etcdfleet/restart-pending").returncode == 1
    return Started(outside, host, config)


def started_at(ticks: int) -> float:
    """The time, in seconds since the epoch, of so many clock ticks after the boot."""
    now = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    assert now
    return int(now[1]) + 1 + ticks / os.sysconf("SC_CLK_TCK")  # btime has no fractions


def let_in(etcd: Started, port: int, role: str | None) -> bool:
    """Whether the host serves a client with this certificate of its own, by a handshake of Python's.

    TLS 1.2, whose handshake is over only when the client was accepted.
    """
    context = ssl.create_default_context(cafile=etcd.outside.anchors(etcd.host, port))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if role:
        context.load_cert_chain(etcd.outside.pair(etcd.host, role))
    target = etcd.outside.handle.plan.host(etcd.host)
    with socket.create_connection((target.address, port), timeout=30) as plain:
        try:
            context.wrap_socket(plain, server_hostname=target.fqdn).close()
        except ssl.SSLError as error:
            if "ALERT" not in str(error.reason):
                raise
            return False
    return True


def assert_serves_its_files(etcd: Started, port: int) -> None:
    """The certificate and key of the settings are there, belong together, and are what the port serves."""
    section = etcd.section(port)
    certificate, key = etcd.file(section["cert-file"]), etcd.file(section["key-file"])
    public = output(etcd.outside.handle, etcd.host, f"openssl pkey -in {section['key-file']} -pubout")
    assert of_certificate(certificate, "-pubkey") == public.strip()
    assert "PRIVATE KEY" in key
    assert serial(etcd.outside.served(etcd.host, port)) == serial(certificate)


def assert_no_automatic_tls(etcd: Started, port: int) -> None:
    """No certificate that etcd made itself is allowed, lies there, or is served."""
    assert etcd.section(port).get("auto-tls", False) is False
    data = etcd.config["data-dir"]
    assert output(etcd.outside.handle, etcd.host, f"find {data} -name fixtures").split() == []
    served = etcd.outside.served(etcd.host, port)
    subject, issuer = (of_certificate(served, f"-{name}").partition("=")[2] for name in ("subject", "issuer"))
    assert subject != issuer


def test_2_1_cert_file_and_key_file_are_set(etcd: Started) -> None:
    """2.1 Ensure that the --cert-file and --key-file arguments are set as appropriate."""
    assert all(url.startswith("https://") for url in etcd.config["listen-client-urls"].split(","))
    assert_serves_its_files(etcd, 2379)


def test_2_2_client_cert_auth_is_true(etcd: Started) -> None:
    """2.2 Ensure that the --client-cert-auth argument is set to true."""
    assert etcd.section(2379)["client-cert-auth"] is True
    assert let_in(etcd, 2379, "client")
    assert not let_in(etcd, 2379, None)


def test_2_3_auto_tls_is_not_true(etcd: Started) -> None:
    """2.3 Ensure that the --auto-tls argument is not set to true."""
    assert_no_automatic_tls(etcd, 2379)


def test_2_4_peer_cert_file_and_peer_key_file_are_set(etcd: Started) -> None:
    """2.4 Ensure that the --peer-cert-file and --peer-key-file arguments are set as appropriate."""
    assert all(url.startswith("https://") for url in etcd.config["listen-peer-urls"].split(","))
    assert_serves_its_files(etcd, 2380)


def test_2_5_peer_client_cert_auth_is_true(etcd: Started) -> None:
    """2.5 Ensure that the --peer-client-cert-auth argument is set to true."""
    assert etcd.section(2380)["client-cert-auth"] is True
    assert let_in(etcd, 2380, "peer")
    assert not let_in(etcd, 2380, None)


def test_2_6_peer_auto_tls_is_not_true(etcd: Started) -> None:
    """2.6 Ensure that the --peer-auto-tls argument is not set to true."""
    assert_no_automatic_tls(etcd, 2380)


def test_2_7_a_unique_certificate_authority_is_used_for_etcd(etcd: Started, outside: Outside) -> None:
    """2.7 Ensure that a unique Certificate Authority is used for etcd.

    The CA of etcd's clients issues for nothing else: it is not the root, peers have another one, and so has every other
    cluster. Each file of trust anchors holds that one CA, and what is shown at the port is of it.
    """
    anchors = {port: etcd.file(etcd.section(port)["trusted-ca-file"]) for port in SIDES}
    prints = {port: of_certificate(text, "-fingerprint", "-sha256") for port, text in anchors.items()}
    for port, text in anchors.items():
        assert text.count("BEGIN CERTIFICATE") == 1
        subject, issuer = (of_certificate(text, f"-{name}").partition("=")[2] for name in ("subject", "issuer"))
        assert subject != issuer, "the root, by which anything may be certified"
        assert of_certificate(outside.served(etcd.host, port), "-issuer").partition("=")[2] == subject
    assert prints[2379] != prints[2380]
    cluster = outside.handle.plan.host(etcd.host).cluster
    others = [host.name for host in outside.handle.plan.hosts if host.cluster not in (cluster, None)]
    theirs = {
        of_certificate(outside.anchors(name, port).read_text(), "-fingerprint", "-sha256")
        for name in others
        for port in SIDES
    }
    assert len(theirs) == 2
    assert theirs.isdisjoint(prints.values())
    assert not let_in(etcd, 2379, "peer")
    assert not let_in(etcd, 2380, "client")
