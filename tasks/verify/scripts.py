"""What verification asks a host: pieces of shell, for coreutils and for busybox."""

from __future__ import annotations

from etcdfleet import timeouts
from etcdfleet.checks.knocks import PROPER, knocks
from etcdfleet.checks.write_probe import PROBE_TTL_SECONDS, RESERVED_PREFIX
from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.etcd.etcdctl import all_endpoints, anchor_file, etcdctl, local_endpoint
from etcdfleet.etcd.versions import health_leaves_no_trace
from etcdfleet.host.paths import HostPaths
from etcdfleet.remote.scripts import script
from etcdfleet.roles import RoleName, Side
from etcdfleet.settings.models import HostSettings, client_url
from tasks.certificates.anchors import named_anchors
from tasks.observe import Observed, Site

LOG_LINES = 300
PROBE = "/version"
"""What is asked: answered by both ports of all versions, also without a quorum.

Not ``/health``, which leaves traces in etcd 3.4: see `etcdfleet.etcd.versions.health_leaves_no_trace`.
"""
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_ENOUGH = "remote error: tls|TRANSIENT_FAILURE|broken pipe|connection reset"


def cluster_commands(settings: HostSettings, *, deep: bool = False) -> dict[str, str]:
    """Return what etcdctl is asked about the cluster, to be run side by side.

    ``deep``: each member is asked for its status by a process of its own, for a short time. Else they are asked in
    turn, which is less work, and a dead one costs all of its time.
    """
    seconds = timeouts.ETCDCTL if deep else timeouts.ETCDCTL_PATIENT
    here, everybody = [local_endpoint(settings)], all_endpoints(settings)
    return {
        "members": etcdctl(settings, "-w json member list", here, seconds=seconds),
        "health": etcdctl(settings, "-w json endpoint health", everybody, seconds=seconds),
        "status and hashes": script(
            "status_and_hashes",
            *(everybody if deep else [",".join(everybody)]),
            functions={
                "status": etcdctl(settings, "-w json endpoint status", everybody, seconds=seconds, asked='"$1"'),
                "hashes": etcdctl(
                    settings, '-w json endpoint hashkv --rev="$2"', everybody, seconds=seconds, asked='"$1"'
                ),
            },
        ),
    }


def refusal_commands(settings: HostSettings, *, openssl: bool = True) -> dict[str, str]:
    """Show certificates that must be refused as a client's, by ``openssl`` if it is there, else by etcdctl."""
    roles = refused_as_client(settings)
    if not openssl:
        return {f"{role} as client": etcdctl_attempt(settings, role) for role in roles}
    # On the loop-back, as etcdctl's calls for this member alone: it depends on no name.
    return {
        f"{role} as client": openssl_knock(settings, "client", settings.cluster.client_port, role, address="127.0.0.1")
        for role in (("client", *roles) if roles else ())
    }


def host_commands(site: Site, observed: Observed, version: str | None) -> dict[str, str]:
    """Return what is asked of the host itself, one after the other: a small host has its etcd to run meanwhile.

    ``version`` is the one that its member runs, if it answers.
    """
    settings, roles, paths = site.settings, needed_roles(site.settings), HostPaths.of(site.settings)
    listing = script("list_configuration", *(paths.folder(role) for role in roles))
    commands = {"listing": listing, "log": site.service.logs(LOG_LINES), "time": script("time_keeping")}
    if not observed.facts.has_openssl:
        return commands | refusal_commands(settings, openssl=False)
    commands |= {
        f"{role} key": f"openssl pkey -in {paths.key(role)} -pubout -outform DER | sha256sum"
        f" | grep -v '^{_EMPTY_SHA256}'"
        for role in roles
    }
    if not observed.service.running:
        return commands
    named = named_anchors(observed)
    if settings.cluster.client_tls and health_leaves_no_trace(version):
        commands["/health"] = openssl_knock(
            settings,
            "client",
            settings.cluster.client_port,
            "client",
            anchor=named.get("client", ""),
            path="/health",
        )
    return commands | {
        knock.check: openssl_knock(settings, knock.side, knock.port, knock.shown, anchor=named.get(knock.side, ""))
        for knock in knocks(settings, roles)
    }


def probe_script(settings: HostSettings, names: list[str], token: str) -> str:
    """Write a key through this member, read it through those of ``names``, delete it, and look for it again.

    Prints ``step|member|exit code|output`` a line. The key hangs on a lease, so that it ends with a killed run.
    """
    urls = {member.name: client_url(member, settings.cluster) for member in settings.members if member.name in names}
    own = [urls.get(settings.member.name) or local_endpoint(settings)]
    at = etcdctl(settings, '"$@"', [*urls.values()], asked='"$url"')
    return script(
        "write_probe",
        *(word for pair in urls.items() for word in pair),
        functions={"own": etcdctl(settings, '"$@"', own), "at": f"url=$1; shift\n{at}"},
        key=f"{RESERVED_PREFIX}{token}/{settings.member.name}",
        token=token,
        ttl=PROBE_TTL_SECONDS,
    )


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
    """Ask a port for ``path`` as openssl does; exit code 0 only if it was answered by HTTP.

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
    """Ask the same with etcdctl, for a host without openssl: with ``role``'s certificate, then the client's own.

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
    """Return the roles of the host whose certificates must be refused as a client's.

    With a single CA a peer's certificate is accepted, which is looked at to warn of it.
    """
    tries = knocks(settings, needed_roles(settings))
    return tuple(knock.shown for knock in tries if knock.side == "client" and knock.shown and not knock.let_in)
