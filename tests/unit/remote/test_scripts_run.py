"""What the scripts of hosts do, with stand-ins for the programs that they call; in ``sh`` and in busybox's shell.

The code that reads their output on the controller reads it here. See also the tests of facts, storage, lock and keys.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, cast

import pytest

from etcdfleet.checks.knocks import heard_by_etcdctl, heard_by_openssl, proper_answered
from etcdfleet.checks.write_probe import probe_checks
from etcdfleet.drivers.init import Service
from etcdfleet.drivers.packages import Target, apt
from etcdfleet.drivers.packages.apk import Apk, ApkInstall
from etcdfleet.drivers.packages.apt import Apt, AptInstall
from etcdfleet.errors import RemoteError
from etcdfleet.etcd.answers import parse_hashkv, parse_status
from etcdfleet.etcd.defragmentation import read_room
from etcdfleet.host import facts
from etcdfleet.host.advice import read_round_trips
from etcdfleet.host.lock import LockInfo, hold_script, read_answer
from etcdfleet.remote import CommandResult, RemoteFile, outliving
from etcdfleet.remote.commands import place_script, whole
from etcdfleet.remote.scripts import program, script
from tasks import preflight
from tasks.observe import Site
from tasks.start import run_and_wait
from tasks.verify.scripts import cluster_commands, etcdctl_attempt, openssl_knock, probe_script
from tests.unit.support.paths import FIXTURES
from tests.unit.support.site import MEMBERS, BusyBox, LocalHost, settings
from tests.unit.support.stand_ins import seen as observed

needs_busybox = pytest.mark.skipif(not shutil.which("busybox"), reason="there is no busybox here (make lint has one)")


@pytest.fixture(name="here", params=["sh", pytest.param("busybox", marks=needs_busybox)])
def _here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalHost:
    return LocalHost() if request.param == "sh" else BusyBox(tmp_path_factory.mktemp("busybox"))


@pytest.fixture(name="programs")
def _bin(tmp_path: Path, here: LocalHost) -> Path:
    """A folder of stand-ins; among them is a mktemp that needs no root for what would be in /run."""
    folder = tmp_path / "bin"
    folder.mkdir()
    temporary = tmp_path / "run"
    temporary.mkdir()
    mktemp = shutil.which("mktemp")
    here.stand_ins(folder, mktemp=f'case "$*" in *"/run/"*) ;; *) exec {mktemp} "$@" ;; esac\n'
                   f'exec {mktemp} $(echo "$@" | sed "s|/run/|{temporary}/|")')  # fmt: skip
    return folder


def recorded(name: str) -> str:
    return str(json.loads((FIXTURES / "etcd-3.5" / f"{name}.json").read_text())["stdout"]).strip()


# ---- questions to the cluster ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compacted", [False, True])
def test_hashes_are_asked_at_a_revision_that_all_members_have(
    here: LocalHost, programs: Path, tmp_path: Path, compacted: bool
) -> None:
    status = recorded("status-three").replace('"revision":21', '"revision":19', 1)
    (tmp_path / "status").write_text(status)
    (tmp_path / "hashes").write_text(recorded("hashkv-three"))
    gone = "echo '[]'" if compacted else f"cat {tmp_path}/hashes"
    here.stand_ins(
        programs,
        etcdctl=f'echo "$@" >>{tmp_path}/asked\n'
        f'case "$*" in *status) cat {tmp_path}/status ;; *--rev=19) {gone} ;; *--rev=0) cat {tmp_path}/hashes ;; esac',
    )
    answer = here.run(cluster_commands(settings())["status and hashes"])
    assert (answer.rc, answer.stderr) == (0, "")
    first, second = answer.text.split("\n")
    assert len(parse_status(first, "")) == len(parse_hashkv(second, "")) == 3
    assert len((tmp_path / "asked").read_text().splitlines()) == 2 + compacted


def test_only_members_that_answer_are_asked_for_hashes(here: LocalHost, programs: Path, tmp_path: Path) -> None:
    """Each member by itself for its status, in whatever order they answer; what the silent one says is kept."""
    urls = [f"https://{member.fqdn}:2379" for member in MEMBERS]
    one = '[{"Endpoint":"$url","Status":{"header":{"cluster_id":7,"member_id":$n,"revision":2$n},"leader":1}}]'
    here.stand_ins(
        programs,
        etcdctl=f'echo "$@" >>{tmp_path}/asked\n'
        'for word in "$@"; do case $word in --endpoints=*) url=${word#*=} ;; esac; done\n'
        f"case $url in {urls[0]}) n=1; sleep 0.2 ;; {urls[1]}) echo 'Error: az-2' >&2; exit 1 ;; *) n=3 ;; esac\n"
        f"""case "$*" in *hashkv*) echo '{recorded("hashkv-three")}' ;; *) cat <<END ;; esac
{one}
END""",
    )
    answer = here.run(cluster_commands(settings(), deep=True)["status and hashes"])
    assert (answer.rc, answer.stderr) == (0, "Error: az-2\n")
    first, second = answer.text.split("\n")
    assert [status.endpoint for status in parse_status(first, "")] == [urls[0], urls[2]]
    assert len(parse_hashkv(second, "")) == 3
    (asked,) = (line for line in (tmp_path / "asked").read_text().splitlines() if "hashkv" in line)
    assert f"--endpoints={urls[0]},{urls[2]} " in asked
    assert asked.endswith("--rev=21")
    assert list((tmp_path / "run").iterdir()) == []


STORE = """case "$*" in
  *"lease grant"*) echo "lease 32695410dcc0ca06 granted with TTL(60s)" ;;
  *" put --lease=32695410dcc0ca06 "*) while [ $# -gt 2 ]; do shift; done; printf %s "$2" >STORE; echo OK ;;
  *" get "*) [ ! -e STORE ] || cat STORE ;;
  *" del "*) rm STORE; echo 1 ;;
  *"lease revoke 32695410dcc0ca06"*) echo "lease 32695410dcc0ca06 revoked" ;;
esac"""


LOGS = """echo '{"level":"warn","ts":"2026-11-26T18:35:25Z","msg":"unrecognized environment variable"}' >&2\n"""
"""What etcdctl says beside its answers: 3.6 of a variable that it does not know."""


@pytest.mark.parametrize("beside", ["", LOGS], ids=["", "logs"])
def test_the_write_probe(here: LocalHost, programs: Path, tmp_path: Path, beside: str) -> None:
    names = [member.name for member in MEMBERS]
    here.stand_ins(programs, etcdctl=beside + STORE.replace("STORE", str(tmp_path / "store")))
    answer = here.run(probe_script(settings(), names, "a token"))
    assert (answer.rc, answer.stderr) == (0, "")
    (finding,) = probe_checks(names, (), answer.stdout, "a token")
    assert finding.ok, finding
    assert finding.evidence == "written through this member, read and gone on az-1, az-2, az-3"


def test_the_write_probe_ends_where_nothing_can_be_written(here: LocalHost, programs: Path) -> None:
    here.stand_ins(programs, etcdctl="printf 'a|b\\nError: etcdserver: mvcc: database space exceeded\\n' >&2; exit 1")
    answer = here.run(probe_script(settings(), ["az-2"], "token"))
    assert answer.stdout == "lease||1|a b Error: etcdserver: mvcc: database space exceeded\n"
    (finding,) = probe_checks(["az-2"], (), answer.stdout, "token")
    assert "space exceeded" in finding.evidence


# ---- certificates that are shown to a port ---------------------------------------------------------------------------

HTTP = "printf 'HTTP/1.0 200 OK\\r\\n\\r\\n{}'"


@pytest.mark.parametrize(
    ("openssl", "rc", "kind"),
    [
        (f"cat >SAID; {HTTP}", 0, "answered"),
        (f"cat >SAID; {HTTP}; exit 1", 0, "answered"),  # etcd closes without a word of farewell
        ("echo 'ssl/tls alert bad certificate:SSL alert number 42' >&2; exit 1", 1, "refused"),
        ("exit 0", 1, "closed"),
    ],
)
def test_the_client_port(here: LocalHost, programs: Path, tmp_path: Path, openssl: str, rc: int, kind: str) -> None:
    request = tmp_path / "said"
    here.stand_ins(programs, openssl=openssl.replace("SAID", str(request)))
    answer = here.run(openssl_knock(settings(), "client", 2379, "server"))
    assert answer.rc == rc
    if kind != "closed":
        assert heard_by_openssl(answer.rc, answer.stdout + answer.stderr).kind == kind
    if kind == "answered":
        assert request.read_bytes() == f"GET /version HTTP/1.0\r\nHost: {MEMBERS[0].fqdn}\r\n\r\n".encode()


def test_a_peer_port_that_keeps_the_connection_is_not_waited_for(
    here: LocalHost, programs: Path, tmp_path: Path
) -> None:
    here.stand_ins(programs, openssl=f"echo $$ >{tmp_path}/pid; {HTTP}; exec sleep 30")
    began = time.monotonic()
    answer = here.run(openssl_knock(settings(), "peer", 2380, "peer"))
    assert time.monotonic() - began < 5
    assert heard_by_openssl(answer.rc, answer.stdout + answer.stderr).kind == "answered"
    assert ended(int((tmp_path / "pid").read_text())), "it goes on alone"
    assert list((tmp_path / "run").iterdir()) == []


def test_what_etcdctl_says_of_a_refusal_ends_its_attempt(here: LocalHost, programs: Path, tmp_path: Path) -> None:
    here.stand_ins(
        programs,
        etcdctl=f'[ "${{ETCD_CLIENT_DEBUG-}}" = warn ] || exit 0\necho $$ >{tmp_path}/pid\n'
        # It says so at each try: busybox's sed reads a line ahead before it quits.
        "for try in 1 2; do echo 'remote error: tls: bad certificate' >&2; done; exec sleep 30",
    )
    began = time.monotonic()
    answer = here.run(etcdctl_attempt(settings(), "peer"))
    assert time.monotonic() - began < 5
    output = answer.stdout + answer.stderr
    assert heard_by_etcdctl(answer.rc, output).kind == "refused"
    assert proper_answered(output)
    assert ended(int((tmp_path / "pid").read_text())), "it goes on alone"


def ended(pid: int) -> bool:
    for _ in range(20):
        if not Path(f"/proc/{pid}/exe").exists():
            return True
        time.sleep(0.1)
    return False


# ---- start, lock, preparation ----------------------------------------------------------------------------------------


class Init:
    """An init system under which etcd begins to answer after a moment."""

    name = "systemd"
    respawns = "echo 0"
    gave_up = "false"

    def logs(self, lines: int) -> str:
        return f"echo {lines}"


def test_a_start_is_over_once_a_request_commits(
    here: LocalHost, programs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    pending = tmp_path / "restart-pending"
    pending.touch()
    monkeypatch.setattr("tasks.start.RESTART_PENDING", str(pending))
    here.stand_ins(programs, etcdctl=f"echo x >>{tmp_path}/asked; [ $(wc -l <{tmp_path}/asked) -gt 2 ]")
    run_and_wait(
        Site(settings(), here, cast(Service, Init()), Apt(AptInstall(), "local"), observed()),
        f"touch {tmp_path}/started",
    )
    assert (tmp_path / "started").exists()
    assert not pending.exists()
    assert len((tmp_path / "asked").read_text()) == 6


def without_connection(here: LocalHost, script: str) -> int:
    """Have a shell run a script while what it prints goes to a connection that is gone; return its exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    command = (here._shell or "").split()
    done = subprocess.run(command, input=script.encode(), stdout=writing, stderr=writing, timeout=30, check=False)
    os.close(writing)
    return done.returncode


def test_a_restart_is_carried_through_although_the_connection_is_lost(
    here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = tmp_path / "restart-pending"
    pending.touch()
    monkeypatch.setattr("tasks.start.RESTART_PENDING", str(pending))
    asked: list[str] = []

    def keep(script: str, **_: object) -> CommandResult:
        asked.append(script)
        return CommandResult(0, "", "")

    monkeypatch.setattr(here, "run", keep)
    # Programs that print, such as a shell that may not set a limit.
    stop, start = (f"sh -c 'echo {word} >&2; echo {word}' && touch {tmp_path}/{word}" for word in ("stopped", "up"))
    restart = f"{stop}\n{start}"
    run_and_wait(
        Site(settings(), here, cast(Service, Init()), Apt(AptInstall(), "local"), observed()), restart, ready="true"
    )
    for way in (asked[0], outliving(restart)):
        without_connection(here, way)
        assert {path.name for path in tmp_path.iterdir()} >= {"stopped", "up"}, way
        (tmp_path / "up").unlink()
    assert not pending.exists(), "what was due is done"
    monkeypatch.undo()
    answer = here.run(outliving("echo why; exit 3"))
    assert (answer.rc, answer.stdout, answer.stderr) == (3, "", "why\n")


def test_a_restart_is_carried_through_although_all_of_its_session_is_killed(here: LocalHost, tmp_path: Path) -> None:
    stopped, up = tmp_path / "stopped", tmp_path / "up"
    command = outliving(f"touch {stopped}\nsleep 0.5 2>/dev/null || sleep 1\ntouch {up}")
    shell = subprocess.Popen((here._shell or "").split(), stdin=subprocess.PIPE, text=True, start_new_session=True)
    assert shell.stdin
    with shell.stdin as writing:
        writing.write(whole(command))
    assert appears(stopped)
    assert not up.exists()
    os.killpg(shell.pid, signal.SIGKILL)
    assert shell.wait() == -signal.SIGKILL
    assert appears(up)


def appears(path: Path) -> bool:
    for _ in range(100):
        if path.exists():
            return True
        time.sleep(0.05)
    return False


def test_of_a_script_that_comes_in_part_nothing_is_done(here: LocalHost, tmp_path: Path) -> None:
    there = {name: tmp_path / name for name in ("one", "two")}
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    files = [RemoteFile(str(path), b"new\n", 0o644, user, group) for path in there.values()]
    script = whole(place_script(files, f"mkdir {tmp_path}/before", f"mkdir {tmp_path}/after"))
    for cut in range(1, len(script) - 2, 7):
        for path in there.values():
            path.write_text("old\n")
        subprocess.run((here._shell or "").split(), input=script[:cut].encode(), capture_output=True, check=False)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "old\n", "two": "old\n"}, cut
    assert here.run(script).ok
    assert {path.read_text() for path in there.values()} == {"new\n"}


def test_a_lock_is_held(here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"RUN_FOLDER": "", "FILE": "lock", "NOTE": "lock.json", "LOCK_COUNT": "count", "WORKING": "working"}
    for name, file in files.items():
        monkeypatch.setattr(f"etcdfleet.host.lock.{name}", str(tmp_path / file))
    info = LockInfo("it's $(me)", "deploy", "a machine", 7, "now")
    holders = []
    for number in range(2):
        shell = (here._shell or "").split()
        holder = subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        holders.append(holder)
        assert holder.stdin
        assert holder.stdout
        with suppress(BrokenPipeError):  # the second one ends early
            for line in hold_script(info).splitlines(keepends=True):
                holder.stdin.write(line)  # in small pieces, as a shell with a small buffer sees it
                holder.stdin.flush()
                time.sleep(0.01)
        assert read_answer(holder.stdout.readline()) == ("0" if number == 0 else info)
    assert holders[0].poll() is None
    for holder in holders:
        with suppress(BrokenPipeError):
            holder.communicate(timeout=10)
    assert (tmp_path / "count").read_text() == "2\n"


def test_synced_writes_are_timed(here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "SYNC_WRITES", 3)
    host = settings()
    host = replace(host, member=host.member.model_copy(update={"data_dir": f"{tmp_path}/not/there"}))
    assert len(preflight.sync_latencies(Site(host, here, cast(Any, None), cast(Any, None)))) == 3
    assert list(tmp_path.iterdir()) == []


def test_the_space_of_folders_that_are_not_there_yet(here: LocalHost, tmp_path: Path) -> None:
    paths = (f"{tmp_path}/a/b", "/etc", "/nowhere")
    free = facts._free_bytes(here.run(script("free_space", *paths)).stdout)
    assert tuple(free) == paths
    assert free[paths[0]] == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)


def test_copies_of_a_defragmentation_and_who_has_them_open(here: LocalHost, tmp_path: Path) -> None:
    """A process of the name etcd has one of them open, by another path; what no process has open is left over."""
    data, snap = tmp_path / "it's", tmp_path / "disk" / "member" / "snap"
    looked = script("database_room", data_dir=str(data))
    nothing = read_room(here.run(looked).stdout)
    assert (nothing.free_bytes, nothing.copying, nothing.left) == (0, None, ()), "no data"
    assert nothing.memory_bytes > 2**26
    snap.mkdir(parents=True)
    data.symlink_to(tmp_path / "disk")
    free = read_room(here.run(looked).stdout)
    assert (free.copying, free.left) == (None, ())
    assert free.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    (snap / "db.tmp.1 2").write_bytes(b"x" * 3000)
    (snap / "db.tmp.99").write_bytes(b"x" * 500)
    (tmp_path / "other").hardlink_to(snap / "db.tmp.1 2")
    etcd = tmp_path / "etcd"
    shutil.copy("/bin/sleep", etcd)
    with (tmp_path / "other").open() as open_file:
        process = subprocess.Popen([etcd, "60"], stdin=open_file)
    try:
        room = read_room(here.run(looked).stdout)
    finally:
        process.kill()
        process.wait()
    assert (room.copying, room.left, room.left_bytes) == (3000, (str(snap / "db.tmp.99"),), 500)
    assert read_room(here.run(looked).stdout).left_bytes == 3500


def test_names_are_resolved(here: LocalHost, programs: Path) -> None:
    """Each line stands for itself: they come in any order, since the names are looked up side by side."""
    two, one = "echo '192.0.2.1 STREAM'; echo '192.0.2.2 RAW'", "echo 192.0.2.3"
    here.stand_ins(programs, getent=f"case $2 in a.test) {two} ;; b.test) {one} ;; *) exit 2 ;; esac")
    lines = here.run(facts._resolve(["a.test", "b.test", "c.test", "a.test"])).stdout.splitlines()
    assert len(lines) == 3
    for order in permutations(lines):
        resolved = facts._resolved("\n".join(order))
        assert resolved == {"a.test": ("192.0.2.1", "192.0.2.2"), "b.test": ("192.0.2.3",), "c.test": ()}


def test_the_user_and_the_folders(here: LocalHost, programs: Path, tmp_path: Path) -> None:
    """With stand-ins for all that would change this machine."""
    log = tmp_path / "log"
    names = ("groupadd", "useradd", "mkdir", "chown", "chmod")
    here.stand_ins(
        programs, **{name: f'echo {name} "$@" >>{log}' for name in names}, getent="exit 2", id="exit 1", grep="exit 1"
    )
    answer = here.run(script("user_and_folders", data_dir="/x/two words", certificates="/x/certs", sets="/x/sets"))
    assert (answer.rc, answer.stdout, answer.stderr) == (0, "", "")
    assert log.read_text().splitlines() == [
        "groupadd --system etcd",
        "useradd --system --gid etcd --home-dir /var/lib/etcd --no-create-home --shell /usr/sbin/nologin etcd",
        "mkdir -p /x/two words",
        "chown etcd:etcd /x/two words",
        "chmod 0700 /x/two words",
        "mkdir -p -m 0755 /etc/etcd /x/certs /x/sets /etc/profile.d",
    ]


RESTORES = """echo "$@" >>LOG
for word in "$@"; do case $word in --data-dir=*) into=${word#*=} ;; esac; done
mkdir -p "$into/member/snap" "$into/member/wal"
cat "$3" >"$into/member/snap/db"
exit RC"""


def restoring(tmp_path: Path, user: str) -> str:
    return script(
        "restore_snapshot",
        *("--name=two words", "--initial-cluster-token=it's"),
        program="etcdctl",
        snapshot=str(tmp_path / "snapshot.db"),
        into=str(tmp_path / "data-1"),
        user=user,
    )


def etcdctl_that_restores(here: LocalHost, programs: Path, tmp_path: Path, rc: int = 0) -> None:
    (tmp_path / "snapshot.db").write_text("data")
    text = RESTORES.replace("LOG", str(tmp_path / "log")).replace("RC", str(rc))
    # As su of both kinds reads its words: those behind the name of the user are for the shell.
    su = f'echo su "$1" "$2" "$3" "$5" "$6" >>{tmp_path}/log; c=$4; shift 6; exec sh -c "$c" "$@"'
    here.stand_ins(programs, etcdctl=text, su=su)


def test_a_snapshot_is_restored_as_another_user(here: LocalHost, programs: Path, tmp_path: Path) -> None:
    etcdctl_that_restores(here, programs, tmp_path)
    (tmp_path / "data-1.part-1/member").mkdir(parents=True)
    answer = here.run(restoring(tmp_path, "etcd"))
    assert (answer.rc, answer.stdout, answer.stderr) == (0, "", "")
    assert (tmp_path / "data-1/member/snap/db").read_text() == "data"
    said, restored = (tmp_path / "log").read_text().splitlines()
    assert said == "su -s /bin/sh -c -- etcd"
    words = f"snapshot restore {tmp_path}/snapshot.db --data-dir={tmp_path}/data-1.part-"
    assert restored.startswith(words)
    assert restored.endswith(" --name=two words --initial-cluster-token=it's")
    assert not list(tmp_path.glob("*.part-*"))


def test_a_snapshot_is_restored_as_this_user_and_once(here: LocalHost, programs: Path, tmp_path: Path) -> None:
    etcdctl_that_restores(here, programs, tmp_path)
    for _ in range(2):
        answer = here.run(restoring(tmp_path, pwd.getpwuid(os.getuid()).pw_name))
        assert (answer.rc, answer.stderr) == (0, "")
        assert len((tmp_path / "log").read_text().splitlines()) == 1
    assert (tmp_path / "data-1/member/snap/db").read_text() == "data"


@pytest.mark.parametrize(("rc", "told"), [(7, ""), (0, "there is no database in")])
def test_of_a_restore_that_fails_nothing_is_left(
    here: LocalHost, programs: Path, tmp_path: Path, rc: int, told: str
) -> None:
    etcdctl_that_restores(here, programs, tmp_path, rc)
    (tmp_path / "snapshot.db").write_text("data" if rc else "")
    answer = here.run(restoring(tmp_path, "etcd"))
    assert answer.rc == (rc or 1)
    assert told in answer.stderr
    assert not list(tmp_path.glob("data-1*"))


def saving(tmp_path: Path, needed_kib: int = 1) -> str:
    save = f'cp {tmp_path}/member.db "$1"; ls {tmp_path}/disk >&2'
    folders = (str(tmp_path / "none"), str(tmp_path / "disk"))
    return script("save_snapshot", *folders, functions={"save": save}, needed_kib=needed_kib, no_room=28)


def test_a_snapshot_is_printed_and_nothing_of_it_stays(here: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "member.db").write_text("all that there is")
    disk = tmp_path / "disk"
    disk.mkdir()
    at_work, died, older = (disk / f"etcdfleet-snapshot.{name}" for name in (f"{os.getpid()}.abc", "4194305.xy", "zzz"))
    for folder in (at_work, died, older):
        folder.mkdir()
        (folder / "snapshot.db").write_text("a part")
    other = disk / "etcd"
    other.mkdir()

    answer = here.run(saving(tmp_path))
    assert (answer.rc, answer.stdout) == (0, "all that there is")
    assert sorted(disk.iterdir()) == [other, at_work], "of runs that died nothing is left, one at work is left alone"
    assert len([name for name in answer.stderr.split() if "snapshot." in name]) == 2, "it lay in a folder of its own"

    answer = here.run(saving(tmp_path, needed_kib=1 << 50))
    assert (answer.rc, answer.stdout) == (28, "")
    assert f"{disk} has room for" in answer.stderr


def test_round_trips(here: LocalHost, programs: Path) -> None:
    summary = "rtt min/avg/max/mdev = 0.1/0.2/0.3/0.0 ms"
    here.stand_ins(programs, ping=f'case "$*" in *192.0.2.1) echo "{summary}" ;; *) echo x >&2; exit 1 ;; esac')
    answer = here.run(script("ping", "192.0.2.1", "192.0.2.2", count=4))
    assert answer.rc == 0
    assert read_round_trips(answer.stdout, {"a": "192.0.2.1", "b": "192.0.2.2"}) == {"a": 0.2}


def test_how_a_host_keeps_its_time(here: LocalHost, programs: Path) -> None:
    here.stand_ins(programs, timedatectl="echo yes", pgrep='case "$*" in *openntpd*) exit 0 ;; *) exit 1 ;; esac')
    answer = here.run(script("time_keeping"))
    assert answer.rc == 0
    assert [line for line in answer.stdout.splitlines() if line != "container"] == ["synchronized", "daemon openntpd"]


# ---- certificates on the host ----------------------------------------------------------------------------------------


def test_sets_that_are_not_in_use(here: LocalHost, tmp_path: Path) -> None:
    for name in ("peer-1", "peer-2", "peer-3", "etc"):
        (tmp_path / "sets" / name).mkdir(parents=True)
        (tmp_path / "sets" / name / "a.pem").write_text(f"of {name}\n")
    (tmp_path / "sets/etc/a.pem").unlink()
    (tmp_path / "sets/peer-1/revoked").touch()
    (tmp_path / "server").symlink_to("sets/peer-3")
    asked = script(
        "replaced_sets",
        *("server", "client"),
        certificates=str(tmp_path),
        sets=str(tmp_path / "sets"),
        fqdn="a",
        revoked="revoked",
    )
    assert here.run(asked).stdout == "= peer-2\nof peer-2\n"


@pytest.mark.parametrize(
    ("only", "left"), [("", ["peer-2", "peer-4", "server-1"]), ("gone", ["peer-2", "peer-3", "peer-4", "server-1"])]
)
def test_old_sets_are_removed(here: LocalHost, tmp_path: Path, only: str, left: list[str]) -> None:
    for number, name in enumerate(("peer-1", "peer-2", "peer-3", "peer-4", "server-1")):
        folder = tmp_path / "sets" / name
        folder.mkdir(parents=True)
        subprocess.run(["touch", "-d", f"2026-01-0{number + 1}", folder], check=True)
    (tmp_path / "sets/peer-1/gone").touch()
    subprocess.run(["touch", "-d", "2026-01-01", tmp_path / "sets/peer-1"], check=True)
    (tmp_path / "peer").symlink_to("sets/peer-2")
    roles = ("peer", str(tmp_path / "peer"), "server", str(tmp_path / "nowhere"))
    asked = script("tidy_sets", *roles, sets=str(tmp_path / "sets"), kept=1, only_marked=only)
    assert here.run(asked).ok
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == left


# ---- packages --------------------------------------------------------------------------------------------------------


@pytest.fixture(name="policy")
def _policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(apt, "_POLICY", str(path))
    return path


APT = """case "$*" in *check) exit 0 ;; esac
echo "$DEBIAN_FRONTEND $*" >>FOLDER/log
case "$*" in *update) touch FOLDER/updated; exit 0 ;; esac
cat POLICY >>FOLDER/log
[ -e FOLDER/updated ] || { echo "E: Unable to locate package etcd-server" >&2; exit 100; }"""


@pytest.mark.parametrize(
    "foreign", ["", "#!/bin/sh\nexit 0\n", "#!/bin/sh\n# etcdfleet 1\n", "#!/bin/sh\n# etcdfleet 999999999\n"]
)
def test_apt_starts_no_service_and_updates_once(
    here: LocalHost, programs: Path, tmp_path: Path, policy: Path, foreign: str
) -> None:
    """A foreign policy is put back, that of a run that was killed is not, that of one that lives stays."""
    if foreign:
        policy.write_text(foreign)
    locked = f"[ -e {tmp_path}/tried ] || {{ touch {tmp_path}/tried; echo 'dpkg: error: lock' >&2; exit 2; }}"
    here.stand_ins(
        programs, apt_get=APT.replace("FOLDER", str(tmp_path)).replace("POLICY", str(policy)), dpkg=locked, sleep=":"
    )
    Apt(AptInstall(), "local")._install(here, ["etcd-server=3.4 x", "etcd-client"], f"touch {tmp_path}/before")
    assert (tmp_path / "before").exists()
    log = (tmp_path / "log").read_text()
    assert log.count("noninteractive ") == 3, "tried, updated, tried again"
    assert log.count("install etcd-server=3.4 x etcd-client\n") == 2
    assert log.count("\nexit 101\n") == 2
    kept = foreign if foreign and "999999999" not in foreign and "# etcdfleet" not in foreign else ""
    assert (policy.read_text() if policy.exists() else "") == kept
    assert not Path(f"{policy}.etcdfleet-saved").exists()


def test_apt_says_why_nothing_is_configured(here: LocalHost, programs: Path, policy: Path) -> None:
    here.stand_ins(programs, apt_get="exit 0", dpkg="echo 'dpkg: error: broken' >&2; exit 1")
    with pytest.raises(RemoteError, match=r"could not install etcd-server: dpkg: error: broken"):
        Apt(AptInstall(), "local")._install(here, ["etcd-server"], "")
    assert not policy.exists()


@pytest.mark.parametrize("listed", [True, False])
def test_what_apt_would_install(here: LocalHost, programs: Path, tmp_path: Path, listed: bool) -> None:
    says = "Inst etcd-server (3.4.23+dfsg-4 Debian:12/stable [amd64])"
    here.stand_ins(
        programs,
        apt_get=f'echo "$*" >>{tmp_path}/log\n'
        f'case "$*" in *update) exit 0 ;; *Dir::State::lists=*) ;; *) {"" if listed else "exit 100"} ;; esac\n'
        f'echo "{says}"',
    )
    assert Apt(AptInstall(), "local").offer(Target(here, "amd64")) == "3.4.23"
    log = (tmp_path / "log").read_text().splitlines()
    assert len(log) == (1 if listed else 3)
    assert all(line.endswith(" install etcd-server etcd-client") for line in log if not line.endswith("update"))


def test_apk_finds_etcdctl_in_either_package(here: LocalHost, programs: Path, tmp_path: Path) -> None:
    here.stand_ins(
        programs,
        apk=f'echo "$*" >>{tmp_path}/log\ncase "$*" in *etcd-ctl) exit 1 ;; esac\n'
        "echo '(1/3) Installing etcd (3.5.1-r0)'",
    )
    install = ApkInstall(version="3.5.1-r0", repository="https://x.test/a")
    assert Apk(install, "local").offer(Target(here, "amd64")) == "3.5.1"
    options = (
        "add --no-progress --wait 300 --simulate --no-cache --repository https://x.test/a etcd=3.5.1-r0 etcd-openrc"
    )
    assert (tmp_path / "log").read_text().splitlines() == [f"{options} etcd-ctl", options]


# ---- programs for perl -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["listen.pl", "connect.pl"])
def test_perl_reads_its_programs(name: str) -> None:
    modules = ["-MSocket=:all", "-MFcntl", "-MErrno"]
    done = subprocess.run(["perl", *modules, "-c", "-e", program(name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "-e syntax OK\n")
