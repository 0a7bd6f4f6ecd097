"""What the lab sets up inside Vault: a single CA or two for each cluster, and the rights a deploy needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import hvac

from lab.state import Lab

Role = Literal["peer", "server", "client"]

ROOT = "pki_root"
INTERMEDIATE = "pki_intermediate_ca"
POLICY = "etcd-deploy"
TTL = "43800h"
MAX_TTL = "87600h"
# Vault cuts a certificate's life to what is left of its issuer's: the intermediate must outlive the longest leaf.
ROOT_TTL = "175200h"
INTERMEDIATE_TTL = "131400h"
TOKEN_PERIOD = "768h"  # noqa: S105 - a duration

_SUFFIXES: Mapping[Role, str] = {"peer": "server", "server": "server-only", "client": "client-only"}
PREFIXED_CLUSTER = "k8s-home"


def role_names(cluster: str) -> dict[Role, str]:
    """Return the names of a cluster's Vault roles; ``k8s-home`` has a prefix that is not its name."""
    prefix = "etc-az-k8s-home" if cluster == PREFIXED_CLUSTER else cluster
    return {role: f"{prefix}-{suffix}-crt" for role, suffix in _SUFFIXES.items()}


def side_mount(cluster: str, side: str) -> str:
    """Return the mount of the CA that issues for one side of a cluster, where peers and clients have a CA each."""
    return f"pki_etcd_{cluster}_{side}"


def allowed_domains(lab: Lab, cluster: str) -> tuple[str, ...]:
    """Return the names a cluster's certificates may hold: its hosts, its service name, and hosts kept in reserve."""
    names = [host.fqdn for host in lab.hosts if host.cluster in (cluster, None)]
    names += [entry.service_name for entry in lab.clusters if entry.name == cluster and entry.service_name]
    return tuple(names)


def role_parameters(role: Role, domains: Iterable[str], *, ec_keys: bool = False) -> dict[str, Any]:
    """Return the parameters of a Vault role, with ``allow_glob_domains`` spelt as the server wants it."""
    pure_client = role == "client"
    domains = list(domains)
    usages = {"peer": ["ServerAuth", "ClientAuth"], "server": ["ServerAuth"], "client": ["ClientAuth"]}
    return {
        "country": ["ZZ"],
        "organization": ["Home Network"],
        "ou": ["IT"],
        "allowed_domains": domains,
        "allow_subdomains": False,
        "allow_glob_domains": False,
        "allow_any_name": pure_client,
        "allow_bare_domains": not pure_client,
        "allow_ip_sans": not pure_client,
        "allow_localhost": False,
        "enforce_hostnames": not pure_client,
        "require_cn": pure_client or all(len(name) <= 64 for name in domains),
        "max_ttl": MAX_TTL,
        "key_type": "ec" if ec_keys else "rsa",
        "key_bits": 256 if ec_keys else 2048,
        "server_flag": not pure_client,
        "client_flag": role != "server",
        "key_usage": ["DigitalSignature"] if pure_client else ["DigitalSignature", "KeyEncipherment"],
        "ext_key_usage": usages[role],
    }


def policy(roles: Mapping[str, Iterable[str]]) -> str:
    """Return the least a deploy needs, by mount: certificates by these roles, what they are, and CA certificates."""
    rules = {}
    for mount, names in roles.items():
        for role in names:
            # A key is made by Vault (issue) or on the host (sign); both are the same right over names and usages.
            rules[f"{mount}/issue/{role}"] = "update"
            rules[f"{mount}/sign/{role}"] = "update"
            rules[f"{mount}/roles/{role}"] = "read"
    for mount in (ROOT, *roles):
        for endpoint in ("ca", "ca/pem", "ca_chain", "cert/ca", "cert/ca_chain"):
            rules[f"{mount}/{endpoint}"] = "read"
    return "".join(f'path "{path}" {{ capabilities = ["{right}"] }}\n' for path, right in rules.items())


def apply(client: hvac.Client, lab: Lab, address: str) -> None:
    """Bring Vault to what the lab needs; authorities that exist are kept. Raises hvac's and requests' errors."""
    mounts = client.sys.list_mounted_secrets_engines()["data"]
    roles, with_ec = mount_roles(lab), {cluster.name for cluster in lab.clusters if cluster.ec_keys}
    for mount, longest in ((ROOT, ROOT_TTL), *((mount, INTERMEDIATE_TTL) for mount in roles)):
        if f"{mount}/" not in mounts:
            client.sys.enable_secrets_engine("pki", path=mount)
        client.sys.tune_mount_configuration(path=mount, default_lease_ttl=TTL, max_lease_ttl=longest)
        urls = {
            "issuing_certificates": [f"{address}/v1/{mount}/ca"],
            "crl_distribution_points": [f"{address}/v1/{mount}/crl"],
        }
        client.write_data(f"{mount}/config/urls", data=urls)
    if not _has_issuer(client, ROOT):
        root = {"common_name": "Home Root CA", "organization": "Home Network", "issuer_name": "root", "ttl": ROOT_TTL}
        client.write_data(f"{ROOT}/root/generate/internal", data={**root, "key_type": "ec", "key_bits": 256})
    for mount, wanted in roles.items():
        if not _has_issuer(client, mount):
            title = mount.removeprefix("pki_").replace("_", " ") if mount != INTERMEDIATE else "Home Intermediate"
            _make_intermediate(client, mount, f"{title} CA")
        for name, (cluster, role) in wanted.items():
            parameters = role_parameters(role, allowed_domains(lab, cluster), ec_keys=cluster in with_ec)
            client.write_data(f"{mount}/roles/{name}", data=parameters)
    client.sys.create_or_update_policy(POLICY, policy(roles))


def mount_roles(lab: Lab) -> dict[str, dict[str, tuple[str, Role]]]:
    """Return the mounts that issue, each with its roles: name, cluster and kind.

    One CA for everything, as with ``trust: single``, and one for each side of each cluster.
    """
    mounts: dict[str, dict[str, tuple[str, Role]]] = {INTERMEDIATE: {}}
    for cluster in lab.clusters:
        for role, name in role_names(cluster.name).items():
            mounts[INTERMEDIATE][name] = (cluster.name, role)
            side = "peer" if role == "peer" else "client"
            mounts.setdefault(side_mount(cluster.name, side), {})[name] = (cluster.name, role)
    return mounts


def _has_issuer(client: hvac.Client, mount: str) -> bool:
    return bool(client.list(f"{mount}/issuers"))


def _make_intermediate(client: hvac.Client, mount: str, name: str) -> None:
    wanted = {"common_name": name, "organization": "Home Network", "key_type": "ec", "key_bits": 256}
    request = client.write_data(f"{mount}/intermediate/generate/internal", data=wanted)["data"]["csr"]
    signing = {"csr": request, "ttl": INTERMEDIATE_TTL, "use_csr_values": True, "format": "pem_bundle"}
    signed = client.write_data(f"{ROOT}/root/sign-intermediate", data=signing)["data"]
    # With the root in it, so that ca_chain is the whole way: intermediate, root.
    bundle = f"{signed['certificate'].strip()}\n{signed['issuing_ca'].strip()}\n"
    client.write_data(f"{mount}/intermediate/set-signed", data={"certificate": bundle})


def create_token(client: hvac.Client) -> str:
    """Return a renewable token that has the deploy policy and lives as long as it is renewed once in a period."""
    made = client.auth.token.create(policies=[POLICY], period=TOKEN_PERIOD, no_parent=True, display_name="deploy")
    return str(made["auth"]["client_token"])


def token_is_good(client: hvac.Client, token: str) -> bool:
    """Renew the token and return whether it still lives. Asked with ``client``'s own rights."""
    try:
        client.auth.token.renew(token)
    except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidRequest):
        return False
    return True
