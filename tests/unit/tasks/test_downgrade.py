"""etcd's job for a step down: in which order it is asked for, and how long it is waited for."""

from __future__ import annotations

import json

import pytest

from etcdfleet.errors import ProtectionError
from tasks import downgrade
from tasks.downgrade import enable_downgrade
from tests.unit.support.stand_ins import REFUSED, Answers, Clock, Place, Scripted, carry_out, error_of


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downgrade, "time", Clock())
    monkeypatch.setattr(downgrade, "still_ours", lambda _: None)


def says(*storage: str, job: str = "", runs: str = "3.6.14") -> str:
    info = {"enabled": True, "targetVersion": job} if job else {}
    return json.dumps(
        [
            {"Endpoint": "x", "Status": {"version": runs, "storageVersion": version, "downgradeInfo": info}}
            for version in storage
        ]
    )


OLD, NEW = says("3.5.0", "3.5.0", "3.5.0"), says("3.6.0", "3.5.0", "3.6.0")
FIRST = says("3.6.0", "3.6.0", "3.6.0")
BEGUN = says("3.6.0", "3.6.0", "3.6.0", job="3.5.0")


def test_it_is_validated_enabled_and_waited_for() -> None:
    host = Scripted({"endpoint status": [FIRST, NEW, "no JSON", says("3.5.0"), OLD]})
    result = carry_out(enable_downgrade, Place(host), target="3.5")
    assert not result.failed, result.exception
    asked = [
        words for script in host.sent for words in ("validate 3.5", "enable 3.5", "endpoint status") if words in script
    ]
    assert asked == ["endpoint status", "validate 3.5", "enable 3.5", *["endpoint status"] * 4]
    assert result.result.changes == ("the cluster gives up what etcd 3.5 cannot read (etcdctl downgrade enable 3.5)",)


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ({"downgrade validate": REFUSED}, "etcdctl downgrade validate 3.5"),
        ({"downgrade enable": REFUSED}, "etcdctl downgrade enable 3.5"),
        ({"endpoint status": NEW}, "2 of 3 members still have data"),
        ({"endpoint status": ""}, "3 of 3 members still have data"),
    ],
)
def test_what_etcd_does_not_do_is_said(answers: dict[str, Answers], what: str) -> None:
    host = Scripted(answers)
    result = carry_out(enable_downgrade, Place(host), target="3.5")
    assert what in error_of(result)
    assert ("nothing was changed" in str(getattr(result.exception, "remedy", ""))) is ("validate" in what)
    assert host.was_sent("downgrade enable") == ("validate" not in what)


def asked_of(host: Scripted) -> bool:
    return host.was_sent("downgrade validate") or host.was_sent("downgrade enable")


def test_a_job_that_was_begun_is_not_begun_again() -> None:
    """etcd refuses a second one: "cluster has a downgrade job in progress"."""
    host = Scripted({"endpoint status": [BEGUN, BEGUN, OLD]})
    result = carry_out(enable_downgrade, Place(host), target="3.5")
    assert (result.failed, result.result.changes, asked_of(host)) == (False, (), False)


def test_members_on_their_way_are_not_waited_for_once_it_is_under_way() -> None:
    host = Scripted({"endpoint status": [says("3.6.0", job="3.5.0"), "", says("3.5.0", job="3.5.0")]})
    result = carry_out(enable_downgrade, Place(host), target="3.5", under_way=True)
    assert (result.failed, asked_of(host)) == (False, False)
    assert sum("endpoint status" in script for script in host.sent) == 3, "no answer at all is none"


def test_the_job_before_is_waited_for_since_etcd_ends_it_some_seconds_later() -> None:
    """From 3.7 to 3.6 and on to 3.5."""
    ending = says("3.6.0", "3.6.0", "3.6.0", job="3.6.0")
    host = Scripted({"endpoint status": [ending, ending, FIRST, OLD]})
    assert not carry_out(enable_downgrade, Place(host), target="3.5").failed
    assert host.was_sent("downgrade enable 3.5")
    stuck = Scripted({"endpoint status": ending})
    assert "job to go back to 3.6 does not end" in error_of(carry_out(enable_downgrade, Place(stuck), target="3.5"))
    assert not asked_of(stuck)


def test_nothing_is_asked_for_with_check_or_without_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Scripted()
    assert carry_out(enable_downgrade, Place(host), target="3.5", check=True).result.summary == "would go back"

    def lost(_: object) -> None:
        raise ProtectionError("another run has the lock", where="az-1", remedy="wait")

    monkeypatch.setattr(downgrade, "still_ours", lost)
    assert "another run" in error_of(carry_out(enable_downgrade, Place(host), target="3.5"))
    assert host.sent == []
