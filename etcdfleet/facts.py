"""What is true of a host, read in one round trip and kept as plain frozen data.

`probe` gives the shell commands, `read` turns their outputs into `HostFacts`. The parts that depend on the init system
and on the package manager are read by their own modules and stand beside these facts (see ``tasks/observe.py``).
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from etcdfleet.etcd.wal import HEAD_BYTES, DataIds, read_ids
from etcdfleet.paths import ESTABLISHED, RESTART_PENDING, ROLE_FOLDERS, TRUST_ANCHOR, HostPaths
from etcdfleet.remote import CommandResult
from etcdfleet.settings.models import ROLE_NAMES, HostSettings

_NOT_THERE = 44
_IDS_BYTES = 1024
_FILE = f"""file() {{
[ -e "$1" ] || exit {_NOT_THERE}
stat -c '%a %U %G %F' "$1"; cat "$1"
}}
"""
# Names of architectures as kernels and package managers write them, and as Go (so etcd's releases) does.
GO_ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armhf": "arm",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv7": "arm",
    "armv8l": "arm",
}
RUNS_ON: Mapping[str, tuple[str, ...]] = {"amd64": ("amd64",), "arm64": ("arm64", "arm"), "arm": ("arm",)}
"""By the kernel's architecture, the architectures whose programs it can run."""


@dataclass(frozen=True)
class FileFacts:
    """A file on the host: what is in it and whose it is."""

    content: bytes
    mode: int
    owner: str
    group: str


@dataclass(frozen=True)
class PairFacts:
    """A certificate pair on the host. ``note`` is what was written beside it when it was placed.

    ``key_sha256`` is the digest of the key's file: it tells whether the key is still the one of the note, while the key
    stays on the host.
    """

    pem: str
    key_sha256: str
    key_mode: str
    set_name: str
    note: Mapping[str, Any]

    @property
    def key_fingerprint(self) -> str | None:
        """The fingerprint of the key's public half if the key is the noted one; ``None`` if not, or not known."""
        if self.key_sha256 and self.key_sha256 == self.note.get("key_sha256"):
            fingerprint = self.note.get("public_key")
            return fingerprint if isinstance(fingerprint, str) else None
        return None


@dataclass(frozen=True)
class DataFacts:
    """The data directory: member data in it (and whose), or why that cannot be told, or other things in it."""

    exists: bool = False
    mode: str = ""
    owner: str = ""
    ids: DataIds | None = None
    unreadable: str = ""
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listener:
    """A process that listens on a TCP port."""

    port: int
    address: str
    process: str


@dataclass(frozen=True)
class HostFacts:
    """What the probe found.

    ``clock`` is what the host's clock said when the controller's said ``read_at`` (seconds since 1970), and
    ``clock_offset`` the difference beyond what the round trip explains, in seconds. Minutes may pass between the probe
    and a decision: `clock_now` is the host's clock at this moment.
    """

    distribution: str
    like: tuple[str, ...]
    release: str
    machine: str
    package_architecture: str
    clock: datetime
    clock_offset: float
    read_at: float
    resolves: Mapping[str, tuple[str, ...]]
    listeners: tuple[Listener, ...]
    free_bytes: Mapping[str, int]
    data: DataFacts
    established: Mapping[str, Any] | None
    restart_pending: str
    has_user: bool
    trust_anchor: FileFacts | None
    pairs: Mapping[str, PairFacts]
    files: Mapping[str, FileFacts]

    @property
    def clock_now(self) -> datetime:
        """What the host's clock says now, if it has gone on as it should."""
        return self.clock + timedelta(seconds=max(0.0, now() - self.read_at))

    @property
    def architecture(self) -> str:
        """The architecture of the host's programs in Go's terms (a 64-bit kernel may run a 32-bit system)."""
        return GO_ARCHITECTURES.get(self.package_architecture) or GO_ARCHITECTURES.get(self.machine, self.machine)


def probe(settings: HostSettings, files: Sequence[str]) -> dict[str, str]:
    """The commands that `read` needs the outputs of; ``files`` are read whole (none may hold a secret)."""
    paths = HostPaths.of(settings.member)
    data = shlex.quote(settings.member.data_dir)
    commands = {
        "os": "cat /etc/os-release",
        "machine": "uname -m; dpkg --print-architecture 2>/dev/null || apk --print-arch 2>/dev/null || true",
        "clock": "date +%s",
        "listeners": "ss -Hltnp 2>/dev/null || netstat -ltnp 2>/dev/null || true",
        "free": _free([settings.member.data_dir, "/etc", "/usr"]),
        "data": _data(data),
        "user": "id -u etcd",
        "pending": f"cat {RESTART_PENDING}",
        "established": f"cat {ESTABLISHED}",
        "anchor": f"{_FILE}file {TRUST_ANCHOR}",
        "resolve": "\n".join(_resolve(member.fqdn) for member in settings.members),
    }
    for role in ROLE_FOLDERS:
        commands[f"pair {role}"] = _pair(paths.folder(role), paths.certificate(role), paths.key(role))
    for path in files:
        commands[f"file {path}"] = f"{_FILE}file {shlex.quote(path)}"
    return commands


def _free(paths: Sequence[str]) -> str:
    # The nearest folder that exists: the data directory itself may still have to be made.
    return "\n".join(
        f'p={shlex.quote(path)}; while [ ! -d "$p" ]; do p=${{p%/*}}; [ -n "$p" ] || p=/; done; '
        f'echo {shlex.quote(path)} "$(df -Pk "$p" | awk \'NR==2 {{print $4}}\')"'
        for path in paths
    )


def _data(data: str) -> str:
    return f"""[ -d {data} ] || exit {_NOT_THERE}
stat -c '%a %U' {data}
ls -A {data} | tr '\\n' ' '; echo
[ -d {data}/member ] || exit 0
wal=$(ls {data}/member/wal/*.wal 2>/dev/null | head -n 1)
[ -n "$wal" ] || {{ echo none; exit 0; }}
# On a member that was established, the ids are enough; else it matters how far the log of its first start came.
[ -e {ESTABLISHED} ] && size={_IDS_BYTES} || size={HEAD_BYTES}
head -c $size "$wal" | gzip -c | base64"""


def _pair(folder: str, certificate: str, key: str) -> str:
    return f"""readlink {folder} || echo -
sha256sum {key} 2>/dev/null | cut -d ' ' -f 1; stat -c '%a %U' {key} 2>/dev/null || true
echo ---
cat {folder}/note.json 2>/dev/null
echo ---
cat {certificate} 2>/dev/null || true"""


def _resolve(fqdn: str) -> str:
    name = shlex.quote(fqdn)
    # glibc and musl both have `ahosts`, which asks what a program asks; `hosts` alone may answer by another family.
    return (
        f"echo {name} $({{ getent ahosts {name} || getent hosts {name}; }} 2>/dev/null | awk '{{print $1}}' | sort -u)"
    )


def read(results: Mapping[str, CommandResult], asked: float, answered: float) -> HostFacts:
    """The facts in the outputs of `probe`; ``asked`` and ``answered`` are the controller's clock around the round trip.

    Raises `ValueError` if the host answers in a way that no supported system does.
    """
    os_release = _os_release(results["os"].stdout)
    machine = results["machine"].stdout.split() or [""]
    clock = datetime.fromtimestamp(int(results["clock"].text), tz=UTC)
    return HostFacts(
        distribution=os_release.get("ID", ""),
        like=tuple(os_release.get("ID_LIKE", "").split()),
        release=os_release.get("PRETTY_NAME", ""),
        machine=machine[0],
        package_architecture=machine[1] if len(machine) > 1 else "",
        clock=clock,
        clock_offset=_offset(clock.timestamp(), asked, answered),
        read_at=answered,
        resolves={
            words[0]: tuple(words[1:]) for line in results["resolve"].stdout.splitlines() if (words := line.split())
        },
        listeners=_listeners(results["listeners"].stdout),
        free_bytes={
            p: int(n) * 1024 for p, _, n in (ln.rpartition(" ") for ln in results["free"].stdout.splitlines()) if n
        },
        data=_read_data(results["data"]),
        # An unreadable marker is still a marker: it says that something was there.
        established=(_json(results["established"].stdout) or {}) if results["established"].ok else None,
        restart_pending=results["pending"].text if results["pending"].ok else "",
        has_user=results["user"].ok,
        trust_anchor=_read_file(results["anchor"]),
        pairs={role: pair for role in ROLE_NAMES if (pair := _read_pair(results[f"pair {role}"])) is not None},
        files={
            name.removeprefix("file "): found
            for name, result in results.items()
            if name.startswith("file ") and (found := _read_file(result)) is not None
        },
    )


def _offset(host: float, asked: float, answered: float) -> float:
    # `date` gives whole seconds: within the round trip and that second, nothing can be said.
    earliest, latest = host - answered, host + 1 - asked
    if earliest <= 0 <= latest:
        return 0.0
    return round(earliest if earliest > 0 else latest, 1)


def _os_release(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key: value.strip().strip("\"'") for key, value in pairs}


def _listeners(text: str) -> tuple[Listener, ...]:
    # ss -Hltnp: State Recv-Q Send-Q Local Peer users; netstat -ltnp: Proto Recv-Q Send-Q Local Peer LISTEN pid/name
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 5 or "LISTEN" not in words:
            continue
        address, _, port = words[3].rpartition(":")
        if not port.isdigit():
            continue
        tail = " ".join(words[5:])
        process = (
            ", ".join(f"{name} (pid {pid})" for name, pid in re.findall(r'\("([^"]+)",pid=(\d+)', tail))
            or ", ".join(f"{name} (pid {pid})" for pid, name in re.findall(r"(\d+)/(\S+)", tail))
            or "an unknown process"
        )
        found.append(Listener(int(port), address.strip("[]"), process))
    return tuple(found)


def _read_data(result: CommandResult) -> DataFacts:
    if result.rc == _NOT_THERE:
        return DataFacts()
    if not result.ok:
        return DataFacts(exists=True, unreadable=result.stderr.strip() or "it cannot be read")
    lines = result.stdout.splitlines()
    mode, owner = lines[0].split()
    entries = tuple(lines[1].split()) if len(lines) > 1 else ()
    foreign = tuple(entry for entry in entries if entry not in ("member", "lost+found"))
    facts = DataFacts(exists=True, mode=mode, owner=owner, foreign=foreign)
    if "member" not in entries:
        return facts
    encoded = "".join(lines[2:])
    if encoded == "none":
        # etcd makes the folder before its first log: a start that was cut off there has stored nothing yet.
        return DataFacts(exists=True, mode=mode, owner=owner, foreign=foreign)
    try:
        return DataFacts(True, mode, owner, read_ids(gzip.decompress(base64.b64decode(encoded))), "", foreign)
    except (ValueError, OSError, EOFError) as error:
        return DataFacts(True, mode, owner, None, str(error), foreign)


def _read_file(result: CommandResult) -> FileFacts | None:
    if not result.ok:
        return None
    first, _, content = result.stdout.partition("\n")
    mode, owner, group, kind = first.split(" ", 3)
    if not kind.startswith("regular"):
        return None  # a link to a device (a masked unit): not a file of ours
    return FileFacts(content.encode(), int(mode, 8), owner, group)


def _read_pair(result: CommandResult) -> PairFacts | None:
    head, _, rest = result.stdout.partition("---\n")
    note, _, pem = rest.partition("---\n")
    lines = head.splitlines()
    if not pem.strip():
        return None
    return PairFacts(
        pem=pem,
        key_sha256=lines[1] if len(lines) > 1 and re.fullmatch(r"[0-9a-f]{64}", lines[1]) else "",
        key_mode=lines[2] if len(lines) > 2 else "",
        set_name=lines[0].rpartition("/")[2] if lines else "",
        note=_json(note) or {},
    )


def _json(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def now() -> float:
    """The controller's clock in seconds since 1970."""
    return time.time()
