"""The probe, run in this machine's shell, and the reading of what hosts answer."""

from __future__ import annotations

import base64
import gzip
import time
from pathlib import Path

import pytest

from etcdfleet import facts
from etcdfleet.remote import CommandResult
from tests.unit.site import LocalHost, settings

SS = """LISTEN 0 4096 198.51.100.11:2379 0.0.0.0:* users:(("etcd",pid=77,fd=8))
LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=1,fd=3),("systemd",pid=2,fd=4))
"""
NETSTAT = """Active Internet connections (only servers)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
tcp        0      0 192.0.2.7:2380            0.0.0.0:*               LISTEN      77/etcd
tcp        0      0 :::22                   :::*                    LISTEN      -
"""


def test_the_probe_reads_this_machine() -> None:
    host = LocalHost()
    asked = time.time()
    found = facts.read(host.batch(facts.probe(settings(), ["/etc/passwd", "/nowhere"])), asked, time.time())
    assert found.distribution
    assert found.machine
    assert found.clock_offset == 0.0
    assert found.free_bytes["/etc"] > 0
    assert found.files["/etc/passwd"].content == Path("/etc/passwd").read_bytes()
    assert found.files["/etc/passwd"].mode == 0o644
    assert "/nowhere" not in found.files
    assert host.round_trips == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SS, [(2379, "198.51.100.11", "etcd (pid 77)"), (22, "::", "sshd (pid 1), systemd (pid 2)")]),
        (NETSTAT, [(2380, "192.0.2.7", "etcd (pid 77)"), (22, "::", "an unknown process")]),
        ("", []),
    ],
)
def test_listeners_of_ss_and_netstat(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert [(one.port, one.address, one.process) for one in facts._listeners(text)] == expected


@pytest.mark.parametrize(
    ("host", "asked", "answered", "offset"),
    [
        (1000, 1000.4, 1000.9, 0.0),
        (1000, 1000.9, 1001.2, 0.0),
        (1005, 1000.0, 1000.5, 4.5),
        (990, 1000.0, 1000.5, -9.0),
    ],
)
def test_the_offset_allows_for_the_round_trip_and_whole_seconds(
    host: float, asked: float, answered: float, offset: float
) -> None:
    assert facts._offset(host, asked, answered) == pytest.approx(offset)


def data(*lines: str, rc: int = 0) -> facts.DataFacts:
    return facts._read_data(CommandResult(rc, "\n".join(lines) + "\n", ""))


def wal(content: bytes) -> str:
    return base64.encodebytes(gzip.compress(content)).decode()


def test_data_directories() -> None:
    assert data(rc=44) == facts.DataFacts()
    assert data("700 etcd", "").exists
    assert data("700 etcd", "default ").foreign == ("default",)
    assert data("700 etcd", "member ", "none").ids is None
    assert data("700 etcd", "member ", "none").unreadable == ""
    recorded = next(Path(__file__).parent.glob("fixtures/etcd-3.4/**/*wal*"))
    real = data("700 etcd", "member ", wal(recorded.read_bytes()))
    assert real.ids is not None
    assert real.unreadable == ""


@pytest.mark.parametrize("text", [wal(b"\0" * 100), wal(b"hello, world, this is no log"), "####", "aGVsbG8="])
def test_damaged_data_is_unreadable_and_never_absent(text: str) -> None:
    found = data("700 etcd", "member ", text)
    assert found.ids is None
    assert found.unreadable


def pair(head: str, note: str, pem: str) -> facts.PairFacts | None:
    return facts._read_pair(CommandResult(0, f"{head}---\n{note}---\n{pem}", ""))


def test_a_pair_knows_its_key_only_by_the_note_beside_it() -> None:
    digest = "a" * 64
    note = f'{{"key_sha256": "{digest}", "public_key": "beef"}}\n'
    found = pair(f"sets/peer-01\n{digest}\n600 etcd\n", note, "PEM\n")
    assert found is not None
    assert (found.set_name, found.key_mode, found.key_fingerprint) == ("peer-01", "600 etcd", "beef")
    other = pair(f"sets/peer-01\n{'b' * 64}\n600 etcd\n", note, "PEM\n")
    assert other is not None
    assert other.key_fingerprint is None
    without = pair("-\n", "", "PEM\n")
    assert without is not None
    assert without.key_fingerprint is None
    assert pair("-\n", "", "") is None
