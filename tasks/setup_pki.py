"""What Vault needs before a deploy can have certificates: made, or brought to what the inventory says.

The rows of these tasks are clusters, not hosts. What must be there is in ``etcdfleet/vault/wanted.py``. A CA is never
replaced; other things that are there and differ are changed only where ``agreed``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet.atend import at_end
from etcdfleet.certs import Certificate, chain_problems, parse_pem_bundle, public_key_fingerprint
from etcdfleet.errors import CertificateError, VaultError
from etcdfleet.report.secrets import REDACTOR
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.units import go_duration
from etcdfleet.step import StepOutcome
from etcdfleet.vault import TokenAuth, VaultConnection, wanted
from etcdfleet.vault.admin import VaultAdmin, check_pki
from etcdfleet.vault.wanted import WantedMount, differences
from tasks.csr_files import CsrFiles, public_text, write_request

_KEY = "etcdfleet_vault_admins"
ROOT_NAME = "etcd root CA"
_ON_PURPOSE = "Max path length of the signed certificate is zero"
Fleet = Mapping[str, tuple[HostSettings, ...]]


@dataclass
class Work:
    """What one task finds to be done and does, in the order of the inventory."""

    dry_run: bool
    agreed: bool
    changes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    diff: str = ""

    def make(self, what: str) -> bool:
        """Notes something that is missing; whether to make it."""
        self.changes.append(what)
        return not self.dry_run

    def change(self, title: str, found: Sequence[wanted.Difference]) -> bool:
        """Notes how something that is there differs; whether to change it."""
        if not found:
            return False
        self.diff += wanted.as_diff(title, found)
        said = f"{title}: {'; '.join(str(one) for one in found)}"
        if not self.agreed:
            self.left.append(said)
            return False
        self.changes.append(said)
        return not self.dry_run


def admin_of(task: Task, settings: PkiSettings) -> VaultAdmin:
    """The Vault of these settings with the administrator's token, one for all tasks of a run. Raises `VaultError`."""
    connection = VaultConnection.from_env(address=settings.address, namespace=settings.namespace)
    shared: dict[VaultConnection, VaultAdmin] = task.nornir.config.user_defined.setdefault(_KEY, {})
    if connection not in shared:
        if isinstance(connection.auth, TokenAuth):
            REDACTOR.add(connection.auth.token.reveal())
        elif connection.auth is not None:
            REDACTOR.add(connection.auth.secret_id.reveal())
        shared[connection] = made = VaultAdmin(connection)
        at_end(task.nornir.config, made.close)
    return shared[connection]


def same_vault(settings: PkiSettings, fleet: Fleet) -> list[tuple[HostSettings, ...]]:
    """The clusters of the inventory whose certificates come from the same Vault."""
    return [
        members
        for members in fleet.values()
        if (pki := members[0].pki).source == "vault"
        and (pki.address, pki.namespace) == (settings.address, settings.namespace)
    ]


def authorities(task: Task, fleet: Fleet, files: CsrFiles, *, agreed: bool, create_root: bool) -> Result:
    """The mounts that issue for a cluster, each with a CA below the root; AIA and CRL addresses.

    A CA that is there is kept. Result: ``result`` is a `StepOutcome`. Raises `VaultError`, and `CertificateError` for a
    CA that does not lead to the root, or one that waits for the signature of a root kept offline.
    """
    members = fleet[task.host.name]
    if (skipped := _skipped(members)) is not None:
        return Result(task.host, result=skipped)
    admin, work = admin_of(task, members[0].pki), Work(task.is_dry_run(), agreed)
    admin.check_ready()
    there = admin.mounts()
    root = _root(admin, work, members[0].pki, there, create_root=create_root)
    waiting = []
    for mount in wanted.mounts(members, admin.connection.address):
        longest = int(mount.ca_ttl.total_seconds())
        if not check_pki(there, mount.path):
            if work.make(f"{mount.path} is made, a PKI mount"):
                admin.enable_pki(mount.path, longest)
        else:
            limit = {"max_lease_ttl": (there[mount.path].get("config") or {}).get("max_lease_ttl")}
            needed = {"max_lease_ttl": int(max(role.max_ttl for role in _roles(members[0])).total_seconds())}
            short = int(limit["max_lease_ttl"] or 0) < needed["max_lease_ttl"]
            if short and work.change(mount.path, differences(needed, limit)):
                admin.tune(mount.path, needed["max_lease_ttl"])
        if mount.path not in there and work.dry_run:
            work.changes.append(f"{mount.path} gets the CA {mount.ca_name!r}")
            continue
        _urls(admin, work, mount.path, mount.urls)
        if admin.has_issuer(mount.path):
            _check_authority(admin, mount, members[0].pki, root)
        elif mount.root is not None:
            if work.make(f"{mount.path} gets the CA {mount.ca_name!r}, signed by {mount.root}"):
                csr = admin.request_ca(mount.path, mount.ca_name, *_key(mount), key=_first(admin.keys(mount.path)))
                admin.set_signed(mount.path, admin.sign_ca(mount.root, csr, mount.ca_name, longest))
        elif (sentence := _offline(admin, work, mount, files, root)) is not None:
            waiting.append(sentence)
    if waiting:
        raise CertificateError(
            "; ".join(waiting),
            where=admin.connection.address,
            remedy=f"have the root CA sign each *.csr in {files.requests} as a CA (basicConstraints CA:TRUE, "
            f"pathlen:0), put the certificates into {files.signed} as *.pem, and run this again",
        )
    return _result(task, work, admin, "CAs as wanted")


def roles(task: Task, fleet: Fleet, *, agreed: bool, look: bool = False) -> Result:
    """The three roles of a cluster, with document A's parameters; only looked at with ``look``.

    Result: ``result`` is a `StepOutcome`.
    """
    members = fleet[task.host.name]
    if (skipped := _skipped(members)) is not None:
        return Result(task.host, result=skipped)
    admin, work = admin_of(task, members[0].pki), Work(task.is_dry_run() or look, agreed)
    others = [other for other in same_vault(members[0].pki, fleet) if other is not members]
    there = admin.mounts()
    for role in wanted.roles(members, others):
        path = f"{role.mount}/roles/{role.name}"
        found = admin.read(path) if role.mount in there else None
        if found is None:
            work.diff += wanted.as_diff(path, differences(role.parameters, {}))
            if work.make(f"role {role.name} is made in {role.mount}"):
                admin.write(path, role.parameters)
        elif work.change(f"role {role.name} in {role.mount}", differences(role.parameters, found)):
            # Written whole: what is not given would fall back to Vault's default.
            admin.write(path, {**found, **role.parameters})
    return _result(task, work, admin, "roles as wanted")


def policy(task: Task, fleet: Fleet) -> Result:
    """The policy that lets a deploy have certificates of these roles, and nothing else."""
    members = fleet[task.host.name]
    if (skipped := _skipped(members)) is not None:
        return Result(task.host, result=skipped)
    admin, work = admin_of(task, members[0].pki), Work(task.is_dry_run(), agreed=True)
    name, text = wanted.policy_name(members), wanted.policy(members)
    path = f"sys/policies/acl/{name}"
    found = str((admin.read(path) or {}).get("policy") or "")
    if found.strip() != text.strip():
        lines = [line for line in found.splitlines() if line not in text.splitlines()]
        new = [line for line in text.splitlines() if line not in found.splitlines()]
        work.diff = "\n".join([f"+++ policy {name}", *(f"-{line}" for line in lines), *(f"+{line}" for line in new)])
        work.diff += "\n"
        if work.make(f"policy {name} is {'changed' if found else 'made'}"):
            admin.write(path, {"policy": text})
    return _result(task, work, admin, f"policy {name} as wanted")


def approle(task: Task, fleet: Fleet, *, agreed: bool, look: bool = False) -> Result:
    """The AppRole with the policies of all clusters of this Vault, those that are not chosen included.

    With ``look`` it is only looked at. Result: ``result`` is a `StepOutcome`.
    """
    members = fleet[task.host.name]
    if (skipped := _skipped(members)) is not None:
        return Result(task.host, result=skipped)
    pki = members[0].pki
    settings = pki.setup.approle
    admin, work = admin_of(task, pki), Work(task.is_dry_run() or look, agreed)
    sharing = [each for each in same_vault(pki, fleet) if each[0].pki.setup.approle.name == settings.name]
    parameters = wanted.approle_parameters(settings, [wanted.policy_name(each) for each in sharing])
    enabled = admin.auth_mounts().get(settings.mount)
    if enabled is not None and enabled.get("type") != "approle":
        raise VaultError(
            f"auth/{settings.mount} is of type {enabled.get('type')}, not approle",
            where=admin.connection.address,
            remedy="name another one: pki.setup.approle.mount",
        )
    if enabled is None and work.make(f"logging in by AppRole is enabled at auth/{settings.mount}"):
        admin.enable_approle(settings.mount)
    path = f"auth/{settings.mount}/role/{settings.name}"
    found = admin.read(path) if enabled is not None else None
    if found is None:
        if work.make(f"AppRole {settings.name} is made"):
            admin.write(path, parameters)
    elif work.change(f"AppRole {settings.name}", differences(parameters, found)):
        admin.write(path, parameters)
    return _result(task, work, admin, f"AppRole {settings.name} as wanted")


def _root(
    admin: VaultAdmin, work: Work, pki: PkiSettings, there: Mapping[str, Any], *, create_root: bool
) -> tuple[Certificate, ...]:
    """The root CA; none in a dry run that would make it."""
    if pki.trust_anchor.file is not None:
        return _read(Path(pki.trust_anchor.file))
    mount = pki.trust_anchor.mount or ""
    exists = check_pki(there, mount)
    if exists and admin.has_issuer(mount):
        return parse_pem_bundle(admin.ca_pem(mount))
    if not create_root:
        raise VaultError(
            f"there is no root CA: {mount} is {'a PKI mount without one' if exists else 'no mount of Vault'}",
            where=admin.connection.address,
            remedy="--create-root makes one in Vault; or name the mount of yours (pki.trust_anchor.mount), or the file "
            "of a root that is kept elsewhere (pki.trust_anchor.file)",
        )
    # The root outlives what it signs.
    ttl = int(pki.setup.ca_ttl.total_seconds() * 1.5)
    if not work.make(f"{mount} gets the root CA {ROOT_NAME!r}"):
        return ()
    if not exists:
        admin.enable_pki(mount, ttl)
    _urls(admin, work, mount, wanted.urls(pki, mount, admin.connection.address))
    admin.make_root(mount, ROOT_NAME, *_kind(pki.setup.ca_key_type), ttl)
    return parse_pem_bundle(admin.ca_pem(mount))


def _check_authority(admin: VaultAdmin, mount: WantedMount, pki: PkiSettings, root: tuple[Certificate, ...]) -> None:
    """The CA that is there leads to the root and outlives what is asked of it. Raises `CertificateError`."""
    chain = [c for pem in (admin.ca_pem(mount.path), *admin.ca_chain(mount.path)) for c in parse_pem_bundle(pem)]
    chain = list(dict.fromkeys(chain))
    if root and chain[0] not in root:
        problems = chain_problems(chain, root, at=datetime.now(UTC))
        if problems:
            raise CertificateError(
                f"the CA that {mount.path} has does not lead to the root CA of the inventory: {problems[0]}",
                where=admin.connection.address,
                remedy="correct pki.trust_anchor, or name another mount; a CA that is there is never replaced",
            )
    longest = max(pki.roles.peer.ttl, pki.roles.server.ttl, pki.roles.client.ttl)
    if chain[0].not_after - datetime.now(UTC) < longest:
        admin.warnings.append(
            f"{mount.path}: its CA ends at {chain[0].not_after:%Y-%m-%d}, before certificates of "
            f"{go_duration(longest)} would: ask for shorter ones (pki.roles.<role>.ttl), or renew the CA"
        )


def _offline(
    admin: VaultAdmin, work: Work, mount: WantedMount, files: CsrFiles, root: tuple[Certificate, ...]
) -> str | None:
    """Brings the CA of a mount to its signature by a root that Vault does not have; says what is missing, if any."""
    key = _first(admin.keys(mount.path))
    signed = files.signed_certificate(mount.path)
    if signed.is_file():
        chain = _read(signed)
        if not key:
            raise CertificateError(
                f"{mount.path} has no key that this certificate could be for",
                where=str(signed),
                remedy="remove the file and run this again: it makes a new request",
            )
        csr = admin.request_ca(mount.path, mount.ca_name, *_key(mount), key=key)
        problems = [] if public_key_fingerprint(csr) == chain[0].public_key else ["it is for another key"]
        problems += [] if chain[0].is_ca else ["it is no CA's certificate"]
        problems += chain_problems([*chain, *root], root, at=datetime.now(UTC))
        if problems:
            raise CertificateError(
                f"the certificate for {mount.path} is not fit: {'; '.join(problems)}",
                where=str(signed),
                remedy=f"have the root CA sign {files.request(mount.path)}",
            )
        if work.make(f"{mount.path} gets the CA {chain[0].title!r}, from {signed}"):
            admin.set_signed(mount.path, "".join(c.pem for c in dict.fromkeys([*chain, *root])))
        return None
    request = files.request(mount.path)
    if work.dry_run:
        work.changes.append(f"{request} is written, to be signed by the root CA")
        return None
    csr = admin.request_ca(mount.path, mount.ca_name, *_key(mount), key=key)
    if public_text(request) != public_key_fingerprint(csr):
        write_request(request, csr)
    return f"the CA of {mount.path} waits for its signature: {request}"


def _urls(admin: VaultAdmin, work: Work, mount: str, urls: Mapping[str, Any]) -> None:
    """The addresses that go into certificates: before the first of them is made."""
    path = f"{mount}/config/urls"
    found = admin.read(path) or {}
    if not any(found.get(key) for key in urls):
        if work.make(f"{mount} puts its addresses into certificates (AIA, CRL)"):
            admin.write(path, urls)
    elif work.change(f"addresses of {mount}", differences(urls, found)):
        admin.write(path, {**found, **urls})


def _result(task: Task, work: Work, admin: VaultAdmin, summary: str) -> Result:
    warnings = [f"Vault says: {text}" for text in admin.warnings if _ON_PURPOSE not in text]
    admin.warnings.clear()
    warnings += [f"left as it is: {text} (--yes changes it)" for text in work.left]
    facts = {"left_as_they_are": list(work.left)} if work.left else {}
    outcome = StepOutcome(summary if not work.left else "differs", tuple(work.changes), tuple(warnings), facts)
    return Result(task.host, result=outcome, changed=bool(work.changes), diff=work.diff)


def _skipped(members: tuple[HostSettings, ...]) -> StepOutcome | None:
    if members[0].pki.source != "vault":
        return StepOutcome("its certificates come from files", skipped=True)
    cluster = members[0].cluster
    return None if cluster.peer_tls or cluster.client_tls else StepOutcome("no TLS", skipped=True)


def _roles(settings: HostSettings) -> list[Any]:
    return [settings.pki.roles.peer, settings.pki.roles.server, settings.pki.roles.client]


def _key(mount: WantedMount) -> tuple[str, int]:
    return _kind(mount.key_type)


def _kind(key_type: str) -> tuple[str, int]:
    kind, _, size = key_type.partition("-")
    return kind, int(size.lstrip("p"))


def _first(found: Sequence[str]) -> str:
    return found[0] if found else ""


def _read(path: Path) -> tuple[Certificate, ...]:
    try:
        return parse_pem_bundle(path.read_text())
    except (OSError, UnicodeDecodeError, CertificateError) as error:
        raise CertificateError(
            f"cannot be read: {error}", where=str(path), remedy="it must be a PEM file with CA certificates"
        ) from None
