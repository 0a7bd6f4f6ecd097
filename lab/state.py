"""What a lab is: its name, folder, network and hosts, as frozen data kept in ``.lab/<name>/lab.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Literal

from lab.errors import LabError, LabUsageError

PROJECT = Path(__file__).resolve().parent.parent
"""The project: the folder that holds ``lab/`` and ``.lab/``."""

Kind = Literal["debian", "debian13", "debian-armhf", "alpine"]
Init = Literal["systemd", "openrc"]


@dataclass(frozen=True)
class LabHost:
    """One host. ``disk`` (bytes) limits ``/var/lib/etcd``, ``memory`` (bytes) all of its processes; None: no limit.

    ``preinstalled``: its disk has etcd's packages from the beginning.
    """

    name: str
    kind: Kind
    fqdn: str
    address: str
    cluster: str | None
    index: int
    sudo_password: bool = False
    disk: int | None = None
    memory: int | None = None
    preinstalled: bool = False

    @property
    def image(self) -> str:
        """The name of the image its disk is made from."""
        return f"{self.kind}+etcd" if self.preinstalled else self.kind

    @property
    def init(self) -> Init:
        """The init system of its kind: the inventory group it belongs to."""
        return "openrc" if self.kind == "alpine" else "systemd"

    @property
    def login(self) -> str:
        """The user SSH logs in as."""
        return "root" if self.kind == "alpine" else "pi"


@dataclass(frozen=True)
class LabCluster:
    """A cluster the hosts name: ``service_name`` resolves to all of its members (None: no such name).

    ``election_ms`` is for the inventory (None: the default of the framework). ``ec_keys``: keys of certificates are
    made in a moment (P-256), not by much computing (RSA).
    """

    name: str
    service_name: str | None
    election_ms: int | None = None
    ec_keys: bool = False


@dataclass(frozen=True)
class Lab:
    """A lab, running or not. ``address`` is the bridge's: where Vault, name server and repositories listen."""

    name: str
    dir: Path
    subnet: IPv4Network
    address: str
    hosts: tuple[LabHost, ...] = field(default=())
    clusters: tuple[LabCluster, ...] = field(default=())
    vault_name: str = "vault.home"

    @property
    def id(self) -> str:
        """Six hex digits that mark everything of this lab on the machine: no two labs (of any checkout) share them."""
        return lab_id(self.dir)

    @property
    def bridge(self) -> str:
        """Name of the bridge interface."""
        return f"ef{self.id}"

    @property
    def key(self) -> Path:
        """The SSH key that may log in to every host."""
        return self.dir / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host keys, by address and by every name."""
        return self.dir / "known_hosts"

    @property
    def sudo_password_file(self) -> Path:
        """Password of ``pi`` where a host asks for one (mode 0600); exists only if some host does."""
        return self.dir / "sudo-password"

    @property
    def logs(self) -> Path:
        """Output of daemons and consoles of hosts."""
        return self.dir / "logs"

    @property
    def cgroup(self) -> str:
        """Name of the control group, in every hierarchy, that holds all processes of the lab."""
        return f"etcdfleet-{self.id}"

    def host(self, name: str) -> LabHost:
        """Return the host of that name. Raises LabUsageError, naming those there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts) or "none"
        raise LabUsageError(f"no host named {name}", where=f"lab {self.name}", remedy=f"hosts of this lab: {names}")

    def host_dir(self, host: LabHost) -> Path:
        """Return the parts of its disk: ``upper``, ``work``, the mounted ``root``, and ``data.img`` if limited."""
        return self.dir / "hosts" / host.name

    def root(self, host: LabHost) -> Path:
        """Return the host's root file system; mounted only while the host runs (or is being prepared)."""
        return self.host_dir(host) / "root"

    def netns(self, host: LabHost) -> str:
        """Name of its network namespace, as ``ip netns`` knows it."""
        return f"ef{self.id}-{host.name}"

    def veth(self, host: LabHost) -> str:
        """Return the controller's end of its cable (at most 15 characters, the kernel's limit)."""
        return f"ef{self.id}-{host.index}"

    def save(self) -> None:
        """Write ``lab.json`` (a reader sees the old file or the new one)."""
        data = dataclasses.asdict(self) | {"dir": str(self.dir), "subnet": str(self.subnet)}
        write_atomic(self.dir / "lab.json", json.dumps(data, indent=2) + "\n")


def lab_id(folder: Path) -> str:
    """Return the marker of the lab kept in ``folder``: six hex digits of its path."""
    return hashlib.sha256(str(folder).encode()).hexdigest()[:6]


def check_name(name: str) -> str:
    """Return ``name`` if it can name a lab; raises LabUsageError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
        raise LabUsageError(
            f"{name!r} cannot name a lab",
            where="--name",
            remedy="use up to 31 lower-case letters, digits and dashes, not starting with a dash",
        )
    return name


def lab_dir(name: str) -> Path:
    """Folder of the lab ``name``; raises LabUsageError for an impossible name."""
    return PROJECT / ".lab" / check_name(name)


def load(name: str) -> Lab | None:
    """Return the lab of that name as last written, None if there is none. Raise LabError if its file is unreadable."""
    folder = lab_dir(name)
    path = folder / "lab.json"
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        hosts = tuple(LabHost(**host) for host in data["hosts"])
        clusters = tuple(LabCluster(**cluster) for cluster in data["clusters"])
        return Lab(
            name=data["name"],
            dir=folder,
            subnet=IPv4Network(data["subnet"]),
            address=str(IPv4Address(data["address"])),
            hosts=hosts,
            clusters=clusters,
            vault_name=data["vault_name"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(
            "the lab's state cannot be read", where=str(path), remedy=f"python -m lab down --name {name}"
        ) from error


def require(name: str) -> Lab:
    """Return the lab of that name. Raises LabUsageError if there is none."""
    lab = load(name)
    if lab is None:
        raise LabUsageError(
            "there is no such lab", where=f"lab {name}", remedy=f"python -m lab up --name {name} brings it up"
        )
    return lab


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Write ``path`` with ``mode`` from the start, under a temporary name that is then renamed."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    temporary.replace(path)
