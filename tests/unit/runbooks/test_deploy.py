"""What deploy.py refuses before it logs in anywhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from etcdfleet.errors import UsageError
from plays.options import DeployOptions
from tests.unit.runbooks.test_runbooks import asked_for
from tests.unit.support.paths import ROOT


@pytest.mark.parametrize(("confirm", "refused"), [("", False), ("edge", False), ("edgy", True), ("yes", True)])
def test_the_name_that_is_confirmed_is_one_of_the_run(
    monkeypatch: pytest.MonkeyPatch, confirm: str, refused: bool
) -> None:
    deploy = asked_for(ROOT / "runbooks" / "deploy.py", monkeypatch)["body"]
    played: list[object] = []
    program = SimpleNamespace(own=DeployOptions(confirm=confirm), clusters={"home": (), "edge": ()}, play=played.append)
    if refused:
        with pytest.raises(UsageError, match=f"'{confirm}' is not the name of a cluster of this run") as caught:
            deploy(cast(Any, program))
        assert caught.value.remedy.endswith(": home or edge")
    else:
        deploy(cast(Any, program))
    assert bool(played) is not refused
