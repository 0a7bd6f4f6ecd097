"""What a role's certificate on a host must be, and how far a given certificate is from that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from etcdfleet.certs.chain import eku_text, issued
from etcdfleet.certs.model import BOTH, Certificate, normal_addresses, normal_names, parse_pem_bundle
from etcdfleet.roles import RoleName, Usage

LOOPBACK = "127.0.0.1"
LONGEST_COMMON_NAME = 64
"""Characters: RFC 5280, appendix A.1, ub-common-name. OpenSSL makes no request with a longer one."""
_JOBS: Mapping[RoleName, str] = {
    "peer": "while members use one pair both to accept and to open connections to each other",
    "server": "while etcd serves its clients with it, and etcd's gateway connects to etcd itself with it, as a client",
    "client": "while etcdctl proves with it who it is",
}


@dataclass(frozen=True)
class Want:
    """What the certificate of ``role`` on one host must be.

    Exactly ``dns_names`` and ``ip_addresses`` (the common name may come on top, as Vault adds it), exactly ``usages``:
    a certificate that could do more is as wrong as one that can do less. An empty ``common_name`` means that there is
    to be none. One that was ``made_elsewhere`` may have other names on top, wildcards, any common name, and an end
    after that of its CA, as these were not asked for.
    ``trust_anchor`` is PEM, one CA or several, of which one must be reached. ``issuing_ca`` is the PEM of the CA that
    would sign today (or several during a change of CA); None when that does not matter. ``key_kind`` is the wanted kind
    of key (``rsa-2048``), empty when any will do. Raises ValueError for an address that is none.
    """

    role: RoleName
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    usages: frozenset[Usage]
    trust_anchor: str = field(repr=False)
    issuing_ca: str | None = field(default=None, repr=False)
    made_elsewhere: bool = False
    key_kind: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dns_names", normal_names(self.dns_names))
        object.__setattr__(self, "ip_addresses", normal_addresses(self.ip_addresses))
        object.__setattr__(self, "usages", frozenset(self.usages))

    @property
    def forbidden_usages(self) -> frozenset[Usage]:
        """The usages that the certificate must not have."""
        return BOTH - self.usages

    @property
    def alt_names(self) -> tuple[str, ...]:
        """The DNS names to ask Vault for on top of the common name, which it adds by itself."""
        return tuple(name for name in self.dns_names if name != self.common_name.lower())


def want_for(
    role: RoleName,
    *,
    fqdn: str,
    address: str,
    usages: Iterable[Usage],
    trust_anchor: str,
    service_name: str | None = None,
    common_name: str | None = None,
    issuing_ca: str | None = None,
) -> Want:
    """Return what a role's certificate on a host must be, with the names that etcd uses for that role.

    peer: the FQDN, and the member's address, because etcd compares a peer's remote address with the IP addresses of
    its certificate. server: the FQDN, the cluster's service name, the member's address, and 127.0.0.1, where etcd
    listens for etcdctl on the host itself. client: a common name (the FQDN unless given) and nothing else. An FQDN that
    is too long for a common name is only among the names, which is where TLS looks. Raises ValueError for an address
    that is none.
    """
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    if role == "peer":
        names, addresses = (fqdn,), (address,)
    elif role == "server":
        names, addresses = (fqdn, *([service_name] if service_name else [])), (address, LOOPBACK)
    named = common_name or (fqdn if has_common_name(fqdn) else "")
    return Want(role, named, names, addresses, frozenset(usages), trust_anchor, issuing_ca)


def has_common_name(fqdn: str) -> bool:
    """Return whether certificates for this name have it as their common name, too."""
    return len(fqdn) <= LONGEST_COMMON_NAME


def name_problems(want: Want, leaf: Certificate) -> list[str]:
    """Return how the names and addresses of ``leaf`` differ from what is wanted."""
    problems = []
    if leaf.common_name != want.common_name and not want.made_elsewhere:
        wanted = repr(want.common_name) if want.common_name else "none"
        problems.append(f"the common name is {leaf.common_name!r} instead of {wanted}")
    if missing := missing_names(want, leaf):
        problems.append(
            f"it is not valid for {', '.join(missing)}: clients that connect by that name or address would refuse it "
            '(etcd logs "x509: certificate is valid for …, not …", or for a peer "does not match any of DNSNames")'
        )
    extra = [n for n in leaf.dns_names if n not in want.dns_names and n != want.common_name.lower()]
    extra += [a for a in leaf.ip_addresses if a not in want.ip_addresses]
    if extra and not want.made_elsewhere:
        problems.append(f"it is also valid for {', '.join(extra)}, which was not asked for")
    return problems


def missing_names(want: Want, leaf: Certificate) -> tuple[str, ...]:
    """Return the names and addresses that ``leaf`` is not valid for and should be."""
    valid = frozenset(leaf.dns_names)
    missing = [
        name
        for name in want.dns_names
        if name not in valid and not (want.made_elsewhere and f"*.{name.partition('.')[2]}" in valid)
    ]
    return (*missing, *(address for address in want.ip_addresses if address not in leaf.ip_addresses))


def usage_problems(want: Want, leaf: Certificate) -> list[str]:
    """Return how what ``leaf`` may be used for differs from what is wanted."""
    problems = []
    if missing := want.usages - leaf.usages:
        problems.append(
            f"it may not be used as a {' or '.join(sorted(missing))} certificate "
            f"(extended key usage {eku_text(leaf)}), {_JOBS[want.role]}: "
            'etcd would log "certificate specifies an incompatible key usage" and refuse it'
        )
    if excess := want.forbidden_usages & leaf.usages:
        problems.append(
            f"it may also be used as a {' or '.join(sorted(excess))} certificate "
            f"(extended key usage {eku_text(leaf)}), which a {want.role} certificate must not"
        )
    if leaf.key_usage is not None and "digital_signature" not in leaf.key_usage:
        problems.append(
            "its key may not make digital signatures (key usage): no TLS 1.3 or ECDHE handshake can be made with it"
        )
    if leaf.is_ca:
        problems.append("it is a CA's certificate (basic constraints): anyone with its key could make certificates")
    return problems


def issuer_problem(want: Want, leaf: Certificate) -> str | None:
    """Return why ``leaf`` is not from the CA that signs today; None when it is or when that does not matter."""
    if want.issuing_ca is None:
        return None
    current = parse_pem_bundle(want.issuing_ca)
    if any(issued(leaf, by=ca) for ca in current):
        return None
    return f"it was issued by {leaf.issuer!r}, not by the CA that issues today, {current[0].subject!r}"


def key_problems(want: Want, leaf: Certificate) -> list[str]:
    """Return how the key of ``leaf`` differs from what is wanted."""
    if not want.key_kind or leaf.key_kind == want.key_kind:
        return []
    return [f"its key is {leaf.key_kind} instead of {want.key_kind}"]


def utc(moment: datetime) -> str:
    """Return a moment for messages, in UTC and to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
