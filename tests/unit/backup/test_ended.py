"""Whether data are missed when a cluster begins without any: what was saved since it was last taken down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.backup.ended import ended, missed, note_end
from etcdfleet.errors import VerificationError
from tests.unit.support.snapshots import put

NIGHT = datetime(2026, 11, 26, 2, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("noted", "ends", "found"),
    [
        ([{}, {}], [], 0),
        ([{}, {}], [None, None], 0),
        ([{"purpose": "change"}], [], 0),
        ([{"keys": 0}, {}], [], 1),
        ([{"keys": 0}, {"damaged": "its hash is wrong"}], [], None),
        ([{"keys": None}], [], 0),
        ([{}, {}], [NIGHT - DAY / 2], 0),
        ([{}, {}], [NIGHT], None),
        ([{}, {}], [None, NIGHT - 2 * DAY, NIGHT + DAY], None),
        ([], [], None),
    ],
)
def test_what_is_missed(
    tmp_path: Path, noted: Sequence[dict[str, Any]], ends: Sequence[datetime | None], found: int | None
) -> None:
    """``noted`` are the notes of the snapshots of some nights, the newest first."""
    made = [put(tmp_path, NIGHT - ago * DAY, **one) for ago, one in enumerate(noted)]
    assert missed(reversed(made), ends) == (None if found is None else made[found])


def test_the_end_of_a_cluster_is_noted_beside_its_snapshots(tmp_path: Path) -> None:
    note_end(tmp_path, "home", NIGHT)
    assert list(tmp_path.iterdir()) == [], "nothing was saved of it here"
    put(tmp_path, NIGHT)
    assert ended(tmp_path, "home") is None
    note_end(tmp_path, "home", NIGHT)
    note_end(tmp_path, "home", NIGHT + DAY)
    assert ended(tmp_path, "home") == NIGHT + DAY


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"taken_down": "soon"}', '{"taken_down": 7}'])
def test_a_note_that_cannot_be_read_ends_nothing(tmp_path: Path, text: str) -> None:
    put(tmp_path, NIGHT)
    (tmp_path / "home" / "taken-down.json").write_text(text)
    assert ended(tmp_path, "home") is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    put(tmp_path, NIGHT)
    (tmp_path / "home" / "taken-down.json").mkdir()
    with pytest.raises(VerificationError, match="cannot be noted that the cluster was taken down") as caught:
        note_end(tmp_path, "home", NIGHT)
    assert "--confirm home" in caught.value.remedy
