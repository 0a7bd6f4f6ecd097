"""The table of what a rotation would do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from etcdfleet.certs.decide import Keep, Renew
from etcdfleet.certs.rotation import MemberPair
from etcdfleet.report.show.rotation_table import due_lines
from tests.unit.certs.test_rotation import GOOD

CLOCK = datetime(2026, 6, 1, 12, tzinfo=UTC)
REASONS = ("it ends in 3 days", "its names are not those of the inventory any more")


def table(width: int = 120) -> list[str]:
    first = MemberPair("az-1", {"peer": Keep(GOOD, CLOCK + timedelta(days=400)), "client": Renew(("none",))}, CLOCK)
    second = MemberPair("az-10", {"server": Renew(REASONS, GOOD)}, clock=None)
    return due_lines({"home": [first, second], "empty": []}, width)


def test_a_line_for_each_certificate_below_its_cluster() -> None:
    ends = f"{GOOD.not_after:%Y-%m-%d %H:%M}"
    left = f"{(GOOD.not_after - CLOCK).days} d"
    heading, cluster, *rows = table()
    assert heading.split() == ["host", "role", "ends", "(UTC)", "left", "what"]
    assert cluster == "home"
    assert rows[0].split() == ["az-1", "peer", *ends.split(), *left.split(), "keep,", "due", "from", "2027-07-06"]
    assert rows[1].split() == ["az-1", "client", "none", "replace:", "none"]
    assert rows[2].split()[:4] == ["az-10", "server", *ends.split()]
    assert rows[2].endswith("replace: it ends in 3 days; its names are not those of the inventory any more")
    assert len({row.index("keep") if "keep" in row else row.index("replace") for row in rows}) == 1


def test_reasons_go_on_below_themselves_where_the_terminal_is_narrow() -> None:
    *_, none, first, second, third = table(72)
    assert none.endswith("replace: none")
    start = first.index("replace")
    assert second[:start].strip() == ""
    assert second[start:].strip() != ""
    assert all(len(line) <= 72 for line in (first, second, third))
