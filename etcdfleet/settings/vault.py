"""The section ``pki`` with certificates from Vault, and what ``setup_pki.py`` makes there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from etcdfleet.roles import ROLE_NAMES, RoleName, Side, side_of
from etcdfleet.settings.base import Section
from etcdfleet.settings.notes import must_exist
from etcdfleet.settings.pki import KeyType, PkiSettings
from etcdfleet.settings.values import (
    Duration,
    Networks,
    Words,
    check_mount,
    check_role_name,
    check_url,
    check_vault_address,
    refuse,
)
from etcdfleet.text import go_duration

if TYPE_CHECKING:
    from etcdfleet.settings.models import HostSettings
    from etcdfleet.settings.notes import Notes
    from etcdfleet.settings.partial import Draft


class TrustAnchor(Section):
    """Where ``rootCA.pem`` comes from: a PKI mount of Vault, or a PEM file of the controller. Exactly one is set."""

    mount: Annotated[str, AfterValidator(check_mount)] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> TrustAnchor:
        if (self.mount is None) == (self.file is None):
            what = "names both a mount and a file" if self.mount else "names neither a mount nor a file"
            refuse(what, "write either {mount: pki_root} or {file: ca.pem}")
        return self


class SideMounts(Section):
    """With separate trust: the PKI mount that issues for each side. Absent ones are named after the cluster."""

    peer: Annotated[str, AfterValidator(check_mount)] | None = None
    client: Annotated[str, AfterValidator(check_mount)] | None = None


class SubjectSettings(Section):
    """Subject fields of what the roles issue, beside the common name."""

    country: Words = ()
    province: Words = ()
    locality: Words = ()
    organization: Words = ()
    ou: Words = ()


class AppRoleSettings(Section):
    """The AppRole that deploy and the other runbooks log in with. A ``secret_id_ttl`` or ``_uses`` of 0 is no limit."""

    name: Annotated[str, AfterValidator(check_role_name)] = "etcdfleet"
    mount: Annotated[str, AfterValidator(check_mount)] = "approle"
    token_ttl: Duration = timedelta(minutes=20)
    token_max_ttl: Duration = timedelta(hours=2)
    token_cidrs: Networks = ()
    secret_id_ttl: Duration = timedelta(0)
    secret_id_uses: Annotated[int, Field(ge=0)] = 0
    secret_id_cidrs: Networks = ()


class SetupSettings(Section):
    """What ``runbooks/setup_pki.py`` makes. ``urls`` is the base of AIA and CRL addresses, by default Vault's own."""

    ca_ttl: Duration = timedelta(hours=131400)
    ca_key_type: KeyType = "ec-p256"
    urls: Annotated[str, AfterValidator(check_url)] | None = None
    subject: SubjectSettings = SubjectSettings()
    approle: AppRoleSettings = AppRoleSettings()


class VaultPki(PkiSettings):
    """Certificates from Vault. ``address`` may be absent when ``VAULT_ADDR`` says it; ``VAULT_ADDR`` wins."""

    can_revoke: ClassVar[bool] = True
    makes_clients: ClassVar[bool] = True
    tells_issuers: ClassVar[bool] = True
    keys_without_openssl: ClassVar[str] = "; pki.key_origin: vault has Vault make the keys instead"
    same_in_cluster: ClassVar[tuple[str, ...]] = (*PkiSettings.same_in_cluster, "trust_anchor", "mount", "mounts")

    source: Literal["vault"] = "vault"
    key_origin: Literal["host", "vault"] = "host"
    key_type: KeyType = "rsa-2048"
    address: Annotated[str, AfterValidator(check_vault_address)] | None = None
    namespace: Annotated[str, Field(min_length=1)] | None = None
    mount: Annotated[str, AfterValidator(check_mount)] = "pki_intermediate_ca"
    mounts: SideMounts = SideMounts()
    trust_anchor: TrustAnchor = TrustAnchor(mount="pki_root")
    setup: SetupSettings = SetupSettings()

    @property
    def signs_requests(self) -> bool:
        """Unless Vault makes the keys."""
        return self.key_origin == "host"

    @property
    def known_key_type(self) -> KeyType:
        """As the roles allow it."""
        return self.key_type

    def anchor_file(self, _: Side) -> Path | None:
        """Return the root's file, where it is the one CA and not taken from a mount."""
        if self.trust == "single" and self.trust_anchor.file:
            return Path(self.trust_anchor.file).expanduser()
        return None

    def mount_of(self, side: Side) -> str:
        """Return the PKI mount that issues for a side."""
        if self.trust == "single":
            return self.mount
        return (self.mounts.peer if side == "peer" else self.mounts.client) or f"pki_etcd_{side}"

    def mount_for(self, role: RoleName) -> str:
        """Return the PKI mount that issues for a role."""
        return self.mount_of(side_of(role))

    def for_cluster(self, name: str) -> Self:
        """Return the same, unnamed mounts named after the cluster, so that no cluster trusts another's."""
        mounts = SideMounts(
            peer=self.mounts.peer or f"pki_etcd_{name}_peer", client=self.mounts.client or f"pki_etcd_{name}_client"
        )
        return self.model_copy(update={"mounts": mounts})

    def resolved(self, resolve: Callable[[str], Path]) -> Self:
        """Return the same with the path of the root CA made absolute."""
        if self.trust_anchor.file is None:
            return self
        anchor = self.trust_anchor.model_copy(update={"file": str(resolve(self.trust_anchor.file))})
        return self.model_copy(update={"trust_anchor": anchor})

    def allowing(self, role: RoleName, usages: str) -> str:
        """Say that setup_pki.py changes its role in Vault."""
        return f"run python runbooks/setup_pki.py, which has the role {self.roles[role].name} in Vault allow {usages}"

    def check(self, draft: Draft, notes: Notes, environ: Mapping[str, str]) -> None:
        """Check the file of the root CA, the mounts of both sides, what would be set up, and where Vault is."""
        if self.trust_anchor.file is not None and draft.sound("pki.trust_anchor"):
            must_exist(draft, "pki.trust_anchor.file", self.trust_anchor.file, notes)
        self._check_trust(draft, notes)
        self._check_setup(draft, notes)
        self._check_address(draft, notes, environ)

    def _check_trust(self, draft: Draft, notes: Notes) -> None:
        if not draft.sound("pki.trust", "pki.mount", "pki.mounts"):
            return
        trust_written = draft.merged.written(("pki", "trust"))
        if self.trust == "separate" and draft.merged.written(("pki", "mount")) and not trust_written:
            what = (
                f"names one CA for everything ({self.mount}), while trust: separate, the default, has one for peers "
                "and one for clients, so that no peer's certificate is good as a client's"
            )
            remedy = (
                "remove the line to have separate CAs (python runbooks/setup_pki.py makes them; deploy moves a running "
                "cluster there without downtime), or write trust: single to stay with one"
            )
            notes.mistake(draft, "pki.mount", what, remedy)
        mount = self.mount_of("peer")
        if self.trust == "separate" and mount == self.mount_of("client"):
            what = f"both sides have the mount {mount}, so a peer's certificate would be good as a client's"
            notes.mistake(draft, "pki.mounts", what, "name two mounts, or write trust: single")

    def _check_setup(self, draft: Draft, notes: Notes) -> None:
        if not draft.sound("pki.setup", "pki.roles"):
            return
        longest = max(ROLE_NAMES, key=lambda role: self.roles[role].max_ttl)
        if self.setup.ca_ttl < self.roles[longest].max_ttl:
            ca, leaf = go_duration(self.setup.ca_ttl), go_duration(self.roles[longest].max_ttl)
            what = f"a CA of {ca} does not outlive the certificates of role {longest}, which may live for {leaf}"
            notes.warning(draft, "pki.setup.ca_ttl", what, f"give it more than {leaf}, or lower the role's max_ttl")
        if self.setup.approle.token_ttl > self.setup.approle.token_max_ttl:
            what = "is longer than token_max_ttl, so it could never be had"
            notes.mistake(draft, "pki.setup.approle.token_ttl", what, "lower it, or raise token_max_ttl")

    def _check_address(self, draft: Draft, notes: Notes, environ: Mapping[str, str]) -> None:
        if ("cluster",) in draft.bad or not (draft.cluster.peer_tls or draft.cluster.client_tls):
            return
        from_environment, address = environ.get("VAULT_ADDR", ""), self.address
        if not from_environment and address is None and draft.sound("pki.address"):
            what = "is missing, and VAULT_ADDR is not set: certificates come from Vault"
            remedy = "write an address such as https://vault.home:8200, or set VAULT_ADDR"
            notes.mistake(draft, "pki.address", what, remedy)
        what = "Vault is spoken to over plain http: tokens, and keys made by Vault, can be read on the way"
        remedy = "give Vault a TLS listener, and write https://; VAULT_CACERT names its CA"
        if from_environment.startswith("http://"):
            notes.plain_warning("environment", "VAULT_ADDR", what, remedy)
        elif not from_environment and address is not None and address.startswith("http://"):
            notes.warning(draft, "pki.address", what, remedy)


def uses_vault(settings: HostSettings) -> bool:
    """Return whether a host has its certificates from Vault."""
    return isinstance(settings.pki, VaultPki)


def vault_pki(settings: HostSettings) -> VaultPki:
    """Return the settings of Vault, of a host that `uses_vault`. Raises `TypeError` for another one."""
    if not isinstance(settings.pki, VaultPki):
        raise TypeError(f"{settings.name} has its certificates from {settings.pki.source}, not from Vault")
    return settings.pki
