"""How old the newest backup is, and when that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etcdfleet.checks.overview.backup import Backups, backup_concerns, told
from etcdfleet.checks.overview.cluster import overview
from etcdfleet.checks.overview.data import Level
from tests.unit.checks.test_overview import expected, member

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("backups", "max_age", "what"),
    [
        (Backups(), None, ()),
        (Backups(), DAY, ("there is no good backup of it on this machine",)),
        (Backups(NOW - DAY), None, ()),
        (Backups(NOW - DAY), DAY, ()),
        (Backups(NOW - DAY * 3), DAY, ("its newest good backup is 3 days old, and backup.max_age is 24 h",)),
        (Backups(NOW + DAY), DAY, ()),
        (Backups(NOW, damaged=1), None, ("1 copy of its backups is damaged",)),
        (Backups(None, damaged=2), DAY, ("there is no good backup", "2 copies of its backups are damaged")),
        (Backups(unreadable="Permission denied"), DAY, ("its backups cannot be looked at: Permission denied",)),
    ],
)
def test_what_is_wrong(backups: Backups, max_age: timedelta | None, what: tuple[str, ...]) -> None:
    concerns = backup_concerns(backups, max_age, ("a", "b"), NOW)
    assert len(concerns) == len(what)
    for concern, words in zip(concerns, what, strict=True):
        assert words in concern.what
        assert (concern.level, concern.hosts) == (Level.WRONG, ("a", "b"))
        assert concern.remedy


@pytest.mark.parametrize(
    ("backups", "words"),
    [
        (Backups(), ""),
        (Backups(NOW - timedelta(hours=9)), "backup 9 h ago"),
        (Backups(NOW - timedelta(hours=9), NOW - 3 * DAY), "backup 9 h ago, restored for a trial 3 d ago"),
    ],
)
def test_what_is_told(backups: Backups, words: str) -> None:
    assert told(backups, NOW) == words


def test_it_is_one_of_the_concerns_about_the_cluster() -> None:
    views = [member(name) for name in "abc"]
    concerns = backup_concerns(Backups(), DAY, ("a", "b", "c"), NOW)
    seen = overview("home", views, expected(), backup="", about_backups=concerns)
    assert [concern.what for concern in seen.concerns] == ["there is no good backup of it on this machine"]
    assert seen.needs_attention
