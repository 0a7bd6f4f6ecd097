"""The section ``pki``: where certificates come from, whom etcd trusts, and what ``setup_pki.py`` makes in Vault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, model_validator

from etcdfleet.settings.base import ROLE_NAMES, ROLE_USAGES, RoleName, Section, Side, Usage, side_of
from etcdfleet.settings.units import RenewBefore
from etcdfleet.settings.values import (
    Duration,
    Networks,
    Words,
    check_common_name,
    check_mount,
    check_renew_before,
    check_role_name,
    check_url,
    check_vault_address,
    list_to_tuple,
    refuse,
)

KeyType = Literal["rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384"]


class RoleSettings(Section):
    """One role of Vault's PKI: its name, what its certificates may be used for, and for how long they are asked."""

    name: Annotated[str, BeforeValidator(check_role_name)]
    usages: Annotated[tuple[Usage, ...], BeforeValidator(list_to_tuple)]
    ttl: Duration = timedelta(hours=43800)
    max_ttl: Duration = timedelta(hours=87600)


class RolesSettings(Section):
    """The three roles; also by name: ``roles["peer"]``. A role's missing name and usages are filled in."""

    peer: RoleSettings
    server: RoleSettings
    client: RoleSettings

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        filled = dict(data)
        for role in ROLE_NAMES:
            given = data.get(role)
            if given is None or isinstance(given, Mapping):
                filled[role] = {"name": f"etcd-{role}", "usages": list(ROLE_USAGES[role]), **(given or {})}
        return filled

    def __getitem__(self, role: RoleName) -> RoleSettings:
        return {"peer": self.peer, "server": self.server, "client": self.client}[role]


class TrustAnchor(Section):
    """Where ``rootCA.pem`` comes from: a PKI mount of Vault, or a PEM file of the controller. Exactly one is set."""

    mount: Annotated[str, BeforeValidator(check_mount)] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> TrustAnchor:
        if (self.mount is None) == (self.file is None):
            what = "names both a mount and a file" if self.mount else "names neither a mount nor a file"
            refuse(what, "write either {mount: pki_root} or {file: ca.pem}")
        return self


class SideMounts(Section):
    """With separate trust: the PKI mount that issues for each side. Absent ones are named after the cluster."""

    peer: Annotated[str, BeforeValidator(check_mount)] | None = None
    client: Annotated[str, BeforeValidator(check_mount)] | None = None


class SubjectSettings(Section):
    """Subject fields of what the roles issue, beside the common name."""

    country: Words = ()
    province: Words = ()
    locality: Words = ()
    organization: Words = ()
    ou: Words = ()


class AppRoleSettings(Section):
    """The AppRole that deploy and the other runbooks log in with. A ``secret_id_ttl`` or ``_uses`` of 0 is no limit."""

    name: Annotated[str, BeforeValidator(check_role_name)] = "etcdfleet"
    mount: Annotated[str, BeforeValidator(check_mount)] = "approle"
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
    urls: Annotated[str, BeforeValidator(check_url)] | None = None
    subject: SubjectSettings = SubjectSettings()
    approle: AppRoleSettings = AppRoleSettings()


class PkiSettings(Section):
    """Where certificates come from. ``address`` may be absent when ``VAULT_ADDR`` says it; ``VAULT_ADDR`` wins."""

    source: Literal["vault", "files"] = "vault"
    trust: Literal["separate", "single"] = "separate"
    key_origin: Literal["host", "vault"] = "host"
    key_type: KeyType = "rsa-2048"
    address: Annotated[str, BeforeValidator(check_vault_address)] | None = None
    namespace: Annotated[str, Field(min_length=1)] | None = None
    mount: Annotated[str, BeforeValidator(check_mount)] = "pki_intermediate_ca"
    mounts: SideMounts = SideMounts()
    trust_anchor: TrustAnchor = TrustAnchor(mount="pki_root")
    folder: Annotated[str, Field(min_length=1)] | None = None
    renew_before: Annotated[InstanceOf[RenewBefore], BeforeValidator(check_renew_before), PlainSerializer(str)] = (
        RenewBefore.parse("1/3")
    )
    kept_sets: Annotated[int, Field(ge=1, le=50)] = 3
    revoke: bool = False
    crl: bool = False
    client_common_name: Annotated[str, BeforeValidator(check_common_name)] = "root"
    roles: RolesSettings = Field(default_factory=lambda: RolesSettings.model_validate({}))
    setup: SetupSettings = SetupSettings()

    def mount_of(self, side: Side) -> str:
        """The PKI mount that issues for a side."""
        if self.trust == "single":
            return self.mount
        return (self.mounts.peer if side == "peer" else self.mounts.client) or f"pki_etcd_{side}"

    def mount_for(self, role: RoleName) -> str:
        """The PKI mount that issues for a role."""
        return self.mount_of(side_of(role))

    def for_cluster(self, name: str) -> PkiSettings:
        """With the mounts that nobody named named after the cluster, so that no cluster trusts another's."""
        mounts = SideMounts(
            peer=self.mounts.peer or f"pki_etcd_{name}_peer", client=self.mounts.client or f"pki_etcd_{name}_client"
        )
        return self.model_copy(update={"mounts": mounts})
