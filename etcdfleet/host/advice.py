"""What the measured disk and network of a host mean for its settings, in words. Advice is never a failure.

The rules of thumb are etcd's: synced writes of its log within 10 ms at the 99th percentile (documentation, "Hardware"),
a heartbeat about as long as the round trip between members (0.5 to 1.5 times), and an election time-out of at least ten
round trips ("Tuning").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etcdfleet.host.preflight import percentile
from etcdfleet.settings.models import HostSettings

GOOD_SYNC_MS = 10.0
LATE_HEARTBEATS = 2
"""etcd warns when a heartbeat is late by more than so many of its intervals."""
ROUND_TRIPS_PER_ELECTION = 10


@dataclass(frozen=True)
class Measured:
    """What was measured. ``syncs`` are synced writes in ms, in their order; ``device`` the one that holds the data.

    ``round_trips`` are in ms, by the other members' names; those that did not answer lack.
    """

    syncs: tuple[float, ...] = ()
    device: str = ""
    round_trips: Mapping[str, float] | None = None


def on_card(device: str) -> bool:
    """Return whether a block device is an SD card or eMMC."""
    return re.search(r"/mmcblk\d", device) is not None


def advice(settings: HostSettings, measured: Measured) -> tuple[str, ...]:
    """Return one sentence or two for each thing that is worth knowing, good or bad."""
    return (*_disk(settings, measured.syncs), *_device(measured), *_network(settings, measured.round_trips))


def _disk(settings: HostSettings, syncs: Sequence[float]) -> list[str]:
    cluster = settings.cluster
    if not syncs:
        return ["disk: not measured, since a member has its data there; --disk measures it all the same"]
    p99 = percentile(syncs, 0.99)
    speed = f"disk: a synced write takes {_ms(percentile(syncs, 0.5))}, at the 99th percentile {_ms(p99)}"
    times = f"heartbeat_ms {cluster.heartbeat_ms}, election_ms {cluster.election_ms}"
    if p99 <= GOOD_SYNC_MS:
        return [f"{speed}: within the 10 ms that etcd asks for"]
    if p99 <= cluster.heartbeat_ms / LATE_HEARTBEATS:
        return [
            f"{speed}: more than the 10 ms that etcd asks for, and the inventory leaves room for it ({times}): expect "
            "slow writes, and no elections because of it; keep these times"
        ]
    heartbeat = _rounded_up(p99 * LATE_HEARTBEATS)
    return [
        f"{speed}: too slow for {times}: the leader's heartbeats will be late under load, and members will elect anew; "
        f"set heartbeat_ms: {heartbeat} and election_ms: {max(cluster.election_ms, heartbeat * 10)}, or use a faster "
        "disk"
    ]


def _device(measured: Measured) -> list[str]:
    if not on_card(measured.device):
        return []
    return [
        f"card: the data lies on {measured.device}, an SD card or eMMC: it wears out with every write, and some lose "
        "what was synced at a power cut; an SSD is better, else an A2 card, and snapshots kept elsewhere"
    ]


def _network(settings: HostSettings, round_trips: Mapping[str, float] | None) -> list[str]:
    others = [member.name for member in settings.members if member.name != settings.member.name]
    if not others:
        return ["network: a cluster of one has none between its members"]
    if round_trips is None:
        return ["network: not measured, since there is no ping on the host"]
    silent = [name for name in others if name not in round_trips]
    lines = [f"network: no answer to ping from {', '.join(silent)}"] if silent else []
    if not round_trips:
        return lines
    name, slowest = max(round_trips.items(), key=lambda item: item[1])
    cluster, text = settings.cluster, f"network: {_ms(slowest)} to {name} and back"
    if slowest * ROUND_TRIPS_PER_ELECTION > cluster.election_ms or slowest > cluster.heartbeat_ms:
        heartbeat = _rounded_up(slowest * 1.5)
        election = max(_rounded_up(slowest * ROUND_TRIPS_PER_ELECTION), heartbeat * 10)
        text += (
            f": too far for heartbeat_ms {cluster.heartbeat_ms} and election_ms {cluster.election_ms}; set "
            f"heartbeat_ms: {heartbeat} and election_ms: {election}"
        )
    else:
        text += f": fits heartbeat_ms {cluster.heartbeat_ms} and election_ms {cluster.election_ms}"
    return [*lines, text]


def read_round_trips(text: str, addresses: Mapping[str, str]) -> dict[str, float]:
    """Return each member's average round trip (ms) from ``= ADDRESS`` lines, each followed by what ping said."""
    names = {address: name for name, address in addresses.items()}
    round_trips: dict[str, float] = {}
    for part in re.split(r"^= ", text, flags=re.MULTILINE)[1:]:
        address, _, output = part.partition("\n")
        times = re.search(r"min/avg/max(?:/mdev)? = [\d.]+/([\d.]+)/", output)
        if times and address.strip() in names:
            round_trips[names[address.strip()]] = float(times[1])
    return round_trips


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _rounded_up(value: float) -> int:
    return int(-(-value // 50) * 50)
