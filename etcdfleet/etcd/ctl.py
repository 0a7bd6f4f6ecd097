"""Command lines for etcdctl on a host, for etcdctl 3.4 and newer; `etcdfleet.etcd.view` reads the outputs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from etcdfleet.paths import ROOT_ANCHOR, SIDE_ANCHORS, HostPaths
from etcdfleet.settings.base import RoleName, Side
from etcdfleet.settings.models import HostSettings, client_url


def local_endpoint(settings: HostSettings, *, tls: bool | None = None) -> str:
    """The member's own endpoint on the loop-back of its host; ``tls`` overrides what the settings say."""
    secure = settings.cluster.client_tls if tls is None else tls
    return f"{'https' if secure else 'http'}://127.0.0.1:{settings.cluster.client_port}"


def all_endpoints(settings: HostSettings) -> tuple[str, ...]:
    """The advertised client URLs of all members of the cluster, as the settings have them."""
    return tuple(client_url(member, settings.cluster) for member in settings.members)


def etcdctl(
    settings: HostSettings,
    arguments: str,
    endpoints: Sequence[str],
    *,
    seconds: float = 5,
    role: RoleName = "client",
) -> str:
    """Shell: etcdctl with the certificate pair of ``role``, bounded to ``seconds``.

    The pair is given whenever the cluster has client TLS or any endpoint is https: during the switch from plain to TLS
    clients, members of both kinds are asked in one call.
    """
    words = ["ETCDCTL_API=3", "etcdctl", f"--endpoints={shlex.quote(','.join(endpoints))}"]
    words += [f"--command-timeout={seconds:g}s", f"--dial-timeout={min(seconds, 3):g}s"]
    if any(endpoint.startswith("https:") for endpoint in endpoints):
        paths = HostPaths.of(settings)
        words += [f"--cacert={anchor_file(paths)}", f"--cert={paths.certificate(role)}", f"--key={paths.key(role)}"]
    return " ".join([*words, arguments])


def anchor_file(paths: HostPaths, side: Side = "client") -> str:
    """Shell: a side's trust anchors, from the file that is there.

    A cluster that is to move between a single CA and separate ones still has the files of before.
    """
    wanted = paths.anchor(side)
    other = ROOT_ANCHOR if paths.separate_trust else SIDE_ANCHORS[side]
    return f"$([ -e {wanted} ] || [ ! -e {other} ] && echo {wanted} || echo {other})"
