"""What must be in Vault for the clusters of an inventory, and how what is there differs: plain data, nothing is asked.

Role parameters are fixed; the names in them come from the inventory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from etcdfleet.certs.want import LONGEST_COMMON_NAME, has_common_name
from etcdfleet.roles import ROLE_NAMES, SIDES, RoleName
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.pki import KeyType
from etcdfleet.settings.vault import AppRoleSettings, VaultPki, uses_vault, vault_pki
from etcdfleet.text import go_duration
from etcdfleet.vault.answers import duration, words
from etcdfleet.vault.errors import policy_for

Members = Sequence[HostSettings]
_USAGES = {"server": "ServerAuth", "client": "ClientAuth"}
_SUBJECT = ("country", "province", "locality", "organization", "ou")


@dataclass(frozen=True)
class WantedMount:
    """A PKI mount that issues, and the CA in it. ``root`` is the mount that signs it, None for a root kept offline."""

    path: str
    ca_name: str
    ca_ttl: timedelta
    key_type: KeyType
    root: str | None
    urls: Mapping[str, Any]


@dataclass(frozen=True)
class WantedRole:
    """A role with those parameters that matter here; Vault may have more."""

    mount: str
    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One parameter that differs from what is wanted. ``there`` is None when it is not set at all."""

    key: str
    there: Any
    wanted: Any

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.key, self.there)} instead of {_shown(self.key, self.wanted)}"


def mounts(members: Members, vault_address: str = "", namespace: str | None = None) -> tuple[WantedMount, ...]:
    """Return a cluster's mounts that issue. ``vault_address`` is the base of AIA and CRL addresses if none is set."""
    first, pki = members[0], vault_pki(members[0])
    wanted = []
    for path in dict.fromkeys(pki.mount_of(side) for side in SIDES):
        side = "" if pki.trust == "single" else next(side for side in SIDES if pki.mount_of(side) == path)
        name = _ca_name(first.cluster.name, side) if side else "etcd CA"
        addresses = urls(pki, path, vault_address, namespace)
        ca = (name, pki.setup.ca_ttl, pki.setup.ca_key_type, pki.trust_anchor.mount)
        wanted.append(WantedMount(path, *ca, addresses))
    return tuple(wanted)


def _ca_name(cluster: str, side: str) -> str:
    name = f"etcd {cluster} {side} CA"
    if len(name) <= LONGEST_COMMON_NAME:
        return name
    digest = hashlib.sha256(cluster.encode()).hexdigest()[:8]
    return f"etcd {cluster[:36]}-{digest} {side} CA"


def urls(pki: VaultPki, mount: str, vault_address: str, namespace: str | None = None) -> dict[str, list[str]]:
    """Return where certificates say that their issuer and its revocation list can be had."""
    base = (pki.setup.urls or vault_address).rstrip("/")
    place = f"{base}/v1/{namespace}/{mount}" if namespace else f"{base}/v1/{mount}"
    return {
        "issuing_certificates": [f"{place}/ca"],
        "crl_distribution_points": [f"{place}/crl"],
    }


def roles(members: Members, sharing: Iterable[Members] = ()) -> tuple[WantedRole, ...]:
    """Return the roles of a cluster. ``sharing`` are the inventory's other clusters: one may name the same role."""
    pki = vault_pki(members[0])
    wanted = []
    for role in ROLE_NAMES:
        mount, name = pki.mount_for(role), pki.roles[role].name
        users = [members, *(other for other in sharing if _same_role(other, role, mount, name))]
        domains = dict.fromkeys(domain for each in users for domain in _names(each, role))
        parameters = role_parameters(pki, role, list(domains))
        if role != "client" and not all(has_common_name(m.fqdn) for each in users for m in each[0].members):
            parameters["require_cn"] = False
        wanted.append(WantedRole(mount, name, parameters))
    return tuple(wanted)


def role_parameters(pki: VaultPki, role: RoleName, domains: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a role that issues for ``domains`` (a pure client may have any name)."""
    settings = pki.roles[role]
    any_name = role == "client"
    kind, _, size = pki.key_type.partition("-")
    subject = {key: list(getattr(pki.setup.subject, key)) for key in _SUBJECT}
    return {
        **{key: value for key, value in subject.items() if value},
        **({} if any_name else {"allowed_domains": list(domains)}),
        "allow_any_name": any_name,
        "allow_bare_domains": not any_name,
        "allow_subdomains": False,
        "allow_glob_domains": False,
        "allow_localhost": False,
        "allow_ip_sans": not any_name,
        "enforce_hostnames": not any_name,
        "require_cn": True,
        "key_type": kind,
        "key_bits": int(size.lstrip("p")),
        "ttl": _seconds(settings.ttl),
        "max_ttl": _seconds(settings.max_ttl),
        "server_flag": "server" in settings.usages,
        "client_flag": "client" in settings.usages,
        "key_usage": ["DigitalSignature"] if any_name or kind == "ec" else ["DigitalSignature", "KeyEncipherment"],
        "ext_key_usage": [_USAGES[usage] for usage in settings.usages],
    }


def with_names_of(parameters: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a role that signs for the names that it has in Vault now, too."""
    names = parameters.get("allowed_domains")
    there = existing.get("allowed_domains") or []
    if names is None or not isinstance(there, list):
        return dict(parameters)
    return {**parameters, "allowed_domains": [*names, *(name for name in there if name not in names)]}


def conflicts(clusters: Sequence[Members]) -> tuple[str, ...]:
    """Return where clusters of one Vault want different things of a mount, role or AppRole that they share."""
    problems: dict[str, None] = {}
    first: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for members in clusters:
        name = members[0].cluster.name
        for title, parameters in _shared(members, clusters):
            owner, wanted = first.setdefault(title, (name, parameters))
            for one in differences(parameters, wanted):
                problems[f"{title}: clusters {owner} and {name} want it to differ: {one}"] = None
    return tuple(problems)


def _shared(members: Members, clusters: Sequence[Members]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    pki = vault_pki(members[0])
    settings = pki.setup.approle
    yield f"AppRole {settings.name} at {settings.mount}", approle_parameters(settings, ())
    for mount in mounts(members):
        yield f"mount {mount.path}", {**mount.urls, "trust_anchor": mount.root or pki.trust_anchor.file}
    for role in roles(members, [other for other in clusters if other is not members]):
        yield f"role {role.name} of {role.mount}", role.parameters


def policy_name(members: Members) -> str:
    """Return the name of a cluster's policy."""
    return f"{vault_pki(members[0]).setup.approle.name}-{members[0].cluster.name}"


def policy(members: Members) -> str:
    """Return what deploy may do for a cluster: have certificates of its roles, read roles and CAs, and nothing else.

    The last three are for the token itself: what it may do, how long it lives, and its end.
    """
    pki = vault_pki(members[0])
    rules: dict[str, str] = {}
    for role in ROLE_NAMES:
        mount, name = pki.mount_for(role), pki.roles[role].name
        rules[f"{mount}/sign/{name}"] = "update"
        if pki.key_origin == "vault":
            rules[f"{mount}/issue/{name}"] = "update"
        rules[f"{mount}/roles/{name}"] = "read"
        if pki.revoke:
            # By serial number, so any certificate of the mount: a right that is only given where it is asked for.
            rules[f"{mount}/revoke"] = "update"
    for issuer in (*(pki.mount_of(side) for side in SIDES), pki.trust_anchor.mount):
        if issuer:
            rules |= {f"{issuer}/{path}": "read" for path in ("ca/pem", "ca_chain", "cert/ca", "cert/ca_chain")}
    rules["sys/capabilities-self"] = "update"
    rules["auth/token/lookup-self"] = "read"
    rules["auth/token/revoke-self"] = "update"
    return policy_for({path: (right,) for path, right in rules.items()}) + "\n"


def approle_parameters(settings: AppRoleSettings, policies: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of the AppRole that has these policies and no others, not even Vault's default one."""
    return {
        "token_policies": sorted(policies),
        "token_no_default_policy": True,
        "token_ttl": _seconds(settings.token_ttl),
        "token_max_ttl": _seconds(settings.token_max_ttl),
        "token_period": 0,
        "token_bound_cidrs": list(settings.token_cidrs),
        "bind_secret_id": True,
        "secret_id_ttl": _seconds(settings.secret_id_ttl),
        "secret_id_num_uses": settings.secret_id_uses,
        "secret_id_bound_cidrs": list(settings.secret_id_cidrs),
    }


def differences(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the wanted parameters that differ; whichever way Vault writes durations and lists."""
    return tuple(
        Difference(key, there.get(key), value)
        for key, value in wanted.items()
        # A role without a ttl takes the mount's: nothing that was set differs, and a deploy always says what it wants.
        if not (key == "ttl" and not _normal(key, there.get(key), value))
        and _normal(key, there.get(key), value) != _normal(key, value, value)
    )


def as_diff(title: str, changes: Sequence[Difference]) -> str:
    """Return the differences as the lines of a diff."""
    lines = [f"--- {title} (Vault)", f"+++ {title} (wanted)"]
    for one in changes:
        lines += [f"-{one.key} = {_shown(one.key, one.there)}"] if one.there is not None else []
        lines.append(f"+{one.key} = {_shown(one.key, one.wanted)}")
    return "\n".join(lines) + "\n" if changes else ""


def _names(members: Members, role: RoleName) -> list[str]:
    names = [member.fqdn for member in members[0].members]
    service = members[0].cluster.service_name
    return [*names, service] if role == "server" and service else names


def _same_role(members: Members, role: RoleName, mount: str, name: str) -> bool:
    if not uses_vault(members[0]):
        return False
    pki = vault_pki(members[0])
    return (pki.mount_for(role), pki.roles[role].name) == (mount, name)


def _seconds(value: timedelta) -> int:
    return int(value.total_seconds())


def _normal(key: str, value: Any, wanted: Any) -> Any:
    if isinstance(wanted, list):
        # A network of one address may be written without its length.
        return sorted(re.sub(r"/(32|128)$", "", word) if key.endswith("cidrs") else word for word in words(value))
    if isinstance(wanted, bool):
        return bool(value)
    if key.endswith("ttl"):
        return duration(value)
    return value


def _shown(key: str, value: Any) -> str:
    if key.endswith("ttl") and value is not None:
        return go_duration(duration(value))
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)
