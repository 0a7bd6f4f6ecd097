"""The table of etcd's configuration keys: what a release reads, and that the table itself holds together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from etcdfleet.etcd.config_keys import GATE, MINORS, first_releases, last_minor, reads, table


@pytest.mark.parametrize(
    ("key", "version", "so"),
    [
        ("name", (3, 4), True),
        ("name", None, True),
        ("tls-min-version", (3, 4, 24), False),
        ("tls-min-version", (3, 4, 25), True),
        ("tls-min-version", (3, 4), True),
        ("tls-min-version", (3, 5, 7), False),
        ("tls-min-version", (3, 5, 8), True),
        ("max-concurrent-streams", (3, 5, 4), False),
        ("allowed-cn", (3, 5), None),
        ("peer-transport-security.allowed-cn", (3, 5, 13), False),
        ("peer-transport-security.allowed-cn", (3, 5, 14), True),
        ("feature-gates", (3, 5, 33), False),
        ("feature-gates", (3, 6, 0), True),
        ("feature-gates", None, True),
        ("feature-gates", (3, 8, 0), True),
        ("feature-gates", (3, 3, 27), False),
        ("experimental-compact-hash-check-enabled", (3, 4), False),
        ("experimental-compact-hash-check-enabled", (3, 5, 4), False),
        ("experimental-compact-hash-check-enabled", (3, 5, 5), True),
        ("experimental-compact-hash-check-enabled", (3, 6), True),
        ("experimental-compact-hash-check-enabled", (3, 7), False),
        ("experimental-compact-hash-check-enabled", None, False),
        ("enable-v2", (3, 5, 33), True),
        ("enable-v2", (3, 6, 0), False),
        ("next-cluster-version-compatible", (3, 4, 31), True),
        ("next-cluster-version-compatible", (3, 4, 30), False),
        ("snapshot-count", (3, 7, 1), True),
    ],
)
def test_which_release_reads_a_key(key: str, version: Sequence[int] | None, so: bool | None) -> None:
    if so is None:
        with pytest.raises(KeyError):
            reads(key, version)
    else:
        assert reads(key, version) is so


def test_how_releases_are_said() -> None:
    keys = table().keys
    assert first_releases(keys["tls-min-version"]) == "3.4.25 and 3.5.8"
    assert first_releases(keys["feature-gates"]) == "3.6.0"
    assert first_releases(keys["peer-transport-security.allowed-cn"]) == "3.5.14"
    assert last_minor(keys["enable-v2"]) == (3, 5)


def test_what_takes_a_key_s_place_is_known_from_the_next_minor_on() -> None:
    found = table()
    for name, key in found.keys.items():
        if not key.instead:
            continue
        after = next(minor for minor in MINORS if minor > last_minor(key))
        new = key.instead.removeprefix(GATE)
        there = found.gates[new] if key.instead.startswith(GATE) else found.keys[new.partition(":")[0]]
        assert there.at(after), name


def test_a_key_is_read_by_minors_in_a_row() -> None:
    for name, key in table().keys.items():
        at = [MINORS.index(minor) for minor in key.since]
        assert at == list(range(at[0], at[0] + len(at))), name


def test_experimental_keys_end_with_3_6() -> None:
    experimental = [name for name in table().keys if name.startswith("experimental-")]
    assert len(experimental) > 20
    assert not any(reads(name, (3, 7)) for name in experimental)


def test_flags_and_fields_are_no_keys() -> None:
    found = table()
    assert not set(found.flags) & set(found.keys)
    assert not found.fields & {name.lower() for name in found.keys}
