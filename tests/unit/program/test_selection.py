from __future__ import annotations

import pytest

from etcdfleet.errors import UsageError
from etcdfleet.program.selection import HostLabels, select

HOSTS = {
    "az-1": HostLabels("home", frozenset({"home", "systemd"})),
    "az-2": HostLabels("home", frozenset({"home", "systemd"})),
    "edge-1": HostLabels("edge", frozenset({"site-7", "openrc"})),
}


@pytest.mark.parametrize(
    ("limit", "clusters", "expected"),
    [
        ([], [], ["az-1", "az-2", "edge-1"]),
        (["az-2", "az-1"], [], ["az-1", "az-2"]),
        (["az-*"], [], ["az-1", "az-2"]),
        (["systemd"], [], ["az-1", "az-2"]),
        (["edge"], [], ["edge-1"]),
        (["site-?"], [], ["edge-1"]),
        (["!az-1"], [], ["az-2", "edge-1"]),
        (["az-*", "!az-2"], [], ["az-1"]),
        (["!home", "*"], [], ["edge-1"]),
        ([], ["home"], ["az-1", "az-2"]),
        (["*-1"], ["home"], ["az-1"]),
        ([], ["home", "edge"], ["az-1", "az-2", "edge-1"]),
    ],
)
def test_select(limit: list[str], clusters: list[str], expected: list[str]) -> None:
    assert list(select(HOSTS, limit, clusters)) == expected


@pytest.mark.parametrize(
    ("limit", "clusters", "what"),
    [
        (["nothing"], [], "'nothing'"),
        (["az-1", "azz-2"], [], "did you mean 'az-2'"),
        (["az-1", "!az-9"], [], "'az-9'"),
        ([], ["hom"], "did you mean 'home'"),
        (["az-1"], ["edge"], "no host is left"),
        (["az-1", "!az-*"], [], "no host is left"),
    ],
)
def test_what_does_not_exist_is_refused(limit: list[str], clusters: list[str], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(HOSTS, limit, clusters)
    assert what in caught.value.what
    assert "edge" in caught.value.remedy


def test_an_empty_inventory() -> None:
    with pytest.raises(UsageError, match="no hosts in the inventory"):
        select({})
