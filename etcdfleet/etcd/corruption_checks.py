"""etcd's own checks for data that differ between members: from which releases on they are fit to be on by default.

Two of its three cost next to nothing while a member runs. The *start check* compares, before a member serves again, the
hash of its data with that of each other member; where they differ, etcd ends ("found data inconsistency with peers").
The *compaction check* has the leader compare the hashes that each member has worked out while it compacted; where they
differ, it raises the alarm CORRUPT. The third scans all data each time, and is left off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etcdfleet.etcd.config_finding import FEATURE_GATES, gates_of
from etcdfleet.etcd.config_keys import GATE, Minor, table
from etcdfleet.etcd.versions import parse

SOUND_FROM: Mapping[Minor, int] = {(3, 4): 28, (3, 5): 10}
"""The first patch release of a minor version in which neither check is known for a false alarm; newer minors always.

Before 3.4.27 and 3.5.10 a hash could be wrong while a compaction went on, or after a restart in the middle of one (etcd
pull requests 16047 and 16048, issue 15919); before 3.4.28 a member of another cluster at the same address counted
(issue 15548). A false alarm keeps a sound member from starting.
"""
CHECKS = ("InitialCorruptCheck", "CompactHashCheck")
"""The feature gates of both."""
CHECK_KEYS = frozenset(name for name, key in table().keys.items() if key.instead.removeprefix(GATE) in CHECKS)
"""The keys that these checks had before they had gates."""


def sound(version: str | None) -> bool:
    """Return whether a release of etcd may have both checks on; of one that is not known, the newest counts."""
    numbers = parse(version)
    return numbers is None or numbers[2] >= SOUND_FROM.get(numbers[:2], 0 if numbers >= (3, 5, 0) else 10**6)


def without_checks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what it says of these checks, which takes effect at a member's next start."""
    rest = {key: value for key, value in settings.items() if key not in {*CHECK_KEYS, FEATURE_GATES}}
    gates = {name: on for name, on in gates_of(settings).items() if name not in CHECKS}
    return {**rest, FEATURE_GATES: gates} if gates else rest
