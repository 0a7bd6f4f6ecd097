"""What upgrade.py refuses before it logs in anywhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from etcdfleet.errors import UsageError
from plays.options import UpgradeOptions
from tests.unit.runbooks.test_runbooks import asked_for
from tests.unit.support.paths import ROOT


@pytest.mark.parametrize(
    ("version", "refused"),
    [("3.x", True), ("3.6", True), ("latest", True), ("3.6.14", False), ("v3.6.14", False), ("", False)],
)
def test_a_version_is_written_in_full(monkeypatch: pytest.MonkeyPatch, version: str, refused: bool) -> None:
    upgrade = asked_for(ROOT / "runbooks" / "upgrade.py", monkeypatch)["body"]
    played: list[object] = []
    program = cast(Any, SimpleNamespace(own=UpgradeOptions(to=version), play=played.append))
    if refused:
        with pytest.raises(UsageError, match=f"{version} is no version"):
            upgrade(program)
    else:
        upgrade(program)
    assert bool(played) is not refused
