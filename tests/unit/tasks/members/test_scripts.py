"""What is done on hosts for a change of members: a snapshot that leaves nothing behind, data that are moved aside."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from etcdfleet.errors import RemoteError
from etcdfleet.remote import CommandResult
from etcdfleet.remote.scripts import script
from tests.unit.support.site import BusyBox, LocalHost

needs_busybox = pytest.mark.skipif(not shutil.which("busybox"), reason="there is no busybox here (make lint has one)")
SNAPSHOT = 'cat /dev/zero | head -c 300000 > "$1"; echo Snapshot saved at $1'


@pytest.fixture(name="here", params=["sh", pytest.param("busybox", marks=needs_busybox)])
def _here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalHost:
    return LocalHost() if request.param == "sh" else BusyBox(tmp_path_factory.mktemp("busybox"))


def save(here: LocalHost, *folders: Path, needed_kib: int = 300, saving: str = SNAPSHOT) -> CommandResult:
    asked = script("save_snapshot", *map(str, folders), functions={"save": saving}, needed_kib=needed_kib, no_room=28)
    return here.run(asked)


def test_a_snapshot_is_printed_and_nothing_of_it_stays(here: LocalHost, tmp_path: Path) -> None:
    left = tmp_path / "etcdfleet-snapshot.abc"
    left.mkdir()
    (left / "snapshot.db").write_text("of a host that lost its power")
    answer = save(here, tmp_path / "none", tmp_path)
    assert (answer.rc, answer.stdout) == (0, "\0" * 300000)
    assert f"saved at {tmp_path}/etcdfleet-snapshot." in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_that_fails_leaves_nothing_and_prints_nothing(here: LocalHost, tmp_path: Path) -> None:
    answer = save(
        here, tmp_path, saving='cat /etc/hostname > "$1.part"; echo "Error: context deadline exceeded" >&2; false'
    )
    assert (answer.rc, answer.stdout) == (1, "")
    assert "deadline exceeded" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_room_is_passed_over_and_none_is_said(here: LocalHost, tmp_path: Path) -> None:
    here.stand_ins(
        tmp_path, df='echo head; case "$2" in */small) echo "dev 1 1 100 1% /" ;; *) echo "dev 9 9 999 1% /" ;; esac'
    )
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    assert f"{small} has room for 100 KiB" in save(here, small, large).stderr
    answer = save(here, small, large, needed_kib=1000)
    assert (answer.rc, answer.stdout) == (28, "")
    assert f"{large} has room for 999 KiB" in answer.stderr


def test_a_folder_in_memory_takes_half_of_what_is_free_at_most(here: LocalHost, tmp_path: Path) -> None:
    here.stand_ins(tmp_path, df='echo head; echo "tmpfs 9 9 999999999999 1% /"')
    answer = save(here, tmp_path, needed_kib=10**9)
    assert answer.rc == 28
    assert save(here, tmp_path).rc == 0


class Streaming(LocalHost):
    """Prints to the file what it would send."""

    def _exec_into(self, command: str, stdin: bytes, timeout: float, keep: object) -> CommandResult:
        result = self._exec(command, stdin, timeout)
        keep(result.stdout.encode())  # type: ignore[operator]
        return CommandResult(result.rc, "", result.stderr)


class Full(io.BytesIO):
    """A file on a disk without room."""

    name = "/snapshots/x.part"

    def write(self, _: object) -> int:
        raise OSError(28, "No space left on device")


def test_what_a_host_prints_goes_to_a_file() -> None:
    file = io.BytesIO()
    Streaming().fetch("echo yes", file, timeout=5, check="asking")
    assert file.getvalue() == b"yes\n"
    with pytest.raises(RemoteError, match="asking failed with exit code 3: no") as caught:
        Streaming().fetch("echo no >&2; exit 3", file, timeout=5, check="asking", remedy="try")
    assert caught.value.remedy == "try"
    with pytest.raises(RemoteError, match="cannot be written here") as caught:
        Streaming().fetch("echo yes", Full(), timeout=5, check="asking")
    assert caught.value.where == "/snapshots/x.part"


def aside(here: LocalHost, data: Path, marker: Path) -> CommandResult:
    return here.run(script("set_aside", data_dir=str(data), aside=str(data / "removed-1"), marker=str(marker)))


def test_old_data_and_their_marker_are_moved_and_kept(here: LocalHost, tmp_path: Path) -> None:
    data, marker = tmp_path / "data", tmp_path / "cluster.json"
    (data / "member" / "wal").mkdir(parents=True)
    (data / "member" / "wal" / "0.wal").write_text("log")
    marker.write_text("{}")
    assert aside(here, data, marker).ok
    assert (data / "removed-1" / "member" / "wal" / "0.wal").read_text() == "log"
    assert (data / "removed-1" / "cluster.json").read_text() == "{}"
    assert (data / "removed-1").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in data.iterdir()) == ["removed-1"]
    assert not marker.exists()


def test_the_marker_stays_where_the_data_cannot_be_moved(here: LocalHost, tmp_path: Path) -> None:
    data, marker = tmp_path / "data", tmp_path / "cluster.json"
    (data / "member").mkdir(parents=True)
    (data / "removed-1").mkdir()
    marker.write_text("{}")
    assert not aside(here, data, marker).ok
    assert marker.exists()
    assert (data / "member").exists()


def test_without_a_data_directory_there_is_only_the_marker(here: LocalHost, tmp_path: Path) -> None:
    marker = tmp_path / "cluster.json"
    marker.write_text("{}")
    assert aside(here, tmp_path / "data", marker).ok
    assert list(tmp_path.iterdir()) == []
