"""Private keys made on the host, and requests for certificates for them; the keys never leave it."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from etcdfleet.certs import Want, public_key_fingerprint, request_problems
from etcdfleet.errors import CertificateError, FleetError
from etcdfleet.host.paths import SETS
from etcdfleet.remote.scripts import script
from etcdfleet.roles import RoleName
from etcdfleet.settings.pki import KeyType
from tasks.observe import Site

SECONDS = 600
"""An RSA key of 4096 bits takes a 32-bit Pi a minute and more, and there are up to three."""
_OPTIONS = {
    "rsa": "-algorithm RSA -pkeyopt rsa_keygen_bits:{size}",
    "ec": "-algorithm EC -pkeyopt ec_paramgen_curve:P-{size} -pkeyopt ec_param_enc:named_curve",
}


@dataclass(frozen=True)
class Request:
    """A request for a certificate (CSR, PEM), and what identifies the key that stays on the host in ``folder``.

    ``public_key`` is the fingerprint of the key's public half, ``key_sha256`` the digest of its file.
    """

    csr: str
    public_key: str
    key_sha256: str
    folder: str


def make_requests(site: Site, wants: Sequence[Want], key_type: KeyType) -> dict[RoleName, Request]:
    """Have the host make a key and a request for each of ``wants``, in one round trip; check what it asks for.

    Raises `RemoteError` when openssl fails there, `CertificateError` when a request is not what was asked for.
    """
    # Where new keys wait for their certificates: on the file system on which they will stay. The script of a run that
    # was killed may go on for minutes. With its folders gone it fails, and it never writes to those of another run.
    staged = f"{SETS}/.new-{secrets.token_hex(4)}"
    making = script(
        "make_requests",
        *(want.role for want in wants),
        functions={"requests": "\n".join(_request(want, key_type) for want in wants)},
        sets=SETS,
        staged=staged,
        fqdn=site.settings.member.fqdn,
    )
    result = site.remote.run(
        making,
        timeout=SECONDS,
        check="making private keys with openssl",
        remedy=f"see what openssl says{site.settings.pki.keys_without_openssl}",
    )
    requests: dict[RoleName, Request] = {}
    for want in wants:
        part = re.search(rf"^= {want.role} ([0-9a-f]{{64}}).*?$(.*?-----END[^\n]*-----$)", result.stdout, re.M | re.S)
        if not part:
            raise CertificateError(
                f"openssl gave no request for the {want.role} certificate",
                where=site.settings.name,
                remedy="run again with --debug; try on the host: openssl version",
            )
        csr = part.group(2).strip() + "\n"
        problems = request_problems(want, csr, key_type)
        if problems:
            raise CertificateError(
                f"the request for the {want.role} certificate is not what was asked for: {'; '.join(problems)}",
                where=site.settings.name,
                remedy="check openssl on this host; nothing was signed",
            )
        requests[want.role] = Request(csr, public_key_fingerprint(csr), part.group(1), f"{staged}/{want.role}")
    return requests


def discarding() -> str:
    """Return shell that removes all keys that wait for a certificate."""
    return f"rm -rf {SETS}/.new-*"


def discard(site: Site) -> None:
    """Remove keys that got no certificate. It raises nothing: the next run that makes keys removes what is left."""
    try:
        site.remote.run(discarding())
    except FleetError:
        return


def _request(want: Want, key_type: KeyType) -> str:
    kind, _, size = key_type.partition("-")
    names = [f"DNS:{name}" for name in want.dns_names] + [f"IP:{address}" for address in want.ip_addresses]
    # A section without a name is refused; on the command line, no name at all can be asked for.
    subject, nameless = (f"CN = {want.common_name}", "") if want.common_name else ("", "/")
    lines = ["[req]", "prompt = no", "distinguished_name = subject"]
    lines += ["req_extensions = names"] if names else []
    lines += ["[subject]", subject]
    lines += ["[names]", f"subjectAltName = {','.join(names)}"] if names else []
    options = _OPTIONS[kind].format(size=size.lstrip("p")).split()
    return shlex.join(["request", want.role, "\n".join([*lines, ""]), nameless, *options])
