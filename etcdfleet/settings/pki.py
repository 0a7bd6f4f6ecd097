"""The section ``pki``: where certificates come from, and which CAs etcd trusts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PlainSerializer, model_validator

from etcdfleet.renewal import RenewBefore
from etcdfleet.roles import ROLE_NAMES, ROLE_USAGES, RoleName, Side, Usage
from etcdfleet.settings.base import Section
from etcdfleet.settings.values import (
    Duration,
    check_common_name,
    check_renew_before,
    check_role_name,
    list_to_tuple,
)

if TYPE_CHECKING:
    from etcdfleet.settings.notes import Notes
    from etcdfleet.settings.partial import Draft

KeyType = Literal["rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384"]


class RoleSettings(Section):
    """One role of Vault's PKI: its name, what its certificates may be used for, and for how long they are asked."""

    name: Annotated[str, AfterValidator(check_role_name)]
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


class PkiSettings(Section):
    """What all sources of certificates have in common. Each has a model of its own, which says what it can do."""

    can_revoke: ClassVar[bool] = False
    """Whether certificates can be revoked from here."""
    makes_clients: ClassVar[bool] = False
    """Whether certificates can be made for people and programs (``client_cert.py``)."""
    tells_issuers: ClassVar[bool] = False
    """Whether runs that only look at clusters can ask, without a secret, which CAs issue today."""
    made_elsewhere: ClassVar[bool] = False
    """Whether the names are chosen elsewhere in certificates: more of them, and another common name."""
    keys_without_openssl: ClassVar[str] = ""
    """Where keys are made on the hosts: what does without that, as the end of a remedy; empty for nothing."""
    same_in_cluster: ClassVar[tuple[str, ...]] = ("trust", "source", "client_common_name", "revoke", "crl")
    """Keys that all members of a cluster must have in common."""

    source: str
    trust: Literal["separate", "single"] = "separate"
    renew_before: Annotated[InstanceOf[RenewBefore], BeforeValidator(check_renew_before), PlainSerializer(str)] = (
        RenewBefore.parse("1/3")
    )
    kept_sets: Annotated[int, Field(ge=1, le=50)] = 3
    revoke: bool = False
    crl: bool = False
    client_common_name: Annotated[str, AfterValidator(check_common_name)] = "root"
    roles: RolesSettings = Field(default_factory=lambda: RolesSettings.model_validate({}))

    @property
    def signs_requests(self) -> bool:
        """Whether keys are made on the hosts, and only requests are handed over."""
        return False

    @property
    def known_key_type(self) -> KeyType | None:
        """The kind of key that certificates will have; None where only they tell."""
        return None

    def anchor_file(self, _: Side) -> Path | None:
        """Return the file of this machine with the CAs that are to be trusted on a side; None where there is none."""
        return None

    def for_cluster(self, _: str) -> Self:
        """Return the same with the defaults that come from the cluster's name."""
        return self

    def resolved(self, _: Callable[[str], Path]) -> Self:
        """Return the same with paths of the controller made absolute by the given function."""
        return self

    def check(self, draft: Draft, notes: Notes, environ: Mapping[str, str]) -> None:
        """Note what is wrong with it beside other settings, in files of the controller, or in ``environ``."""

    def allowing(self, role: RoleName, usages: str) -> str:
        """Return what a person does so that certificates of a role allow ``usages``, as the end of a remedy."""
        return f"make the {role} certificate with a profile that allows {usages}"
