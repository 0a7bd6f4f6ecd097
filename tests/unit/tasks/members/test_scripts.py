"""What is done on hosts for a change of members: a snapshot that leaves nothing behind, data that are moved aside."""

from __future__ import annotations

import fcntl
import io
import os
import pwd
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

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


class Full(io.BytesIO):
    """A file on a disk without room."""

    name = "/snapshots/x.part"

    def write(self, _: object) -> int:
        raise OSError(28, "No space left on device")


def test_what_a_host_prints_goes_to_a_file() -> None:
    file = io.BytesIO()
    LocalHost().fetch("echo yes", file, timeout=5, check="asking")
    assert file.getvalue() == b"yes\n"
    with pytest.raises(RemoteError, match="asking failed with exit code 3: no") as caught:
        LocalHost().fetch("echo no >&2; exit 3", file, timeout=5, check="asking", remedy="try")
    assert caught.value.remedy == "try"
    with pytest.raises(RemoteError, match="cannot be written here") as caught:
        LocalHost().fetch("echo yes", Full(), timeout=5, check="asking")
    assert caught.value.where == "/snapshots/x.part"


def aside(here: LocalHost, data: Path, marker: Path) -> CommandResult:
    return here.run(
        script("set_aside", data_dir=str(data), aside=str(data / "removed-1"), marker=str(marker), keep_marker=False)
    )


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


def test_old_data_are_moved_and_the_marker_stays_where_it_is_to(here: LocalHost, tmp_path: Path) -> None:
    data, marker = tmp_path / "data", tmp_path / "cluster.json"
    (data / "member" / "wal").mkdir(parents=True)
    marker.write_text("{}")
    moving = script(
        "set_aside", data_dir=str(data), aside=str(data / "removed-1"), marker=str(marker), keep_marker=True
    )
    assert here.run(moving).ok
    assert sorted(path.name for path in (data / "removed-1").iterdir()) == ["cluster.json", "member"]
    assert marker.read_text() == "{}"


class Piped:
    """Feeds a local shell as a connection does: what is to be sent, while what it says is heard."""

    @staticmethod
    def into(shell: list[str], pieces: Iterator[bytes], keep: Any) -> CommandResult:
        process = subprocess.Popen(
            shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        given, said, errors = process.stdin, process.stdout, process.stderr
        assert given is not None
        assert said is not None
        assert errors is not None

        def feed() -> None:
            with suppress(OSError):
                for piece in pieces:
                    given.write(piece)
            with suppress(OSError):
                given.close()

        thread = threading.Thread(target=feed, daemon=True)
        thread.start()
        while heard := said.read(1000):
            keep(heard)
        return CommandResult(process.wait(), "", errors.read().decode())


@pytest.fixture(name="piped")
def _piped(here: LocalHost, monkeypatch: pytest.MonkeyPatch) -> LocalHost:
    """The same hosts, which are sent a file."""

    def into(command: str, stdin: bytes | Iterator[bytes], _: float, keep: Any) -> CommandResult:
        pieces = iter([stdin]) if isinstance(stdin, bytes) else stdin

        def known() -> Iterator[bytes]:
            first = next(pieces)
            yield first.replace(b" PATH=", b" PATH=" + here._first)
            yield from pieces

        return Piped.into(command.split(), known(), keep)

    monkeypatch.setattr(here, "_exec_into", into)
    return here


def receive(host: LocalHost, folder: Path, content: bytes, size: int | None = None) -> None:
    work = folder / "restoring-1"
    user = pwd.getpwuid(os.getuid()).pw_name
    receiving = script(
        "receive_snapshot",
        work=str(work),
        all=str(folder / "restoring-"),
        user=user,
        size=len(content) if size is None else size,
    )
    host.send(receiving, io.BytesIO(content), timeout=20, check="sending the snapshot")


def test_a_snapshot_is_sent_whole(piped: LocalHost, tmp_path: Path) -> None:
    """Any bytes, more than fit into a pipe; the shell that reads the script takes none of them."""
    content = b"echo no\n}\n\0\xff" * 30_000
    (tmp_path / "restoring-0" / "data").mkdir(parents=True)
    receive(piped, tmp_path, content)
    assert (tmp_path / "restoring-1" / "snapshot.db").read_bytes() == content
    assert (tmp_path / "restoring-1" / "snapshot.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "restoring-1").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "restoring-0").exists(), "of a restore that was given up"
    receive(piped, tmp_path, b"another")
    assert (tmp_path / "restoring-1" / "snapshot.db").read_bytes() == content, "it is there already"


def test_of_a_snapshot_that_came_in_part_nothing_is_kept(piped: LocalHost, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="sending the snapshot failed with exit code 1: 4 bytes came, and not 9"):
        receive(piped, tmp_path, b"half", size=9)
    assert list((tmp_path / "restoring-1").iterdir()) == []


def test_restored_data_become_the_members_and_nothing_is_overwritten(here: LocalHost, tmp_path: Path) -> None:
    data, work = tmp_path / "data", tmp_path / "data" / "restoring-1"

    def take() -> CommandResult:
        (work / "data" / "member" / "wal").mkdir(parents=True, exist_ok=True)
        (work / "data" / "member" / "wal" / "0.wal").write_text("restored")
        return here.run(script("take_restored", work=str(work), data_dir=str(data)))

    (data / "member" / "snap").mkdir(parents=True)  # of a start that was cut off before its first log
    assert take().ok
    assert (data / "member" / "wal" / "0.wal").read_text() == "restored"
    assert sorted(path.name for path in data.iterdir()) == ["member"]
    (data / "member" / "wal" / "0.wal").write_text("of clients")
    refused = take()
    assert (refused.ok, "which were not there before" in refused.stderr) == (False, True)
    assert (data / "member" / "wal" / "0.wal").read_text() == "of clients"


ETCD = """for word in "$@"; do case $word in --data-dir=*) data=${word#*=} ;; esac; done
echo "$ETCD_UNSUPPORTED_ARCH" "$@" >>LOG
[ -z "FAILS" ] || { echo "it cannot" >&2; exit 3; }
touch "$data/up"
while :; do sleep 0.1; done"""


def extract(
    here: LocalHost, folder: Path, *, fails: str = "", no_room: bool = False, place: str = "etcd"
) -> CommandResult:
    data = folder / "etcd"
    (folder / place / "member" / "wal").mkdir(parents=True)
    (folder / place / "member" / "wal" / "0.wal").write_text("log")
    (folder / place / "member" / "snap").mkdir()
    (folder / place / "member" / "snap" / "db").write_text("database")
    programs = folder / "programs"
    programs.mkdir()
    stand_ins = {"etcd": ETCD.replace("LOG", str(folder / "log")).replace("FAILS", fails)}
    if no_room:
        stand_ins["df"] = 'echo head; echo "dev 9 9 5 1% /"'
    here.stand_ins(programs, **stand_ins)
    work = data / "restoring-copy"
    (work / "data").mkdir(parents=True)
    (work / "pid").write_text("999999")  # of a run whose host lost its power
    asked = script(
        "extract_snapshot",
        *(str(programs / "etcd"), "--force-new-cluster", "--name=two words"),
        functions={
            "serves": f"[ -e {work}/data/up ]",
            "save": f'cat {work}/data/member/wal/0.wal >"$1"; echo saved >&2; echo more >>{work}/data/member/wal/0.wal',
        },
        data_dir=str(data),
        source=str(folder / place),
        in_use=26,
        work=str(work),
        user=pwd.getpwuid(os.getuid()).pw_name,
        seconds=10,
        no_room=28,
        architecture="arm",
    )
    return here.run(asked, timeout=30)


def test_a_snapshot_is_taken_of_a_copy_and_the_data_stay_as_they_are(here: LocalHost, tmp_path: Path) -> None:
    answer = extract(here, tmp_path)
    assert (answer.rc, answer.stdout) == (0, "log"), answer.stderr
    work = tmp_path / "etcd" / "restoring-copy"
    told = (tmp_path / "log").read_text()
    assert told == f"arm --force-new-cluster --name=two words --data-dir={work}/data\n"
    assert sorted(path.name for path in (tmp_path / "etcd").iterdir()) == ["member"]
    assert (tmp_path / "etcd" / "member" / "wal" / "0.wal").read_text() == "log"
    end = time.monotonic() + 5  # busybox's timeout looks once a second whether it has still something to do
    while subprocess.run(["pgrep", "-f", f"data-dir={work}/data"], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < end, "nothing of it runs on"
        time.sleep(0.1)


def test_a_snapshot_is_taken_of_a_folder_that_no_etcd_uses(here: LocalHost, tmp_path: Path) -> None:
    card = tmp_path / "card of another"
    answer = extract(here, tmp_path, place=card.name)
    assert (answer.rc, answer.stdout) == (0, "log"), answer.stderr
    assert list((tmp_path / "etcd").iterdir()) == []
    assert (card / "member" / "wal" / "0.wal").read_text() == "log"
    shutil.rmtree(tmp_path / "programs")
    shutil.rmtree(card)
    shutil.rmtree(tmp_path / "etcd")
    card.mkdir()
    (card / "member" / "snap").mkdir(parents=True)
    with (card / "member" / "snap" / "db").open("w") as used:
        fcntl.flock(used, fcntl.LOCK_EX)  # as etcd does
        shutil.rmtree(card / "member" / "wal", ignore_errors=True)
        answer = _used(here, tmp_path, card)
    assert (answer.rc, f"an etcd uses the data in {card}" in answer.stderr) == (26, True)
    assert list((tmp_path / "etcd").iterdir()) == []


def _used(here: LocalHost, folder: Path, card: Path) -> CommandResult:
    (folder / "etcd").mkdir()
    asked = script(
        "extract_snapshot",
        "etcd",
        functions={"serves": "false", "save": "false"},
        data_dir=f"{folder}/etcd",
        source=str(card),
        work=f"{folder}/etcd/restoring-copy",
        in_use=26,
        user="root",
        seconds=1,
        no_room=28,
        architecture="",
    )
    return here.run(asked, timeout=30)


def test_a_copy_that_does_not_come_up_says_why_and_leaves_nothing(here: LocalHost, tmp_path: Path) -> None:
    answer = extract(here, tmp_path, fails="yes")
    assert (answer.rc, answer.stdout) == (1, "")
    assert "it cannot" in answer.stderr
    assert sorted(path.name for path in (tmp_path / "etcd").iterdir()) == ["member"]


def test_a_copy_is_not_begun_without_room(here: LocalHost, tmp_path: Path) -> None:
    answer = extract(here, tmp_path, no_room=True)
    assert (answer.rc, answer.stdout) == (28, "")
    assert "has room for 5 KiB" in answer.stderr
    assert not (tmp_path / "log").exists()
