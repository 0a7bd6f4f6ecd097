"""What is read out of etcd's log for the person who has to do something about it."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.symptoms import explain, without_stacks

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
