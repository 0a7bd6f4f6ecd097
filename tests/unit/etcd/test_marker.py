"""What a host notes of its cluster, from the first version of that on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from etcdfleet.etcd.answers import Member, MemberList
from etcdfleet.etcd.marker import carried_over, marker
from etcdfleet.etcd.restore_record import RestoreRecord
from etcdfleet.etcd.versions import minor_of

LIST = MemberList(9, (Member(1, "a", (), ()), Member(2, "b", (), ())))
IDS: dict[str, Any] = {"cluster_id": 9, "members": {"a": 1, "b": 2}}
WHOLE = {**IDS, "version": 2, "token": "home", "restores": 0, "etcd": "3.5"}

RESTORED = {"restore": asdict(RestoreRecord("ab", "home-2", 9, "a", 50, 7, 3, "then"))}


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        (None, WHOLE),
        ({}, WHOLE),  # it could not be read
        (IDS, WHOLE),
        ({**WHOLE, "members": {"a": 1}}, WHOLE),
        # The token is what the cluster was begun with, whatever the inventory says today.
        ({**WHOLE, "token": "first", "restores": 2, "etcd": "3.4"}, {**WHOLE, "token": "first", "restores": 2}),
        ({**WHOLE, "cluster_id": 8, "token": "another", "restores": 5}, WHOLE),
        ({**WHOLE, "version": 3, "more": "x", "etcd": "4.0"}, {**WHOLE, "version": 3, "more": "x", "etcd": "4.0"}),
        # Just restored: the record says under which token, and stays.
        ({"version": 2, **RESTORED, "before": WHOLE}, {**WHOLE, **RESTORED, "token": "home-2", "restores": 3}),
        ({"version": 2, **RESTORED, "cluster_id": 8}, {**WHOLE, **RESTORED, "token": "home-2", "restores": 3}),
        ({"version": 2, "restore": {**RESTORED["restore"], "cluster_id": 7}}, WHOLE),
    ],
)
def test_what_is_noted(before: Any, wanted: Any) -> None:
    assert marker(LIST, token="home", version="3.5.16", before=before) == wanted


@pytest.mark.parametrize(
    ("noted", "version", "wanted"),
    [
        (IDS, "3.5.16", WHOLE),
        (IDS, None, {**WHOLE, "etcd": ""}),
        (WHOLE, "3.5.30", None),
        (WHOLE, None, None),
        (WHOLE, "3.6.1", {**WHOLE, "etcd": "3.6"}),
        ({**WHOLE, "token": "first", "restores": 3}, "3.5.1", None),
        ({**WHOLE, "version": 3, "etcd": "4.0"}, "3.5.1", None),
        ({}, "3.5.1", None),
        ({"cluster_id": "nine", "members": {}}, "3.5.1", None),
        ({"cluster_id": 9, "members": ["a"]}, "3.5.1", None),
    ],
)
def test_a_marker_is_carried_over(noted: Any, version: str | None, wanted: Any) -> None:
    before = dict(noted)
    assert carried_over(noted, token="home", version=version) == wanted
    assert noted == before


@pytest.mark.parametrize(("version", "minor"), [("3.5.16", "3.5"), ("v3.6.0-rc.1", "3.6"), ("", ""), (None, "")])
def test_the_minor_version(version: str | None, minor: str) -> None:
    assert minor_of(version) == minor
