"""What restore.py and teardown.py refuse before a host is touched: not a whole cluster, another name, two sources."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import UsageError
from etcdfleet.etcd.restore_sources import Offer, Proposal
from etcdfleet.program.run import Program
from plays import sources
from plays.options import RestoreOptions, TeardownOptions
from tests.unit.runbooks.test_runbooks import asked_for
from tests.unit.support.fake_run import program_of
from tests.unit.support.paths import ROOT

FLEET = {"az-1": "home", "az-2": "home"}
BOTH = {**FLEET, "edge-1": "edge"}


def program(own: Any, fleet: dict[str, str], **options: Any) -> Program[Any]:
    made = program_of(own, fleet=fleet)
    return replace(made, options=replace(made.options, **{"clusters": ("home",), **options}))


@pytest.mark.parametrize(("name", "options"), [("restore", RestoreOptions), ("teardown", TeardownOptions)])
@pytest.mark.parametrize(
    ("fleet", "chosen", "confirm", "what", "remedy"),
    [
        (FLEET, {"limit": ("az-1",)}, "", "as a whole", "leave it out; "),
        (FLEET, {"clusters": ()}, "", "at a time", "add --cluster with one of: home"),
        (BOTH, {"clusters": ("home", "edge")}, "", "at a time", "home, edge"),
        (FLEET, {}, "hom", "'hom' is not the name of the cluster, which is 'home'", "in both places"),
    ],
)
def test_a_cluster_is_chosen_as_a_whole_and_named_twice(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: Any,
    fleet: dict[str, str],
    chosen: dict[str, Any],
    confirm: str,
    what: str,
    remedy: str,
) -> None:
    body = asked_for(ROOT / "runbooks" / f"{name}.py", monkeypatch)["body"]
    with pytest.raises(UsageError, match=what) as caught:
        body(program(options(confirm=confirm), fleet, **chosen))
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("own", "what", "remedy"),
    [
        ({"snapshot": "latest", "from_member": "az-1"}, "restored from one source", "--from-data HOST:FOLDER"),
        ({"from_member": "az-1", "from_data": "az-1:/mnt"}, "restored from one source", "--from-member HOST"),
        ({"from_member": "az-9"}, "az-9 is no host of home", "az-1, az-2"),
        ({"from_member": "az-1", "without": ["az-1"]}, "az-1 is no host of home that takes part", "az-1, az-2"),
        ({"from_data": "az-9:/mnt"}, "az-9 is no host of home", "az-1, az-2"),
        ({"from_data": "az-1"}, "'az-1' is no folder on a host", "HOST:/FOLDER"),
        ({"from_data": "az-1:mnt"}, "'az-1:mnt' is no folder on a host", "HOST:/FOLDER"),
        ({"snapshot": "latest", "without": ["az-9"]}, "az-9 is no host of home", "az-1, az-2"),
        ({"snapshot": "latest", "clone": "home"}, "home cannot become a copy of itself", "leave it out"),
    ],
)
def test_sources_that_cannot_be(monkeypatch: pytest.MonkeyPatch, own: Any, what: str, remedy: str) -> None:
    body = asked_for(ROOT / "runbooks" / "restore.py", monkeypatch)["body"]
    with pytest.raises(UsageError, match=what) as caught:
        body(program(RestoreOptions(**own), FLEET))
    assert remedy in caught.value.remedy


def test_without_a_source_it_prints_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    body = asked_for(ROOT / "runbooks" / "restore.py", monkeypatch)["body"]
    monkeypatch.setattr(sources, "find", lambda _: Proposal("Sources:", (Offer("a backup", "loses 3", "run [it]"),)))
    printed: list[str] = []

    class Console:
        def out(self, text: str, **_: object) -> None:
            printed.append(text)

    made = program(RestoreOptions(), FLEET)
    body(made)
    ending: Any = made.terminal.ending
    ending(Console(), None, True)
    assert printed == []
    ending(Console(), None, False)
    assert printed == ["Sources:\n1. a backup\n   loses 3\n   run [it]\n"]
