"""Errors a person can act on: what went wrong, where, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass


class FleetError(Exception):
    """Base of every expected failure.

    ``what`` says what is wrong in one sentence, ``where`` names the host, file, key or address it is about, ``remedy``
    says what the reader can do next. All three are shown to people and written to reports, so none may hold a secret.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  remedy: {self.remedy}" if self.remedy else text


class UsageError(FleetError):
    """Wrong use: arguments or settings that cannot be worked with (exit code 2)."""


class RemoteError(FleetError):
    """A host could not be reached, logged in to, or a command on it failed."""


class PreflightError(FleetError):
    """A host is not as the inventory says; nothing was changed."""


class VaultError(FleetError):
    """Vault is unreachable, sealed, or refused what was asked."""


class CertificateError(FleetError):
    """A certificate is not fit for its job, or could not be placed."""


class VerificationError(FleetError):
    """The cluster is not what it should be."""


class ProtectionError(FleetError):
    """Stopped on purpose, because going on could hurt a cluster (exit code 3)."""


@dataclass(frozen=True)
class Refusal:
    """A plan that touches nothing: what stands against it, on which hosts, and what a person can do."""

    what: str
    hosts: tuple[str, ...]
    remedy: str
