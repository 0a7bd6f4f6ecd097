"""Durations, sizes and renewal thresholds as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from etcdfleet.renewal import RenewBefore
from etcdfleet.text import exact_size, go_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "duration", "go"),
    [
        ("43800h", timedelta(hours=43800), "43800h"),
        ("30d", timedelta(days=30), "720h"),
        ("8h", timedelta(hours=8), "8h"),
        ("90s", timedelta(seconds=90), "1m30s"),
        ("15m", timedelta(minutes=15), "15m"),
        ("1h30m", timedelta(minutes=90), "1h30m"),
        ("500ms", timedelta(milliseconds=500), "500ms"),
        ("0s", timedelta(0), "0s"),
    ],
)
def test_duration(text: str, duration: timedelta, go: str) -> None:
    assert parse_duration(text) == duration
    assert go_duration(duration) == go
    assert parse_duration(go) == duration


@pytest.mark.parametrize("text", ["", "8", "8 hours", "h", "-8h", "1.5h", "8w", "9999999999999d"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "size", "text"),
    [(2**30, 2**30, "1GiB"), ("512MiB", 512 * 2**20, "512MiB"), ("64 KiB", 65536, "64KiB"), (1000, 1000, "1000B")],
)
def test_size(value: int | str, size: int, text: str) -> None:
    assert parse_size(value) == size
    assert exact_size(size) == text
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1GB", "1G", "", "-1", "1.5GiB", "12"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "lifetime", "threshold"),
    [
        ("1/3", timedelta(hours=300), timedelta(hours=100)),
        ("2/4", timedelta(hours=300), timedelta(hours=150)),
        ("720h", timedelta(hours=43800), timedelta(days=30)),
    ],
)
def test_renew_before(text: str, lifetime: timedelta, threshold: timedelta) -> None:
    assert RenewBefore.parse(text).threshold(lifetime) == threshold


@pytest.mark.parametrize("text", ["3/3", "4/3", "0/3", "1/0", "0.3", "x"])
def test_no_renew_before(text: str) -> None:
    with pytest.raises(ValueError, match=r"0 and 1|duration"):
        RenewBefore.parse(text)
