"""Shell that shows a certificate to a port of the host's own member, for coreutils and for busybox.

What it tells is judged by `etcdfleet.checks.knocks`.
"""

from __future__ import annotations

from etcdfleet import timeouts
from etcdfleet.checks.knocks import PROPER, knocks
from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.etcd.etcdctl import anchor_file, etcdctl, local_endpoint
from etcdfleet.host.paths import HostPaths
from etcdfleet.settings.base import RoleName, Side
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
    ask = f"""printf 'GET {path} HTTP/1.0\\r\\nHost: {fqdn}\\r\\n\\r\\n' |
timeout {timeouts.KNOCK} openssl s_client -quiet -connect {address or fqdn}:{port} -servername {fqdn} \
-verify_hostname {fqdn} -CAfile {anchor or anchor_file(paths, side)} -partial_chain -verify_return_error {pair}"""
    if side == "client":
        return f"""said=$({ask} 2>&1); rc=$?
printf '%s\\n' "$said"
case "$said" in *HTTP/1.*) exit 0;; esac
[ $rc != 0 ] || rc=1
exit $rc"""
    # etcd's peer port keeps the connection after its answer: the first line of it is enough. No fifo: busybox gives up
    # opening one when a child ends meanwhile.
    return f"""f=$(mktemp /run/etcdfleet.XXXXXX) || exit 98
trap 'rm -f "$f"' EXIT
{ask} >"$f" 2>&1 & p=$!
n=0; while [ $n -lt {timeouts.KNOCK * 10} ] && kill -0 $p 2>/dev/null && ! grep -qE '^HTTP|rror' "$f"; do
sleep 0.1; n=$((n + 1)); done
kill $p 2>/dev/null
cat <"$f"
[ $n -lt {timeouts.KNOCK * 10} ] || exit 124"""


def etcdctl_attempt(settings: HostSettings, role: RoleName) -> str:
    """The same with etcdctl, for a host without openssl: with the certificate of ``role``, then with the client's own.

    Refused, etcdctl tries again until its time is over. With its client's log on, versions before 3.6 say why at once,
    which ends the attempt. The last line says how the client's own certificate fared: exit code and whole seconds.
    """
    here = [local_endpoint(settings)]
    attempt = etcdctl(settings, "endpoint health", here, seconds=timeouts.ETCDCTL_QUICK, role=role)
    proper = etcdctl(settings, "endpoint health", here, seconds=timeouts.ETCDCTL_QUICK)
    return f"""f=$(mktemp -u /run/etcdfleet.XXXXXX) && mkfifo -m 600 "$f" || exit 98
trap 'rm -f "$f"' EXIT
ETCD_CLIENT_DEBUG=warn {attempt} >"$f" 2>&1 & p=$!
sed -E -e '/{_ENOUGH}/q' <"$f"
kill $p 2>/dev/null
wait $p; rc=$?
began=$(date +%s)
{proper} >/dev/null 2>&1
echo "{PROPER}$? $(($(date +%s) - began))"
exit $rc"""


def refused_as_client(settings: HostSettings) -> tuple[RoleName, ...]:
    """The roles of the host whose certificates must be refused as a client's.

    With a single CA a peer's certificate is accepted, which is looked at to warn of it.
    """
    tries = knocks(settings, needed_roles(settings))
    return tuple(knock.shown for knock in tries if knock.side == "client" and knock.shown and not knock.let_in)
