"""What is told of a host that status cannot look at."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.errors import RemoteError
from tasks.status import read
from tests.unit.support.fake_run import nornir_of
from tests.unit.support.site import settings


@pytest.mark.parametrize(
    ("error", "tolerant", "failed", "told"),
    [
        (RemoteError("cannot be reached", remedy="see its power"), False, True, ("cannot be reached", "see its power")),
        (RemoteError("cannot be reached", remedy="see its power"), True, False, ("cannot be reached", "see its power")),
        (KeyError("x"), True, True, ("unexpected: KeyError: 'x'", "run again with --debug, which shows the traceback")),
    ],
)
def test_a_host_that_cannot_be_looked_at_is_seen_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception, tolerant: bool, failed: bool, told: tuple[str, str]
) -> None:
    def site_of(_: object) -> None:
        raise error

    monkeypatch.setattr(read, "site_of", site_of)
    monkeypatch.setattr(read, "settings_of", lambda _: settings())
    monkeypatch.setattr(read, "let_go", lambda _: None)
    result: Any = nornir_of({"az-1": "home"}).run(read.read_host, tolerant=tolerant)["az-1"][0]
    assert (result.failed, result.exception) == (failed, error if failed else None)
    view = result.result.view
    assert (view.host, view.down, view.problem, view.remedy) == ("az-1", True, *told)
