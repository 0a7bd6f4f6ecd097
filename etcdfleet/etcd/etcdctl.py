"""Command lines for etcdctl on a host, for etcdctl 3.4 and newer; `etcdfleet.etcd.answers` reads the outputs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Literal

from etcdfleet import timeouts
from etcdfleet.host.paths import ROOT_ANCHOR, SIDE_ANCHORS, HostPaths
from etcdfleet.roles import RoleName, Side
from etcdfleet.settings.models import HostSettings, client_url

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""What sends connections to a proxy: set for package managers, and read by etcd, etcdctl, wget and curl, too.

Go's ``net/http.ProxyFromEnvironment``, which etcd's peers and etcdctl from 3.5 on use, knows those for http and https.
"""
_DIRECT = "NO_PROXY='*' no_proxy='*'"


def past_proxies(names: Sequence[str]) -> str:
    """Return shell to source: whatever proxy is set, connections to ``names`` do not go there."""
    direct = ",".join(names)
    # Whether a proxy is set is not asked: that may be done later, by another file.
    return f"""# A proxy does not lead to the members.
case ",${{NO_PROXY-}},${{no_proxy-}}," in
*',*,'* | *',{direct},'*) ;;
*)
	NO_PROXY="${{NO_PROXY:-${{no_proxy-}}}}"
	NO_PROXY="${{NO_PROXY:+$NO_PROXY,}}{direct}"
	no_proxy="$NO_PROXY"
	export NO_PROXY no_proxy
	;;
esac"""


def client_names(settings: HostSettings) -> tuple[str, ...]:
    """Return the names and addresses by which clients on a host may connect to members of its cluster."""
    service = (settings.cluster.service_name,) if settings.cluster.service_name else ()
    return ("localhost", "127.0.0.1", *(member.fqdn for member in settings.members), *service)


def local_endpoint(settings: HostSettings, *, tls: bool | None = None, port: int | None = None) -> str:
    """Return the member's own endpoint on the loop-back of its host; ``tls`` and ``port`` override the settings."""
    secure = settings.cluster.client_tls if tls is None else tls
    return f"{'https' if secure else 'http'}://127.0.0.1:{port or settings.cluster.client_port}"


def all_endpoints(settings: HostSettings) -> tuple[str, ...]:
    """Return the advertised client URLs of all members of the cluster, as the settings have them."""
    return tuple(client_url(member, settings.cluster) for member in settings.members)


def etcdctl(
    settings: HostSettings,
    arguments: str,
    endpoints: Sequence[str],
    *,
    seconds: float = timeouts.ETCDCTL,
    role: RoleName = "client",
    asked: str = "",
    folder: str = "",
) -> str:
    """Return shell: etcdctl with the certificate pair of ``role``, past any proxy, bounded to ``seconds``.

    The pair is given whenever the cluster has client TLS or any endpoint is https: during the switch from plain to TLS
    clients, members of both kinds are asked in one call. ``asked`` is a word of shell for those of ``endpoints`` that
    are really asked (``"$1"``; left out: all), ``folder`` where the pair lies (left out: that of ``role``).
    """
    # A proxy that the host has for its packages does not lead to the members.
    words = [_DIRECT, "etcdctl", f"--endpoints={asked or shlex.quote(','.join(endpoints))}"]
    words += [f"--command-timeout={seconds:g}s", f"--dial-timeout={min(seconds, 3):g}s"]
    if any(endpoint.startswith("https:") for endpoint in endpoints):
        paths = HostPaths.of(settings)
        there = folder or paths.folder(role)
        words.append(f"--cacert={anchor_file(paths)}")
        words += [f"--cert={pair_file(there, paths.fqdn, 'pem')}", f"--key={pair_file(there, paths.fqdn, 'key')}"]
    return " ".join([*words, arguments])


def pair_file(folder: str, fqdn: str, kind: Literal["pem", "key"]) -> str:
    """Return shell: the certificate or key in a folder, from the file that is there.

    A member that is to have another FQDN still has the files that carry the previous one.
    """
    wanted = f"{folder}/{fqdn}.{kind}"
    return f'"$(for f in {wanted} {folder}/*.{kind} {wanted}; do [ ! -e "$f" ] || break; done; echo "$f")"'


def anchor_file(paths: HostPaths, side: Side = "client") -> str:
    """Return shell: a side's trust anchors, from the file that is there.

    A cluster that is to move between a single CA and separate ones still has the previous files.
    """
    wanted = paths.anchor(side)
    other = ROOT_ANCHOR if paths.separate_trust else SIDE_ANCHORS[side]
    return f'"$([ -e {wanted} ] || [ ! -e {other} ] && echo {wanted} || echo {other})"'
