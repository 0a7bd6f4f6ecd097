"""Whether a member may be brought to another address, in each state of the cluster around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import ExpectedMember
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.readdressing import UpdateEntry, may_be_restarted, may_move, names_in_use, update_of
from tests.unit.etcd.test_replacement import EXPECTED, WELL, cluster, entry, status

OLD = EXPECTED[0]
NEW = ExpectedMember("m1", "https://new1:2380", "https://new1:2379")
OTHER_PORT = replace(OLD, peer_url="https://h1:12380")
CUT_OFF = cluster(entry(1), entry(2), entry(3), answering=(status(2), status(3)))
FIVE = tuple(entry(number) for number in range(1, 6))


def alone(**how: Any) -> Cluster:
    """A cluster of one."""
    return cluster(entry(1), answering=(status(1, leader=1, **how),), size=1)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (WELL, ""),
        # Its old address is dead already: the others carry the cluster, and it loses nothing.
        (CUT_OFF, ""),
        (cluster(entry(1), entry(2), entry(3), answering=(status(1), status(2), status(3)), sick=(1,)), ""),
        (alone(), ""),
        # Two of five are cut off: the first of them may go, since a majority of the others is there.
        (cluster(*FIVE, answering=(status(2), status(3), status(4)), size=5), ""),
        (cluster(entry(1), entry(2), answering=(status(1), status(2)), size=2), ""),
        # It is healthy, and another is not.
        (cluster(*FIVE, answering=tuple(map(status, (1, 2, 3, 4))), size=5), "m5 does not answer"),
        (cluster(entry(1), entry(2), entry(3), answering=(status(1), status(2))), "m3 does not answer"),
        # No majority is there that could take the new URL into the list.
        (cluster(entry(1), entry(2), entry(3), answering=(status(2),)), "1 of 3 members are healthy: 2 must be"),
        (cluster(entry(1), entry(2), answering=(status(2),), size=2), "1 of 2 members are healthy: 2 must be"),
        (Cluster(EXPECTED[:3], no_list="no leader"), "no leader"),
        # Something else is under way.
        (cluster(entry(1), entry(2), entry(3, learner=True), answering=(status(1), status(2))), "m3 is a learner"),
        (
            cluster(entry(1), entry(2), entry(3), answering=(status(1), status(2), status(3, version="3.6.14"))),
            "different versions",
        ),
        (
            cluster(
                entry(1),
                entry(2),
                entry(3),
                answering=(status(1), status(2), status(3, errors=("memberID:3 alarm:CORRUPT ",))),
            ),
            "corrupt data",
        ),
        (cluster(entry(2), entry(3), answering=(status(2), status(3))), "it is not in the member list"),
        # Two members that change places.
        (
            cluster(
                entry(1), entry(2, peer_urls=("https://new1:2380/",)), entry(3), answering=tuple(map(status, (1, 2, 3)))
            ),
            "is that of m2 now",
        ),
        # Another port of the same host is another address.
        (
            cluster(
                entry(1), entry(2, peer_urls=("https://new1:12380",)), entry(3), answering=tuple(map(status, (1, 2, 3)))
            ),
            "",
        ),
    ],
)
def test_a_member_moves_only_while_the_others_carry_the_cluster(seen: Cluster, why: str) -> None:
    refusal = may_move("h1", NEW, seen)
    if not why:
        assert refusal is None
        assert may_be_restarted(seen, "m1") is None
        return
    assert isinstance(refusal, Refusal)
    assert why in refusal.what
    assert refusal.hosts == ("h1",)
    assert refusal.remedy


def test_without_a_majority_the_remedy_is_that_the_old_name_leads_to_the_host() -> None:
    refusal = may_move("h1", NEW, cluster(entry(1), entry(2), answering=(status(2),), size=2))
    assert refusal
    assert "https://h1:2380" in refusal.remedy
    assert "/etc/hosts" in refusal.remedy


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (cluster(entry(1), entry(2), entry(3), answering=(status(1), status(2))), "m3 does not answer"),
        (cluster(entry(1), entry(2), entry(3), answering=(status(2),)), "no majority of the others is healthy"),
        (cluster(entry(2), entry(3), answering=(status(2), status(3))), "m1 is not in the member list"),
    ],
)
def test_the_gate_is_asked_again_right_before_the_restart(seen: Cluster, why: str) -> None:
    assert may_be_restarted(seen, "m1") == why


@pytest.mark.parametrize(
    ("wanted", "seen", "url"),
    [
        (NEW, WELL, "https://new1:2380"),
        (OTHER_PORT, WELL, "https://h1:12380"),
        (OLD, WELL, ""),
        (replace(OLD, peer_url="https://h1:2380/"), WELL, ""),
        (NEW, Cluster(), ""),
    ],
)
def test_the_entry_is_updated_where_it_differs_and_only_there(wanted: ExpectedMember, seen: Cluster, url: str) -> None:
    assert update_of(wanted, seen) == (UpdateEntry(entry(1), url) if url else None)


def test_the_names_in_use_are_those_of_the_configuration_and_of_the_list() -> None:
    there = {
        "listen-peer-urls": frozenset({"198.51.100.7:2380", "[fd00::7]:2380"}),
        "listen-client-urls": frozenset({"127.0.0.1:2379", "0.0.0.0:2379"}),
        "advertise-client-urls": frozenset({"old.home:2379"}),
    }
    assert names_in_use(there, NEW, WELL) == ("198.51.100.7", "fd00::7", "h1", "old.home")
    assert names_in_use({}, NEW, Cluster()) == ()
