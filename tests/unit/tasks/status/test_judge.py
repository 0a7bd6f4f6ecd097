"""What the report of a host says of it and its cluster."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.checks.overview.data import ClusterOverview, Concern, Level
from etcdfleet.etcd.learners import Learner
from tasks.status.read import judge
from tests.unit.support.fake_run import nornir_of

BEHIND = Learner("az-1", 52310, True, True, 61.9, 2**20)


@pytest.mark.parametrize(
    ("host", "learner_facts", "failed"),
    [("az-1", {"learner_behind_entries": 52310, "learner_seconds": 61}, True), ("az-2", {}, False)],
)
def test_a_learner_has_its_lag_and_age_among_the_facts(host: str, learner_facts: dict[str, int], failed: bool) -> None:
    concern = Concern(Level.WRONG, BEHIND.what, ("az-1",), BEHIND.remedy("az-1"))
    overview = ClusterOverview("home", (), "2 of 2 members serve", 0, "az-2", 3, (concern,), {"az-1": BEHIND})
    result: Any = nornir_of({host: "home"}).run(judge, overview=overview)[host][0]
    facts = result.result.facts
    assert {name: value for name, value in facts.items() if name.startswith("learner")} == learner_facts
    assert result.failed is failed
    assert facts["concerns"] == ([concern.as_json()] if failed else [])
