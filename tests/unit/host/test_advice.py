"""What measured disks and networks mean, in words."""

from __future__ import annotations

import pytest

from etcdfleet.host.advice import Measured, advice, on_card, read_round_trips
from tests.unit.support.site import settings

OTHERS = {"az-2": "198.51.100.12", "az-3": "198.51.100.13"}
PING = """\
= 198.51.100.12
PING 198.51.100.12 (198.51.100.12): 56 data bytes

--- 198.51.100.12 ping statistics ---
4 packets transmitted, 4 packets received, 0% packet loss
round-trip min/avg/max = 0.103/0.201/0.394 ms
= 198.51.100.13
--- 198.51.100.13 ping statistics ---
4 packets transmitted, 4 received, 0% packet loss, time 603ms
rtt min/avg/max/mdev = 0.030/1.5/0.046/0.006 ms
"""


def told(**measured: object) -> str:
    return "\n".join(advice(settings(), Measured(**{"round_trips": {}, **measured})))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("syncs", "words"),
    [
        ((), "--disk measures it"),
        ((2.0,) * 100, "within the 10 ms"),
        ((2.0,) * 98 + (80.0, 80.0), "leaves room for it (heartbeat_ms 500, election_ms 5000)"),
        ((400.0,) * 10, "set heartbeat_ms: 800 and election_ms: 8000"),
    ],
)
def test_disk(syncs: tuple[float, ...], words: str) -> None:
    assert words in told(syncs=syncs)


def test_a_card_is_named() -> None:
    assert on_card("/dev/mmcblk0p2")
    assert not on_card("/dev/sda1")
    assert "/dev/mmcblk0p2" in told(device="/dev/mmcblk0p2")
    assert "card" not in told(device="/dev/sda1")


@pytest.mark.parametrize(
    ("trips", "words"),
    [
        (None, "no ping on the host"),
        ({}, "no answer to ping from az-2, az-3"),
        ({"az-2": 0.4}, "no answer to ping from az-3"),
        ({"az-2": 0.4, "az-3": 90.0}, "90 ms to az-3 and back: fits heartbeat_ms 500"),
        ({"az-2": 0.4, "az-3": 620.0}, "set heartbeat_ms: 950 and election_ms: 9500"),
    ],
)
def test_network(trips: dict[str, float] | None, words: str) -> None:
    assert words in told(round_trips=trips)


def test_what_ping_says_in_both_worlds() -> None:
    assert read_round_trips(PING, OTHERS) == {"az-2": 0.201, "az-3": 1.5}
    assert read_round_trips("= 198.51.100.12\n100% packet loss\n", OTHERS) == {}
