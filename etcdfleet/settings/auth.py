"""The section ``auth``: etcd's own roles and users, and whether its authentication is on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from etcdfleet.settings.base import Section
from etcdfleet.settings.values import Duration, Words, check_variable, list_to_tuple, refuse

Access = Literal["read", "write", "readwrite"]
ROOT = "root"
"""The name of etcd's built-in role that may do everything, and of the user that it wants before auth is enabled."""
OPEN = b"\0"
"""As the end of a span of keys: there is none. As its first key: the first one there can be."""


def prefix_end(prefix: bytes) -> bytes:
    """Return the key after all keys with this prefix, as etcd's clients compute it."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else OPEN


class Permission(Section):
    """One permission of a role: on a key, on all keys with a prefix, or on the keys from one up to before another."""

    access: Access
    key: Annotated[str, Field(min_length=1)] | None = None
    prefix: str | None = None
    range: Annotated[tuple[str, ...], BeforeValidator(list_to_tuple)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Permission:
        if sum(value is not None for value in (self.key, self.prefix, self.range)) != 1:
            refuse(
                "names not exactly one of key, prefix and range",
                "write {prefix: /app/, access: read}, or key: /app/x, or range: [/app/a, /app/n]",
            )
        if self.range is not None and (len(self.range) != 2 or self.range[0] >= self.range[1]):
            refuse(
                "the range is not two keys in order",
                "write range: [first, end]: the first key, and the one before which it ends",
            )
        return self

    @property
    def span(self) -> tuple[bytes, bytes]:
        """The first key, and the one before which the keys end (empty: it is one key), as etcd keeps it."""
        if self.key is not None:
            return self.key.encode(), b""
        if self.prefix is not None:
            prefix = self.prefix.encode()
            return (prefix, prefix_end(prefix)) if prefix else (OPEN, OPEN)
        first, end = self.range or ("", "")
        return first.encode(), end.encode()


class AuthUser(Section):
    """A user of etcd. Without ``password_env`` only a certificate with the user's name as its CN can be this user."""

    roles: Words = ()
    password_env: Annotated[str, AfterValidator(check_variable)] | None = None


def _permissions(value: Any) -> Any:
    return (
        {name: tuple(each) if isinstance(each, list) else each for name, each in value.items()}
        if isinstance(value, Mapping)
        else value
    )


class AuthSettings(Section):
    """Roles, users, and ``enabled``: true or false; ``None`` leaves etcd's authentication as it is.

    The two ``certificate_`` times are for certificates made by ``runbooks/client_cert.py``.
    """

    enabled: bool | None = None
    roles: Annotated[Mapping[str, tuple[Permission, ...]], BeforeValidator(_permissions)] = Field(default_factory=dict)
    users: Mapping[str, AuthUser] = Field(default_factory=dict)
    certificate_ttl: Duration = timedelta(hours=720)
    certificate_max_ttl: Duration = timedelta(hours=8760)

    @property
    def managed(self) -> bool:
        """Whether the inventory says anything about roles, users or authentication."""
        return self.enabled is not None or bool(self.roles or self.users)
