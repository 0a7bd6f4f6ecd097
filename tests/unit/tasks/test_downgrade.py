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


def says(*versions: str) -> str:
    return json.dumps([{"Endpoint": "x", "Status": {"storageVersion": version}} for version in versions])


OLD, NEW = says("3.5.0", "3.5.0", "3.5.0"), says("3.6.0", "3.5.0", "3.6.0")


def test_it_is_validated_enabled_and_waited_for() -> None:
    host = Scripted({"endpoint status": [NEW, "no JSON", says("3.5.0"), OLD]})
    result = carry_out(enable_downgrade, Place(host), target="3.5")
    assert not result.failed, result.exception
    asked = [
        words for script in host.sent for words in ("validate 3.5", "enable 3.5", "endpoint status") if words in script
    ]
    assert asked == ["validate 3.5", "enable 3.5", *["endpoint status"] * 4]
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
    assert what in error_of(carry_out(enable_downgrade, Place(host), target="3.5"))
    assert host.was_sent("downgrade enable") == ("validate" not in what)


def test_nothing_is_asked_for_with_check_or_without_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Scripted()
    assert carry_out(enable_downgrade, Place(host), target="3.5", check=True).result.summary == "would go back"

    def lost(_: object) -> None:
        raise ProtectionError("another run has the lock", where="az-1", remedy="wait")

    monkeypatch.setattr(downgrade, "still_ours", lost)
    assert "another run" in error_of(carry_out(enable_downgrade, Place(host), target="3.5"))
    assert host.sent == []
