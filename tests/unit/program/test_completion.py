"""Shell completion as a person meets it: TAB in a real shell, and what argcomplete's own protocol gives."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from etcdfleet.program.completion import in_list, read_names, runs
from tests.unit.support.paths import ROOT
from tests.unit.support.settings_files import write_inventory

WORDBREAKS = " \t\n\"'><=;|&(:"


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    users = {"enabled": True, "roles": {}, "users": {"alice": {"roles": ["root"]}, "root": {"roles": ["root"]}}}
    return write_inventory(tmp_path, {"groups/home/data/auth": users})


def asked(line: str, *, python: str = sys.executable, at: int | None = None, **variables: str) -> list[str]:
    """What can follow ``line``, as argcomplete's shell code asks for it; ``line`` starts with the interpreter."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 8>&1 9>&2 1>/dev/null 2>&1', "sh", python, str(ROOT / "runbooks" / line.split()[1])],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("NORNIR_")}
        | {
            "_ARGCOMPLETE": "2",
            "_ARGCOMPLETE_SHELL": "bash",
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
            "_ARGCOMPLETE_COMP_WORDBREAKS": WORDBREAKS,
            "COMP_LINE": line,
            "COMP_POINT": str(len(line.encode()) if at is None else at),
            "COMP_TYPE": "9",
        }
        | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout.split("\013") if done.stdout else []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("deploy.py --l", ["--limit"]),
        ("deploy.py --quiet --ver", ["--version"]),
        ("deploy.py --config {config} --limit ", ["a", "b", "c", "home", "openrc", "systemd"]),
        ("deploy.py --config {config} --limit=", ["a", "b", "c", "home", "openrc", "systemd"]),
        ("deploy.py --config {config} --limit a,", ["a,b", "a,c", "a,home", "a,openrc", "a,systemd"]),
        ("deploy.py --config {config} --limit '!a,!", ["!a,!b", "!a,!c", "!a,!home", "!a,!openrc", "!a,!systemd"]),
        ("deploy.py --config {config} --limit !h", ["\\!home"]),
        ("deploy.py --config {config} --cluster ", ["home"]),
        ("deploy.py --config {config} --check --cluster home --limit c", ["c"]),
        ("deploy.py --config {config}.no --limit ", []),
        ("deploy.py --forks 2", ["20"]),
        ("rotate_certs.py --only ", ["client", "peer", "server"]),
        ("build_etcd.py 3.6.14 --arch ", ["amd64", "arm", "arm64", "armv7"]),
        ("build_etcd.py 3.6.14 --arch arm,arm", ["arm,arm64", "arm,armv7"]),
        ("client_cert.py --config {config} al", ["alice"]),
        ("restore.py --config {config} --from-member ", ["a", "b", "c"]),
        ("restore.py latest --config {config} --without ", ["a", "b", "c"]),
    ],
)
def test_what_can_follow(words: str, expected: list[str], config: Path) -> None:
    assert sorted(asked("python3 " + words.replace("{config}", str(config)))) == expected


def test_runs_that_are_kept(tmp_path: Path) -> None:
    name = "20260101T000000Z-deploy"
    (tmp_path / name).mkdir()
    for words in ("", "--compare ", f"--compare {name} "):
        candidates = asked(f"python3 report.py --report-dir {tmp_path} {words}")
        assert {"latest", name} <= set(candidates), words


def test_paths_are_completed_here_or_left_to_the_shell(config: Path) -> None:
    line = f"python3 deploy.py --config {config.parent}/conf"
    assert asked(line) == [str(config)]
    assert asked(line, ETCDFLEET_COMPLETES_PATHS="1") == ["@files"]
    assert asked(f"python3 restore.py {config.parent}/conf") == [str(config)]


def test_any_python_will_do(tmp_path: Path) -> None:
    # One without packages hands over to the project's own, as for a run.
    shutil.copytree(ROOT / "runbooks", tmp_path / "runbooks")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$*" >&8\n')
    python.chmod(0o755)
    script = tmp_path / "runbooks" / "deploy.py"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 8>&1 1>/dev/null 2>&1', "sh", sys.executable, "-S", str(script)],
        env={**os.environ, "_ARGCOMPLETE": "2", "COMP_LINE": "python3 deploy.py --", "COMP_POINT": "20"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == f"-S {script}\n"


def test_a_tab_needs_neither_nornir_nor_pydantic(config: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom etcdfleet.program import main, completion\n"
        f"assert completion.read_names(Path({str(config)!r})).hosts\n"
        "print([name for name in ('nornir', 'rich', 'pydantic', 'netmiko', 'hvac') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_names_of_an_inventory_that_is_being_written(config: Path) -> None:
    names = read_names(config)
    assert (names.hosts, names.clusters, names.groups) == (("a", "b", "c"), ("home",), ("systemd", "openrc"))
    assert names.users == {"home": ("alice", "root")}
    (config.parent / "groups.yaml").write_text("home: [\n")
    assert read_names(config).hosts == ("a", "b", "c")
    config.write_text("inventory: {plugin: NetBoxInventory2}\n")
    assert read_names(config).hosts == ()


def test_lists_of_names() -> None:
    assert in_list("", {"a": "host"}, exclusions=True) == {"a": "host"}
    assert in_list("!a,b,!", {"a": "host", "b": "host", "c": "host"}, exclusions=True) == {"!a,b,!c": "not this host"}
    assert in_list("!", {"a": "cluster"}) == {"a": "cluster"}


def test_runs(tmp_path: Path) -> None:
    for name in ("20260101T000000Z-deploy", "20260102T000000Z-deploy", "20260102T000000Z-deploy-2", "else"):
        (tmp_path / name).mkdir()
    assert runs(tmp_path) == ["20260102T000000Z-deploy-2", "20260102T000000Z-deploy", "20260101T000000Z-deploy"]
    assert runs(tmp_path / "none") == []


SHELLS = {
    "bash": (["bash", "--norc", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "unsetopt zle_bracketed_paste prompt_sp; autoload -Uz compinit; compinit -u -D; "),
}


def typed(shell: str, text: str, cwd: Path) -> str:
    """What the command line is, when ``text`` has been typed at an interactive shell (a TAB completes)."""
    command, set_up = SHELLS[shell]
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 250, 0, 0))
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "TERM": "vt100", "LANG": "C.UTF-8"}
    with subprocess.Popen(
        command, cwd=cwd, stdin=follower, stdout=follower, stderr=follower, env=environment, start_new_session=True
    ) as process:
        os.close(follower)
        shown = ""

        def wait_for(wanted: str) -> str:
            nonlocal shown
            end = time.monotonic() + 30
            while wanted not in shown:
                assert time.monotonic() < end, shown
                if select.select([leader], [], [], 1)[0]:
                    shown += os.read(leader, 65536).decode("utf-8", "replace")
            before, _, shown = shown.partition(wanted)
            return before

        try:
            sourced = f"{set_up}. {ROOT}/runbooks/completion.{shell}; echo be''gun\n"
            os.write(leader, sourced.encode())
            wait_for("begun\r\n")
            # The line is shown and not carried out: the cursor goes to its start, and an echo is put before it.
            os.write(leader, text.encode() + b"\x01echo 'li''ne:' \x05 ':en''d'\n")
            wait_for("line: ")
            return wait_for(" :end")
        finally:
            process.kill()
            os.close(leader)


@pytest.mark.parametrize("shell", [*SHELLS])
def test_tab_in_a_real_shell(shell: str, config: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    folder = config.parent
    (folder / "away").mkdir()
    (folder / "other.py").touch()
    deploy = f"{ROOT}/runbooks/deploy.py"
    for text, line in [
        (f"python3 {deploy} --che\t--clu\tho\t", f"python3 {deploy} --check --cluster home"),
        (f"{deploy} --config conf\t--lim\t'!b,ho\t", f"{deploy} --config config.yaml --limit !b,home"),
        (f"{deploy} --report-dir aw\t", f"{deploy} --report-dir away"),
        ("python3 oth\t", "python3 other.py"),
    ]:
        given = text.replace("--clu", "--config config.yaml --clu")
        assert typed(shell, given, folder).rstrip(" /") == line.replace("--clu", "--config config.yaml --clu")
