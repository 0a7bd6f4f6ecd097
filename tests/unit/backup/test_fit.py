"""Of which clusters a backup is taken, and of which none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etcdfleet.backup.fit import fit_for_backup
from etcdfleet.etcd.cluster import Cluster
from tests.unit.etcd.test_replacement import LEARNING, LOST, WELL, cluster, entry, status

THREE = (entry(1), entry(2), entry(3))
NOSPACE, CORRUPT = ("memberID:1 alarm:NOSPACE ",), ("memberID:1 alarm:NOSPACE ", "memberID:3 alarm:CORRUPT ")


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (WELL, ""),
        (LOST, ""),  # one of three is gone: the others have all that was confirmed
        (LEARNING, ""),
        (cluster(*THREE, answering=(status(1, errors=NOSPACE), status(2), status(3))), ""),
        (cluster(entry(1), answering=(status(1, leader=1),), size=1), ""),
        (cluster(*THREE, answering=(status(1, errors=CORRUPT), status(2), status(3))), "alarm CORRUPT"),
        (cluster(*THREE, answering=(status(1, revision=1), status(2), status(3))), "hold different data"),
        (cluster(*THREE, answering=(status(1, leader=0), status(2, leader=0))), "no leader that a majority follows"),
        # A leader of long ago: nobody can read through it.
        (cluster(*THREE, answering=(status(2),), sick=(2,)), "no leader that a majority follows"),
        (Cluster(no_list="its member does not answer"), "its member does not answer"),
        (Cluster(), "no member answers"),
    ],
)
def test_of_which_cluster_there_is_a_backup(seen: Cluster, why: str) -> None:
    refused = fit_for_backup(seen)
    if not why:
        assert refused is None
        return
    assert refused is not None
    assert why in refused.what
    assert refused.remedy


def test_members_that_differ_are_named() -> None:
    seen = cluster(*THREE, answering=(status(1, revision=1), status(2), status(3)))
    refused = fit_for_backup(replace(seen))
    assert refused is not None
    assert refused.hosts == ("m1", "m2", "m3")
