"""From a single CA to separate ones and back, on live clusters that are written to all the time."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import pki
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    CERTS,
    Outcome,
    begin_deploy,
    deploy,
    inventory_variant,
    members,
    output,
    unhealthy,
)
from tests.lab.gates import assert_matrix, etcdctl, gate, made_for
from tests.lab.load import Load, client_pair, etcdctl_outside, missing, under_load
from tests.lab.outside import from_outside
from tests.lab.rotate_helpers import reach, seen
from tests.lab.watch import Watch, watching

CLUSTERS = ("t-sd", "t-rc")
KEYS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trust")


def with_single_ca(handle: LabHandle, folder: Path) -> Path:
    def edit(files: dict[str, Any]) -> None:
        files["inventory/defaults.yaml"]["data"]["pki"] |= {"trust": "single", "mount": pki.INTERMEDIATE}

    return inventory_variant(handle, folder, edit)


@dataclass(frozen=True)
class Single:
    """Both clusters deployed with one CA for everything, and how that went."""

    handle: LabHandle
    outcome: Outcome


@pytest.fixture(scope="module")
def begun(pair: LabHandle, folder: Path) -> Single:
    """Both clusters with a single CA, with data."""
    outcome = deploy(pair, config=with_single_ca(pair, folder), timeout=600)
    assert outcome.exit_code == 0, outcome.text
    for cluster in CLUSTERS:
        first = members(pair, cluster)[0]
        keys = client_pair(pair, folder, cluster, "filler", mount=pki.INTERMEDIATE)
        for number in range(1, KEYS + 1):
            assert etcdctl_outside(pair, cluster, keys, "put", f"old/{number}", "x", hosts=[first]).returncode == 0
    return Single(pair, outcome)


@pytest.fixture(scope="module")
def single(begun: Single) -> LabHandle:
    return begun.handle


@pytest.fixture(scope="module")
def clusters(begun: Single) -> LabHandle:
    """They begin with a single CA."""
    return begun.handle


def anchors(handle: LabHandle, host: str) -> dict[str, int]:
    """The files of trust anchors on a host, each with its number of certificates."""
    text = output(handle, host, f"cd {CERTS} && grep -c BEGIN *.pem /dev/null")
    found = dict(line.rsplit(":", 1) for line in text.split())
    return {name: int(count) for name, count in found.items() if name != "/dev/null"}


def change(handle: LabHandle, folder: Path, prefix: str, **how: Any) -> tuple[Outcome, dict[str, Load], Watch]:
    """Deploy while both clusters are written to by clients of their new CA, and watched."""
    with ExitStack() as stack:
        pairs = {cluster: client_pair(handle, folder, cluster, prefix) for cluster in CLUSTERS}
        names = [name for cluster in CLUSTERS for name in members(handle, cluster)]
        watch = stack.enter_context(watching(handle, names))
        loads = {
            cluster: stack.enter_context(under_load(handle, cluster, pairs[cluster], prefix)) for cluster in CLUSTERS
        }
        outcome = deploy(handle, "--yes", timeout=600, **how)
    for cluster in CLUSTERS:
        assert missing(handle, cluster, pairs[cluster], prefix, loads[cluster]) == [], cluster
    return outcome, loads, watch


def assert_unnoticed(loads: dict[str, Load], watch: Watch, handle: LabHandle) -> None:
    """No request failed beyond one retry, each of a second at most, and no cluster lost its quorum."""
    for cluster, load in loads.items():
        print(f"{cluster}: {load.requests} requests, longest {load.longest:.2f} s, {load.most_retries} retries at most")
        assert load.requests > 20, f"{cluster}: {load}"
        assert not load.lost, f"{cluster}: {load.said}"
        assert not load.wrong, cluster
        assert load.most_retries <= 1, f"{cluster}: {load.said}"
        names = frozenset(members(handle, cluster))
        assert max(len(down & names) for down in watch.down) <= 1, f"{cluster}: {watch.down}"


@pytest.mark.parametrize(("host", "cluster"), [("t-sd-1", "t-sd"), ("t-rc-1", "t-rc")])
def test_with_a_single_ca_a_peer_is_a_client_too(begun: Single, folder: Path, host: str, cluster: str) -> None:
    """What must be closed: any certificate for clients opens 2379, whosever it is.

    At 2380 the one CA is trusted just so; what keeps the others out is that their names are not those of a peer.
    """
    mounts: dict[pki.Role, str] = {"client": pki.INTERMEDIATE, "peer": pki.INTERMEDIATE}
    matrix = folder / f"matrix-{cluster}"
    matrix.mkdir()
    with from_outside(begun.handle, matrix) as outside:
        found = gate(outside, host, {cluster: made_for(outside, cluster, mounts)}).all()
        others = {"client", "new client", "client of another cluster", "peer of another cluster"}
        right = {("peer", 2380), ("peer", 2379), *((shown, 2379) for shown in others)}
        assert_matrix(found, right, host, frozenset((shown, 2380) for shown in others))
        assert etcdctl(outside, host, "peer").returncode == 0


def test_verify_warns_of_a_peer_that_is_a_client_too(begun: Single) -> None:
    for host in ("t-sd-1", "t-rc-1"):
        said = begun.outcome.step(host, "verify")["warnings"]
        assert [text for text in said if "accepted as a client's" in text and "pki.trust: separate" in text], said
    assert "pki.trust" in json.dumps(begun.outcome.report["warnings"])
    assert "pki.trust" in begun.outcome.stdout


def test_an_old_client_certificate_works_before(single: LabHandle, folder: Path) -> None:
    for cluster in CLUSTERS:
        old = client_pair(single, folder, cluster, "early", mount=pki.INTERMEDIATE)
        assert etcdctl_outside(single, cluster, old, "get", "old/1").returncode == 0
        for host in members(single, cluster):
            assert anchors(single, host) == {"rootCA.pem": 1}


@pytest.mark.thorough(
    "lab/test_rotate.py::test_a_new_ca_in_three_passes_under_load_and_killed_on_the_way",
    "unit/plays/test_trust.py::test_when_the_previous_ca_need_not_be_trusted_any_more",
    "unit/certs/test_trust.py::test_what_is_trusted_though_nothing_leads_there",
    "unit/tasks/certificates/test_anchors.py::test_until_a_side_is_final",
)
def test_without_an_answer_old_clients_stay_welcome(single: LabHandle, folder: Path) -> None:
    """Nobody says yes: members get certificates of the new CAs, and clients of the old one still come in."""
    outcome = deploy(single, "--cluster", "t-rc")
    assert outcome.exit_code == 0, outcome.text
    warnings = json.dumps(outcome.report["warnings"])
    assert "for clients, Home Root CA stays trusted so that" in warnings
    assert "a peer's certificate is accepted as a client's" in warnings
    old = client_pair(single, folder, "t-rc", "still", mount=pki.INTERMEDIATE)
    assert etcdctl_outside(single, "t-rc", old, "get", "old/1").returncode == 0
    for host in members(single, "t-rc"):
        assert anchors(single, host) == {"rootCA.pem": 1, "peerCA.pem": 1, "clientCA.pem": 2}
    again = deploy(single, "--cluster", "t-rc")
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def test_to_separate_cas_under_load(single: LabHandle, folder: Path) -> None:
    outcome, loads, watch = change(single, folder, "separate")
    assert outcome.exit_code == 0, outcome.text
    assert_unnoticed(loads, watch, single)
    for cluster in CLUSTERS:
        assert unhealthy(single, cluster) == ""
        old = client_pair(single, folder, cluster, "late", mount=pki.INTERMEDIATE)
        refused = etcdctl_outside(single, cluster, old, "get", "old/1", seconds=2)
        assert refused.returncode != 0, "a client of the CA of before"
        new = client_pair(single, folder, cluster, "new")
        found = etcdctl_outside(single, cluster, new, "get", "--prefix", "old/", "--count-only", "-w", "fields")
        assert f'"Count" : {KEYS}' in found.stdout, found.stdout + found.stderr
        peer = client_pair(single, folder, cluster, single.plan.host(members(single, cluster)[0]).fqdn, role="peer")
        assert etcdctl_outside(single, cluster, peer, "get", "old/1", seconds=2).returncode != 0, "a peer as a client"
        for host in members(single, cluster):
            assert anchors(single, host) == {"peerCA.pem": 1, "clientCA.pem": 1}
    again = deploy(single)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text


def test_one_host_alone_gets_no_certificate_of_a_ca_that_the_others_do_not_trust(
    single: LabHandle, folder: Path
) -> None:
    host = members(single, "t-rc")[0]
    before = output(single, host, f"readlink {CERTS}/server")
    outcome = deploy(single, "--limit", host, config=with_single_ca(single, folder))
    assert outcome.exit_code == 3, outcome.text
    assert "run for the whole cluster" in outcome.text
    assert output(single, host, f"readlink {CERTS}/server") == before


@pytest.mark.thorough(
    "unit/certs/test_trust_worlds.py::test_members_accept_each_other_whatever_happens",
    "lab/test_rotate.py::test_a_new_ca_in_three_passes_under_load_and_killed_on_the_way",
    "lab/test_trust.py::test_to_separate_cas_under_load",
)
def test_and_back_after_a_run_that_was_killed_under_load(single: LabHandle, folder: Path) -> None:
    """Killed while members are restarted to trust the other CA; the next run goes on from what it finds."""
    config = with_single_ca(single, folder)
    run = begin_deploy(single, "--yes", config=config)
    reach(run, "a member that is restarted", seen(run, "step_started", "start"))
    run.kill()
    assert run.process.returncode == -signal.SIGKILL
    outcome, loads, watch = change(single, folder, "back", config=config)
    assert outcome.exit_code == 0, outcome.text
    assert_unnoticed(loads, watch, single)
    for cluster in CLUSTERS:
        for host in members(single, cluster):
            assert anchors(single, host) == {"rootCA.pem": 1}
        old = client_pair(single, folder, cluster, "again", mount=pki.INTERMEDIATE)
        assert etcdctl_outside(single, cluster, old, "get", "old/1").returncode == 0
    again = deploy(single, config=config)
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
