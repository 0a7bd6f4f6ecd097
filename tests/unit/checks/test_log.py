"""What is read out of etcd's log for the person who has to do something about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest

from etcdfleet.checks.host import log_findings
from etcdfleet.checks.log import (
    Level,
    Origin,
    Symptom,
    explain,
    known,
    message,
    sightings,
    since_last_start,
    symptoms,
    without_stacks,
)

# etcd 3.5.1 with a full disk, as in /var/log/etcd/etcd.log.
FULL_DISK = """\
{"level":"warn","caller":"wal/wal.go:144","msg":"failed to create","error":"write: no space left on device"}
{"level":"panic","caller":"etcdserver/raft.go:443","msg":"failed to create WAL","error":"no space left on device"}
panic: failed to create WAL

goroutine 1 [running]:
go.uber.org/zap/zapcore.(*CheckedEntry).Write(0xc0000a8180, 0xc0003a2a80, 0x1, 0x1)
\t/home/remote/sbatsche/.gvm/pkgsets/go1.16.3/global/pkg/mod/go.uber.org/zap@v1.17.0/zapcore/entry.go:234 +0x58d
go.etcd.io/etcd/server/v3/etcdmain.Main(0xc00003a040, 0x2, 0x2)
\t/tmp/etcd-release-3.5.1/etcd/release/etcd/server/etcdmain/main.go:40 +0x11f
main.main()
\t/tmp/etcd-release-3.5.1/etcd/release/etcd/server/main.go:32 +0x45
created by main.start
"""
LOADED = '{"level":"info","ts":"2026-11-24T03:59:38.856Z","caller":"etcdmain/config.go:337","msg":"loaded server configuration, …"}'  # noqa: E501
RUNNING = '{"level":"info","ts":"2026-11-24T03:59:38.857Z","caller":"etcdmain/etcd.go:72","msg":"Running: ","args":["/usr/bin/etcd"]}'  # noqa: E501
LISTENERS = (
    '{"level":"info","ts":"2026-11-24T03:59:38.858Z","caller":"embed/etcd.go:131","msg":"configuring peer listeners"}'
)
SLOW = '{"level":"warn","ts":"2026-11-24T04:10:00.250Z","msg":"apply request took too long","took":"172.4ms"}'


REJECTED = ("rejected connection", "rejected connection on client endpoint", "rejected connection on peer endpoint")
"""How etcd begins the line: until 3.5.9 or so the first way, since then with the port."""


def rejected(address: str, error: str, words: str = REJECTED[0]) -> str:
    return (
        f'{{"level":"warn","ts":"2026-11-24T04:00:00.000Z","msg":"{words}",'
        f'"remote-addr":"{address}:44498","server-name":"","error":"{error}"}}'
    )


KEY_USAGE = "tls: failed to verify client certificate: x509: certificate specifies an incompatible key usage"
WRONG_ADDRESS = 'tls: \\"198.51.100.2\\" does not match any of DNSNames [\\"root\\"]'
UNKNOWN_CA = "tls: failed to verify client certificate: x509: certificate signed by unknown authority"


@pytest.mark.parametrize("symptom", symptoms(), ids=lambda symptom: symptom.name)
def test_each_row_explains_its_own_examples(symptom: Symptom) -> None:
    """No row before it catches them: the order of the table is right."""
    assert symptom.examples
    for line in symptom.examples:
        assert known(line) is symptom, line


@pytest.mark.parametrize("symptom", symptoms(), ids=lambda symptom: symptom.name)
def test_each_row_is_as_the_table_says(symptom: Symptom) -> None:
    assert symptom.level in get_args(Level)
    assert symptom.origins <= set(get_args(Origin))
    assert symptom.meaning == " ".join(symptom.meaning.split())
    assert symptom.remedy == " ".join(symptom.remedy.split())


REFUSED = (
    '{{"level":"warn","msg":"failed to apply request","took":"3ms","request":"put:<key:{key} >","error":"{error}"}}'
)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (REFUSED.format(key="x", error="auth: permission denied"), "request refused by a role"),
        (REFUSED.format(key="x", error="auth: user name is empty"), "request refused by a role"),
        (
            'failed to apply request "put" with response "" took (3ms) to execute, err is auth: permission denied',
            "request refused by a role",
        ),
        # What a client writes into its request says nothing of why it failed.
        (REFUSED.format(key='\\"error\\":\\"auth: ', error="open /var/lib/etcd/x: permission denied"), "no permission"),
        ("open /etc/etcd/certs/server/auth: .key: permission denied", "no permission"),
    ],
)
def test_a_client_that_is_refused_is_no_file_that_cannot_be_read(line: str, name: str) -> None:
    found = known(line)
    assert found is not None
    assert found.name == name


def test_names_are_unique() -> None:
    names = [symptom.name for symptom in symptoms()]
    assert len(set(names)) == len(names) > 13


def test_stacks_are_left_out() -> None:
    """The panic and what led to it stay."""
    assert without_stacks(FULL_DISK).split("\n") == [*FULL_DISK.splitlines()[:3], ""]


@pytest.mark.parametrize(
    "line", ["2021-01-01 raft: elected leader (1)", "etcdmain: listen tcp 10.0.0.1:2380: bind: address already in use"]
)
def test_plain_lines_stay(line: str) -> None:
    """Lines of 3.4's plain log are no stack."""
    assert without_stacks(line) == line


def test_a_full_disk_is_known() -> None:
    """The log of a full disk has its remedy."""
    found = explain(FULL_DISK)
    assert found is not None
    assert "disk is full" in found.meaning


def test_what_a_cluster_lives_with_is_no_reason_for_an_end() -> None:
    assert explain(SLOW) is None
    found = explain(f"{SLOW}\n{FULL_DISK}")
    assert found is not None
    assert found.name == "disk full"


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([SLOW, LOADED, RUNNING, LISTENERS, SLOW], 4),  # 3.5
        ([SLOW, LOADED, SLOW, LISTENERS, SLOW], 4),  # 3.4 says nothing of "Running"
        ([LOADED, LISTENERS, SLOW, LOADED, LISTENERS], 2),  # ended at once, started again
        ([SLOW, SLOW], 2),  # the start is further back
        ([], 0),
    ],
)
def test_only_lines_since_the_last_start_count(lines: list[str], kept: int) -> None:
    assert list(since_last_start("\n".join(lines))) == lines[len(lines) - kept :]


def test_lines_are_counted_with_the_time_of_the_last() -> None:
    """What was before the start is left out."""
    (found,) = sightings("\n".join([SLOW, LOADED, LISTENERS, SLOW.replace("04:10", "04:09"), SLOW]))
    assert (found.symptom.name, found.count) == ("slow requests", 2)
    assert found.last == datetime(2026, 11, 24, 4, 10, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lines", "counted"),
    [
        (["03:59:43"], 0),  # another member was started five seconds later
        (["03:59:43", "04:00:13"], 1),  # and half a minute later it is still missing
        (["04:10:00"], 1),
    ],
)
def test_a_member_that_starts_a_little_later_is_not_missed(lines: list[str], counted: int) -> None:
    said = (f'{{"level":"warn","ts":"2026-11-24T{at}.000Z","msg":"prober detected unhealthy status"}}' for at in lines)
    assert [found.count for found in sightings("\n".join([LOADED, LISTENERS, *said]))] == [counted] * bool(counted)


def test_a_line_without_time_has_that_of_the_line_before() -> None:
    """A panic is no structured line."""
    (found,) = sightings(f"{LISTENERS}\npanic: tocommit(2) is out of range [lastIndex(1)]. Was the raft log lost?")
    assert found.last == datetime(2026, 11, 24, 3, 59, 38, 858_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "gateway", "name"),
    [
        (rejected("127.0.0.1", KEY_USAGE), True, "incompatible key usage"),
        (rejected("198.51.100.2", KEY_USAGE), True, "incompatible key usage"),
        (rejected("127.0.0.1", KEY_USAGE), False, ""),  # our own check that it is refused
        (rejected("198.51.100.3", KEY_USAGE), False, "incompatible key usage"),
        (rejected("198.51.100.3", UNKNOWN_CA), False, "certificate refused"),
        (rejected("127.0.0.1", UNKNOWN_CA), True, ""),
        (rejected("198.51.100.2", WRONG_ADDRESS), False, ""),  # our own check, with the client's certificate
        (rejected("192.0.2.1", WRONG_ADDRESS), False, "address not in certificate"),  # a peer behind a translation
        (rejected("192.0.2.1", UNKNOWN_CA), False, ""),  # some client's affair
    ],
)
@pytest.mark.parametrize("words", REJECTED)
def test_refused_connections_are_told_by_where_they_come_from(line: str, gateway: bool, name: str, words: str) -> None:
    """Before, in the words of newer versions the checks of this project counted as a fault of the cluster."""
    line = line.replace(REJECTED[0], words)
    found = sightings(line, members=["198.51.100.3"], own=["127.0.0.1", "198.51.100.2"], gateway=gateway)
    assert [sighting.symptom.name for sighting in found] == ([name] if name else [])


@pytest.mark.parametrize("words", REJECTED)
def test_a_check_of_this_project_is_no_reason_why_etcd_does_not_run(words: str) -> None:
    assert explain(rejected("127.0.0.1", UNKNOWN_CA, words)) is None
    found = explain(rejected("127.0.0.1", UNKNOWN_CA, words) + "\n" + FULL_DISK)
    assert found is not None
    assert found.name == "disk full"
    found = explain(rejected("198.51.100.3", UNKNOWN_CA, words))
    assert found is not None, "members that are refused are a reason"
    assert found.name == "certificate refused"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (SLOW, "apply request took too long: 172.4ms"),
        (rejected("192.0.2.1", "EOF"), "rejected connection from 192.0.2.1:44498: EOF"),
        ("panic: no", "panic: no"),
        ('{"other":1}', '{"other":1}'),
    ],
)
def test_message(line: str, words: str) -> None:
    assert message(line) == words


REFUSED_PEER = (
    '{"level":"warn","ts":"2026-11-26T18:31:23Z","msg":"peer became inactive (message send to peer failed)","error":"'
    'failed to dial dc on stream Message (x509: certificate is valid for new.home, not old.home)"}'
)
BACK = '{"level":"info","ts":"2026-11-26T18:31:24Z","msg":"peer became active","peer-id":"dc"}'


@pytest.mark.parametrize(
    ("lines", "over"),
    [
        ([REFUSED_PEER], False),
        ([REFUSED_PEER, BACK], True),
        ([REFUSED_PEER, BACK, REFUSED_PEER], False),
        ([BACK, REFUSED_PEER], False),
    ],
)
def test_what_is_over_by_a_later_line_is_no_failure(lines: list[str], over: bool) -> None:
    """A member that starts looks for the others where its log begins, until it has read that they have moved."""
    (sighting,) = sightings("\n".join(lines))
    assert (sighting.symptom.name, sighting.over) == ("name not in certificate", over)
    (finding,) = log_findings([sighting], clock=datetime(2026, 11, 26, 18, 32, tzinfo=UTC), running=True)
    assert finding.ok is over
    stopped = log_findings([sighting], clock=datetime(2026, 11, 26, 18, 32, tzinfo=UTC), running=False)
    assert not stopped[0].ok, "it explains why an etcd does not run"
