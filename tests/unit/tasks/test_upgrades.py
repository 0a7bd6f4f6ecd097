"""Which versions are read of a host and its cluster before a program is replaced."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.drivers.packages import Installed
from etcdfleet.errors import RemoteError
from etcdfleet.etcd.wal import DataIds
from etcdfleet.host.facts import DataFacts
from tasks import upgrades
from tasks.upgrades import VersionsSeen, is_due, look_at_versions, read_noted_members
from tests.unit.etcd.test_removed_members import MISTAKEN
from tests.unit.support.site import LocalHost, settings
from tests.unit.support.stand_ins import (
    PLAIN,
    REFUSED,
    RUNNING,
    STOPPED,
    Answers,
    Packages,
    Place,
    Scripted,
    carry_out,
    error_of,
    member_list,
    seen,
    statuses,
)

DATA = DataFacts(exists=True, ids=DataIds(member_id=1, cluster_id=9, last_index=50, complete=True))
VERSION = json.dumps({"etcdserver": "3.5.16", "etcdcluster": "3.5.0"})
ANSWERS = {"endpoint status": statuses(1, 2, 3), "endpoint health": "[]", "member list": member_list()}


@pytest.mark.parametrize(
    ("service", "facts", "member"),
    [(STOPPED, {}, False), (RUNNING, {}, True), (STOPPED, {"data": DATA}, True)],
    ids=["fresh", "runs", "has data"],
)
@pytest.mark.parametrize("due", ["", "version 3.5.1 is installed, 3.5.16 is wanted"])
def test_a_host_belongs_to_a_cluster_by_its_data_or_its_etcd(
    service: Any, facts: dict[str, Any], member: bool, due: str
) -> None:
    result = carry_out(is_due, Place(None, seen(service, **facts), packages=Packages(due)))
    assert result.result == (bool(due), member)


def looked(host: Scripted, *observed: Any, packages: Packages | None = None, **changes: Any) -> VersionsSeen:
    result = carry_out(look_at_versions, Place(host, *observed, packages=packages, of=settings(**changes)))
    assert not result.failed, result.exception
    found = result.result
    assert isinstance(found, VersionsSeen)
    return found


def test_a_running_member_tells_of_itself_the_others_and_the_cluster() -> None:
    host = Scripted({"s_client": VERSION, **ANSWERS})
    found = looked(host, seen(RUNNING, data=DATA), packages=Packages("due", "3.5.30"))
    assert (found.member.running, found.member.installed, found.member.brings) == ("3.5.16", "3.5.16", "3.5.30")
    assert (found.member.host, found.member.by, found.member.data) == ("az-1", "apt", True)
    assert set(found.others.values()) == {"3.5.16"}
    assert len(found.others) == 3
    assert found.cluster == "3.5.0"


def test_without_tls_the_cluster_version_is_asked_without_a_proxy() -> None:
    plain = {"endpoint status": statuses(1, 2, 3, cluster=PLAIN), "member list": member_list(cluster=PLAIN)}
    host = Scripted({"wget": f"noise {VERSION} noise", "endpoint health": "[]", **plain})
    assert looked(host, seen(RUNNING), client_tls=False, peer_tls=False).cluster == "3.5.0"
    (asked,) = [script for script in host.sent if "wget" in script]
    assert "unset http_proxy" in asked
    assert not host.was_sent("s_client")


@pytest.mark.parametrize("answer", ["", "HTTP/1.0 503", "{not json}", "[]", '{"etcdcluster": null}', REFUSED])
def test_a_cluster_version_that_cannot_be_read_is_none(answer: Any) -> None:
    assert looked(Scripted({"s_client": answer, **ANSWERS}), seen(RUNNING)).cluster == ""


def test_a_stopped_member_is_asked_nothing() -> None:
    found = looked(host := Scripted(ANSWERS), seen(STOPPED, Installed("3.4.23", "3.4.23-4")))
    assert (found.member.running, found.member.installed, found.cluster) == ("", "3.4.23", "")
    assert found.others == {}
    assert host.sent == []


def test_others_that_cannot_be_asked_from_here_are_left_out() -> None:
    # The member itself answers, then its cluster does not.
    answers: dict[str, Answers] = {**ANSWERS, "endpoint status": [statuses(1), REFUSED], "s_client": VERSION}
    found = looked(Scripted(answers), seen(RUNNING))
    assert found.member.running == "3.5.16"
    assert found.others == {}


def test_what_a_deploy_would_bring_may_be_unknown() -> None:
    gone = RemoteError("no route", where="az-1", remedy="look")
    assert looked(Scripted(), seen(STOPPED), packages=Packages("due", gone)).member.brings is None


def on_this_machine(tmp_path: Path, content: bytes) -> Place:
    folder = tmp_path / "member" / "snap"
    folder.mkdir(parents=True)
    (folder / "db").write_bytes(content)
    plain = settings()
    member = plain.member.model_copy(update={"data_dir": str(tmp_path)})
    return Place(LocalHost(), of=replace(plain, member=member))


def test_whom_a_database_lists_is_read_while_it_is_in_use(tmp_path: Path) -> None:
    result = carry_out(read_noted_members, on_this_machine(tmp_path, MISTAKEN))
    assert sorted(result.result.mistaken.values()) == ["m1", "m2"]


def test_pages_far_into_the_file_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrades, "_HEAD_BYTES", 100)
    result = carry_out(read_noted_members, on_this_machine(tmp_path, MISTAKEN))
    assert sorted(result.result.mistaken.values()) == ["m1", "m2"]


def test_a_page_that_was_written_anew_meanwhile_is_looked_for_again() -> None:
    """The first look finds nothing that fits together, the second does."""
    packed = [base64.b64encode(gzip.compress(content)).decode() for content in (bytes(len(MISTAKEN)), MISTAKEN)]
    host = Scripted({"stat": f"{len(MISTAKEN)}\n", "dd if=": packed})
    assert carry_out(read_noted_members, Place(host)).result.host == "az-1"


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ({"stat": "20480\n", "dd if=": "nothing of gzip"}, "did not arrive"),
        ({"stat": "20480\n", "dd if=": base64.b64encode(gzip.compress(MISTAKEN[:512])).decode()}, "ends at byte 512"),
        ({"stat": "900000\n", "dd if=": base64.b64encode(gzip.compress(bytes(200000))).decode()}, "does not begin as"),
        ({"stat": REFUSED}, "reading the size of the database"),
    ],
)
def test_a_database_that_cannot_be_read_is_said(answers: dict[str, Answers], what: str) -> None:
    assert what in error_of(carry_out(read_noted_members, Place(Scripted(answers))))
