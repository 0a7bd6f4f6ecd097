"""Where private keys are made, and of which kind: on Debian, 32-bit ARM and Alpine, with nothing restarted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lab.vault
from lab import pki
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import CERTS, deploy, inventory_variant, output, start_times, unhealthy

PAIRS = ("server", "client", "etcdctl")


def test_a_role_for_other_keys_is_found_before_anything_is_changed(deployed: LabHandle, tmp_path: Path) -> None:
    def edit(files: dict[str, Any]) -> None:
        files["inventory/defaults.yaml"]["data"]["pki"] |= {"key_type": "ec-p256"}

    outcome = deploy(deployed, "--cluster", "k3s-edge", config=inventory_variant(deployed, tmp_path, edit))
    assert outcome.exit_code == 1, outcome.text
    assert "it signs for rsa keys of 2048 bits or more, and pki.key_type is ec-p256" in outcome.text
    assert set(outcome.changed.values()) == {0}


@pytest.fixture(scope="module")
def any_key(deployed: LabHandle) -> Iterator[LabHandle]:
    """The session's lab with roles that sign for keys of every kind; at the end they are as they were."""
    root = lab.vault.client(deployed.plan)
    roles = [f"{mount}/roles/{name}" for mount, names in pki.mount_roles(deployed.plan).items() for name in names]
    usual = {path: root.read(path)["data"] for path in roles}
    for path, parameters in usual.items():
        root.write_data(path, data={**parameters, "key_type": "any", "key_bits": 0})
    yield deployed
    for path, parameters in usual.items():
        root.write_data(path, data=parameters)


def kinds(handle: LabHandle, host: str) -> set[str]:
    """What openssl on the host says of the keys and of the certificates beside them; proves that they belong."""
    fqdn = handle.plan.host(host).fqdn
    found = set()
    for pair in PAIRS:
        base = f"{CERTS}/{pair}/{fqdn}"
        key, certificate = output(
            handle, host, f"openssl pkey -in {base}.key -pubout; echo; openssl x509 -in {base}.pem -noout -pubkey"
        ).split("\n\n")
        assert key == certificate.strip(), f"{host}: {pair}"
        text = output(handle, host, f"openssl x509 -in {base}.pem -noout -text")
        bits = re.search(r"Public-Key: \((\d+) bit\)", text)
        curve = re.search(r"NIST CURVE: (P-\d+)", text)
        assert bits, text
        found.add(curve[1] if curve else f"RSA {bits[1]}")
    return found


OTHER_HOSTS = pytest.mark.thorough(
    "lab/test_keys.py::test_keys_of_other_kinds",
    "lab/test_rotate.py::test_all_leaves_under_load",
    "unit/tasks/certificates/test_keys.py::test_openssl_makes_every_kind_of_key_and_asks_for_just_the_wanted_names",
)
OTHER_KIND = pytest.mark.thorough(
    "lab/test_keys.py::test_keys_of_other_kinds",
    "unit/tasks/certificates/test_keys.py::test_openssl_makes_every_kind_of_key_and_asks_for_just_the_wanted_names",
    "unit/certs/test_decide.py::test_another_kind_of_key_is_a_reason_to_renew_where_one_is_wanted",
    "lab/test_secrets.py::test_vault_has_only_the_keys_that_it_makes",
)


@pytest.mark.parametrize(
    ("settings", "kind", "clusters"),
    [
        # An emulated host makes RSA keys for minutes; that it can is shown by its first deploy. P-384 is slow there.
        ({"key_type": "ec-p256"}, "P-256", ("k3s-edge",)),
        pytest.param({"key_type": "ec-p256"}, "P-256", ("k8s-home",), marks=OTHER_HOSTS),
        pytest.param({"key_type": "ec-p384"}, "P-384", ("k3s-edge",), marks=OTHER_KIND),
        pytest.param({"key_type": "rsa-3072", "key_origin": "host"}, "RSA 3072", ("k3s-edge",), marks=OTHER_KIND),
        # Those that are there are good.
        pytest.param({"key_origin": "vault"}, "RSA 3072", ("k3s-edge",), marks=OTHER_KIND),
    ],
    ids=["ec", "ec on 32 bits too", "larger", "rsa", "vault"],
)
def test_keys_of_other_kinds(
    any_key: LabHandle, tmp_path: Path, settings: dict[str, Any], kind: str, clusters: tuple[str, ...]
) -> None:
    def edit(files: dict[str, Any]) -> None:
        files["inventory/defaults.yaml"]["data"]["pki"] |= settings

    config = inventory_variant(any_key, tmp_path, edit)
    chosen = ("--cluster", ",".join(clusters))
    running = start_times(any_key)
    outcome = deploy(any_key, *chosen, config=config, timeout=600)
    assert outcome.exit_code == 0, outcome.text
    for host in any_key.plan.hosts:
        if host.cluster in clusters:
            assert kinds(any_key, host.name) == {kind}, host.name
            left = output(any_key, host.name, f"ls -a {CERTS}/sets")
            assert ".new" not in left, left
    assert start_times(any_key) == running, "new certificates need no restart"
    for cluster in any_key.plan.clusters:
        assert unhealthy(any_key, cluster.name) == ""
    again = deploy(any_key, *chosen, config=config, timeout=600)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
