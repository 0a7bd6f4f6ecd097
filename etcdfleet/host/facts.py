"""What is true of a host, read in one round trip and kept as plain frozen data.

`probe` gives the shell commands, `read` turns their outputs into `HostFacts`. The parts that depend on the init system
and on the package manager are read by their own modules and stand beside these facts (see ``tasks/observe.py``).
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shlex
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from etcdfleet.drivers.packages import architecture_probe
from etcdfleet.etcd.wal import HEAD_BYTES, DataIds, read_ids
from etcdfleet.host.others import NONE, Others, read_others
from etcdfleet.host.others import probe as others_probe
from etcdfleet.host.paths import (
    ANCHORS,
    CONFIG,
    DATA_MOUNT,
    ESTABLISHED,
    LOCK_COUNT,
    RESTART_PENDING,
    UNPROVEN,
    HostPaths,
)
from etcdfleet.host.storage import UNKNOWN, DataPlace, read_place
from etcdfleet.host.storage import probe as place_probe
from etcdfleet.remote import CommandResult
from etcdfleet.remote.scripts import script
from etcdfleet.roles import ROLE_NAMES, RoleName
from etcdfleet.settings.models import HostSettings

_OS_RELEASE = "/etc/os-release"
RESOLVE_SECONDS = 5
"""How long a host may take to resolve a name: a DNS server that is reached says in less whether it has it."""
NO_DNS = "unanswered"
"""In place of a name's addresses: no DNS server has answered in time."""
_NOT_THERE = 44
_GZIP = b"\x1f\x8b"
_IDS_BYTES = 4096
_FIRST_SEGMENT = "0000000000000000-0000000000000000.wal"
_EMPTY_DATABASE_BYTES = 128 * 1024
"""A database that holds nothing but etcd's own buckets is smaller: 20 KiB were measured with 3.4.23 and 3.5.1."""
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
    """The data directory: member data in it (and whose), or why that cannot be told, or other things in it.

    Behind a symbolic link, mode and owner are those of the folder that it leads to.
    """

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
    lock_count: str
    has_user: bool
    anchors: Mapping[str, FileFacts]
    """The files of trust anchors that there are, by path."""
    has_openssl: bool
    pairs: Mapping[str, PairFacts]
    files: Mapping[str, FileFacts]
    data_elsewhere: str = ""
    """The data directory of the configuration on the host, if it is not the wanted one and has member data in it."""
    unproven: tuple[str, ...] = ()
    """The roles whose pair a rotation has placed, and was ended before it had proven it."""
    others: Others = NONE
    """What there is of an etcd that this project has not set up."""
    place: DataPlace = UNKNOWN
    """Where the data directory is: behind which links, on which file system."""

    @property
    def clock_now(self) -> datetime:
        """What the host's clock says now, if it has gone on as it should."""
        return self.clock + timedelta(seconds=max(0.0, now() - self.read_at))

    @property
    def architecture(self) -> str:
        """The architecture of the host's programs in Go's terms (a 64-bit kernel may run a 32-bit system)."""
        return GO_ARCHITECTURES.get(self.package_architecture) or GO_ARCHITECTURES.get(self.machine, self.machine)


def probe(settings: HostSettings, files: Sequence[str]) -> dict[str, str]:
    """Return the commands that `read` needs the outputs of; ``files`` are read whole (none may hold a secret).

    On a small host each process costs more than what it does, so many things come out of few.
    """
    paths = HostPaths.of(settings)
    keys = " ".join(paths.key(role) for role in ROLE_NAMES)
    archived = [_OS_RELEASE, RESTART_PENDING, LOCK_COUNT, ESTABLISHED, UNPROVEN, DATA_MOUNT, *ANCHORS, *files]
    for role in ROLE_NAMES:
        archived += [paths.certificate(role), _note(paths, role)]
    names = " ".join(shlex.quote(path.lstrip("/")) for path in archived)
    return {
        "machine": f"uname -m; {architecture_probe(settings.install.method)}",
        "clock": "date +%s",
        "listeners": "ss -Hltnp 2>/dev/null || netstat -ltnp 2>/dev/null || true",
        "free": script("free_space", settings.member.data_dir, "/etc", "/usr"),
        "data": _data(settings.member.data_dir),
        "place": place_probe(settings.member.data_dir),
        "others": others_probe(settings.member.data_dir),
        "elsewhere": script("data_elsewhere", data_dir=settings.member.data_dir, config=CONFIG),
        "user": "id -u etcd",
        "openssl": "command -v openssl",
        "resolve": _resolve((*(m.fqdn for m in settings.members), settings.cluster.service_name)),
        "keys": f"sha256sum {keys} 2>/dev/null; stat -L -c '%n|%a %U' {keys} 2>/dev/null; true",
        # Content, mode and owner of all files there are; what is missing is missing in the archive, too.
        "files": f"tar -chf - -C / {names} 2>/dev/null | base64",
    }


def _note(paths: HostPaths, role: RoleName) -> str:
    return f"{paths.folder(role)}/note.json"


def _data(data_dir: str) -> str:
    return script(
        "data_directory",
        data_dir=data_dir,
        not_there=_NOT_THERE,
        established=ESTABLISHED,
        ids_bytes=_IDS_BYTES,
        head_bytes=HEAD_BYTES,
    )


def _resolve(names: Sequence[str | None]) -> str:
    wanted = dict.fromkeys(filter(None, names))
    return script("resolve_names", *wanted, seconds=RESOLVE_SECONDS, unanswered=NO_DNS)


def read(settings: HostSettings, results: Mapping[str, CommandResult], asked: float, answered: float) -> HostFacts:
    """Return the facts in what `probe` printed; ``asked`` and ``answered`` are the controller's clock around it.

    Raises `ValueError` if the host answers in a way that no supported system does.
    """
    files = _read_files(results["files"].stdout)
    os_release = _os_release(_text(files[_OS_RELEASE]))
    machine = results["machine"].stdout.split() or [""]
    clock = datetime.fromtimestamp(int(results["clock"].text), tz=UTC)
    marker = files.get(ESTABLISHED)
    return HostFacts(
        distribution=os_release.get("ID", ""),
        like=tuple(os_release.get("ID_LIKE", "").split()),
        release=os_release.get("PRETTY_NAME", ""),
        machine=machine[0],
        package_architecture=machine[1] if len(machine) > 1 else "",
        clock=clock,
        clock_offset=_offset(clock.timestamp(), asked, answered),
        read_at=answered,
        resolves=_resolved(results["resolve"].stdout),
        listeners=_listeners(results["listeners"].stdout),
        free_bytes=_free_bytes(results["free"].stdout),
        data=_read_data(results["data"]),
        place=read_place(results["place"].stdout, _text(files.get(DATA_MOUNT))),
        others=read_others(results["others"].stdout),
        data_elsewhere=results["elsewhere"].stdout.strip(),
        # An unreadable marker is still a marker: it says that something was there.
        established=(_json(_text(marker)) or {}) if marker else None,
        restart_pending=_reasons(_text(files.get(RESTART_PENDING))),
        lock_count=_text(files.get(LOCK_COUNT)) or "0",
        has_user=results["user"].ok,
        anchors={path: files[path] for path in ANCHORS if path in files},
        has_openssl=results["openssl"].ok,
        pairs=_pairs(settings, files, results["keys"].stdout),
        files=files,
        unproven=tuple(_text(files.get(UNPROVEN)).split()),
    )


def _text(file: FileFacts | None) -> str:
    return file.content.decode("utf-8", "replace").strip() if file else ""


def _reasons(text: str) -> str:
    """Return the lines of the note on a restart that is due, but for those that say nothing any more.

    Releases before wrote one before each installation, failed ones too; now the program that runs is looked at.
    """
    return "\n".join(line for line in text.splitlines() if line.strip() and line != "etcd was installed anew")


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
    listeners = []
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
        listeners.append(Listener(int(port), address.strip("[]"), process))
    return tuple(listeners)


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
    snapshots, encoded = int(lines[2]) > 0, lines[3:]
    if encoded[:1] == ["none"]:
        # etcd makes the folder and an empty database before its first log: a start that was cut off there has stored
        # nothing yet. Anything more is data whose log was taken away.
        size = int(encoded[1]) if len(encoded) > 1 else 0
        lost = f"its log is gone: there is no member/wal/*.wal, but {'a snapshot' if snapshots else 'a database'}"
        return replace(facts, unreadable=lost if snapshots or size > _EMPTY_DATABASE_BYTES else "")
    try:
        segment, *lines = encoded
        head = base64.b64decode("".join(lines))
        head = gzip.decompress(head) if head.startswith(_GZIP) else head
        ids = read_ids(head, first=segment == _FIRST_SEGMENT)
        return replace(facts, ids=replace(ids, snapshot=ids.snapshot or snapshots))
    except (ValueError, OSError, EOFError) as error:
        return replace(facts, unreadable=str(error))


def _read_files(encoded: str) -> dict[str, FileFacts]:
    """Return the regular files of an archive by absolute path, without links to a device, as a masked unit is."""
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(encoded)), mode="r:") as archive:
            for entry in archive:
                # One file under two names comes as a file and a link to it.
                data = archive.extractfile(entry) if entry.isreg() or entry.islnk() else None
                if data is not None:
                    files["/" + entry.name.lstrip("/")] = FileFacts(
                        data.read(), entry.mode & 0o7777, entry.uname or str(entry.uid), entry.gname or str(entry.gid)
                    )
    except (tarfile.TarError, ValueError, OSError) as error:
        raise ValueError(f"the archive of its files cannot be read: {error}") from error
    if _OS_RELEASE not in files:
        # Without this proof, a host without a working tar would look like one on which nothing is installed.
        raise ValueError(f"there is no {_OS_RELEASE} in the archive of its files; are tar and base64 there?")
    return files


def _pairs(settings: HostSettings, files: Mapping[str, FileFacts], keys: str) -> dict[str, PairFacts]:
    paths = HostPaths.of(settings)
    digests = {path: digest for digest, path in re.findall(r"^([0-9a-f]{64})  (.+)$", keys, re.MULTILINE)}
    modes = dict(re.findall(r"^(.+)\|(\d+ \S+)$", keys, re.MULTILINE))
    pairs: dict[str, PairFacts] = {}
    for role in ROLE_NAMES:
        pem, note, key = files.get(paths.certificate(role)), files.get(_note(paths, role)), paths.key(role)
        if pem is not None and pem.content.strip():
            pairs[role] = PairFacts(
                pem=pem.content.decode("utf-8", "replace"),
                key_sha256=digests.get(key, ""),
                key_mode=modes.get(key, ""),
                note=(_json(note.content.decode("utf-8", "replace")) or {}) if note else {},
            )
    return pairs


def _resolved(text: str) -> dict[str, tuple[str, ...]]:
    answers = (line.split() for line in text.splitlines())
    return {name: tuple(sorted(set(addresses))) for name, *addresses in filter(None, answers)}


def _free_bytes(text: str) -> dict[str, int]:
    # The paths that were asked for, df's heading, and a line for each path (device, 1K blocks, used, available, …).
    paths, _, *lines = text.splitlines() or ["", ""]
    return {path: int(line.split()[3]) * 1024 for path, line in zip(paths.split(), lines, strict=False)}


def _json(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def now() -> float:
    """Return the controller's clock in seconds since 1970."""
    return time.time()
