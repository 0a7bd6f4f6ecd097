"""What the alarm of a full database excuses, where it may be ended, and how that is found out on a host."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from etcdfleet.checks.findings import Finding
from etcdfleet.drivers.init.systemd import Systemd
from etcdfleet.errors import ProtectionError
from etcdfleet.etcd import alarms
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus
from etcdfleet.host.facts import FileFacts
from etcdfleet.remote import CommandResult
from tasks.alarms import end_alarm, end_full_alarm, stands
from tasks.observe import Site
from tasks.status.describe import running_quota
from tests.unit.host.test_preflight import GOOD
from tests.unit.support.site import MEMBERS, LocalHost, apt, settings
from tests.unit.support.stand_ins import Place, Scripted, carry_out, error_of

MIB = 2**20
ENDPOINTS = [f"https://etcd.az{number}.k8s.home:2379" for number in (1, 2, 3)]
FULL = "memberID:1 alarm:NOSPACE "
HEALTHS = {
    "": (True, True),
    "Active Alarm(s): NOSPACE ": (False, True),
    "Active Alarm(s): NOSPACE": (False, True),
    "Active Alarm(s): NOSPACE NOSPACE NOSPACE ": (False, True),
    "Active Alarm(s): CORRUPT ": (False, False),
    "Active Alarm(s): NOSPACE CORRUPT ": (False, False),
    "Active Alarm(s): CORRUPT NOSPACE ": (False, False),
    "Active Alarm(s): NOSPACE NOSPACE CORRUPT NOSPACE ": (False, False),
    "Active Alarm(s): ": (False, False),
    "Unable to fetch the alarm list": (False, False),
    "context deadline exceeded": (False, False),
    "context deadline exceeded: Active Alarm(s): NOSPACE NOSPACEX": (False, False),
}


@pytest.mark.parametrize(("error", "fit"), [(error, fit) for error, (_, fit) in HEALTHS.items()])
def test_who_takes_part(error: str, fit: bool) -> None:
    health = EndpointHealth(ENDPOINTS[0], not error, 0.1, error)
    assert alarms.takes_part(health) is fit
    assert alarms.only_full(health) is (fit and bool(error))


@pytest.mark.parametrize(("error", "fit"), [(error, fit) for error, (_, fit) in HEALTHS.items()])
def test_a_host_judges_as_the_controller_does(error: str, fit: bool) -> None:
    line = f"127.0.0.1:2379 is unhealthy: failed to commit proposal: {error}" if error else "127.0.0.1:2379 is healthy"
    call = f"f() {{ echo '{line}' >&2; echo 'Error: unhealthy cluster' >&2; return {1 if error else 0}; }}\n"
    script = f"{call}{alarms.takes_part_script('f')} && exit 0\nexit 7"
    assert subprocess.run(["sh", "-c", script], check=False).returncode == (0 if fit else 7)


def statuses(*sizes: float, errors: tuple[str, ...] = (FULL,)) -> list[EndpointStatus]:
    return [
        EndpointStatus(url, number, 7, "3.5.1", int(size * MIB), 1, 1, 4, 50, 50, 9, errors=errors)
        for number, (url, size) in enumerate(zip(ENDPOINTS, sizes, strict=False), 1)
    ]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (statuses(64, 64, 64), ""),
        (statuses(126, 126, 126), ""),
        (statuses(64, 126.1, 64), "126 MiB of its quota of 128 MiB"),
        (statuses(130, 64, 64), "130 MiB of its quota of 128 MiB"),
        (statuses(64, 64), f"no answer from {ENDPOINTS[2]}"),
        (statuses(64, 64, 64, errors=(FULL, "memberID:2 alarm:NOSPACE ")), ""),
        (statuses(64, 64, 64, errors=(FULL, "memberID:2 alarm:CORRUPT ")), "another alarm is raised: CORRUPT"),
        (statuses(64, 64, 64, errors=("memberID:2 alarm:CORRUPT ",)), "it is not raised"),
        (statuses(64, 64, 64, errors=()), "it is not raised"),
        ([], "it is not raised"),
    ],
)
def test_when_the_alarm_may_be_ended(found: list[EndpointStatus], why: str) -> None:
    reason = alarms.may_end(found, ENDPOINTS, 128 * MIB)
    assert why in reason
    assert bool(reason) == bool(why)


class Recorded(LocalHost):
    """Answers as etcdctl would, and notes what it was asked to do."""

    def __init__(self, answers: list[str]) -> None:
        super().__init__()
        self.answers, self.asked = answers, list[str]()

    def run(self, script: str, **_: Any) -> CommandResult:
        self.asked.append(script)
        return CommandResult(0, self.answers.pop(0), "")


STATUS = """[{"Endpoint":"https://etcd.az%d.k8s.home:2379","Status":{"header":{"member_id":%d},"dbSize":%d,
"errors":["memberID:1 alarm:NOSPACE "]}}]"""
ALARM, SIZE = Finding("alarms", False, "NOSPACE"), Finding("database size", False, "large")


def answer(*sizes: int) -> str:
    entries = [STATUS % (number, number, size) for number, size in enumerate(sizes, 1)]
    return "[" + ",".join(entry[1:-1] for entry in entries) + "]"


@pytest.mark.parametrize(
    ("number", "bad", "answers", "ends"),
    [
        (1, [ALARM], [answer(64 * MIB, 64 * MIB, 64 * MIB), ""], True),
        (1, [ALARM, SIZE], [answer(64 * MIB, 64 * MIB, 64 * MIB), ""], True),
        (1, [ALARM], [answer(64 * MIB, 64 * MIB, 127 * MIB)], False),
        (1, [ALARM], [answer(64 * MIB, 64 * MIB)], False),
        (1, [ALARM], ["no JSON at all"], False),
        (2, [ALARM], [], False),  # the first member's host does it
        (1, [], [], False),
        (1, [SIZE], [], False),
        (1, [ALARM, Finding("equal data", False, "")], [], False),
        (1, [ALARM, Finding("health", False, "")], [], False),
    ],
)
def test_a_deploy_ends_the_alarm_where_nothing_else_is_wrong(
    number: int, bad: list[Finding], answers: list[str], ends: bool
) -> None:
    host = Recorded(list(answers))
    site = Site(settings(number, quota_bytes=128 * MIB), host, Systemd(), apt())
    said = end_full_alarm(site, bad, 5)
    assert ("64 MiB of the quota of 128 MiB" in said) is ends
    assert any("alarm disarm" in script for script in host.asked) is ends
    assert host.answers == [], "each answer was asked for"


@pytest.mark.parametrize(
    ("bad", "so"),
    [
        ([], False),
        ([ALARM], True),
        ([SIZE], True),
        ([ALARM, SIZE], True),
        ([ALARM, Finding("one leader", False, "")], False),
        ([Finding("health", False, "")], False),
    ],
)
def test_what_is_not_waited_for(bad: list[Finding], so: bool) -> None:
    assert stands(bad) is so


@pytest.mark.parametrize(
    ("text", "pending", "quota"),
    [
        (b"quota-backend-bytes: 67108864\n", "", 67108864),
        (b"name: a\nquota-backend-bytes: 1\nlogger: zap\n", "", 1),
        (b"quota-backend-bytes: 67108864\n", "changed: /etc/etcd/conf.yml", None),
        (b"# quota-backend-bytes: 5\n", "", None),
        (None, "", None),
    ],
)
def test_the_running_quota_is_the_file_s_unless_a_restart_is_due(
    text: bytes | None, pending: str, quota: int | None
) -> None:
    files = {"/etc/etcd/conf.yml": FileFacts(text, 0o644, "root", "root")} if text is not None else {}
    assert running_quota(replace(GOOD, files=files, restart_pending=pending)) == quota


NAMES = [member.name for member in MEMBERS]


def written(put: str = "put||0|OK") -> str:
    """What the script of a write says that worked."""
    return "\n".join(
        ["lease||0|lease 1 granted", put, *(f"read|{name}|0|t1" for name in NAMES), "del||0|1"]
        + [f"gone|{name}|0|" for name in NAMES]
        + ["revoke||0|revoked"]
    )


def ending(sizes: str, write: str = "", **how: Any) -> tuple[Scripted, Any]:
    host = Scripted({"alarm disarm": "", "endpoint status": sizes, "lease grant": write or written()})
    with mock.patch("tasks.alarms.still_ours"):
        return host, carry_out(end_alarm, Place(host), quota=64 * MIB, token="t1", **how)


def test_a_repair_ends_the_alarm_and_proves_it_by_a_write() -> None:
    host, result = ending(answer(20 * MIB, 20 * MIB, 62 * MIB))
    assert "62 MiB of the quota of 64 MiB are used" in result.result.changes[0]
    (disarm,) = [script for script in host.sent if "alarm disarm" in script]
    assert disarm.index("alarm list") < disarm.index("CORRUPT") < disarm.index("alarm disarm")
    write = host.sent[-1]
    assert "/etcdfleet/verify/t1/az-1" in write
    assert host.sent.index(disarm) < len(host.sent) - 1


@pytest.mark.parametrize(
    "sizes", [answer(20 * MIB, 20 * MIB, 63 * MIB), answer(20 * MIB, 20 * MIB), answer(20 * MIB, 20 * MIB, 20 * MIB)
              .replace("NOSPACE", "CORRUPT")]
)  # fmt: skip
def test_a_repair_ends_no_alarm_that_must_stay(sizes: str) -> None:
    host, result = ending(sizes)
    assert isinstance(result.exception, ProtectionError)
    assert not host.was_sent("alarm disarm")
    assert not host.was_sent("lease grant")


def test_a_write_that_is_refused_again_is_a_failure() -> None:
    refused = written(put="put||1|Error: etcdserver: mvcc: database space exceeded")
    _, result = ending(answer(20 * MIB, 20 * MIB, 20 * MIB), refused)
    assert "the alarm NOSPACE was ended, and the write of the key through this member was refused" in error_of(result)
    assert "repair.py" in error_of(result)


def test_with_check_no_alarm_is_ended() -> None:
    host, result = ending("", check=True)
    assert result.result.changes
    assert host.sent == []
