"""A trial restore on this machine and on a host, with programs that stand in for etcd's; nothing of it stays."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from etcdfleet.backup.note import Drill, read_note
from etcdfleet.backup.store import Snapshot
from etcdfleet.errors import RemoteError
from etcdfleet.remote import CommandResult
from tasks.members.drill import drill_here, drill_on_host, note_drill
from tests.unit.backup.test_drill import answers
from tests.unit.support.fake_run import nornir_of
from tests.unit.support.snapshots import WHOLE, put
from tests.unit.support.stand_ins import RUNNING, Place, Scripted, carry_out, seen

NIGHT = datetime(2026, 11, 26, 2, tzinfo=UTC)
ETCD = """[ "$1" != --version ] || {{ echo "etcd Version: {version}"; exit; }}
echo "$@" >{log}.etcd
[ -s data/db ] || exit 1
{then}"""
CONTROL = """case " $* " in
*" restore "*) {restore} ;;
*" get "*) [ -e {log}.etcd ] && echo '{{"count":{count}}}' ;;
*" status "*) echo '[{{"Status":{{"header":{{"revision":22}},"version":"3.4.23"}}}}]' ;;
*" hashkv "*) echo '[{{"HashKV":{{"hash":77,"compact_revision":9}}}}]' ;;
esac"""


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return put(tmp_path / "snapshots", NIGHT, etcd="3.4.23", key_hash=77)


def programs(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    version: str = "3.4.23",
    then: str = "exec sleep 60",
    count: int = 412,
    restore: str = "mkdir data && cp snapshot.db data/db",
) -> Path:
    """Programs of etcd that do as little as the script needs; the folder for scratch is one of the test."""
    log, path = folder / "said", folder / "bin"
    path.mkdir()
    given = {"log": shlex.quote(str(log)), "version": version, "then": then, "count": count, "restore": restore}
    # As su of both kinds reads its words: those behind the name of the user are for the shell.
    texts = {"etcd": ETCD.format(**given), "etcdctl": CONTROL.format(**given), "chown": ":"}
    texts["su"] = 'c=$4; shift 7; exec sh -c "$c" sh "$@"'
    for name, text in texts.items():
        (path / name).write_text(f"#!/bin/sh\n{text}\n")
        (path / name).chmod(0o755)
    scratch = folder / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("PATH", f"{path}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr("tasks.members.drill._FOLDERS", (str(scratch),))
    monkeypatch.setattr("etcdfleet.backup.drill._WAL_KIB", 0)
    return scratch


def tried(snapshot: Snapshot) -> Drill | str:
    found: Drill | str = nornir_of({"home": "home"}).run(drill_here, snapshot=snapshot)["home"][0].result
    return found


def test_on_this_machine(tmp_path: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = programs(tmp_path, monkeypatch)
    drill = tried(snapshot)
    assert isinstance(drill, Drill)
    assert (drill.good, drill.where, drill.etcd) == (True, "this machine", "3.4.23")
    assert drill.says == "revision 22, 412 keys, hash 77 as noted"
    said = (tmp_path / "said.etcd").read_text()
    assert "--listen-client-urls=unixs://localhost:1" in said
    assert "--client-cert-auth" in said
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"count": 400}, "keys 400, and 412 noted"),
        ({"then": "echo no quorum; exit 1"}, "etcd did not stay up: no quorum"),
        ({"restore": "echo hash mismatch >&2; exit 1"}, "could not restore it: hash mismatch"),
    ],
)
def test_one_that_fails_is_told_and_nothing_stays(
    tmp_path: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], says: str
) -> None:
    scratch = programs(tmp_path, monkeypatch, **how)
    if "then" in how:
        text = "#!/bin/sh\ncase $* in version) ;; *restore*) mkdir data && cp snapshot.db data/db ;; *) false ;; esac\n"
        (tmp_path / "bin" / "etcdctl").write_text(text)
    drill = tried(snapshot)
    assert isinstance(drill, Drill), drill
    assert not drill.good
    assert says in drill.says
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"version": "3.5.16"}, "etcd 3.5.16 is there, and the snapshot is of 3.4"),
        ({"version": "unreadable"}, "the snapshot is of 3.4"),
    ],
)
def test_another_version_is_none_for_it(
    tmp_path: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, how: dict[str, str], why: str
) -> None:
    programs(tmp_path, monkeypatch, **how)  # type: ignore[arg-type]
    assert why in str(tried(snapshot))


def test_without_room_or_programs_it_is_no_fault_of_the_snapshot(
    tmp_path: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = programs(tmp_path, monkeypatch)
    monkeypatch.setattr("etcdfleet.backup.drill._WAL_KIB", 1 << 50)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(scratch))
    assert f"this machine: {scratch} (" in str(tried(snapshot))
    monkeypatch.setenv("PATH", "/nowhere")
    assert tried(snapshot) == "this machine has no etcd and etcdctl"


@pytest.mark.parametrize(
    ("program", "text", "says"),
    [
        ("etcdctl", "#!/root/only/python\n", "No such file|not found|bad interpreter"),
        ("etcdctl", "#!/bin/sh\nexec /root/only/etcdctl\n", "/root/only/etcdctl"),
        ("etcd", "#!/bin/sh\necho closed >&2\nexit 126\n", "closed"),
    ],
    ids=["its interpreter", "what it leads to", "it ends so"],
)
def test_programs_that_the_user_cannot_run_are_no_fault_of_the_snapshot(
    tmp_path: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, program: str, text: str, says: str
) -> None:
    """They are executable, and this machine's user can run them: the one of the drill cannot."""
    scratch = programs(tmp_path, monkeypatch)
    closed = tmp_path / "closed"
    closed.write_text(text)
    closed.chmod(0o755)
    other = f"case $word in {tmp_path}/bin/{program}) word={closed} ;; esac"
    refuses = f'c=$4; shift 7; for word in "$@"; do shift; {other}; set -- "$@" "$word"; done; exec sh -c "$c" sh "$@"'
    (tmp_path / "bin" / "su").write_text(f"#!/bin/sh\n{refuses}\n")
    monkeypatch.setattr("os.getuid", lambda: 0)
    drill = tried(snapshot)
    assert isinstance(drill, str)
    assert re.search(f"^this machine: user nobody cannot run {tmp_path}/bin/{program}: .*({says})", drill), drill
    assert list(scratch.iterdir()) == []


class Taking(Scripted):
    """Takes the snapshot, and says what the test says of it."""

    def __init__(self, said: str | RemoteError, *, etcdutl: bool = False) -> None:
        super().__init__({"command -v etcdutl": "" if etcdutl else CommandResult(1, "", "")})
        self.said, self.took, self.script = said, b"", ""

    def send(self, script: str, source: BinaryIO, **how: Any) -> CommandResult:
        assert how["timeout"] > 120
        self.script, self.took = script, source.read()
        if isinstance(self.said, RemoteError):
            raise self.said
        return CommandResult(0, self.said, "")


def on_host(host: Taking, snapshot: Snapshot) -> Any:
    return carry_out(drill_on_host, Place(host, seen(RUNNING)), snapshot=snapshot).result


def test_on_a_host_as_user_etcd(snapshot: Snapshot) -> None:
    note = replace(snapshot.note, etcd="3.5.16", alarms=("NOSPACE",))
    host = Taking(answers())
    drill = on_host(host, replace(snapshot, note=note))
    assert (drill.good, drill.where) == (True, "az-1")
    assert host.took == WHOLE
    assert "\nuser=etcd\n" in host.script
    assert "set -- /var/tmp /var/lib\n" in host.script


@pytest.mark.parametrize(
    ("said", "is_drill", "why"),
    [
        (RemoteError("the trial restore failed with exit code 1: etcd did not stay up: x"), True, "did not stay up"),
        (RemoteError("the trial restore failed with exit code 1: etcdctl could not restore it: x"), True, "restore it"),
        (RemoteError("the trial restore failed with exit code 28: /var/tmp has room for 0 KiB"), False, "az-1: the"),
        ("nothing that can be read", True, "gave no answer"),
        (answers(), True, "alarms NOSPACE, and none noted"),
    ],
)
def test_what_went_wrong_on_a_host(snapshot: Snapshot, said: Any, is_drill: bool, why: str) -> None:
    found = on_host(Taking(said), replace(snapshot, note=replace(snapshot.note, etcd="3.5.16")))
    assert isinstance(found, Drill) is is_drill
    assert why in (found.says if isinstance(found, Drill) else found)
    assert not (isinstance(found, Drill) and found.good)


def test_a_host_with_another_version_is_not_asked(snapshot: Snapshot) -> None:
    host = Taking(answers())
    assert on_host(host, snapshot) == "az-1: etcd 3.5.16 is there, and the snapshot is of 3.4"
    assert host.script == ""


def test_how_it_went_is_noted(snapshot: Snapshot) -> None:
    def noted(drill: Drill) -> Any:
        result = nornir_of({"home": "home"}).run(note_drill, snapshot=snapshot, drill=drill)["home"][0]
        assert read_note(snapshot.note_path.read_text()).drill == drill
        assert json.loads(snapshot.note_path.read_text())["drill"]["good"] is drill.good
        return result

    good = Drill("2026-11-26T03:00:00+00:00", "az-1", "3.4.23", good=True, says="412 keys as noted")
    result = noted(good)
    assert result.result.facts["backup"]["drilled"] == good.when
    assert "restored on az-1 with etcd 3.4.23: 412 keys as noted" in result.result.summary
    failed = noted(replace(good, good=False, says="keys 0, and 412 noted"))
    assert "what was restored on az-1 is not what was saved: keys 0" in str(failed.exception)
