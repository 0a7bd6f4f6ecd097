"""Certificates from the PKI of Vault: one connection for a run, and each question asked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nornir.core.task import Task

from etcdfleet.certs import (
    Certificate,
    Keep,
    Renew,
    Want,
    accepts,
    bundle,
    chain_problems,
    decide,
    parse_pem_bundle,
    want_for,
    way_of,
)
from etcdfleet.certs.authority import ends_soon
from etcdfleet.drivers.certificates import Obtained, SourceOf, observed
from etcdfleet.errors import CertificateError, UsageError, VaultError
from etcdfleet.host.facts import HostFacts
from etcdfleet.report.record.secrets import REDACTOR
from etcdfleet.roles import SIDES, RoleName, Side, side_of
from etcdfleet.session import session_of
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.pki import KeyType
from etcdfleet.settings.vault import VaultPki
from etcdfleet.text import go_duration
from etcdfleet.vault import RoleFacts, TokenAuth, Vault, VaultConnection, policy_for
from etcdfleet.vault.connection import SET_UP
from etcdfleet.vault.names import name_problem
from etcdfleet.vault.transport import Transport

GLANCE_SECONDS = (1.0, 2.0)
"""For a connection to Vault and for its answer, where a run goes on without it."""


class VaultSource(SourceOf[VaultPki]):
    """See `etcdfleet.drivers.certificates.Source`."""

    title = "Vault"

    def __init__(self, pki: VaultPki, task: Task) -> None:
        super().__init__(pki, task)
        self.vault = vault_of(task, pki)

    def check(self, settings: HostSettings, _: HostFacts, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
        """Vault answers, the token may have certificates of the roles, and these are for what is wanted."""
        warnings = self._answers.once("check " + ",".join(roles), lambda: self._check(roles))
        for role in roles:
            self._check_names(settings, role)
        return warnings

    def anchors(self, side: Side) -> str:
        """Return the CA of the side alone; with a single CA, the root for both."""
        if self.settings.trust == "single":
            return self.root()
        return self._ca(side)

    def root(self) -> str:
        """Return the root CA, as PEM. Raises `VaultError` or `CertificateError`."""
        return self._answers.once("root", self._root)

    def issuers(self, side: Side) -> tuple[tuple[Certificate, ...], ...]:
        """Return the CA of the mount, which alone issues."""
        return (self.issuer(side),)

    def issuer(self, side: Side) -> tuple[Certificate, ...]:
        """Return the mount's CA, and its chain. Raises `FleetError`."""
        mount = self.settings.mount_of(side)
        chain = self._answers.once(f"chain {mount}", lambda: self.vault.ca_chain(mount))
        certificates = [*parse_pem_bundle(self._ca(side)), *(c for pem in chain for c in parse_pem_bundle(pem))]
        return tuple(dict.fromkeys(certificates))

    def way(self, _: HostSettings, role: RoleName) -> tuple[Certificate, ...]:
        """Return the way up from the mount's CA that `bundle` takes, where that CA has several certificates."""
        side = side_of(role)
        return way_of(self.issuer(side), self._wanted(side), at=datetime.now(UTC))

    def crl(self, side: Side) -> str:
        """Return the list of the mount's CA. Asked each time: it may have been made anew in between."""
        return self.vault.crl_pem(self.settings.mount_of(side))

    def want(self, settings: HostSettings, role: RoleName) -> Want:
        """Return a certificate with names and addresses as etcd uses them, from the CA that issues today."""
        needed = want_for(
            role,
            fqdn=settings.member.fqdn,
            address=settings.member.address,
            usages=self.settings.roles[role].usages,
            trust_anchor=self.anchors(side_of(role)),
            service_name=settings.cluster.service_name,
            common_name=self.settings.client_common_name if role == "client" else None,
            issuing_ca=self._ca(side_of(role)),
        )
        # A key that Vault makes is as the role says.
        return replace(needed, key_kind=self.settings.key_type) if self.signs_requests else needed

    def decide(self, _: HostSettings, facts: HostFacts, want: Want) -> Keep | Renew:
        """See `etcdfleet.certs.decide`."""
        return decide(want, observed(facts, want), renew_before=self.settings.renew_before)

    def obtain(self, settings: HostSettings, want: Want, request: str | None) -> Obtained:
        """Have Vault sign the request, or make a key as well."""
        role, mount = self.settings.roles[want.role], self.settings.mount_for(want.role)
        where = f"{settings.name}: role {role.name} of {mount}"
        issued = self.vault.issue(
            mount,
            role.name,
            common_name=want.common_name,
            alt_names=want.alt_names,
            ip_sans=want.ip_addresses,
            ttl=role.ttl,
            csr=request,
        )
        key = issued.private_key.reveal() if issued.private_key and request is None else None
        if request is None and key is None:
            raise CertificateError(
                "Vault gave no private key", where=settings.name, remedy=f"check the role {role.name}"
            )
        pem = bundle(issued.certificate, issued.chain, wanted=self._wanted(side_of(want.role)))
        return Obtained(pem, key, issued.warnings, where)

    def check_revocation(self, roles: tuple[RoleName, ...]) -> None:
        """Check that the token may revoke at the mounts of these roles."""
        mounts = dict.fromkeys(self.settings.mount_for(role) for role in roles)
        try:
            missing = self.vault.check_access({f"{mount}/revoke": ("update",) for mount in mounts})
        except VaultError:
            return  # it cannot be asked beforehand
        if missing:
            raise VaultError(
                f"the token may not write to {' or '.join(sorted(missing))}",
                where=self.vault.connection.address,
                remedy="write pki.revoke: true into the inventory and run setup_pki.py, which gives this right to the "
                f"AppRole, or use a token with\n{policy_for(missing)}",
            )

    def revoke(self, role: RoleName, leaf: Certificate) -> bool:
        """By its serial number at the role's mount, which knows none that another CA has issued."""
        try:
            self.vault.revoke(self.settings.mount_for(role), leaf.serial)
        except VaultError as error:
            ours = any(issuer.subject == leaf.issuer for issuer in self.issuer(side_of(role)))
            if "not found" in error.what and not ours:
                return False
            raise
        return True

    def check_client_life(self, ttl: timedelta) -> None:
        """Refuse a life that the role in Vault would cut short."""
        mount, role = self.settings.mount_for("client"), self.settings.roles.client
        facts = self.vault.read_role(mount, role.name)  # None when the token may not read it
        limit = facts.max_ttl if facts else role.max_ttl
        if limit is not None and ttl > limit:
            raise UsageError(
                f"{go_duration(ttl)} is longer than {go_duration(limit)}, max_ttl of role {role.name} in Vault",
                where="--ttl, or auth.certificate_ttl",
                remedy="ask for less, or raise the role's limit",
            )

    def obtain_client(self, name: str, ttl: timedelta, request: str) -> Obtained:
        """Signed by the clients' role."""
        mount, role = self.settings.mount_for("client"), self.settings.roles.client
        signed = self.vault.issue(mount, role.name, csr=request, common_name=name, ttl=ttl)
        pem = bundle(signed.certificate, signed.chain, wanted=[parse_pem_bundle(self.anchors("client"))])
        remedy = "correct the role in Vault (python runbooks/setup_pki.py does), or ask for less with --ttl"
        return Obtained(pem, None, signed.warnings, f"role {role.name} of {mount}", remedy)

    @classmethod
    def issuing(cls, pki: VaultPki) -> Mapping[Side, Certificate]:
        """Return the CAs of the mounts, which Vault gives to anyone."""
        connection = replace(VaultConnection.from_env(address=pki.address, namespace=pki.namespace), auth=None)
        vault = Vault(connection, transport=Transport(connection, timeout=GLANCE_SECONDS, retries=0))
        mounts = {side: pki.mount_of(side) for side in SIDES}
        texts = {mount: vault.ca_pem(mount) for mount in dict.fromkeys(mounts.values())}
        vault.close()
        return {side: parse_pem_bundle(texts[mount])[0] for side, mount in mounts.items()}

    def _wanted(self, side: Side) -> tuple[tuple[Certificate, ...], ...]:
        """Return where chains are to lead: what etcd is to trust, and the root by which clients may know members."""
        return tuple(parse_pem_bundle(text) for text in (self.anchors(side), self.root()))

    def _ca(self, side: Side) -> str:
        mount = self.settings.mount_of(side)
        return self._answers.once(f"ca {mount}", lambda: self._mount_ca(mount))

    def _mount_ca(self, mount: str) -> str:
        try:
            return self.vault.ca_pem(mount)
        except VaultError as error:
            if self.settings.trust == "single":
                raise
            raise VaultError(
                error.what,
                where=error.where,
                remedy=f"{error.remedy}; python runbooks/setup_pki.py makes what is missing, and pki.trust: single is "
                "for one CA for everything (pki.mount)",
            ) from error

    def _root(self) -> str:
        anchor = self.settings.trust_anchor
        if anchor.mount is not None:
            return self.vault.ca_pem(anchor.mount)
        path = Path(anchor.file or "").expanduser()
        try:
            text = path.read_text()
            parse_pem_bundle(text)
        except (OSError, CertificateError) as error:
            raise CertificateError(
                f"the trust anchor cannot be read: {error}",
                where=str(path),
                remedy="correct pki.trust_anchor.file: a PEM file with the CA certificate",
            ) from error
        return text

    def _check(self, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
        self.vault.check_ready()
        warnings = list(self.vault.connection.warnings)
        info = self.vault.token_info()
        if info.is_root:
            warnings.append(
                "the token is Vault's root token, which may do everything: use one that may only issue from these roles"
            )
        verb = "sign" if self.signs_requests else "issue"
        paths = {
            f"{self.settings.mount_for(role)}/{verb}/{self.settings.roles[role].name}": ("update",) for role in roles
        }
        if self.settings.revoke:
            paths |= {f"{self.settings.mount_for(role)}/revoke": ("update",) for role in roles}
        try:
            missing = self.vault.check_access(paths)
        except VaultError as error:
            missing = {}
            warnings.append(f"whether the token may issue certificates cannot be asked beforehand: {error.what}")
        if missing:
            raise VaultError(
                f"the token ({info.source}) may not write to {' or '.join(sorted(missing))}",
                where=self.vault.connection.address,
                remedy="check that these are the right mounts and roles (pki.mounts or pki.mount, pki.roles): "
                "where a token may do nothing, Vault does not say whether there is anything; then use another token, "
                f"or give its policy:\n{policy_for(missing)}\n"
                "python runbooks/setup_pki.py makes mounts, roles, policy and an AppRole as the inventory has them",
            )
        for role in roles:
            self._check_role(role)
        for side in SIDES:
            if any(side_of(role) == side for role in roles):
                self._check_chain(side)
                warnings.append(ends_soon(self.issuer(side)[0], self.settings.mount_of(side), datetime.now(UTC)))
        return tuple(warning for warning in dict.fromkeys(warnings) if warning)

    def _role(self, role: RoleName) -> RoleFacts | None:
        """Return the role as it is in Vault; None where the token may not read it."""
        name, mount = self.settings.roles[role].name, self.settings.mount_for(role)
        return self._answers.once(f"role {mount} {name}", lambda: self.vault.read_role(mount, name))

    def _check_names(self, settings: HostSettings, role: RoleName) -> None:
        """Check that the role signs for what this host's certificate is to be valid for."""
        facts = self._role(role)
        if facts is None:
            return
        wanted = self.want(settings, role)
        if problem := name_problem(facts, [wanted.common_name, *wanted.dns_names], wanted.ip_addresses):
            raise VaultError(
                problem,
                where=f"role {facts.name} of {facts.mount}",
                remedy=f"{SET_UP}; add --keep-names where a running member is to have another FQDN; or correct"
                " member.fqdn, cluster.service_name or pki.client_common_name",
            )

    def _check_role(self, role: RoleName) -> None:
        wanted, mount = self.settings.roles[role], self.settings.mount_for(role)
        try:
            facts = self._role(role)
        except VaultError as error:
            raise VaultError(error.what, where=error.where, remedy=error.remedy.replace("<role>", role)) from error
        if facts is None:
            return  # the token may not read roles: what comes back is checked before it is placed
        where = f"role {wanted.name} of {mount}"
        if facts.usages and facts.usages != frozenset(wanted.usages):
            raise VaultError(
                f"it issues certificates for {_usages(facts)}, and the {role} certificate needs "
                f"{' and '.join(wanted.usages)}",
                where=where,
                remedy=f"{SET_UP}; or correct pki.roles.{role}.name (or its usages) in the inventory",
            )
        if facts.max_ttl is not None and facts.max_ttl < wanted.ttl:
            raise VaultError(
                f"it issues for at most {go_duration(facts.max_ttl)}, and pki.roles.{role}.ttl asks for "
                f"{go_duration(wanted.ttl)}",
                where=where,
                remedy=f"lower pki.roles.{role}.ttl, or raise the role's max_ttl: {SET_UP}",
            )
        if self.signs_requests and (problem := key_problem(facts, self.settings.key_type)):
            raise VaultError(
                problem,
                where=where,
                remedy=f"{SET_UP}; or correct pki.key_type in the inventory",
            )

    def _check_chain(self, side: Side) -> None:
        chain, anchors = self.issuer(side), parse_pem_bundle(self.root())
        now = datetime.now(UTC)
        way = way_of(chain, [anchors], at=now)
        if accepts(way or chain[:1], anchors, at=now):
            return
        if problems := chain_problems(way or chain, anchors, at=now):
            mount = self.settings.mount_of(side)
            key = "pki.mount" if self.settings.trust == "single" else f"pki.mounts.{side}"
            raise CertificateError(
                f"what {mount} issues does not lead to the root CA: {problems[0]}",
                where=self.vault.connection.address,
                remedy=f"correct pki.trust_anchor (the mount or the file of the root CA), or {key}",
            )


def key_problem(facts: RoleFacts, wanted: KeyType) -> str:
    """Return why a role does not sign requests for keys of this type; empty when it does, by its settings."""
    kind, _, size = wanted.partition("-")
    bits = int(size.lstrip("p"))
    if facts.key_type in ("", "any"):
        return ""
    if facts.key_type != kind or (facts.key_bits and bits < facts.key_bits):
        size = f" of {facts.key_bits} bits or more" if facts.key_bits else ""
        return f"it signs for {facts.key_type} keys{size}, and pki.key_type is {wanted}"
    return ""


def _usages(facts: RoleFacts) -> str:
    return " and ".join(sorted(facts.usages)) or "nothing"


def vault_of(task: Task, settings: VaultPki) -> Vault:
    """Return the Vault of these settings and the environment, one for all tasks of a run. Raises `VaultError`."""
    connection = VaultConnection.from_env(address=settings.address, namespace=settings.namespace)
    session = session_of(task.nornir.config)

    def made() -> Vault:
        _hide(connection)
        vault = Vault(connection)
        session.at_end(vault.close)
        return vault

    return session.keep(connection, made)


def _hide(connection: VaultConnection) -> None:
    """Whatever goes wrong later, the secret that logs in to Vault is in no log and no report."""
    if isinstance(connection.auth, TokenAuth):
        REDACTOR.add(connection.auth.token.reveal())
    elif connection.auth is not None:
        REDACTOR.add(connection.auth.secret_id.reveal())
