"""Networks as they are outside of a lab: firewalls, several addresses, mixed families, proxies, long names.

What is judged from what hosts answer is in ``tests/unit/host/test_networks.py``; here, that they answer so.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import TOPOLOGIES, deploy, inventory_variant, on_host, output, own_lab

PROXY = "http://192.0.2.1:3128"
"""No proxy answers here: what is sent to it is lost."""
RULES = """table inet f {{
chain i {{
type filter hook input priority 0; policy {policy};
ct state established,related accept
iif lo accept
tcp dport 22 accept
{rule}
}}
}}
"""


@pytest.fixture(scope="module")
def networks(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-networks", TOPOLOGIES / "networks.yaml") as handle:
        yield handle


def in_network_of(handle: LabHandle, host: str, *argv: str, stdin: str = "") -> None:
    """Runs a program of this machine in the network of a host."""
    plan = handle.plan
    command = ["ip", "netns", "exec", plan.netns(plan.host(host)), *argv]
    subprocess.run(command, input=stdin, text=True, check=True, capture_output=True)


@contextmanager
def firewall(handle: LabHandle, hosts: tuple[str, ...], policy: str, rule: str) -> Iterator[None]:
    for host in hosts:
        in_network_of(handle, host, "nft", "-f", "-", stdin=RULES.format(policy=policy, rule=rule))
    try:
        yield
    finally:
        for host in hosts:
            in_network_of(handle, host, "nft", "delete", "table", "inet", "f")


FIREWALLS = {
    "ufw: SSH alone gets in, on all": (
        ("net-1", "net-2"),
        "drop",
        "",
        {
            "net-1": "TCP ports 2379 and 2380 of {address} cannot be reached from net-2: no answer",
            "net-2": "TCP ports 2379 and 2380 of {address} cannot be reached from net-1: no answer",
        },
    ),
    "reject, on one host with Debian": (
        ("net-4",),
        "accept",
        "meta l4proto tcp reject",
        {"net-4": "ports 2379 and 2380 of {address} cannot be reached from net-3: refused, though something listens"},
    ),
    "reset, one port, on one host with Alpine": (
        ("net-2",),
        "accept",
        "tcp dport 2380 reject with tcp reset",
        {"net-2": "TCP port 2380 of {address} cannot be reached from net-1: refused, though something listens"},
    ),
}


@pytest.mark.parametrize(("hosts", "policy", "rule", "says"), FIREWALLS.values(), ids=FIREWALLS.keys())
def test_a_firewall_is_found_before_anything_is_changed(
    networks: LabHandle, hosts: tuple[str, ...], policy: str, rule: str, says: dict[str, str]
) -> None:
    cluster = networks.plan.host(hosts[0]).cluster
    with firewall(networks, hosts, policy, rule):
        outcome = deploy(networks, "--cluster", str(cluster), timeout=60)
    assert outcome.exit_code == 1, outcome.text
    assert sorted(outcome.failed) == sorted(says)
    for host, words in says.items():
        assert words.format(address=networks.plan.host(host).address) in outcome.error(host)
        assert output(networks, host, "ls -d /etc/etcd 2>/dev/null || echo none").strip() == "none"
        # The ports that were opened for the moment are closed again.
        listens = "(ss -Hltn || netstat -ltn) 2>/dev/null | grep -E ':(2379|2380) '"
        assert on_host(networks, host, listens).returncode == 1


def test_of_two_addresses_in_a_subnet_the_one_that_is_used(networks: LabHandle, tmp_path: Path) -> None:
    """Found before, by the cause: the other members would refuse what comes from an address that they do not know."""
    plan = networks.plan
    first, second = plan.host("net-1").address, plan.subnet[-3]
    line = f"{second} {plan.host('net-1').fqdn}"

    def edit(files: dict[str, Any]) -> None:
        files["inventory/hosts.yaml"]["net-1"]["data"]["member"]["address"] = str(second)

    config = inventory_variant(networks, tmp_path, edit)
    in_network_of(networks, "net-1", "ip", "address", "add", f"{second}/{plan.subnet.prefixlen}", "dev", "eth0")
    for host in ("net-1", "net-2"):
        output(networks, host, f"echo '{line}' >>/etc/hosts")
    try:
        outcome = deploy(networks, "--cluster", "net-rc", "--check", config=config, timeout=60)
        assert outcome.failed == ["net-1"], outcome.text
        assert f"come from {first}, and its certificate is for" in outcome.error("net-1")
        # As the remedy says.
        source = ["ip", "route", "replace", str(plan.subnet), "dev", "eth0", "src", str(second)]
        in_network_of(networks, "net-1", *source)
        again = deploy(networks, "--cluster", "net-rc", "--check", config=config, timeout=60)
        assert again.exit_code == 0, again.text
    finally:
        in_network_of(networks, "net-1", "ip", "address", "del", f"{second}/{plan.subnet.prefixlen}", "dev", "eth0")
        in_network_of(networks, "net-1", "ip", "route", "replace", str(plan.subnet), "dev", "eth0", "src", str(first))
        for host in ("net-1", "net-2"):
            output(networks, host, f"sed -i '/^{second} /d' /etc/hosts")


@pytest.fixture(scope="module")
def deployed(networks: LabHandle) -> LabHandle:
    """Both clusters, on hosts whose proxy leads nowhere; one has a name that is too long for a common name."""
    variables = f"https_proxy={PROXY}"
    for host in ("net-1", "net-2"):
        output(networks, host, f"echo 'SetEnv {variables}' >>/etc/ssh/sshd_config && rc-service sshd restart")
        output(networks, host, f"printf 'export {variables}\\n' | tee /etc/profile.d/zz-proxy.sh >>/etc/rc.conf")
    for host in ("net-3", "net-4"):
        output(networks, host, f"systemctl set-environment {variables}")
    outcome = deploy(networks, timeout=300)
    assert outcome.exit_code == 0, outcome.text
    return networks


@pytest.mark.parametrize(
    "runbook",
    [
        "deploy",
        pytest.param(
            "verify",
            marks=pytest.mark.thorough(
                "lab/test_networks.py::test_proxies_and_a_long_name_are_no_matter",
                "lab/test_networks.py::test_etcdctl_of_a_person_and_etcd_itself_go_past_the_proxy",
                "unit/host/test_networks.py::test_etcdctl_goes_past_a_proxy",
            ),
        ),
        "rotate_certs",
    ],
)
def test_proxies_and_a_long_name_are_no_matter(deployed: LabHandle, runbook: str) -> None:
    outcome = deploy(deployed, *(["--force"] if runbook == "rotate_certs" else []), runbook=runbook, timeout=200)
    assert outcome.exit_code == 0, outcome.text
    if runbook == "deploy":
        assert outcome.changed == dict.fromkeys(outcome.changed, 0)


def test_etcdctl_of_a_person_and_etcd_itself_go_past_the_proxy(deployed: LabHandle) -> None:
    shell = "sh -lc 'echo $https_proxy; etcdctl endpoint health 2>&1'"
    said = output(deployed, "net-1", shell)
    assert PROXY in said
    assert said.count("is healthy") == 2
    for host in ("net-1", "net-3"):
        environment = output(deployed, host, "tr '\\0' '\\n' </proc/$(pidof etcd)/environ")
        assert "proxy" not in environment


def test_certificates_of_a_long_name_have_it_as_a_name_alone(deployed: LabHandle) -> None:
    fqdn = deployed.plan.host("net-3").fqdn
    assert len(fqdn) > 64
    for folder in ("server", "client"):
        file = f"/etc/etcd/certs/{folder}/{fqdn}.pem"
        said = output(deployed, "net-3", f"openssl x509 -noout -subject -ext subjectAltName -in {file}")
        assert "CN =" not in said
        assert f"DNS:{fqdn}" in said
