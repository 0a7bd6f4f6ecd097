"""A new root CA on a live cluster that trusts a single root, by runs that are killed again and again on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lab.vault
from lab import pki
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import CERTS, TOPOLOGIES, deploy, inventory_variant, members, output, own_lab
from tests.lab.load import client_pair, etcdctl_outside
from tests.lab.rotate_helpers import assert_sound, begin_rotate, reach, rotate
from tests.lab.watch import stored, watching, writing

CLUSTER = "r-rc"
Events = list[dict[str, Any]]


@dataclass(frozen=True)
class Single:
    """The lab with its cluster on one root CA for peers and clients."""

    handle: LabHandle
    config: Path


@pytest.fixture(scope="module")
def single(lab_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Single]:  # noqa: ARG001
    def edit(files: dict[str, Any]) -> None:
        files["inventory/defaults.yaml"]["data"]["pki"] |= {"trust": "single", "mount": pki.INTERMEDIATE}

    with own_lab("test-rotroot", TOPOLOGIES / "rotate-faults.yaml") as handle:
        config = inventory_variant(handle, tmp_path_factory.mktemp("single"), edit)
        outcome = deploy(handle, config=config, timeout=600)
        assert outcome.exit_code == 0, outcome.text
        yield Single(handle, config)


def new_root(handle: LabHandle) -> str:
    """Another root in Vault's mount of roots, and below it another issuing CA; both are used from now on. Its PEM."""
    root = lab.vault.client(handle.plan)
    kind = {"key_type": "ec", "key_bits": 256}
    wanted = {"common_name": "Home Root CA the second", "issuer_name": "second", "ttl": pki.ROOT_TTL, **kind}
    made = root.write_data(f"{pki.ROOT}/issuers/generate/root/internal", data=wanted)["data"]
    root.write_data(f"{pki.ROOT}/config/issuers", data={"default": made["issuer_id"]})
    wanted = {"common_name": "Home Intermediate CA the second", **kind}
    csr = root.write_data(f"{pki.INTERMEDIATE}/intermediate/generate/internal", data=wanted)["data"]["csr"]
    signing = {"csr": csr, "ttl": pki.INTERMEDIATE_TTL, "use_csr_values": True, "format": "pem_bundle"}
    signed = root.write_data(f"{pki.ROOT}/root/sign-intermediate", data=signing)["data"]
    chain = f"{signed['certificate'].strip()}\n{signed['issuing_ca'].strip()}\n"
    placed = root.write_data(f"{pki.INTERMEDIATE}/intermediate/set-signed", data={"certificate": chain})["data"]
    issuer = next(found for found, key in placed["mapping"].items() if key)
    root.write_data(f"{pki.INTERMEDIATE}/config/issuers", data={"default": issuer})
    return str(made["certificate"])


def seen(event: str, step: str, number: int, *, after: str = "") -> Callable[[Events], bool]:
    """Whether this event of a step has come for that many hosts, after the last one of the step ``after``."""

    def reached(events: Events) -> bool:
        steps = [entry.get("step") for entry in events]
        begin = len(steps) - steps[::-1].index(after) if after in steps else len(steps) if after else 0
        found = [e for e in events[begin:] if (e["event"], e.get("step")) == (event, step)]
        return len(found) >= number

    return reached


# Each run goes on from where the one before was killed: those steps in which nothing is left to be done are short. That
# any moment will do is shown by tests/unit/certs/test_trust_worlds.py.
MOMENTS = {
    "the new root is placed beside the one of before": seen("step_finished", "trust", 3),
    "a member was restarted to trust both": seen("step_finished", "start", 1),
    "a member has certificates below the new root": seen("step_finished", "rotate", 1),
    "a member was restarted to trust it alone": seen("step_finished", "start", 1, after="rotate"),
    "verified": seen("step_started", "verify", 1),
}


@pytest.mark.thorough(
    "unit/certs/test_trust_worlds.py::test_members_accept_each_other_whatever_happens",
    "lab/test_rotate.py::test_a_new_ca_in_three_passes_under_load_and_killed_on_the_way",
)
def test_a_new_root_though_every_run_is_killed(single: Single, tmp_path: Path) -> None:
    """After each kill the cluster is well, and the last run completes. Never was more than one member down."""
    handle, first = single.handle, members(single.handle, CLUSTER)[0]
    old = client_pair(handle, tmp_path, CLUSTER, "old", mount=pki.INTERMEDIATE)
    # Clients must know the new root before any member shows a certificate below it; their own are of the root before.
    old.anchors.write_text(f"{old.anchors.read_text().strip()}\n{new_root(handle)}\n")
    with watching(handle, members(handle, CLUSTER)) as watch, writing(handle, first, CLUSTER, "root") as writer:
        for name, reached in MOMENTS.items():
            if name != "verified":  # by then a member does not trust them any more
                said = etcdctl_outside(handle, CLUSTER, old, "get", "root/1")
                assert said.returncode == 0, f"clients of before, before: {name}: {said.stderr}"
            run = begin_rotate(handle, "--ca", "--yes", "--break-lock", config=single.config)
            reach(run, name, lambda run=run, reached=reached: reached(run.events()))  # type: ignore[misc]
            run.kill()
            print(f"{name}: {trusted(handle)}")
            assert_sound(handle, CLUSTER, killed=True)
        last = rotate(handle, "--ca", "--yes", "--break-lock", config=single.config)
    assert last.exit_code == 0, last.text
    assert_sound(handle, CLUSTER)
    assert watch.most_down <= 1, watch.down
    there = stored(handle, first, "root")
    assert [number for number in writer.acknowledged if there.get(number) != str(number)] == []
    assert len(writer.acknowledged) > 20
    assert trusted(handle) == [["Home Root CA the second"]] * 3
    assert etcdctl_outside(handle, CLUSTER, old, "get", "root/1", seconds=2).returncode != 0
    new = client_pair(handle, tmp_path, CLUSTER, "new", mount=pki.INTERMEDIATE)
    assert etcdctl_outside(handle, CLUSTER, new, "get", "root/1").returncode == 0
    again = rotate(handle, "--ca", config=single.config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def trusted(handle: LabHandle) -> list[list[str]]:
    """The names of the CAs in each host's file of trust anchors, as openssl there reads them."""
    read = (
        f"openssl crl2pkcs7 -nocrl -certfile {CERTS}/rootCA.pem | openssl pkcs7 -print_certs -noout | "
        "sed -n 's/^subject.*CN *= *//p'"
    )
    return [sorted(output(handle, host, read).splitlines()) for host in members(handle, CLUSTER)]
