"""Shell that shows a certificate to a port of the host's own member, for coreutils and for busybox.

What it tells is judged by `etcdfleet.checks.knocks`.
"""

from __future__ import annotations

from etcdfleet import timeouts
from etcdfleet.checks.knocks import PROPER, knocks
from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.etcd.etcdctl import anchor_file, etcdctl, local_endpoint
from etcdfleet.host.paths import HostPaths
from etcdfleet.remote.scripts import script
from etcdfleet.roles import RoleName, Side
from etcdfleet.settings.models import HostSettings

PROBE = "/version"
"""What is asked: answered by both ports of all versions, also without a quorum.

Not ``/health``, which leaves traces in etcd 3.4: see `etcdfleet.etcd.versions.health_leaves_no_trace`.
"""
_ENOUGH = "remote error: tls|TRANSIENT_FAILURE|broken pipe|connection reset"


def openssl_knock(
    settings: HostSettings,
    side: Side,
    port: int,
    shown: RoleName | None,
    *,
    anchor: str = "",
    address: str = "",
    path: str = PROBE,
) -> str:
    """Asks a port for ``path`` as openssl does; exit code 0 only if it was answered by HTTP.

    ``anchor`` is the file of trust anchors for the served certificate (left out: the settings'), ``address`` where to
    connect (left out: the member's name).
    """
    paths, fqdn = HostPaths.of(settings), settings.member.fqdn
    pair = ""
    if shown:
        pem = paths.certificate(shown)
        pair = f"-cert {pem} -cert_chain {pem} -key {paths.key(shown)}"
    # `exec`: what is ended there is openssl itself.
    connect = (
        f"exec timeout {timeouts.KNOCK} openssl s_client -quiet -connect {address or fqdn}:{port} -servername {fqdn} "
        f"-verify_hostname {fqdn} -CAfile {anchor or anchor_file(paths, side)} -partial_chain -verify_return_error "
        f"{pair}"
    )
    functions = {"connect": connect}
    if side == "client":
        return script("knock_client_port", functions=functions, path=path, fqdn=fqdn)
    return script("knock_peer_port", functions=functions, path=path, fqdn=fqdn, tenths=timeouts.KNOCK * 10)


def etcdctl_attempt(settings: HostSettings, role: RoleName) -> str:
    """The same with etcdctl, for a host without openssl: with the certificate of ``role``, then with the client's own.

    Refused, etcdctl tries again until its time is over. With its client's log on, versions before 3.6 say why at once,
    which ends the attempt. The last line says how the client's own certificate fared: exit code and whole seconds.
    """
    here = [local_endpoint(settings)]
    attempt = etcdctl(settings, "endpoint health", here, seconds=timeouts.ETCDCTL_QUICK, role=role)
    proper = etcdctl(settings, "endpoint health", here, seconds=timeouts.ETCDCTL_QUICK)
    return script(
        "knock_by_etcdctl",
        functions={"attempt": f"exec env ETCD_CLIENT_DEBUG=warn {attempt}", "proper": proper},
        enough=_ENOUGH,
        proper_says=PROPER,
    )


def refused_as_client(settings: HostSettings) -> tuple[RoleName, ...]:
    """The roles of the host whose certificates must be refused as a client's.

    With a single CA a peer's certificate is accepted, which is looked at to warn of it.
    """
    tries = knocks(settings, needed_roles(settings))
    return tuple(knock.shown for knock in tries if knock.side == "client" and knock.shown and not knock.let_in)
