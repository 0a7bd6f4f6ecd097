"""Ids, write-ahead logs and etcdctl's answers, against what real etcd 3.4.23 and 3.5.1 wrote and said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.findings import Finding
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.answers import (
    ExpectedMember,
    by_host,
    parse_hashkv,
    parse_health,
    parse_member_list,
    parse_status,
    unanswered,
)
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.wal import read_ids
from etcdfleet.text import go_seconds
from tests.unit.support.paths import FIXTURES

VERSIONS = {"3.4": 27000, "3.5": 28000}  # the clusters a, b, c had their ports from here on
TOKEN = "tok-x"
both = pytest.mark.parametrize("version", VERSIONS)


def recorded(version: str, name: str) -> Any:
    return json.loads((FIXTURES / f"etcd-{version}" / f"{name}.json").read_text())


def said(version: str, name: str) -> tuple[str, str]:
    record = recorded(version, name)
    return record["stdout"], record["stderr"]


def head(version: str, name: str) -> bytes:
    return (FIXTURES / f"etcd-{version}" / f"{name}.wal").read_bytes()


def expected(version: str) -> tuple[ExpectedMember, ...]:
    base = VERSIONS[version]
    return tuple(
        ExpectedMember(name, f"http://127.0.0.1:{base + 10 * i + 1}", f"http://127.0.0.1:{base + 10 * i + 2}")
        for i, name in enumerate("abc")
    )


@both
def test_static_ids_are_those_of_the_real_cluster(version: str) -> None:
    ids = static_ids({member.name: [member.peer_url] for member in expected(version)}, TOKEN)
    real = parse_member_list(*said(version, "members-three"))
    assert ids.cluster_id == real.cluster_id
    assert ids.members == {member.name: member.id for member in real.members}
    assert static_ids({m.name: [m.peer_url] for m in expected(version)}, "other").cluster_id != real.cluster_id


@both
@pytest.mark.parametrize(
    ("segment", "name", "past"),
    [
        ("alone", "a", False),
        ("two-a", "a", True),
        ("three-c", "c", True),
        ("rotated", "a", True),
        ("restored", "a", True),
    ],
)
def test_wal_head(version: str, segment: str, name: str, past: bool) -> None:
    data = read_ids(head(version, segment), first=segment != "rotated")
    assert data.birth == {"rotated": "", "restored": "restore"}.get(segment, "bootstrap")
    base = expected(version) if segment != "rotated" else expected(version)[:1]
    ids = static_ids({member.name: [member.peer_url] for member in base}, TOKEN)
    assert (data.member_id, data.cluster_id) == (ids.members[name], ids.cluster_id)
    assert data.has_past(len(base)) is past
    short = read_ids(head(version, segment)[:128])
    assert (short.member_id, short.cluster_id) == (data.member_id, data.cluster_id)
    assert short.has_past(len(base)), "what was not read may hold anything"


@both
def test_a_restored_log_is_that_of_a_bootstrap_but_for_its_snapshot(version: str) -> None:
    """`snapshot restore` writes what a first start writes: the snapshot alone tells that there is a key space."""
    restored, alone = read_ids(head(version, "restored")), read_ids(head(version, "alone"))
    assert (restored.member_id, restored.cluster_id) == (alone.member_id, alone.cluster_id)
    assert (restored.last_index, restored.complete, restored.snapshot) == (3, True, True)
    assert (alone.last_index, alone.complete, alone.snapshot) == (3, True, False)


def test_a_member_that_joined_did_not_begin_the_log() -> None:
    """Its log has the others' entries from the first one on; what it says first is their term."""
    assert read_ids(head("3.5", "joined")).birth == "join"


def damaged(at: int) -> bytes:
    whole = bytearray(head("3.5", "alone"))
    whole[at] ^= 1
    return bytes(whole)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no whole WAL record"),
        (b"\x04\0\0", "no whole WAL record"),
        (bytes(1024), "begins with zeros"),
        (b"#!/bin/sh\necho this is no log\n" * 9, "not a WAL segment"),
        (damaged(0x25), "checksum"),
        (head("3.5", "alone")[:20], "metadata"),
        (head("3.5", "alone")[16:], "not 4"),
    ],
)
def test_wal_head_malformed(content: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_ids(content)


def test_damage_behind_the_ids_means_that_the_history_is_unknown() -> None:
    at = head("3.5", "alone").index(b"peerURLs")
    assert read_ids(damaged(at)).has_past(3)


@pytest.mark.parametrize("cut", range(0, 1024, 7))
def test_a_cut_head_never_looks_like_a_log_without_a_leader(cut: int) -> None:
    whole = head("3.4", "two-a")
    end = whole.rstrip(b"\0")
    try:
        data = read_ids(whole[: min(cut, len(end))])
    except ValueError:
        return
    assert data.has_past(3)


@both
def test_member_list_names_members_that_never_started(version: str) -> None:
    members = {member.name: member for member in parse_member_list(*said(version, "members-two")).members}
    assert sorted(members) == ["a", "b", "c"]
    assert {name: member.started for name, member in members.items()} == {"a": True, "b": True, "c": False}


@both
def test_added_learner(version: str) -> None:
    added = [m for m in parse_member_list(*said(version, "members-learner")).members if not m.name]
    assert [(m.learner, m.started, m.peer_urls) for m in added] == [(True, False, ("http://127.0.0.1:1",))]


def test_member_list_without_a_quorum() -> None:
    assert len(parse_member_list(*said("3.4", "members-no-quorum")).members) == 3  # from memory
    with pytest.raises(VerificationError, match="context deadline exceeded"):
        parse_member_list(*said("3.5", "members-no-quorum"))


@both
def test_status(version: str) -> None:
    statuses = parse_status(*said(version, "status-three"))
    assert [status.endpoint for status in statuses] == [member.client_url for member in expected(version)]
    first = statuses[0]
    assert first.version.startswith(version)
    assert (first.revision, first.db_size, first.db_size_in_use, first.learner, first.errors) == (
        *(21, 20480, 16384),
        False,
        (),
    )
    assert len({(status.leader_id, status.term, status.cluster_id) for status in statuses}) == 1
    assert first.leader_id in {status.member_id for status in statuses}
    assert first.raft_applied == first.raft_index > 20


@both
def test_status_of_those_that_do_not_answer(version: str) -> None:
    stdout, stderr = said(version, "status-down")
    silent = expected(version)[2].client_url
    assert len(parse_status(stdout)) == 2
    assert list(unanswered(stderr)) == [silent]
    assert "connection refused" in unanswered(stderr)[silent]
    assert parse_status(*said(version, "status-alone")) == ()
    lonely = parse_status(*said(version, "status-no-quorum"))
    assert [(status.leader_id, status.errors) for status in lonely] == [(0, ("etcdserver: no leader",))]
    assert len(unanswered(said(version, "status-no-quorum")[1])) == 2


@both
def test_health(version: str) -> None:
    assert all(health.healthy and 0 < health.took < 1 for health in parse_health(*said(version, "health-three")))
    down = parse_health(*said(version, "health-down"))
    assert [health.healthy for health in down] == [True, True, False]
    assert down[2].error == "context deadline exceeded"
    assert down[2].took == pytest.approx(5, abs=0.1)
    stdout, _ = said(version, "health-down")
    assert parse_health("", f"Error: unhealthy cluster\n{stdout}") == down, "some versions print it to stderr"


def test_health_with_an_alarm() -> None:
    assert parse_health(*said("3.4", "health-nospace"))[0].healthy
    assert parse_health(*said("3.5", "health-nospace"))[0].error == "Active Alarm(s): NOSPACE "


@both
def test_hashkv(version: str) -> None:
    now, then = (parse_hashkv(*said(version, name)) for name in ("hashkv-three", "hashkv-rev"))
    assert len({answer.hash for answer in now}) == 1
    assert [(answer.revision, answer.compact_revision) for answer in then] == [(21, -1)] * 3
    assert then[0].hash != now[0].hash
    assert {answer.compact_revision for answer in parse_hashkv(*said(version, "hashkv-after-compact"))} == {15}
    assert parse_hashkv(*said(version, "hashkv-future")) == ()
    assert all("future revision" in why for why in unanswered(said(version, "hashkv-future")[1]).values())
    assert len(parse_hashkv(*said(version, "hashkv-down"))) == 2


def test_3_6_adds_fields_and_hex_gives_strings() -> None:
    status = {"header": {"cluster_id": "ff", "member_id": "a"}, "version": "3.6.1", "dbSizeQuota": 1, "isLearner": True}
    (answer,) = parse_status(json.dumps([{"Endpoint": "e", "Status": {**status, "downgradeInfo": {}}}]))
    assert (answer.cluster_id, answer.member_id, answer.version, answer.learner, answer.leader_id) == (
        *(255, 10),
        "3.6.1",
        True,
        0,
    )
    assert (answer.storage, answer.going_back_to) == ("", "")
    job = {"storageVersion": "3.7.0", "downgradeInfo": {"enabled": True, "targetVersion": "3.6.0"}}
    (answer,) = parse_status(json.dumps([{"Endpoint": "e", "Status": {**status, **job}}]))
    assert (answer.storage, answer.going_back_to) == ("3.7.0", "3.6")
    assert parse_status("null") == ()


@pytest.mark.parametrize("parse", [parse_status, parse_health, parse_hashkv, parse_member_list])
@pytest.mark.parametrize("stdout", ["", "{", "3", '"text"', "[1]"])
def test_no_answer_says_what_etcdctl_said(parse: Any, stdout: str) -> None:
    with pytest.raises(VerificationError, match="bad certificate"):
        parse(stdout, '{"level":"warn"}\nError: bad certificate\n')


@pytest.mark.parametrize(
    ("text", "value"),
    [("3.5ms", 0.0035), ("970.5µs", 0.0009705), ("5.01s", 5.01), ("1m2s", 62), ("2h", 7200), ("12ns", 1.2e-8), ("", 0)],
)
def test_seconds(text: str, value: float) -> None:
    assert (go_seconds(text) or 0.0) == pytest.approx(value)


def test_by_host_ignores_the_scheme() -> None:
    healths = parse_health(*said("3.5", "health-three"))
    of_hosts = by_host(healths, {"x": "https://127.0.0.1:28012"})
    assert {host: health.endpoint for host, health in of_hosts.items()} == {"x": "http://127.0.0.1:28012"}


# ---- verification of the recorded clusters --------------------------------------------------------------------------


def findings(version: str, members: str, status: str, health: str, hashes: str, **more: Any) -> dict[str, Finding]:
    answers = Cluster(
        tuple(expected(version)),
        parse_member_list(*said(version, members)),
        parse_status(*said(version, status)),
        parse_health(*said(version, health)),
        parse_hashkv(*said(version, hashes)),
        unanswered(said(version, status)[1]),
    )
    return {finding.check: finding for finding in cluster_checks(answers, **more)}


HEALTHY = ("members-three", "status-three", "health-three", "hashkv-rev")


@both
def test_a_healthy_cluster_passes(version: str) -> None:
    by_check = findings(version, *HEALTHY)
    assert [check for check, finding in by_check.items() if not finding.ok] == []
    assert list(by_check) == [
        *(
            "members answer",
            "member list",
            "health",
            "one cluster",
            "one leader",
            "one term",
            "applied",
            "alarms",
            "equal data",
        ),
        "database size",
    ]


@both
@pytest.mark.parametrize(
    ("records", "bad", "evidence"),
    [
        (("members-two", *HEALTHY[1:]), {"member list"}, "c has never joined its cluster"),
        (("members-learner", *HEALTHY[1:]), {"member list"}, "(unnamed)"),
        (
            ("members-three", "status-down", "health-down", "hashkv-down"),
            {"members answer"},
            "connection refused",
        ),
    ],
)
def test_findings(version: str, records: tuple[str, str, str, str], bad: set[str], evidence: str) -> None:
    by_check = findings(version, *records)
    assert {check for check, finding in by_check.items() if not finding.ok} == bad
    assert any(evidence in finding.evidence for finding in by_check.values() if not finding.ok)
    assert all(finding.remedy for finding in by_check.values() if not finding.ok)


@both
def test_alarm_and_size(version: str) -> None:
    by_check = findings(
        version, "members-three", "status-nospace", "health-nospace", "hashkv-three", quota_bytes=8 << 20
    )
    assert "NOSPACE" in by_check["alarms"].evidence
    assert not by_check["alarms"].ok
    assert "make room: python runbooks/repair.py, which" in by_check["alarms"].remedy
    assert "11 MiB of 8.0 MiB" in by_check["database size"].evidence
    largest = max(status.db_size for status in parse_status(*said(version, "status-three")))
    assert not findings(version, *HEALTHY, quota_bytes=largest * 10 // 8)["database size"].ok
    assert findings(version, *HEALTHY, quota_bytes=largest * 10 // 8 + 10)["database size"].ok
