"""A cluster is taken down only where every host can be read and holds its data, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.replacement import Place
from etcdfleet.etcd.teardown import Teardown, teardown
from etcdfleet.etcd.wal import DataIds
from tests.unit.etcd.test_replacement import CLUSTER_ID, EXPECTED, FIVE, WELL, cluster, status

HOSTS = ("h1", "h2", "h3")
DOWN = Cluster(EXPECTED[:3], no_list="its member does not answer")


def place(number: int, **how: Any) -> Place:
    """A host with a running member of the cluster."""
    usual: dict[str, Any] = {"data": DataIds(number, CLUSTER_ID, 100), "marked": True, "running": True}
    return Place(f"h{number}", EXPECTED[number - 1], **{**usual, **how})


RUNNING = {host: place(number) for number, host in enumerate(HOSTS, 1)}
STOPPED = {host: replace(each, running=False) for host, each in RUNNING.items()}
EMPTY = {host: replace(each, running=False, data=None, marked=False) for host, each in RUNNING.items()}


UNREADABLE = EMPTY | {"h1": replace(EMPTY["h1"], data_unreadable="no log")}
LONE = cluster(*FIVE[:3], answering=(status(1),), sick=(1,))


def decided(places: Any, seen: Cluster, **how: bool) -> Teardown | Refusal:
    return teardown(HOSTS, places, seen, **{"deletes": False, "without_snapshot": False, **how})


@pytest.mark.parametrize("deletes", [False, True])
def test_a_cluster_that_works(deletes: bool) -> None:
    assert decided(RUNNING, WELL, deletes=deletes) == Teardown(HOSTS, HOSTS, answers=True)


@pytest.mark.parametrize(
    ("places", "how", "wanted"),
    [
        (STOPPED, {}, Teardown((), HOSTS, answers=False)),  # a run that was ended, or a cluster that is down
        (STOPPED, {"deletes": True, "without_snapshot": True}, Teardown((), HOSTS, answers=False)),
        (EMPTY, {"deletes": True}, Teardown((), (), answers=False)),
        (EMPTY | {"h2": STOPPED["h2"]}, {}, Teardown((), ("h2",), answers=False)),
        # A log that cannot be read is no reason to leave it.
        (UNREADABLE, {}, Teardown((), ("h1",), answers=False)),
    ],
)
def test_a_cluster_that_does_not_answer(places: Any, how: Any, wanted: Teardown) -> None:
    assert decided(places, DOWN, **how) == wanted


def test_a_member_on_no_host_of_the_inventory_is_told() -> None:
    four = cluster(*FIVE[:4], answering=tuple(status(number) for number in range(1, 4)), size=3)
    found = decided(RUNNING, four)
    assert isinstance(found, Teardown)
    assert found.strangers == ("m4",)
    assert found.warning.startswith("m4 in the member list is on no host")
    assert not Teardown((), (), answers=True).warning


@pytest.mark.parametrize(
    ("places", "seen", "how", "what", "remedy"),
    [
        ({"h1": RUNNING["h1"]}, WELL, {}, "h2, h3 cannot be read", "take it out of the inventory"),
        (
            RUNNING | {"h3": place(3, data=DataIds(3, 0xD, 100))},
            WELL,
            {},
            "data of different clusters: h2 those of c, h3 those of d",
            "correct the inventory",
        ),
        (RUNNING | {"h1": place(1, foreign="an etcd runs there")}, WELL, {}, "h1: an etcd runs there", "never touched"),
        (STOPPED, DOWN, {"deletes": True}, "no snapshot can be taken", "leave out --delete-data"),
        # A lone member gives a snapshot, and may lack what those that are stopped hold.
        (STOPPED | {"h1": RUNNING["h1"]}, LONE, {"deletes": True}, "on h1, h2, h3", "--without-snapshot"),
        (UNREADABLE, DOWN, {"deletes": True}, "deleted on h1", "--without-snapshot"),
        # What an earlier run has moved aside may be the only copy.
        (EMPTY | {"h2": replace(EMPTY["h2"], removed=True)}, DOWN, {"deletes": True}, "deleted on h2", "--without"),
    ],
)
def test_what_is_refused(places: Any, seen: Cluster, how: Any, what: str, remedy: str) -> None:
    refusal = decided(places, seen, **how)
    assert isinstance(refusal, Refusal)
    assert what in refusal.what
    assert remedy in refusal.remedy
