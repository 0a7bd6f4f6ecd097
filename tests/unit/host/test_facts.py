"""The probe, run in this machine's shell, and the reading of what hosts answer."""

from __future__ import annotations

import base64
import gzip
import subprocess
import time
from pathlib import Path

import pytest

from etcdfleet.host import facts
from etcdfleet.remote import CommandResult
from etcdfleet.remote.scripts import script
from tests.unit.support.paths import FIXTURES
from tests.unit.support.site import LocalHost, settings

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
    answers = host.batch(facts.probe(settings(), ["/etc/passwd", "/nowhere"]))
    host_facts = facts.read(settings(), answers, asked, time.time())
    assert host_facts.distribution
    assert host_facts.machine
    assert host_facts.clock_offset == 0.0
    assert host_facts.free_bytes["/etc"] > 0
    assert host_facts.files["/etc/passwd"].content == Path("/etc/passwd").read_bytes()
    assert host_facts.files["/etc/passwd"].mode == 0o644
    assert "/nowhere" not in host_facts.files
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
    return base64.encodebytes(gzip.compress(content, mtime=0)).decode()


def test_data_directories() -> None:
    assert data(rc=44) == facts.DataFacts()
    assert data("700 etcd", "").exists
    assert data("700 etcd", "default ").foreign == ("default",)
    assert data("700 etcd", "member ", "0", "none").ids is None
    assert data("700 etcd", "member ", "0", "none").unreadable == ""
    recorded = next(FIXTURES.glob("etcd-3.4/**/*wal*"))
    real = data("700 etcd", "member ", "0", "0-0.wal", wal(recorded.read_bytes()))
    assert real.ids is not None
    assert real.unreadable == ""


@pytest.mark.parametrize("text", [wal(b"\0" * 100), wal(b"hello, world, this is no log"), "####", "aGVsbG8="])
def test_damaged_data_is_unreadable_and_never_absent(text: str) -> None:
    member_data = data("700 etcd", "member ", "0", "0-0.wal", text)
    assert member_data.ids is None
    assert member_data.unreadable


def probed(folder: Path) -> facts.DataFacts:
    """What the probe's own shell reads of a data directory."""
    done = subprocess.run(["sh", "-c", facts._data(str(folder))], capture_output=True, text=True, check=False)
    return facts._read_data(CommandResult(done.returncode, done.stdout, done.stderr))


@pytest.mark.parametrize(
    ("segment", "snap", "past"),
    [("alone", False, False), ("alone", True, True), ("restored", True, True), ("restored", False, True)],
)
@pytest.mark.parametrize("version", ["3.4", "3.5"])
def test_a_snapshot_is_a_past(tmp_path: Path, version: str, segment: str, snap: bool, past: bool) -> None:
    """In the log or beside it: one without the other is what a restore that was cut off, or an odd one, leaves."""
    for name in ("wal", "snap"):
        (tmp_path / "member" / name).mkdir(parents=True)
    content = (FIXTURES / f"etcd-{version}" / f"{segment}.wal").read_bytes()
    (tmp_path / "member/wal/0000000000000000-0000000000000000.wal").write_bytes(content)
    if snap:
        (tmp_path / "member/snap/0000000000000001-0000000000000003.snap").write_bytes(b"x")
    member_data = probed(tmp_path)
    assert member_data.unreadable == ""
    assert member_data.ids is not None
    assert member_data.ids.has_past(3) is past


@pytest.mark.parametrize(
    ("files", "unreadable"),
    [
        ({}, ""),
        ({"snap/db": 20480}, ""),  # what a first start leaves that was cut off before its log was made
        ({"snap/db": 131072 + 1}, "its log is gone: there is no member/wal/*.wal, but a database"),
        ({"snap/db": 20480, "snap/1-3.snap": 9}, "its log is gone: there is no member/wal/*.wal, but a snapshot"),
    ],
)
def test_data_without_a_log(tmp_path: Path, files: dict[str, int], unreadable: str) -> None:
    (tmp_path / "member/wal").mkdir(parents=True)
    for name, size in files.items():
        (tmp_path / "member" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "member" / name).write_bytes(bytes(size))
    member_data = probed(tmp_path)
    assert (member_data.ids, member_data.unreadable) == (None, unreadable)


def pairs(keys: str, **files: str) -> dict[str, facts.PairFacts]:
    folder = "/etc/etcd/certs/server"
    there = {
        f"{folder}/{name.replace('pem', 'etcd.az1.k8s.home.pem').replace('note', 'note.json')}": facts.FileFacts(
            text.encode(), 0o600, "etcd", "etcd"
        )
        for name, text in files.items()
    }
    return facts._pairs(settings(), there, keys)


def test_a_pair_knows_its_key_only_by_the_note_beside_it() -> None:
    key, digest = "/etc/etcd/certs/server/etcd.az1.k8s.home.key", "a" * 64
    note = f'{{"key_sha256": "{digest}", "public_key": "beef"}}'
    pair = pairs(f"{digest}  {key}\n{key}|600 etcd\n", pem="PEM\n", note=note)["peer"]
    assert (pair.pem, pair.key_mode, pair.key_fingerprint) == ("PEM\n", "600 etcd", "beef")
    assert pairs(f"{'b' * 64}  {key}\n{key}|600 etcd\n", pem="PEM\n", note=note)["peer"].key_fingerprint is None
    assert pairs("", pem="PEM\n", note=note)["peer"].key_fingerprint is None
    assert pairs(f"{digest}  {key}\n", pem="PEM\n")["peer"].key_fingerprint is None
    assert pairs("", note=note) == {}


def test_a_host_whose_files_cannot_be_read_is_no_empty_host() -> None:
    empty = base64.b64encode(b"\0" * 10240).decode()
    for text in ("", "####", empty, base64.b64encode(b"tar: not found").decode()):
        with pytest.raises(ValueError, match="archive of its files"):
            facts._read_files(text)


def test_a_masked_unit_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "unit").symlink_to("/dev/null")
    (tmp_path / "real").write_bytes(b"no final newline")
    (tmp_path / "link").symlink_to("real")
    probe = facts.probe(settings(), [str(tmp_path / name) for name in ("unit", "real", "link")])
    files = facts._read_files(LocalHost().run(probe["files"]).stdout)
    assert str(tmp_path / "unit") not in files
    assert files[str(tmp_path / "real")].content == b"no final newline"
    assert files[str(tmp_path / "link")].content == b"no final newline"


def test_addresses_of_a_name_once_each() -> None:
    text = "etcd.az1.k8s.home 192.0.2.1 192.0.2.1 192.0.2.1 \netcd.az2.k8s.home \n"
    assert facts._resolved(text) == {"etcd.az1.k8s.home": ("192.0.2.1",), "etcd.az2.k8s.home": ()}


@pytest.mark.parametrize(
    ("configured", "wal", "elsewhere"),
    [
        ("data-dir: {old}", True, True),
        ('data-dir: "{old}"', True, True),
        ('data-dir: "{old}"', False, False),
        ("data-dir: {new}", True, False),
        ("name: x", True, False),
        ("", True, False),
    ],
)
def test_data_elsewhere(tmp_path: Path, configured: str, wal: bool, elsewhere: bool) -> None:
    old, new, config = tmp_path / "old one", tmp_path / "new", tmp_path / "conf.yml"
    (old / "member/wal").mkdir(parents=True)
    if wal:
        (old / "member/wal/0-0.wal").touch()
    config.write_text(f"name: a\n{configured.format(old=old, new=new)}\n")
    asked = script("data_elsewhere", data_dir=str(new), config=str(config))
    done = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", str(old) if elsewhere else "")
