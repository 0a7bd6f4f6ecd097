"""Vault as the tasks of one run share it: one connection, and each question asked once however many hosts need it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from nornir.core.task import Task

from etcdfleet.certs import chain_problems, parse_pem_bundle
from etcdfleet.errors import CertificateError, FleetError, VaultError
from etcdfleet.report.secrets import REDACTOR
from etcdfleet.settings.base import RoleName
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.vault import RoleFacts, TokenAuth, Vault, VaultConnection, policy_for

T = TypeVar("T")
_KEY = "etcdfleet_pki"
_lock = threading.Lock()


@dataclass
class Pki:
    """A PKI mount and its roles, as one cluster's settings name them. Safe for all threads of a run."""

    settings: PkiSettings
    vault: Vault
    warnings: list[str] = field(default_factory=list)
    _answers: dict[str, Any] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)

    def trust_anchor(self) -> str:
        """What ``rootCA.pem`` on the hosts holds, as PEM. Raises `VaultError` or `CertificateError`."""
        return self._once("anchor", self._trust_anchor)

    def issuing_ca(self) -> str:
        """The certificate of the CA that signs today, as PEM. Raises `VaultError`."""
        return self._once("issuer", lambda: self.vault.ca_pem(self.settings.mount))

    def check(self, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
        """Everything that will be asked of Vault is possible; gives warnings, raises `FleetError` for what is not."""
        return self._once("check " + ",".join(roles), lambda: self._check(roles))

    def _once(self, name: str, ask: Callable[[], T]) -> T:
        with _lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # one host asks, the others of the cluster wait for its answer, good or bad
            if name not in self._answers:
                try:
                    self._answers[name] = ask()
                except FleetError as error:
                    self._answers[name] = error
            answer = self._answers[name]
        if isinstance(answer, FleetError):
            raise answer
        found: T = answer
        return found

    def _trust_anchor(self) -> str:
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
        mount = self.settings.mount
        paths = {f"{mount}/issue/{self.settings.roles[role].name}": ("update",) for role in roles}
        try:
            missing = self.vault.check_access(paths)
        except VaultError as error:
            missing = {}
            warnings.append(f"whether the token may issue certificates cannot be asked beforehand: {error.what}")
        if missing:
            raise VaultError(
                f"the token ({info.source}) may not {' or '.join(sorted(missing))}",
                where=self.vault.connection.address,
                remedy="use another token, or give its policy:\n" + policy_for(missing),
            )
        for role in roles:
            warnings += self._check_role(role)
        self._check_chain()
        return tuple(dict.fromkeys(warnings))

    def _check_role(self, role: RoleName) -> list[str]:
        wanted = self.settings.roles[role]
        try:
            facts = self.vault.read_role(self.settings.mount, wanted.name)
        except VaultError as error:
            raise VaultError(error.what, where=error.where, remedy=error.remedy.replace("<role>", role)) from error
        if facts is None:
            return []  # the token may not read roles: what comes back is checked before it is placed
        where = f"role {wanted.name} of {self.settings.mount}"
        if facts.usages and facts.usages != frozenset(wanted.usages):
            raise VaultError(
                f"it issues certificates for {_usages(facts)}, and the {role} certificate needs "
                f"{' and '.join(wanted.usages)}",
                where=where,
                remedy=f"correct pki.roles.{role}.name (or its usages) in the inventory, or the role in Vault "
                "(server_flag, client_flag, ext_key_usage)",
            )
        if facts.max_ttl is not None and facts.max_ttl < wanted.ttl:
            raise VaultError(
                f"it issues for at most {facts.max_ttl}, and pki.roles.{role}.ttl asks for {wanted.ttl}",
                where=where,
                remedy=f"lower pki.roles.{role}.ttl, or raise the role's max_ttl",
            )
        return []

    def _check_chain(self) -> None:
        issuer = parse_pem_bundle(self.issuing_ca())[0]
        anchors = parse_pem_bundle(self.trust_anchor())
        if issuer in anchors:
            return
        chain = [issuer, *(c for pem in self.vault.ca_chain(self.settings.mount) for c in parse_pem_bundle(pem))]
        problems = chain_problems(tuple(dict.fromkeys(chain)), anchors, at=datetime.now(UTC))
        if problems:
            raise CertificateError(
                f"what {self.settings.mount} issues does not lead to the trust anchor: {problems[0]}",
                where=self.vault.connection.address,
                remedy="correct pki.trust_anchor (the mount or the file of the root CA), or pki.mount",
            )


def _usages(facts: RoleFacts) -> str:
    return " and ".join(sorted(facts.usages)) or "nothing"


def pki_of(task: Task, settings: HostSettings) -> Pki:
    """The PKI of a host's cluster, shared by all hosts with the same settings. Raises `VaultError`."""
    shared = task.nornir.config.user_defined.setdefault(_KEY, {})
    key = settings.pki.model_dump_json()
    with _lock:
        if key not in shared:
            connection = VaultConnection.from_env(address=settings.pki.address, namespace=settings.pki.namespace)
            _hide(connection)
            shared[key] = Pki(settings.pki, Vault(connection))
        found: Pki = shared[key]
    return found


def _hide(connection: VaultConnection) -> None:
    """Whatever goes wrong later, the secret that logs in to Vault is in no log and no report."""
    if isinstance(connection.auth, TokenAuth):
        REDACTOR.add(connection.auth.token.reveal())
    elif connection.auth is not None:
        REDACTOR.add(connection.auth.secret_id.reveal())


def needed_roles(settings: HostSettings) -> tuple[RoleName, ...]:
    """The roles that a host needs certificates of: those of the sides that have TLS."""
    roles: tuple[RoleName, ...] = ("peer",) if settings.cluster.peer_tls else ()
    return (*roles, "server", "client") if settings.cluster.client_tls else roles
