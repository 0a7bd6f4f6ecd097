"""One member runs the next version, and the others are held back on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.etcd.canary import KEY, Hold, going_back, hold_in, in_force, refuse_held
from etcdfleet.etcd.upgrades import MemberVersion

HOLD = Hold("a", "3.5.33", "3.6.14", "2026-11-26 22:00 UTC")


def members(*brings: str | None, running: tuple[str, ...] = ("3.6.14", "3.5.33", "3.5.33")) -> list[MemberVersion]:
    return [
        MemberVersion(host, now, now, new, "release archive", data=True)
        for host, now, new in zip("abc", running, brings, strict=True)
    ]


@pytest.mark.parametrize(
    ("marker", "hold"),
    [
        ({KEY: HOLD.noted(), "cluster_id": 9}, HOLD),
        ({"cluster_id": 9}, None),
        ({KEY: "yes"}, None),
        ({KEY: {"from": "3.5.33", "to": 3}}, None),
        (None, None),
    ],
)
def test_what_a_marker_says(marker: dict[str, Any] | None, hold: Hold | None) -> None:
    assert hold_in(marker, "a") == hold


@pytest.mark.parametrize(
    ("running", "counts"),
    [
        (("3.6.14", "3.5.33", "3.5.33"), True),
        (("3.6.14", "3.6.14", "3.5.33"), True),
        (("3.6.14", "", "3.5.33"), True),
        (("3.6.14", "3.6.14", "3.6.14"), False),  # it is over
        (("3.5.33", "3.5.33", "3.5.33"), False),  # it never began, or has gone back
        (("", "3.5.33", "3.5.33"), False),
        (("3.6.14", "", ""), False),
    ],
)
def test_it_counts_while_one_runs_an_older_version(running: tuple[str, ...], counts: bool) -> None:
    assert in_force([None, HOLD], dict(zip("abc", running, strict=True))) == (HOLD if counts else None)


@pytest.mark.parametrize(
    ("brings", "refused"),
    [
        ((None, "3.6.14", "3.6.14"), ("b", "c")),
        ((None, "3.7.1", None), ("b",)),
        ((None, "3.5.34", None), ("b",)),
        (("3.5.33", None, None), ()),  # back
        ((None, None, None), ()),
        ((None, "3.5.32", None), ()),
    ],
)
def test_the_others_are_not_upgraded(brings: tuple[str | None, ...], refused: tuple[str, ...]) -> None:
    refusal = refuse_held(HOLD, members(*brings))
    assert (refusal.hosts if refusal else ()) == refused
    if refusal:
        assert "a runs etcd 3.6.14 as a canary since 2026-11-26 22:00 UTC" in refusal.what
        assert refusal.remedy.startswith("python runbooks/upgrade.py goes on; the way back is install.version: 3.5.33")
        assert refusal.remedy.endswith("as long as one member runs 3.5")


def test_within_a_minor_version_the_way_back_stays_open() -> None:
    assert Hold("a", "3.5.16", "3.5.30", "").ways().endswith("install.version: 3.5.16 and python runbooks/deploy.py")


@pytest.mark.parametrize(
    ("hold", "brings", "told"),
    [
        (HOLD, ("3.5.33", None, None), "a goes back from etcd 3.6.14, which it runs as a canary, to 3.5.33"),
        (HOLD, (None, "3.5.32", None), ""),
        (HOLD, ("3.7.1", None, None), ""),
        (None, ("3.5.33", None, None), ""),
    ],
)
def test_going_back_is_told(hold: Hold | None, brings: tuple[str | None, ...], told: str) -> None:
    assert going_back(hold, members(*brings)) == told
