"""Which releases have etcd's own checks of its data on by default."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.corruption_checks import CHECK_KEYS, sound, without_checks


@pytest.mark.parametrize(
    ("version", "so"),
    [
        ("3.3.27", False),
        ("3.4.23", False),
        ("3.4.27", False),
        ("3.4.28", True),
        ("3.5.1", False),
        ("3.5.9", False),
        ("3.5.10", True),
        ("3.5.16", True),
        ("3.6.0", True),
        ("3.7.1", True),
        ("3.8.0", True),
        ("4.0.0", True),
        (None, True),
    ],
)
def test_releases_without_a_known_false_alarm(version: str | None, so: bool) -> None:
    assert sound(version) is so


def test_what_takes_effect_at_the_next_start() -> None:
    assert {"experimental-initial-corrupt-check", "experimental-compact-hash-check-enabled"} == CHECK_KEYS
    checks = dict.fromkeys(CHECK_KEYS, True)
    assert without_checks({"name": "a", **checks}) == {"name": "a"}
    assert without_checks({"feature-gates": "CompactHashCheck=true"}) == {}
    gates = "InitialCorruptCheck=true,LeaseCheckpoint=true"
    assert without_checks({"feature-gates": gates}) == without_checks({"feature-gates": "LeaseCheckpoint=true"}) != {}
