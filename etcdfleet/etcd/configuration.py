"""What a change of etcd's configuration file means to a member that runs, and to one that is to start."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import yaml

from etcdfleet.etcd.corruption_checks import without_checks
from etcdfleet.roles import SIDES, Side

if TYPE_CHECKING:
    from etcdfleet.settings.models import HostSettings

ClusterState: TypeAlias = Literal["new", "existing"]
"""``initial-cluster-state``: whether a member without data begins a new cluster with the others, or joins theirs."""

BOOTSTRAP_KEYS = frozenset({"initial-cluster", "initial-cluster-state", "initial-cluster-token"})
"""What etcd reads only while there is no log in its data directory (``bootstrap`` in ``server/etcdserver``, in 3.4
``NewServer``; measured with 3.4.23, 3.5.1 and 3.5.30: restarts with other values change nothing)."""

PEER_URL = "initial-advertise-peer-urls"
ADDRESS_KEYS = ("listen-peer-urls", "listen-client-urls", PEER_URL, "advertise-client-urls")
Addresses: TypeAlias = Mapping[str, frozenset[str]]
"""By the keys of `ADDRESS_KEYS`, where a member is reached: ``host:port``."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def state_in(content: bytes | None) -> ClusterState | None:
    """Return the ``initial-cluster-state`` of a configuration file; None where it says neither."""
    state = (_parsed(content) or {}).get("initial-cluster-state")
    return state if state in ("new", "existing") else None


def data_dir_in(content: bytes | None) -> str:
    """Return the ``data-dir`` of a configuration file; empty where it has none."""
    return str((_parsed(content) or {}).get("data-dir") or "")


def quota_in(content: bytes | None) -> int | None:
    """Return the ``quota-backend-bytes`` of a configuration file; None where it has none."""
    quota = (_parsed(content) or {}).get("quota-backend-bytes")
    return quota if isinstance(quota, int) else None


def addresses_in(content: bytes | None) -> Addresses:
    """Return where a member with this configuration file is reached; empty where that cannot be told."""
    settings = _parsed(content) or {}
    return {key: _places(str(settings.get(key) or "").split(",")) for key in ADDRESS_KEYS if settings.get(key)}


def wanted_addresses(settings: HostSettings) -> Addresses:
    """Return where a member is to be reached."""
    urls = (settings.listen_peer_urls, settings.listen_client_urls, (settings.peer_url,), (settings.client_url,))
    return {key: _places(each) for key, each in zip(ADDRESS_KEYS, urls, strict=True)}


def names_of(addresses: Addresses) -> frozenset[str]:
    """Return the names and addresses, without the ports, by which a member is reached from other hosts."""
    hosts = {place.rpartition(":")[0].strip("[]") for places in addresses.values() for place in places}
    return frozenset(host for host in hosts if host and not _everywhere_or_here(host))


def client_port_in(content: bytes | None) -> int | None:
    """Return the port on which a member with this configuration file serves etcdctl on its own host."""
    for place in addresses_in(content).get("listen-client-urls", ()):
        host, _, port = place.rpartition(":")
        if port.isdigit() and _everywhere_or_here(host.strip("[]")):
            return int(port)
    return None


def _places(urls: Iterable[str]) -> frozenset[str]:
    """Return host and port of URLs; whether they are served by TLS is another question."""
    return frozenset(url.strip().partition("://")[2].rstrip("/").lower() for url in urls if "://" in url)


def _everywhere_or_here(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def pair_files_in(content: bytes | None) -> Mapping[Side, str]:
    """Return the certificate files (``cert-file``) that a configuration file names, by side."""
    sections = {side: (_parsed(content) or {}).get(f"{side}-transport-security") for side in SIDES}
    return {
        side: section["cert-file"]
        for side, section in sections.items()
        if isinstance(section, dict) and isinstance(section.get("cert-file"), str)
    }


def anchors_in(content: bytes | None) -> Mapping[Side, str] | None:
    """Return the files of trust anchors (``trusted-ca-file``) that a configuration file names, by side.

    None where nothing can be told, since no etcd starts with such a file (or there is none): one that runs was started
    with another. Taken for a file without anchors, a live member would be one that no other depends on.
    """
    settings = _parsed(content)
    if settings is None:
        return None
    files: dict[Side, str] = {}
    for side in SIDES:
        section = settings.get(f"{side}-transport-security") or {}
        file = (section.get("trusted-ca-file") or "") if isinstance(section, dict) else None
        if not isinstance(file, str):
            return None
        if file:
            files[side] = file
    return files


def needs_restart(there: bytes, wanted: bytes) -> bool:
    """Return whether a member that runs with the file ``there`` must be restarted for ``wanted`` to take effect.

    Not for another comment, nor for a key that counts at a first start alone, nor for etcd's own checks of its data,
    which begin with its next start: none is worth a restart. A file that cannot be read always does.
    """
    before, after = _parsed(there), _parsed(wanted)
    if before is None or after is None:
        return True
    return _in_force(before) != _in_force(after)


def _in_force(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return without_checks({key: value for key, value in settings.items() if key not in BOOTSTRAP_KEYS})


@lru_cache(maxsize=256)  # asked for several times of each host, and read for some milliseconds each time
def _parsed(content: bytes | None) -> Mapping[str, Any] | None:
    try:
        document = yaml.load(content or b"", Loader=_LOADER)  # noqa: S506  a safe one
    except (yaml.YAMLError, ValueError):  # no text, or a value that cannot be, such as the date 2001-13-45
        return None
    return document if isinstance(document, dict) else None
