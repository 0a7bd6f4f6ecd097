"""A key that is written before a member leaves etcd 3.4, and no key at any other time."""

from __future__ import annotations

import pytest

from etcdfleet.errors import RemoteError
from tasks.written_key import write_before_3_5
from tests.unit.support.stand_ins import REFUSED, RUNNING, Packages, Place, Scripted, seen

KEY = "/etcdfleet/verify/written/az-1"


@pytest.mark.parametrize(
    ("runs", "due", "programs", "written"),
    [
        # What is installed, and starts next, is 3.5.16.
        ("3.4.23", "", False, True),
        ("3.5.1", "", False, False),
        ("3.4.23", "3.4.23 is installed", True, True),
        ("3.5.16", "3.5.16 is installed", True, False),
        ("", "", False, False),
    ],
)
@pytest.mark.parametrize("tls", [True, False])
def test_when_a_key_is_written(runs: str, due: str, programs: bool, written: bool, tls: bool) -> None:
    host = Scripted()
    site = Place(host, seen(RUNNING), packages=Packages(due, "3.5.33"))
    assert bool(write_before_3_5(site, runs, tls=tls, programs=programs)) == written
    assert len(host.sent) == written
    if written:
        (script,) = host.sent
        assert script.index(f"put {KEY} 1") < script.index("/dev/null && ") < script.index(f"del {KEY}")
        assert ("https://" in script) == tls


def test_a_step_within_3_4_writes_nothing() -> None:
    site = Place(host := Scripted(), seen(RUNNING), packages=Packages("due", "3.4.45"))
    assert write_before_3_5(site, "3.4.23", tls=True, programs=True) == ""
    assert host.sent == []


def test_a_key_that_is_not_taken_stops_it() -> None:
    with pytest.raises(RemoteError, match="writing a key and deleting it"):
        write_before_3_5(Place(Scripted({"put ": REFUSED}), seen(RUNNING)), "3.4.23", tls=True, programs=False)
