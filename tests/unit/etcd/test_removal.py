"""A member is removed only from a cluster that is healthy without it, and the last one never."""

from __future__ import annotations

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.removal import Removal, removal
from etcdfleet.etcd.replacement import RemoveEntry
from tests.unit.etcd.test_replacement import EXPECTED, FIVE, REMOVED, WELL, cluster, entry, status

ALL = tuple(status(number) for number in range(1, 6))
LEADER = cluster(*FIVE[:3], answering=(status(1), status(2), status(3)))


@pytest.mark.parametrize(
    ("name", "seen", "wanted", "warning"),
    [
        ("m1", WELL, Removal(RemoveEntry(entry(1)), 2), "two members are left, and both must live"),
        ("1", WELL, Removal(RemoveEntry(entry(1)), 2), "two members are left"),
        ("m2", LEADER, Removal(RemoveEntry(entry(2), leads=True), 2), "two members"),
        # One that is down is what a person wants to be rid of.
        ("m1", cluster(*FIVE[:3], answering=ALL[1:3]), Removal(RemoveEntry(entry(1)), 2), "two members"),
        (
            "m1",
            cluster(*FIVE, answering=ALL, size=5),
            Removal(RemoveEntry(entry(1)), 4),
            "of the 4 that are left, 1 can be lost: no more than of 3",
        ),
        ("m4", cluster(*FIVE[:4], answering=ALL[:4], size=4), Removal(RemoveEntry(entry(4)), 3), ""),
        ("m1", cluster(*FIVE[:2], answering=ALL[:2], size=2), Removal(RemoveEntry(entry(1)), 1), "the only copy"),
        (
            "m4",
            cluster(*FIVE[:3], entry(4, learner=True), answering=(*ALL[:3], status(4, learner=True)), size=4),
            Removal(RemoveEntry(entry(4, learner=True)), 3),
            "",
        ),
        # It is gone already: what is left on its host is put away.
        ("m1", REMOVED, Removal(None, 2), ""),
    ],
)
def test_what_is_to_be_done(name: str, seen: Cluster, wanted: Removal, warning: str) -> None:
    found = removal(name, seen)
    assert found == wanted
    assert isinstance(found, Removal)
    assert warning in found.warning
    assert bool(found.warning) is bool(warning)


@pytest.mark.parametrize(
    ("name", "seen", "what"),
    [
        ("m1", Cluster(EXPECTED[:3], no_list="its member does not answer"), "no other member gives the member list"),
        ("m1", cluster(entry(1), answering=ALL[:1], size=1), "the only member of its cluster"),
        ("m1", cluster(*FIVE[:3], answering=(status(1), status(2))), "1 of the 2 other members are healthy"),
        ("m1", cluster(*FIVE, answering=ALL[:4], size=5), "m5, which would be left, is not healthy"),
        ("m1", cluster(*FIVE, answering=ALL, sick=(5,), size=5), "m5, which would be left, is not healthy"),
        ("m1", cluster(*FIVE[:2], answering=ALL[:1], size=2), "0 of the 1 other members"),
        (
            "m1",
            cluster(*FIVE[:3], entry(4, learner=True), answering=(*ALL[:3], status(4, learner=True)), size=4),
            "m4 is a learner already",
        ),
    ],
)
def test_what_is_refused(name: str, seen: Cluster, what: str) -> None:
    refusal = removal(name, seen)
    assert isinstance(refusal, Refusal), refusal
    assert what in refusal.what
    assert refusal.remedy
