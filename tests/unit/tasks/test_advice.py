"""What is measured for advice, and what is not: the disk of a member in use is written to only when that is wanted."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.wal import DataIds
from etcdfleet.host.facts import DataFacts
from etcdfleet.remote import CommandResult
from tasks.advice import advise
from tests.unit.support.stand_ins import Place, Scripted, carry_out, seen

LIVE = DataFacts(exists=True, ids=DataIds(member_id=1, cluster_id=9, last_index=50, complete=True))
PING = """= 198.51.100.12
rtt min/avg/max/mdev = 1.0/1.5/2.0/0.1 ms
= 198.51.100.13
round-trip min/avg/max = 3.0/4.5/6.0 ms
"""
WRITES = "2300 bytes copied, 0.004 s, 1.0 MB/s\n" * 100


def host(ping: CommandResult | str = PING) -> Scripted:
    return Scripted({"ping -c": ping, "dd if": WRITES, "df -P": "/dev/mmcblk0p2\n"})


@pytest.mark.parametrize(
    ("live", "disk", "check", "measured"),
    [(True, True, False, True), (True, False, False, False), (True, True, True, False), (False, True, False, False)],
    ids=["wanted", "not wanted", "check", "no member"],
)
def test_a_member_s_disk_is_measured_only_when_wanted(live: bool, disk: bool, check: bool, measured: bool) -> None:
    machine = host()
    result = carry_out(advise, Place(machine, seen(data=LIVE if live else DataFacts())), disk=disk, check=check)
    assert machine.was_sent("dd if") is measured
    assert ("sync_p99_ms" in result.result.facts) is measured
    assert result.result.summary.startswith("synced write p99 4.0 ms" if measured else "disk not measured")


def test_what_the_preflight_measured_is_used() -> None:
    machine = host()
    place = Place(machine, seen())
    place.sync_latencies = (2.0, 2.0, 8.0)
    result = carry_out(advise, place)
    assert not machine.was_sent("dd if")
    assert result.result.facts["sync_p99_ms"] == 8.0


def test_round_trips_and_the_disk_s_kind() -> None:
    result = carry_out(advise, Place(host(), seen(data=LIVE)))
    assert result.result.facts["round_trip_ms"] == {"az-2": 1.5, "az-3": 4.5}
    assert result.result.facts["data_device"] == "/dev/mmcblk0p2"
    assert result.result.summary.endswith("round trip 4.5 ms")
    assert not result.changed


def test_a_host_without_ping_gets_the_rest() -> None:
    result = carry_out(advise, Place(host(CommandResult(1, "", "")), seen()))
    assert not result.failed
    assert "round_trip_ms" not in result.result.facts
    assert any("card" in sentence for sentence in result.result.facts["advice"])
