"""What can be brought to a host, the proof that a hop has arrived, and the note of a canary."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etcdfleet.drivers.packages.archive import ArchiveInstall
from etcdfleet.errors import RemoteError, VerificationError
from etcdfleet.etcd.canary import KEY, Hold
from etcdfleet.etcd.hops import Supply
from tasks import hops
from tasks.canary import end_hold, hold_back
from tasks.hops import look_at_supply, prove_version, tell_plan
from tests.unit.support.site import settings
from tests.unit.support.stand_ins import (
    RUNNING,
    Clock,
    Packages,
    Place,
    Scripted,
    carry_out,
    member_list,
    seen,
    statuses,
)

ANSWERS = {"endpoint status": statuses(1, 2, 3), "member list": member_list()}
HOLD = Hold("az-1", "3.5.16", "3.6.14", "today")
MARKED = {"cluster_id": 9, "members": {}, "token": "x"}


def said(cluster: str, storage: str = "") -> str:
    return json.dumps({"etcdserver": "x", "etcdcluster": cluster, **({"storage": storage} if storage else {})})


@pytest.mark.parametrize(
    ("install", "packages", "versions", "wanted"),
    [
        (None, Packages("due", "3.5.16"), ("3.5.16",), "3.5.16"),
        (None, Packages("due", RemoteError("no route", where="az-1", remedy="look")), (), ""),
        (
            ArchiveInstall.model_validate(
                {"version": "3.6.14", "source": {"amd64": {"file": "x", "sha256": "0" * 64}}}
            ),
            Packages("due", "3.6.14"),
            ("3.6.14",),
            "3.6.14",
        ),
    ],
)
def test_supply(install: Any, packages: Packages, versions: tuple[str, ...], wanted: str) -> None:
    place = Place(None, seen(RUNNING), packages=packages, of=settings(install=install))
    result = carry_out(look_at_supply, place)
    assert result.result == Supply("az-1", "arm", "apt", versions, wanted)


def test_a_host_may_be_wanted_otherwise_from_now_on() -> None:
    place = Place(None, seen(RUNNING), packages=Packages("due"))
    place.offered = "3.5.16"
    archive = ArchiveInstall.model_validate(
        {"version": "3.6.14", "source": {"amd64": {"file": "x", "sha256": "0" * 64}}}
    )
    place.want(settings(install=archive))
    assert (place.packages.title, place.packages.settings) == ("release archive", archive)
    assert place.offered is None


def test_a_plan_is_told() -> None:
    outcome = carry_out(tell_plan, Place(), summary="3.4.23 → 3.5.33", lines=("1. 3.5.33",)).result
    assert (outcome.summary, outcome.changes) == ("3.4.23 → 3.5.33", ("1. 3.5.33",))


@pytest.mark.parametrize(
    ("version", "answers", "summary", "slept"),
    [
        ("3.5.16", [said("3.5.0")], "etcd 3.5.16, cluster version 3.5.0", False),
        ("3.5.16", [said("3.4.0"), said("3.4.0"), said("3.5.0")], "etcd 3.5.16, cluster version 3.5.0", True),
        ("3.5.16", [""], "etcd 3.5.16", False),
    ],
)
def test_a_hop_has_arrived(
    monkeypatch: pytest.MonkeyPatch, version: str, answers: list[str], summary: str, slept: bool
) -> None:
    clock = Clock()
    monkeypatch.setattr(hops, "time", clock)
    place = Place(Scripted({"s_client": answers, **ANSWERS}), seen(RUNNING))
    result = carry_out(prove_version, place, version=version)
    assert not result.failed, result.exception
    assert result.result.summary == summary
    assert bool(result.result.warnings) is (answers == [""])
    assert (clock.now > 1000) is slept


@pytest.mark.parametrize(
    ("version", "answer", "what"),
    [
        ("3.5.16", said("3.4.0"), "the cluster version is 3.4.0"),
        ("3.5.33", said("3.5.0"), "it runs etcd 3.5.16"),
    ],
)
def test_a_hop_that_does_not_arrive(monkeypatch: pytest.MonkeyPatch, version: str, answer: str, what: str) -> None:
    monkeypatch.setattr(hops, "time", Clock())
    result = carry_out(prove_version, Place(Scripted({"s_client": answer, **ANSWERS}), seen(RUNNING)), version=version)
    assert isinstance(result.exception, VerificationError)
    assert what in result.exception.what


def placed(host: Scripted) -> Any:
    return json.loads(host.placed["/etc/etcd/cluster.json"])


def test_a_canary_is_noted_in_the_marker() -> None:
    host = Scripted()
    result = carry_out(hold_back, Place(host, seen(RUNNING, established=MARKED)), hold=HOLD)
    assert result.result.changes
    assert placed(host) == {**MARKED, KEY: {"from": "3.5.16", "to": "3.6.14", "since": "today"}}
    again = carry_out(hold_back, Place(Scripted(), seen(RUNNING, established={**MARKED, KEY: HOLD.noted()})), hold=HOLD)
    assert again.result.changes == ()


def test_the_note_is_taken_out_again() -> None:
    host = Scripted()
    assert carry_out(end_hold, Place(host, seen(RUNNING, established={**MARKED, KEY: HOLD.noted()}))).result.changes
    assert placed(host) == MARKED
    assert carry_out(end_hold, Place(Scripted(), seen(RUNNING, established=MARKED))).result.changes == ()
