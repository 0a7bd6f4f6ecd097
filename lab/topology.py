"""Topology files: which hosts a lab has. Every mistake in one is reported at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lab.errors import LabUsageError
from lab.state import Kind, Lab, LabCluster, LabHost

DEFAULT = Path(__file__).with_name("topologies") / "default.yaml"
"""The topology used when none is named."""

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def parse_size(value: object) -> object:
    """``64M`` in bytes (K, M, G are powers of 1024); a plain number stays. Raises ValueError for anything else."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)([KMG])", value)
        if not match:
            raise ValueError("a size is a number with K, M or G, such as 64M")
        return int(match[1]) * _UNITS[match[2]]
    return value


def _check_label(value: str) -> str:
    # 40 and not 63: the name also becomes part of file and namespace names.
    if not re.fullmatch(_LABEL, value) or len(value) > 40:
        raise ValueError("a name has up to 40 lower-case letters, digits and dashes")
    return value


def _check_domain(value: str) -> str:
    if not re.fullmatch(rf"{_LABEL}(\.{_LABEL})+", value):
        raise ValueError("a domain name has at least two labels of lower-case letters, digits and dashes")
    return value


def _check_subnet(value: object) -> object:
    network = IPv4Network(value) if isinstance(value, str) else value
    if isinstance(network, IPv4Network) and not network.is_private:
        raise ValueError("use private or documentation addresses: these belong to others")
    return network


Label = Annotated[str, AfterValidator(_check_label)]
Domain = Annotated[str, AfterValidator(_check_domain)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class HostSpec(_Strict):
    """One host: ``disk`` and ``memory`` are limits, ``sudo_password`` makes sudo ask.

    ``preinstalled`` left out is the topology's.
    """

    kind: Kind
    fqdn: Domain
    cluster: Label | None = None
    sudo_password: bool = False
    disk: Annotated[int, BeforeValidator(parse_size), Field(ge=8 * 2**20)] | None = None
    memory: Annotated[int, BeforeValidator(parse_size), Field(ge=64 * 2**20)] | None = None
    preinstalled: bool | None = None


class ClusterSpec(_Strict):
    """A cluster; ``service_name`` resolves to all its members. ``ec_keys`` left out is the topology's."""

    service_name: Domain | None = None
    ec_keys: bool | None = None


class Topology(_Strict):
    """A whole topology file. ``election_ms`` goes into the inventory of every cluster, with a tenth as heartbeat.

    ``ec_keys``: certificates have keys of P-256, by the inventory and by the roles in Vault.
    """

    hosts: Annotated[dict[Label, HostSpec], Field(min_length=1, max_length=250)]
    clusters: dict[Label, ClusterSpec] = {}
    subnet: Annotated[IPv4Network, BeforeValidator(_check_subnet)] | None = None
    vault: Domain = "vault.home"
    preinstalled: bool = False
    election_ms: Annotated[int, Field(ge=1000, le=50_000)] | None = None
    ec_keys: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Topology:
        mistakes = []
        for name, host in self.hosts.items():
            if host.cluster is not None and host.cluster not in self.clusters:
                clusters = ", ".join(self.clusters) or "none"
                mistakes.append(f"host {name}: no cluster {host.cluster} under clusters (there: {clusters})")
            if host.sudo_password and host.kind == "alpine":
                mistakes.append(f"host {name}: sudo_password is for Debian kinds, Alpine's login is root")
        services = [cluster.service_name for cluster in self.clusters.values() if cluster.service_name]
        names = Counter([*self.hosts, *(host.fqdn for host in self.hosts.values()), *services, self.vault])
        mistakes += [
            f"{name}: used {count} times, every name must be unique" for name, count in names.items() if count > 1
        ]
        if self.subnet is not None and self.subnet.num_addresses - 3 < len(self.hosts):
            mistakes.append(f"subnet {self.subnet}: too small for {len(self.hosts)} hosts")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self


class _UniqueKeys(yaml.SafeLoader):
    """YAML as usual, but a key given twice is a mistake and not the last one silently winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep=deep)


def parse(text: str, where: str) -> Topology:
    """Return the topology in ``text``; ``where`` names it in errors. Raises LabUsageError with all mistakes in it."""
    try:
        data = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a subclass of the safe loader
    except yaml.YAMLError as error:
        raise LabUsageError(f"not valid YAML: {error}", where=where, remedy="correct the file") from error
    try:
        return Topology.model_validate(data)
    except ValidationError as error:
        mistakes = [_say(mistake["loc"], mistake["msg"]) for mistake in error.errors()]
        remedy = f"correct the file; {DEFAULT.name} beside the lab's code shows every key"
        raise LabUsageError(
            "\n  ".join(["the topology has mistakes", *mistakes]), where=where, remedy=remedy
        ) from error


def _say(place: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    if text == "Extra inputs are not permitted":
        text = "unknown key"
    return f"{' > '.join(map(str, place))}: {text}" if place else text


def read(path: Path) -> Topology:
    """Return the topology in a file. Raises LabUsageError if it cannot be read or has mistakes."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabUsageError(f"cannot be read: {error}", where=str(path), remedy="name a topology file") from error
    return parse(text, str(path))


def lay_out(topology: Topology, name: str, folder: Path, subnet: IPv4Network) -> Lab:
    """Return the lab of ``topology`` on ``subnet``: first address for the bridge, the next ones for the hosts."""
    hosts = tuple(
        LabHost(
            name=host_name,
            kind=spec.kind,
            fqdn=spec.fqdn,
            address=str(subnet[index + 2]),
            cluster=spec.cluster,
            index=index,
            sudo_password=spec.sudo_password,
            disk=spec.disk,
            memory=spec.memory,
            preinstalled=topology.preinstalled if spec.preinstalled is None else spec.preinstalled,
        )
        for index, (host_name, spec) in enumerate(topology.hosts.items())
    )
    clusters = tuple(
        LabCluster(
            key,
            spec.service_name,
            topology.election_ms,
            topology.ec_keys if spec.ec_keys is None else spec.ec_keys,
        )
        for key, spec in topology.clusters.items()
    )
    return Lab(name, folder, subnet, str(subnet[1]), hosts, clusters, topology.vault)


def free_subnet(hosts: int, used: list[IPv4Network]) -> IPv4Network:
    """Return the first part of the documentation ranges that has room for ``hosts`` and overlaps nothing in ``used``.

    Raises LabUsageError if there is none.
    """
    prefix = 27
    while 2 ** (32 - prefix) - 3 < hosts:
        prefix -= 1
    for block in ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24"):
        for candidate in IPv4Network(block).subnets(new_prefix=prefix):
            if not any(candidate.overlaps(network) for network in used):
                return candidate
    raise LabUsageError(
        "all documentation ranges are in use",
        where="subnet",
        remedy="set `subnet:` in the topology, or end another lab",
    )
