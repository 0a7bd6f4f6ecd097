from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from etcdfleet.host import paths
from etcdfleet.settings.vault import VaultPki
from tasks.certificates import place as certificates
from tasks.certificates.place import REVOKED, tidy
from tasks.observe import Site
from tests.unit.support import site as plain

OLD, MARKED, USED, NEW = "client-1", "client-2", "client-3", "client-4"


@pytest.mark.parametrize(
    ("revoke", "left"),
    [
        (False, {USED, NEW}),
        (True, {OLD, USED, NEW}),  # nobody would know any more that it is still to be revoked
    ],
)
def test_sets_that_are_still_to_be_revoked_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revoke: bool, left: set[str]
) -> None:
    sets = tmp_path / "sets"
    monkeypatch.setattr(paths, "CERTIFICATES", str(tmp_path))
    monkeypatch.setattr(certificates, "SETS", str(sets))
    for age, name in enumerate((NEW, USED, MARKED, OLD)):
        (sets / name).mkdir(parents=True)
        if name == MARKED:
            (sets / name / REVOKED).touch()
        os.utime(sets / name, (1000 - age, 1000 - age))
    (tmp_path / "etcdctl").symlink_to(f"sets/{USED}")
    settings = plain.settings(1, pki=VaultPki(kept_sets=1, revoke=revoke))
    tidy(Site(settings, plain.LocalHost(), cast(Any, None), cast(Any, None)))
    assert {path.name for path in sets.iterdir()} == left
