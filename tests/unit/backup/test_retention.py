"""Which backups are kept: tables of calendars, and what must hold for any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdfleet.backup.retention import Counts, surplus, wanted

EAST = timezone(timedelta(hours=3))
NIGHT = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)  # a Thursday


def nightly(count: int) -> dict[int, datetime]:
    """Backups of that many nights, by how many nights ago."""
    return {ago: NIGHT - timedelta(days=ago) for ago in range(count)}


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        (Counts(0, 0, 0), {0}),
        (Counts(1, 0, 0), {0}),
        (Counts(3, 0, 0), {0, 1, 2}),
        (Counts(7, 0, 0), set(range(7))),
        # Sundays: 22, 15, 8 November are 4, 11 and 18 nights ago.
        (Counts(0, 4, 0), {0, 4, 11, 18}),
        (Counts(2, 3, 0), {0, 1, 4, 11}),
        # The last of October is 26 nights ago, that of September 57.
        (Counts(0, 0, 3), {0, 26, 57}),
        (Counts(3, 2, 2), {0, 1, 2, 4, 26}),
        (Counts(100, 0, 0), set(range(60))),
    ],
)
def test_of_sixty_nights(counts: Counts, kept: set[int]) -> None:
    taken = nightly(60)
    assert set(wanted(taken, counts)) == kept
    assert surplus(taken, counts) == set(taken) - kept


def test_what_each_stands_for_is_told_the_newest_first() -> None:
    assert list(wanted(nightly(30), Counts(2, 2, 2)).items()) == [
        (0, ("newest", "day", "week", "month")),
        (1, ("day",)),
        (4, ("week",)),
        (26, ("month",)),
    ]


@pytest.mark.parametrize(
    ("taken", "counts", "gone"),
    [
        ({}, Counts(7, 4, 6), set()),
        ({"only": NIGHT - timedelta(days=900)}, Counts(0, 0, 0), set()),
        # Several of a day: its last one stands for it.
        ({"morning": NIGHT, "noon": NIGHT + timedelta(hours=10)}, Counts(5, 0, 0), {"morning"}),
        # A gap: days with a backup count, not days.
        (
            {"now": NIGHT, "year ago": NIGHT - timedelta(days=365), "before": NIGHT - timedelta(days=366)},
            Counts(2, 0, 0),
            {"before"},
        ),
        # Of a clock that was wrong: nothing good goes because of it.
        ({"future": NIGHT + timedelta(days=4000), "now": NIGHT}, Counts(2, 0, 0), set()),
        # At the turn of a year: 2027-01-03 belongs to the last week of 2026.
        (
            {"new year": datetime(2027, 1, 3, tzinfo=UTC), "old year": datetime(2026, 12, 30, tzinfo=UTC)},
            Counts(0, 2, 0),
            {"old year"},
        ),
        # Days are those of UTC, wherever the controller is.
        (
            {
                "late": datetime(2026, 11, 26, 1, tzinfo=timezone(timedelta(hours=3))),
                "utc": NIGHT - timedelta(hours=12),
            },
            Counts(5, 0, 0),
            {"utc"},
        ),
    ],
)
def test_other_calendars(taken: dict[str, datetime], counts: Counts, gone: set[str]) -> None:
    assert surplus(taken, counts) == gone


COUNTS = st.builds(Counts, st.integers(0, 10), st.integers(0, 6), st.integers(0, 14))
TIMES = st.dictionaries(
    st.integers(0, 500),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    max_size=60,
)


@given(TIMES, COUNTS)
def test_for_any_backups(taken: dict[int, datetime], counts: Counts) -> None:
    kept, gone = wanted(taken, counts), surplus(taken, counts)
    assert kept.keys() | gone == taken.keys()
    assert not kept.keys() & gone
    if taken:
        newest = max(taken.values())
        assert newest in {taken[key] for key in kept}, "the newest is never removed"
        assert len(kept) <= 1 + counts.daily + counts.weekly + counts.monthly
    left = {key: taken[key] for key in kept}
    assert surplus(left, counts) == set(), "what was kept once is not removed by the same counts"


@given(TIMES, COUNTS, st.data())
def test_without_one_of_those_that_stay_no_more_is_removed(
    taken: dict[int, datetime], counts: Counts, data: st.DataObject
) -> None:
    """One that is found to be bad leaves its place to others: nothing that was kept goes for it."""
    kept = wanted(taken, counts)
    if not kept:
        return
    bad = data.draw(st.sampled_from(sorted(kept)))
    rest = {key: when for key, when in taken.items() if key != bad}
    assert surplus(rest, counts) <= surplus(taken, counts)


@settings(deadline=None)  # 500 nights each: how long they take says how busy the machine is
@given(st.builds(Counts, st.integers(1, 10), st.integers(0, 6), st.integers(0, 14)))
def test_night_after_night_there_is_one_of_each_period(counts: Counts) -> None:
    left: dict[datetime, datetime] = {}
    first = NIGHT - timedelta(days=500)
    for night in range(500):
        when = first + timedelta(days=night)
        left[when] = when
        for gone in surplus(left, counts):
            del left[gone]
    assert sorted(left)[-counts.daily :] == [when - timedelta(days=ago) for ago in reversed(range(counts.daily))]
    months = {(one.year, one.month) for one in left}
    assert len(months) >= counts.monthly
    assert len({one.isocalendar()[:2] for one in left}) >= counts.weekly
