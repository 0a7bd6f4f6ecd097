"""A Go that compiles nothing: a shell script that answers as ``go`` does, and a module cache with a small etcd."""

from __future__ import annotations

import json
from pathlib import Path

VERSION = "3.6.14"
COMMIT = "fc04cf702b0a46c2fd85547a2be05705b100a496"
GO = "go1.25.12"

_SCRIPT = r"""#!/bin/sh
# A stand-in for go. BROKEN_GO in the environment names a command that fails, and SAYS what it says.
here=@HERE@
printf '%s\n' "$*" >>"$here/calls"
if [ "${BROKEN_GO-}" = "$1" ]; then
  printf '%s\n' "$SAYS" >&2
  exit 1
fi
case $1 in
env)
  [ "$2" != GOVERSION ] || { echo "${GO_SAYS-@GO@}"; exit 0; }
  printf '{"GOVERSION": "%s", "GOTOOLCHAIN": "local", "GOHOSTARCH": "%s", "GOEXPERIMENT": "%s"}\n' \
    "${GO_SAYS-@GO@}" "${HOST_ARCH-riscv64}" "${EXPERIMENTS-}"
  ;;
list)
  cat "$here/list"
  ;;
mod)
  shift 3
  for name in "$@"; do cat "$here/download/$(echo "${name%@*}" | tr / _)"; done
  ;;
build)
  while [ "$1" != -o ]; do shift; done
  if [ -n "${REAL_PROGRAMS-}" ]; then cp "$REAL_PROGRAMS/${2##*/}" "$2"; exit 0; fi
  case ${MADE_FOR-$GOARCH} in
  arm) printf '\177ELF\001\001\001\0\0\0\0\0\0\0\0\0\002\0\050\0' ;;
  arm64) printf '\177ELF\002\001\001\0\0\0\0\0\0\0\0\0\002\0\267\0' ;;
  amd64) printf '\177ELF\002\001\001\0\0\0\0\0\0\0\0\0\002\0\076\0' ;;
  esac >"$2"
  echo "$GOARCH ${GOARM-} ${PWD##*/} $(cat ../api/version/version.go)${NOISE-}" >>"$2"
  [ -z "${SLEEPS-}" ] || { : >"$here/compiling"; sleep "$SLEEPS"; }
  chmod 755 "$2"
  ;;
version)
  printf '%s: %s\n\tpath\tx\n\tbuild\t-trimpath=true\n\tbuild\tCGO_ENABLED=0\n\tbuild\tGOARCH=%s\n\tbuild\tGOOS=%s\n' \
    "$3" "${GO_SAYS-@GO@}" "$GOARCH" "$GOOS"
  [ -z "${GOARM-}" ] || printf '\tbuild\tGOARM=%s\n' "${OTHER_LEVEL-$GOARM}"
  ;;
*) exit 2 ;;
esac
"""

_MODULES = {
    "server": ("api/v3", "client/pkg/v3"),
    "etcdctl": ("api/v3", "client/pkg/v3"),
    "etcdutl": ("api/v3", "server/v3"),
    "api": ("client/pkg/v3",),
    "client/pkg": (),
}
_FOLDERS = {"api/v3": "api", "client/pkg/v3": "client/pkg", "server/v3": "server"}


def install(here: Path, *, version: str = VERSION, origin: bool = True, source: str = "") -> Path:
    """Make the script and its modules below ``here``; the script."""
    (here / "download").mkdir(parents=True)
    for folder, needs in _MODULES.items():
        _module(here, folder, needs, version)
    (here / "modules/api/version").mkdir()
    (here / "modules/api/version/version.go").write_text(f'\tVersion = "{source or version}"\n')
    for path in (here / "modules").rglob("*"):  # as Go keeps them
        path.chmod(0o555 if path.is_dir() else 0o444)
    info = {"Version": f"v{version}", "Time": "2026-07-23T19:19:04Z"}
    (here / "info").write_text(json.dumps(info))
    (here / "list").write_text(json.dumps(info | ({"Origin": {"Hash": COMMIT}} if origin else {})))
    script = here / "go"
    script.write_text(_SCRIPT.replace("@HERE@", str(here)).replace("@GO@", GO))
    script.chmod(0o755)
    return script


def _module(here: Path, folder: str, needs: tuple[str, ...], version: str) -> None:
    path = here / "modules" / folder
    path.mkdir(parents=True)
    up = "../" * len(Path(folder).parts)
    lines = [f"module go.etcd.io/etcd/{folder}/v3", "", "go 1.25.0", "", f"toolchain {GO}", ""]
    lines += [f"require go.etcd.io/etcd/{need} v{version}" for need in needs]
    lines += [f"replace go.etcd.io/etcd/{need} => {up}{_FOLDERS[need]}" for need in needs]
    (path / "go.mod").write_text("\n".join(lines) + "\n")
    for name in ("LICENSE", "README.md", "main.go"):
        (path / name).write_text(f"{name} of {folder}\n")
    told = {"Path": f"go.etcd.io/etcd/{folder}/v3", "Version": f"v{version}", "Dir": str(path)}
    told |= {"GoMod": str(path / "go.mod"), "Info": str(here / "info")}
    (here / "download" / told["Path"].replace("/", "_")).write_text(json.dumps(told, indent="\t") + "\n")
