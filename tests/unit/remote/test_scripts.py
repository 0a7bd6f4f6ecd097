"""Shell that runs on hosts: it is well-formed, values reach it as they are, and its output is what its reader expects.

Everything runs in this machine's ``sh`` and, where it is there, in busybox's, as `tests.unit.support.site` has them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from etcdfleet.certs import want_for
from etcdfleet.drivers.init.openrc import OpenRC
from etcdfleet.drivers.init.systemd import Systemd
from etcdfleet.drivers.packages import Packages, Target
from etcdfleet.drivers.packages.apk import Apk, ApkInstall
from etcdfleet.drivers.packages.apt import Apt, AptInstall
from etcdfleet.drivers.packages.archive import Archive, ArchiveInstall, ArchiveSource
from etcdfleet.errors import CertificateError
from etcdfleet.etcd.auth import Operation
from etcdfleet.etcd.etcdctl import past_proxies
from etcdfleet.host import facts, others, storage
from etcdfleet.host.lock import LockInfo, hold_script
from etcdfleet.host.paths import mark_restart_pending
from etcdfleet.remote import CommandResult, RemoteFile, scripts
from etcdfleet.remote.commands import batch_script, place_script
from etcdfleet.remote.scripts import FOLDER, script
from tasks import reach
from tasks.auth.calls import run_operations
from tasks.certificates.keys import make_requests
from tasks.certificates.place import swap, tidy
from tasks.observe import Site
from tasks.preflight import sync_latencies
from tasks.start import run_and_wait
from tasks.status.read import member_commands
from tasks.verify.scripts import cluster_commands, host_commands, openssl_knock, probe_script, refusal_commands
from tests.unit.drivers.init.test_render_and_services import render
from tests.unit.support.paths import FIXTURES
from tests.unit.support.site import BusyBox, LocalHost, settings
from tests.unit.support.stand_ins import seen

NASTY = ("two words", "it's", 'a "quote"', "$(exit 9) `exit 9` $HOME", "a\nb\n", "*", "\\n", "-n", "ümlaut", "")
"""What a careless script would split, expand, run or lose."""
FILES = sorted(path.stem for path in FOLDER.glob("*.sh"))
needs_busybox = pytest.mark.skipif(not shutil.which("busybox"), reason="there is no busybox here (make lint has one)")
needs_shellcheck = pytest.mark.skipif(not shutil.which("shellcheck"), reason="there is no shellcheck here")


@pytest.fixture(name="here", params=["sh", pytest.param("busybox", marks=needs_busybox)])
def _here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalHost:
    return LocalHost() if request.param == "sh" else BusyBox(tmp_path_factory.mktemp("busybox"))


def complaints(text: str, *expected: str) -> str:
    """What the shells and shellcheck have against a script, but for ``expected`` codes; empty for nothing."""
    output, exclude = "", ",".join(("SC2016", *expected))  # a value may look like shell
    for shell in (["sh", "-n"], ["busybox", "ash", "-n"], ["shellcheck", "--shell=sh", f"--exclude={exclude}", "-"]):
        if shutil.which(shell[0]):
            done = subprocess.run(shell, input=text, capture_output=True, text=True, cwd=FOLDER, check=False)
            output += done.stdout + done.stderr
    return output


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for scripts of a test."""
    monkeypatch.setattr(scripts, "FOLDER", tmp_path)
    for cached in (scripts.program, scripts._read):
        monkeypatch.setattr(scripts, cached.__name__, cached.__wrapped__)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_to_a_disk_is_written_by_a_program_that_says_why_it_cannot(name: str) -> None:
    """Of a full disk, dash's own printf and echo say "I/O error", and busybox's nothing. /run is no disk."""
    writes = re.findall(r"^\s*(?:printf|echo) [^|]*[^0-9&|]>\s*\"?\$\w+.*$", (FOLDER / f"{name}.sh").read_text(), re.M)
    assert name == "hold_lock" or writes == []


def test_values_arrive_as_they_are(here: LocalHost, folder: Path) -> None:
    (folder / "say.sh").write_text(
        '#!/bin/sh\n# Says what it gets.\n: "${one?}" "${number?}" "${yes?}"\n: "${no?}"\n'
        'printf "%s|" "$one" "$number" "$yes" "$no" "$@"; say "$one"\n'
    )
    for value in NASTY:
        asked = script(
            "say", *NASTY, functions={"say": "printf '<%s>' \"$1\""}, one=value, number=3, yes=True, no=False
        )
        assert here.run(asked).stdout == "".join(f"{word}|" for word in (value, "3", "yes", "", *NASTY)) + f"<{value}>"


def test_a_script_gets_the_values_that_it_names(folder: Path) -> None:
    (folder / "say.sh").write_text('#!/bin/sh\n\n# "${head?}"\n: "${one?}"\n: "${two?}"\necho "${else?}"\n')
    assert script("say", one=1, two="") == 'one=1\ntwo=\'\'\nset --\n: "${one?}"\n: "${two?}"\necho "${else?}"\n'
    for given in ({}, {"one": 1}, {"one": 1, "two": 2, "three": 3}):
        with pytest.raises(TypeError, match=r"say.sh needs the values \['one', 'two'\]"):
            script("say", functions=None, **given)


def test_a_function_without_a_command_does_nothing(here: LocalHost, folder: Path) -> None:
    (folder / "say.sh").write_text("say && echo done\n")
    assert here.run(script("say", functions={"say": ""})).stdout == "done\n"


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_well_formed(name: str) -> None:
    text = (FOLDER / f"{name}.sh").read_text()
    assert text.startswith("#!/bin/sh\n# "), "what it is for comes first"
    assert complaints(text) == ""


class Told(LocalHost):
    """Keeps the scripts that it is given, and runs none."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []

    def _exec(self, command: str, stdin: bytes, timeout: float) -> CommandResult:  # noqa: ARG002
        self.scripts.append(stdin.decode())
        return CommandResult(0, "", "")

    def upload(self, local: Path, remote: str) -> None:
        """Nothing."""


def of_packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """What the ways to install run, by their titles."""
    told = Told()
    monkeypatch.setattr("etcdfleet.drivers.packages.archive.programs_of", lambda _: {"etcd": Path(__file__)})
    apk = ApkInstall(version="3.5.1-r0", repository="https://example.test/x")
    archive = ArchiveInstall(version="3.5.1", source={"amd64": ArchiveSource(url="http://x", sha256="0" * 64)})
    ways: list[Packages[Any]] = [Apt(AptInstall(version="3.4"), "a"), Apk(apk, "a"), Archive(archive, "a")]
    for packages in ways:
        target = Target(told, "amd64")
        if packages.title != Archive.title:
            packages.offer(target)
        packages.prepare(target)
        packages.install(target, "[ -e /x ] || true")
        yield from ((packages.title, text) for text in (*told.scripts, packages.probe, packages.retire))
        told.scripts.clear()


def of_services() -> Iterator[tuple[str, str]]:
    """The commands of the init systems."""
    for service in (Systemd(), OpenRC()):
        names = "detect probe installed prevent_autostart start restart stop enable pid program respawns gave_up"
        commands = {"logs": service.logs(5)} | {name: getattr(service, name) for name in names.split()}
        yield from ((f"{service.name}: {name}", text) for name, text in commands.items())


def of_tasks() -> Iterator[tuple[str, str]]:
    """What tasks ask a host, or have it do."""
    told, host = Told(), settings()
    site = Site(host, told, Systemd(), Apt(AptInstall(), "a"))
    yield from facts.probe(host, ["/etc/etcd/conf.yml"]).items()
    yield from member_commands(host).items()
    for openssl in (True, False):
        yield from refusal_commands(host, openssl=openssl).items()
        yield from cluster_commands(host, deep=openssl).items()
    for running in (True, False):
        observed = SimpleNamespace(
            facts=SimpleNamespace(has_openssl=running, files={}, anchors={}), service=SimpleNamespace(running=running)
        )
        yield from host_commands(site, cast(Any, observed), "3.5.1").items()
    for side, port in (("client", 2379), ("peer", 2380)):
        yield f"knock {side}", openssl_knock(host, cast(Any, side), port, None)
    site.seen = seen()
    run_and_wait(site, site.service.restart)
    sync_latencies(site)
    tidy(site)
    want = want_for("peer", fqdn="a.test", address="192.0.2.1", usages=("server",), trust_anchor="")
    with pytest.raises(CertificateError):
        make_requests(site, [want], "ec-p256")
    yield from (("task", text) for text in told.scripts)
    yield "upgrade", f"{swap('/x', 'y')}\n{mark_restart_pending('z')}"


def of_values(value: str) -> Iterator[tuple[str, str]]:
    """What is made of the files where there can be anything in their values."""
    yield "hold_lock", hold_script(LockInfo(value, value, value, 1, value), break_lock=True)
    yield "data_place", storage.probe(value)
    yield "other_etcds", others.probe(value)
    yield "data", facts._data(value)
    yield "resolve", facts._resolve([value, value])
    yield "write_probe", probe_script(settings(), ["az-1", "az-2"], value)
    yield "listen", reach.listen(value, [2379])
    yield "connect", reach.connect([(value, 2379)])
    yield "routes", script("routes", value)


@needs_shellcheck
@pytest.mark.parametrize("value", NASTY)
def test_with_any_value_a_script_is_well_formed(value: str) -> None:
    assert complaints("\n".join(f"( # {name}\n{text}\n)" for name, text in of_values(value))) == ""


@needs_shellcheck
def test_what_runs_on_hosts_is_well_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [*of_packages(monkeypatch), *of_services(), *of_tasks()]
    assert [f"{name}: {words}" for name, text in everything if (words := complaints(text))] == []


def of_hand() -> Mapping[str, str]:
    """Scripts that Python puts together, by the names of the files that have them as they are to be."""
    told = Told()
    operations = [
        Operation("+", "user bob", "user add --interactive=false -- bob", "bob"),
        Operation("+", "role app", "role add -- app"),
    ]
    run_operations(Site(settings(), told, Systemd(), Apt(AptInstall(), "a")), operations, {"bob": "it's"})
    asked = {"quick": "echo one", "slow": "sleep 1\nexit 3"}
    files = [RemoteFile("/etc/etcd/two words", b"content\n", 0o600, "etcd", "etcd"), RemoteFile("/etc/it's", b"")]
    return {
        "batch": batch_script(asked, parallel=False),
        "batch-side-by-side": batch_script(asked, parallel=True),
        "place": place_script(files, "mkdir -p /etc/etcd", "echo placed"),
        "operations": told.scripts[0],
        "past-proxies": past_proxies(["localhost", "a.test"]) + "\n",
    }


@pytest.mark.parametrize("name", ["batch", "batch-side-by-side", "place", "operations", "past-proxies"])
def test_what_python_puts_together_is_as_it_was(name: str) -> None:
    """Change the file along with the code, after a look at both."""
    text = of_hand()[name]
    assert text == (FIXTURES / "scripts" / f"{name}.sh").read_text()
    assert complaints(text) == ""


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("etcdctl.sh.j2", ()),
        ("etcd.initd.j2", ("SC2034", "SC3043")),  # OpenRC reads its variables; `local` is in dash and in busybox
        ("etcd.confd.j2", ("SC2034",)),
    ],
)
@pytest.mark.parametrize("mount", ["", "/mnt/ssd"])
def test_templates_of_shell_are_well_formed(template: str, expected: tuple[str, ...], mount: str) -> None:
    text = render(template, settings(), data_mount=mount, past_proxies=past_proxies(["a.test"]))
    assert complaints(text, *expected) == ""


def test_where_data_lie(here: LocalHost, tmp_path: Path) -> None:
    for word in NASTY[:-1]:
        if "\n" in word:
            continue  # its answers are lines
        real = tmp_path / "disk" / word
        real.mkdir(parents=True)
        link = tmp_path / f"{word}.link"
        link.symlink_to(real)
        answer = here.run(storage.probe(str(link)))
        assert (answer.rc, answer.stderr) == (0, "")
        assert storage.read_place(answer.stdout).path == str(real)
        assert storage.read_place(answer.stdout).mount.kind


STATUS = """[ "$1" != https://c ] || { echo "Failed to get the status of endpoint $1 (gone)" >&2; echo '[]'; exit 1; }
rev=9
found=
for url in $(echo "$1" | tr , ' '); do
  found="$found,{\\"Endpoint\\":\\"$url\\",\\"Status\\":{\\"header\\":{\\"revision\\":$rev},\\"errors\\":[\\"x, y\\"]}}"
  rev=10
done
echo "[${found#,}]\""""


@pytest.mark.parametrize(
    ("groups", "answering"),
    [
        (["https://a,https://b"], ["https://a", "https://b"]),  # one process for all
        (["https://a", "https://b"], ["https://a", "https://b"]),  # one for each
        (["https://a", "https://c"], ["https://a"]),
        (["https://c"], []),
    ],
)
def test_hashes_of_those_that_answer_at_the_lowest_revision(
    here: LocalHost, groups: list[str], answering: list[str]
) -> None:
    asked = script("status_and_hashes", *groups, functions={"status": STATUS, "hashes": 'echo "hashes of $1 at $2"'})
    answer = here.run(asked.replace("/run/", "/tmp/"))
    statuses, _, hashes = answer.stdout.partition("\n")
    assert [status["Endpoint"] for status in json.loads(statuses)] == answering
    assert hashes == (f"hashes of {','.join(answering)} at 9\n" if answering else "")
    assert (answer.rc == 0) is bool(answering)
    assert ("Failed to get the status of endpoint https://c" in answer.stderr) is ("https://c" in groups)


def test_the_present_hash_where_all_revisions_are_compacted(here: LocalHost) -> None:
    hashes = 'if [ "$2" = 0 ]; then echo now; else echo "[]"; fi'
    asked = script("status_and_hashes", "https://a", functions={"status": STATUS, "hashes": hashes})
    assert here.run(asked.replace("/run/", "/tmp/")).stdout.splitlines()[1] == "now"
