"""Judgement of what a restart would meet on a host, of etcd's log, and of the list that tells it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etcdfleet.checks.findings import Finding, failed, skipped, warned
from etcdfleet.checks.host import (
    clock_findings,
    data_finding,
    drift_finding,
    key_mode_finding,
    log_findings,
    pending_finding,
    read_listing,
    set_findings,
    space_finding,
)
from etcdfleet.checks.log import sightings
from etcdfleet.etcd.wal import DataIds
from etcdfleet.host.facts import DataFacts
from etcdfleet.host.preflight import Trouble
from etcdfleet.host.storage import DataPlace, Mount
from etcdfleet.report.record.model import HostRecord
from etcdfleet.report.show.checklist import advice_lines, count_text, failed_lines, lines
from tests.unit.support.site import MEMBERS, settings

FQDN = MEMBERS[0].fqdn
SET = "/etc/etcd/certs/sets/peer-1"
LISTING = f"""\
755|root|directory|/etc/etcd
700|etcd|directory|{SET}
600|etcd|regular file|{SET}/{FQDN}.pem
600|etcd|regular file|{SET}/{FQDN}.key
600|etcd|regular file|{SET}/note.json
600|root|regular file|/etc/etcd/mine.key
link|/etc/etcd/certs/server|sets/peer-1
secret|{SET}/{FQDN}.key
secret|/etc/etcd/mine.key
"""
NOW = datetime(2026, 11, 24, 4, 30, tzinfo=UTC)
MIB = 2**20


def test_sound_files() -> None:
    listing = read_listing(LISTING)
    found = [key_mode_finding(listing), *set_findings(settings(), ["peer"], listing)]
    assert [finding.status for finding in found] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        (f"600|etcd|regular file|{SET}/{FQDN}.key", f"644|etcd|regular file|{SET}/{FQDN}.key", "everybody can use it"),
        (f"600|etcd|regular file|{SET}/{FQDN}.key", f"640|etcd|regular file|{SET}/{FQDN}.key", "its group can use it"),
        ("600|root|regular file|/etc/etcd/mine.key", "644|root|regular file|/etc/etcd/mine.key", "/etc/etcd/mine.key"),
        ("600|root|regular file|/etc/etcd/mine.key", "600|pi|regular file|/etc/etcd/mine.key", "belongs to pi"),
        (f"700|etcd|directory|{SET}", f"755|etcd|directory|{SET}", "is 0755 etcd, not 0700"),
        (f"600|etcd|regular file|{SET}/{FQDN}.key", f"600|root|regular file|{SET}/{FQDN}.key", "is 0600 root"),
        (f"600|etcd|regular file|{SET}/note.json\n", "", "lacks note.json"),
        (f"700|etcd|directory|{SET}\n", "", "is not there"),
        ("link|/etc/etcd/certs/server|sets/peer-1\n", "", "is no link"),
    ],
)
def test_files_that_are_not_as_they_should_be(line: str, instead: str, words: str) -> None:
    assert line in LISTING
    listing = read_listing(LISTING.replace(line, instead))
    bad = [f for f in (key_mode_finding(listing), *set_findings(settings(), ["peer"], listing)) if not f.ok]
    assert bad
    assert any(words in finding.evidence for finding in bad), bad
    assert all(finding.cause and finding.remedy for finding in bad)


IDS = DataIds(1, 2)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (DataFacts(True, "700", "etcd", IDS), "ok", "0700 etcd"),
        (DataFacts(True, "755", "etcd", IDS), "failed", "is 755 etcd"),
        (DataFacts(True, "700", "root", IDS), "failed", "is 700 root"),
        (DataFacts(True, "700", "etcd", None), "failed", "no member data"),
        (DataFacts(True, "700", "etcd", None, "short"), "failed", "cannot be read: short"),
        (DataFacts(), "failed", "is not there"),
    ],
)
def test_data_directory(data: DataFacts, status: str, words: str) -> None:
    found = data_finding(settings(), data)
    assert (found.status, words in found.evidence) == (status, True), found


def test_data_in_memory_are_a_finding() -> None:
    place = DataPlace("/var/lib/etcd", Mount("/", "tmpfs"))
    found = data_finding(settings(), DataFacts(True, "700", "etcd", DataIds(1, 2)), place)
    assert (found.status, found.remedy) == ("failed", "set member.data_dir to a folder on a disk")


@pytest.mark.parametrize(
    ("free", "db", "status"),
    [
        (None, 0, "skipped"),
        (63 * MIB, 0, "failed"),
        (500 * MIB, 0, "warning"),  # the quota is 1 GiB
        (500 * MIB, 700 * MIB, "ok"),
        (2000 * MIB, 0, "ok"),
    ],
)
def test_space(free: int | None, db: int, status: str) -> None:
    assert space_finding(settings(), free, db).status == status


@pytest.mark.parametrize(
    ("problems", "warnings", "said", "states"),
    [
        ([], [], "synchronized", ["ok", "ok"]),
        ([], [], "daemon chronyd", ["ok", "ok"]),
        ([], [], "container\nsynchronized", ["ok", "skipped"]),
        ([], [], "", ["ok", "warning"]),
        ([Trouble("90 s ahead", "set it")], [], "", ["failed", "warning"]),
        ([], [Trouble("2 s ahead", "set it")], "synchronized", ["warning", "ok"]),
    ],
)
def test_clock(problems: list[Trouble], warnings: list[Trouble], said: str, states: list[str]) -> None:
    assert [finding.status for finding in clock_findings(problems, warnings, 0.0, said)] == states


def test_pending_and_drift() -> None:
    assert pending_finding(()).ok
    assert pending_finding(("changed: /etc/etcd/conf.yml", "more")).evidence == "changed: /etc/etcd/conf.yml"
    wrong, right = drift_finding("/etc/etcd/conf.yml", "differs"), drift_finding("/etc/init.d/etcd", "")
    assert (wrong.check, wrong.status, right.status) == ("file /etc/etcd/conf.yml", "failed", "ok")


def line(seconds_ago: int, text: str) -> str:
    moment = (NOW - timedelta(seconds=seconds_ago)).isoformat().replace("+00:00", "Z")
    return f'{{"level":"warn","ts":"{moment}","msg":"{text}"}}'


@pytest.mark.parametrize(
    ("log", "running", "states"),
    [
        ("", True, ["ok"]),
        (line(30, "no space left on device"), True, ["failed"]),
        (line(30, "prober found high clock drift"), True, ["warning"]),
        (line(30, "apply request took too long"), True, ["ok"]),
        (line(3600, "no space left on device"), True, ["ok"]),  # it has been told, and etcd runs
        (line(3600, "no space left on device"), False, ["failed"]),  # why it does not
        (line(5, "permission denied") + "\n" + line(3, "slow fdatasync"), True, ["failed", "warning"]),
        ("panic: out of memory", True, ["failed"]),  # no time: taken for new
    ],
)
def test_log(log: str, running: bool, states: list[str]) -> None:
    found = log_findings(sightings(log), clock=NOW, running=running)
    assert [finding.status for finding in found] == states
    assert all(f.status == "ok" or (f.cause and f.remedy) for f in found)


def test_old_lines_are_told() -> None:
    (found,) = log_findings(sightings(line(7300, "no space left on device")), clock=NOW, running=True)
    assert "disk full (1 line, the last at 02:28:20 UTC (2 h ago)" in found.evidence


# The list for people.


def host(name: str, *findings: Finding, **facts: Any) -> HostRecord:
    return HostRecord(name, "c", "", facts={"checks": [f.as_json() for f in findings], **facts})


ALARM = failed("alarms", "a: NOSPACE", "the quota", "disarm")


def test_the_list_of_checks() -> None:
    clusters = {
        "c": [
            host("a", ALARM, Finding("health", True, "fine")),
            host("b", ALARM, warned("life", "3 days left", "nothing renews", "rotate"), skipped("probe", "--check")),
        ]
    }
    told = lines(clusters)
    assert told[:4] == [
        "",
        "c",
        "  a  2 checks: 1 passed, 1 failed",
        "  b  3 checks: 1 with a warning, 1 failed, 1 not asked",
    ]
    assert told[4:] == failed_lines(clusters)
    assert told.count("  FAILED  alarms  (a, b)") == 1  # said once
    assert "    cause   the quota" in told
    assert "    ok       health: fine" in lines(clusters, verbose=True)
    assert "    ok       health: fine" not in told
    assert failed_lines({"c": [host("a")]}) == []
    assert count_text(["ok", "ok"]) == "2 checks: 2 passed"
    assert "  a  not verified" in lines({"c": [host("a")]})


def test_advice_is_listed_by_host() -> None:
    told = advice_lines({"c": [host("a", advice=["disk: fine"]), host("b")], "d": [host("e")]})
    assert told == ["", "c", "  a", "    disk: fine"]
