"""What Vault answers, as frozen data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from etcdfleet.roles import Usage
from etcdfleet.text import go_seconds
from etcdfleet.vault.connection import Secret


@dataclass(frozen=True)
class Status:
    """The state of the server that answered. ``server_time`` is its clock (aware), None when it does not say."""

    initialised: bool
    sealed: bool
    standby: bool
    version: str
    server_time: datetime | None = None


@dataclass(frozen=True)
class TokenInfo:
    """What Vault knows of our token. ``ttl`` is the remaining life, None for one that never ends.

    ``uses_left`` is None when there is no limit. ``source`` says where the token came from.
    """

    ttl: timedelta | None
    policies: tuple[str, ...]
    uses_left: int | None
    source: str

    @property
    def is_root(self) -> bool:
        """Whether it is a root token, which may do everything and should not be used for daily work."""
        return "root" in self.policies


@dataclass(frozen=True)
class RoleFacts:
    """A role of a PKI mount, as it is set in Vault. ``ttl`` and ``max_ttl`` are None when the mount's limits apply."""

    mount: str
    name: str
    usages: frozenset[Usage]
    key_type: str
    key_bits: int
    ttl: timedelta | None
    max_ttl: timedelta | None
    allowed_domains: tuple[str, ...]
    allow_any_name: bool
    allow_bare_domains: bool
    allow_subdomains: bool
    allow_glob_domains: bool
    allow_localhost: bool
    allow_ip_sans: bool
    require_cn: bool

    @classmethod
    def from_answer(cls, mount: str, name: str, data: Mapping[str, Any]) -> RoleFacts:
        """Read the ``data`` of ``GET <mount>/roles/<name>``, whichever version of Vault wrote it."""
        return cls(
            mount=mount,
            name=name,
            usages=_usages(data),
            key_type=str(data.get("key_type") or ""),
            key_bits=int(data.get("key_bits") or 0),
            ttl=duration(data.get("ttl")) or None,
            max_ttl=duration(data.get("max_ttl")) or None,
            allowed_domains=words(data.get("allowed_domains")),
            **{
                flag: bool(data.get(flag))
                for flag in (
                    "allow_any_name",
                    "allow_bare_domains",
                    "allow_subdomains",
                    "allow_glob_domains",
                    "allow_localhost",
                    "allow_ip_sans",
                    "require_cn",
                )
            },
        )


@dataclass(frozen=True)
class Issued:
    """A certificate that Vault has just made. All texts are PEM; ``chain`` is as Vault gave it, roots included.

    ``private_key`` is None when it was made from a CSR. ``warnings`` are Vault's own words and must reach the user.
    """

    certificate: str = field(repr=False)
    chain: tuple[str, ...] = field(repr=False)
    issuing_ca: str = field(repr=False)
    serial: str
    not_after: datetime
    private_key: Secret | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Issued:
        """Read the answer to ``issue`` or ``sign``. Raises KeyError when it is not one."""
        data = answer["data"]
        issuing = str(data.get("issuing_ca") or "").strip()
        key = data.get("private_key")
        return cls(
            certificate=data["certificate"],
            chain=tuple(data.get("ca_chain") or ([issuing] if issuing else ())),
            issuing_ca=issuing,
            serial=data["serial_number"],
            not_after=datetime.fromtimestamp(int(data["expiration"]), UTC),
            private_key=Secret(key) if key else None,
            warnings=tuple(str(w) for w in answer.get("warnings") or ()),
        )


def duration(value: object) -> timedelta:
    """Return a duration of Vault's: seconds as number or text, or Go's ``43800h`` and ``1h0m0s``; else ValueError."""
    if value in (None, "", "n/a"):
        return timedelta(0)
    text = str(value).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return timedelta(seconds=float(text))
    seconds = go_seconds(text)
    if seconds is None:
        raise ValueError(f"{text!r} is not a duration")
    return timedelta(seconds=seconds)


def words(value: object) -> tuple[str, ...]:
    """Return a list of Vault's, which older versions write as one text with commas."""
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    return tuple(str(item).strip() for item in items if str(item).strip())


def _usages(data: Mapping[str, Any]) -> frozenset[Usage]:
    named = {word.lower().removeprefix("extkeyusage") for word in words(data.get("ext_key_usage"))}
    usages: set[Usage] = set()
    if data.get("server_flag") or named & {"serverauth", "any"}:
        usages.add("server")
    if data.get("client_flag") or named & {"clientauth", "any"}:
        usages.add("client")
    return frozenset(usages)
