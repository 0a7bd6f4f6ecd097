"""CAs that change in Vault below live clusters: no path is placed that a member's running etcd would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import pki
from tests.lab.ca_changes import CrossSigned, cross_sign
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    TOPOLOGIES,
    Outcome,
    deploy,
    inventory_variant,
    members,
    output,
    own_lab,
    start_times,
    unhealthy,
)
from tests.lab.load import Load, Pair, client_pair, missing, under_load
from tests.lab.watch import Watch, watching

CLUSTERS = ("t-sd", "t-rc")
OLD, NEW = "Home Root CA", "Home Root CA x2"


@dataclass(frozen=True)
class Changing:
    """Two clusters as document A has them, with one root for everything, and a second root in Vault."""

    handle: LabHandle
    config: Path
    cas: CrossSigned


@pytest.fixture(scope="module")
def changing(lab_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:  # noqa: ARG001
    def edit(files: dict[str, Any]) -> None:
        files["inventory/defaults.yaml"]["data"]["pki"] |= {"trust": "single", "mount": pki.INTERMEDIATE}

    with own_lab("test-cachange", TOPOLOGIES / "trust.yaml") as handle:
        config = inventory_variant(handle, tmp_path_factory.mktemp("single"), edit)
        outcome = deploy(handle, config=config, timeout=600)
        assert outcome.exit_code == 0, outcome.text
        yield Changing(handle, config, cross_sign(handle))


def trusted(handle: LabHandle, host: str) -> list[str]:
    """The names of the CAs in a host's file of trust anchors, as openssl there reads them."""
    read = (
        f"openssl crl2pkcs7 -nocrl -certfile {CERTS}/rootCA.pem | openssl pkcs7 -print_certs -noout | "
        "sed -n 's/^subject.*CN *= *//p'"
    )
    return sorted(output(handle, host, read).splitlines())


def top(handle: LabHandle, host: str) -> set[str]:
    """Who signed the intermediates that lie in a host's three bundles."""
    fqdn = handle.plan.host(host).fqdn
    read = (
        f"for pair in server client etcdctl; do openssl crl2pkcs7 -nocrl -certfile {CERTS}/$pair/{fqdn}.pem | "
        "openssl pkcs7 -print_certs -noout | sed -n 's/^issuer.*CN *= *//p' | sed 1d; done"
    )
    return set(output(handle, host, read).splitlines())


def one_load(changing: Changing, folder: Path, cluster: str, prefix: str) -> Pair:
    """A client whose certificate leads to both roots (Go finds the way), and that knows members by either root."""
    pair = client_pair(changing.handle, folder, cluster, prefix, mount=pki.INTERMEDIATE)
    own, cross = (
        str(changing.cas.root.read(f"{pki.INTERMEDIATE}/issuer/{issuer}")["data"]["certificate"]).strip()
        for issuer in (changing.cas.own, changing.cas.cross)
    )
    leaf = pair.certificate.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
    pair.certificate.write_text(f"{leaf}\n{own}\n{cross}\n")
    pair.anchors.write_text(changing.cas.roots)
    return pair


def change(
    changing: Changing, folder: Path, cluster: str, prefix: str, *args: str, runbook: str = "deploy"
) -> tuple[Outcome, Load, Watch]:
    """A run for one cluster while it is written to and watched; every acknowledged write is there afterwards."""
    handle, pair = changing.handle, one_load(changing, folder, cluster, prefix)
    with ExitStack() as stack:
        watch = stack.enter_context(watching(handle, members(handle, cluster)))
        load = stack.enter_context(under_load(handle, cluster, pair, prefix))
        outcome = deploy(handle, "--cluster", cluster, *args, config=changing.config, runbook=runbook, timeout=600)
    assert missing(handle, cluster, pair, prefix, load) == []
    return outcome, load, watch


def assert_moved(changing: Changing, cluster: str, to: str, outcome: Outcome, load: Load, watch: Watch) -> None:
    """The run is well, no client was cut off, never was more than one member down, and the next run changes nothing."""
    handle = changing.handle
    assert outcome.exit_code == 0, outcome.text
    print(f"{cluster}: {load.requests} requests, longest {load.longest:.2f} s, {load.most_retries} retries at most")
    assert not load.lost, load.said
    assert not load.wrong
    assert load.most_retries <= 1, load.said
    assert watch.most_down <= 1, watch.down
    assert unhealthy(handle, cluster) == ""
    for host in members(handle, cluster):
        assert trusted(handle, host) == [to]
        assert top(handle, host) == {to}
    again = deploy(handle, "--cluster", cluster, config=changing.config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


@pytest.mark.parametrize(
    ("cluster", "runbook", "args"),
    [("t-sd", "deploy", ()), ("t-rc", "deploy", ()), ("t-sd", "rotate_certs", ("--ca",))],
)
def test_the_intermediate_signed_by_a_new_root_with_its_own_key(
    changing: Changing, tmp_path: Path, cluster: str, runbook: str, args: tuple[str, ...]
) -> None:
    """The smallest input: another certificate of the same CA issues, and the root's mount has another default.

    Before, deploy said "no new CA" and placed pairs below the new root on all three members at once, while their etcd
    trusted the old root alone: none of three answered any more. rotate_certs --ca never got through.
    """
    if runbook == "rotate_certs":  # deploy has moved it there, so this moves it back
        changing.cas.issue_by(changing.cas.own)
        changing.cas.anchor(changing.cas.old_root)
        to, before = OLD, NEW
    else:
        changing.cas.issue_by(changing.cas.cross)
        changing.cas.anchor(changing.cas.new_root)
        to, before = NEW, OLD
    handle, running = changing.handle, start_times(changing.handle)
    said = deploy(handle, "--check", "--cluster", cluster, config=changing.config)
    assert said.exit_code == 0, said.text
    for host in members(handle, cluster):
        trust = said.step(host, "trust")
        assert trust["changes"] == [f"{CERTS}/rootCA.pem trusts {to} too"], said.text
        assert said.step(host, "start")["status"] == "changed", "two rolling restarts are to come"
        assert trusted(handle, host) == [before]
    assert start_times(handle) == running, "--check does nothing"
    outcome, load, watch = change(changing, tmp_path, cluster, f"{runbook}-{cluster}", "--yes", *args, runbook=runbook)
    assert_moved(changing, cluster, to, outcome, load, watch)


def test_a_chain_with_both_certificates_of_the_ca(changing: Changing, tmp_path: Path) -> None:
    """``manual_chain``, as Vault documents a rotation of the root: whichever order, the one that fits is placed.

    Before, bundle() took the first of the two, and called what Vault gave a broken chain: exit code 1 for ever.
    """
    cas, handle, cluster = changing.cas, changing.handle, "t-rc"
    for host in members(handle, cluster):
        assert trusted(handle, host) == [NEW], "as the test before has left it"
    cas.issue_by(cas.own, (cas.own, cas.cross))
    cas.anchor(cas.new_root)
    still = deploy(handle, "--cluster", cluster, config=changing.config)
    assert (still.exit_code, set(still.changed.values())) == (0, {0}), still.text
    cas.anchor(cas.old_root)
    outcome, load, watch = change(changing, tmp_path, cluster, "self-xc", "--yes")
    assert_moved(changing, cluster, OLD, outcome, load, watch)
    cas.issue_by(cas.cross, (cas.cross, cas.own))
    still = deploy(handle, "--cluster", cluster, config=changing.config)
    assert (still.exit_code, set(still.changed.values())) == (0, {0}), still.text
    cas.anchor(cas.new_root)
    outcome, load, watch = change(changing, tmp_path, cluster, "xc-self", "--yes")
    assert_moved(changing, cluster, NEW, outcome, load, watch)
