"""Which certificate opens which port: asked of members with openssl, curl and etcdctl, from where peers are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import pki
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import members, unhealthy, wait_for
from tests.lab.gates import assert_matrix, etcdctl, gate, made_for
from tests.lab.outside import Outside, from_outside

HOSTS = ("s-sd-1", "s-sd-2", "s-sd-3", "s-rc-1", "s-rc-2", "s-rc-3")
RIGHT = {("client", 2379), ("new client", 2379), ("peer", 2380)}


@pytest.fixture(scope="module")
def outside(sight: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    for cluster in sight.plan.clusters:
        # Tests before may have pulled power cords.
        wait_for(f"{cluster.name} is whole", lambda c=cluster.name: unhealthy(sight, c) == "", timeout=180)  # type: ignore[misc]
    with from_outside(sight, tmp_path_factory.mktemp("matrix")) as client:
        yield client


@pytest.fixture(scope="module")
def made(outside: Outside) -> dict[str, dict[str, Path]]:
    found = {}
    for cluster in outside.handle.plan.clusters:
        mounts: dict[pki.Role, str] = {
            "client": pki.side_mount(cluster.name, "client"),
            "peer": pki.side_mount(cluster.name, "peer"),
        }
        found[cluster.name] = made_for(outside, cluster.name, mounts)
    return found


ONE_OF_EACH = ("s-sd-1", "s-rc-1")
"""What the others show is the same; make thorough asks them, too."""
THE_OTHERS = pytest.mark.thorough(
    "lab/test_matrix.py::test_only_clients_at_2379_and_peers_at_2380",
    "lab/test_verify.py::test_healthy",
    "unit/checks/test_knocks.py::test_who_is_let_in",
)


@pytest.mark.parametrize("host", [one if one in ONE_OF_EACH else pytest.param(one, marks=THE_OTHERS) for one in HOSTS])
def test_only_clients_at_2379_and_peers_at_2380(outside: Outside, made: dict[str, dict[str, Path]], host: str) -> None:
    assert_matrix(gate(outside, host, made).all(), RIGHT, host)


@pytest.mark.parametrize("cluster", ["s-sd", "s-rc"])
def test_etcdctl_is_served_with_the_clients_certificate_only(outside: Outside, cluster: str) -> None:
    source = members(outside.handle, cluster)[0]
    shown = ("client", "peer", "server", "none")
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(shown, pool.map(lambda s: etcdctl(outside, source, s).returncode, shown), strict=True))
    assert {name for name, code in found.items() if code == 0} == {"client"}, found
