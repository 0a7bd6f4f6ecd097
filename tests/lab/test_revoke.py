"""What was replaced is revoked, and etcd of both versions refuses it; restarts where they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lab.vault
from lab import pki
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import CERTS, deploy, inventory_variant, members, output, start_times, unhealthy
from tests.lab.load import client_pair, etcdctl_outside
from tests.lab.watch import watching

CLUSTERS = ("s-sd", "s-rc")


@pytest.fixture
def with_lists(sight: LabHandle, tmp_path: Path) -> Path:
    def edit(files: dict[str, Any]) -> None:
        for cluster in CLUSTERS:
            files["inventory/groups.yaml"][cluster]["data"]["pki"]["crl"] = True

    return inventory_variant(sight, tmp_path, edit)


def health_with(handle: LabHandle, host: str, folder: str) -> int:
    """The exit code of etcdctl on the host with the pair in a folder: 0 if it is served."""
    target = handle.plan.host(host)
    pair = f"--cert {folder}/{target.fqdn}.pem --key {folder}/{target.fqdn}.key"
    where = f"--endpoints https://{target.address}:2379 --cacert {CERTS}/clientCA.pem --command-timeout 3s"
    return int(output(handle, host, f"ETCDCTL_API=3 etcdctl {where} {pair} endpoint health >/dev/null 2>&1; echo $?"))


def test_the_token_must_be_allowed_to_revoke(sight: LabHandle) -> None:
    outcome = deploy(sight, "--force", "--revoke", "--cluster", "s-rc", runbook="rotate_certs")
    assert outcome.exit_code == 1, outcome.text
    assert "_client/revoke" in outcome.text
    assert "pki.revoke: true" in outcome.text
    assert set(outcome.changed.values()) == {0}, "nothing is replaced that could not be revoked"


def test_revoked_certificates_are_refused_by_etcd(sight: LabHandle, with_lists: Path, tmp_path: Path) -> None:
    root = lab.vault.client(sight.plan)
    on = deploy(sight, config=with_lists, timeout=600)
    assert on.exit_code == 0, on.text
    again = deploy(sight, config=with_lists)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
    hosts = [members(sight, cluster)[0] for cluster in CLUSTERS]
    for host in hosts:
        output(sight, host, f"rm -rf /root/stolen; cp -rL {CERTS}/etcdctl /root/stolen")
        assert health_with(sight, host, "/root/stolen") == 0
    how = {"config": with_lists, "env": {"VAULT_TOKEN": str(root.token)}, "runbook": "rotate_certs"}
    before = start_times(sight)
    done = deploy(sight, "--force", "--only", "client", "--revoke", **how)  # type: ignore[arg-type]
    assert done.exit_code == 0, done.text
    assert start_times(sight) == before, "a new list needs no restart"
    for host in hosts:
        assert done.step(host, "revoke")["summary"] == "1 revoked"
        assert "a revoked client is refused" in done.step(host, "crl")["summary"]
        assert health_with(sight, host, "/root/stolen") != 0
        assert health_with(sight, host, f"{CERTS}/etcdctl") == 0
    once_more = deploy(sight, "--revoke", **how)  # type: ignore[arg-type]
    assert (once_more.exit_code, set(once_more.changed.values())) == (0, {0}), once_more.text
    # A person's certificate, revoked by hand: the nightly run brings it to the members.
    pair = client_pair(sight, tmp_path, "s-rc", "leaver")
    assert etcdctl_outside(sight, "s-rc", pair, "get", "x").returncode == 0
    serial = pki_serial(pair.certificate)
    root.write_data(f"{pki.side_mount('s-rc', 'client')}/revoke", data={"serial_number": serial})
    nightly = deploy(sight, "--cluster", "s-rc", config=with_lists, runbook="rotate_certs")
    assert nightly.exit_code == 0, nightly.text
    assert {step["status"] for step in steps(nightly.report, "s-rc", "crl")} == {"changed"}
    assert etcdctl_outside(sight, "s-rc", pair, "get", "x", seconds=3).returncode != 0
    off = deploy(sight, timeout=600)
    assert off.exit_code == 0, off.text
    assert health_with(sight, hosts[0], "/root/stolen") == 0, "without the setting etcd does not ask who is revoked"
    assert all(unhealthy(sight, cluster) == "" for cluster in CLUSTERS)


@pytest.mark.thorough(
    "unit/plays/test_rotate.py::test_restart_is_a_restart_behind_gates",
    "lab/test_rolling.py::test_a_changed_setting_is_rolled_out_without_losing_a_write",
)
def test_a_restart_that_is_asked_for_is_a_rolling_one(sight: LabHandle) -> None:
    before = start_times(sight)
    with watching(sight, list(members(sight, "s-rc"))) as watch:
        outcome = deploy(
            sight, "--force", "--only", "server", "--restart", "--cluster", "s-rc", runbook="rotate_certs", timeout=300
        )
    assert outcome.exit_code == 0, outcome.text
    after = start_times(sight)
    for host in members(sight, "s-rc"):
        assert after[host] != before[host]
    for host in members(sight, "s-sd"):
        assert after[host] == before[host]
    assert max(map(len, watch.down)) <= 1, "never more than one member at a time"
    assert unhealthy(sight, "s-rc") == ""


def steps(report: dict[str, Any], cluster: str, name: str) -> list[dict[str, Any]]:
    return [
        step for host in report["clusters"][cluster] for step in report["hosts"][host]["steps"] if step["name"] == name
    ]


def pki_serial(certificate: Path) -> str:
    """The serial number of a certificate as Vault writes it."""
    from cryptography import x509

    number = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex(":")
