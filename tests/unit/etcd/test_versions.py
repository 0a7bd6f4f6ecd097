"""Which version gets no fixes any more."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.versions import past_its_end


@pytest.mark.parametrize(
    ("version", "old"),
    [("3.4.23", True), ("3.4.37", True), ("3.3.25", True), ("3.5.0", False), ("3.6.1", False), ("4.0.0", False),
     (None, False), ("unknown", False)],
)  # fmt: skip
def test_past_its_end(version: str | None, old: bool) -> None:
    advice = past_its_end(version)
    assert bool(advice) == old
    assert old == ("install.method: archive" in advice)
