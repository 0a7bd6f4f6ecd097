"""Where certificates come from, behind one small protocol; another source is one new module and one line below."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from nornir.core.task import Task

from etcdfleet.certs import Certificate, Keep, Observed, Renew, Want, check_bundle
from etcdfleet.errors import CertificateError, FleetError
from etcdfleet.host.facts import HostFacts
from etcdfleet.settings.base import RoleName, Side
from etcdfleet.settings.models import HostSettings

T = TypeVar("T")
_KEY = "etcdfleet_sources"
_lock = threading.Lock()
_making = threading.Lock()


@dataclass(frozen=True)
class Obtained:
    """A certificate with its chain. ``key`` is None when the key was made on the host and only signed for.

    ``where`` and ``remedy`` are for the error if it turns out not to be fit: which file it is, and what to correct.
    """

    pem: str = field(repr=False)
    key: str | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    where: str = ""
    remedy: str = ""


class Source(Protocol):
    """Where the certificates of a cluster come from. Shared by its hosts, and safe for all threads of a run."""

    signs_requests: bool
    """Whether `obtain` wants a certificate request for a key that was made on the host, or brings a key itself."""

    def check(self, settings: HostSettings, facts: HostFacts, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
        """Everything that will be asked is possible; gives warnings, raises `FleetError` for what is not."""

    def anchors(self, side: Side) -> str:
        """What etcd is to trust on a side, as PEM. Raises `FleetError`."""

    def issuers(self, side: Side) -> tuple[tuple[Certificate, ...], ...]:
        """The CAs that may issue for a side today, each with those above it as far as known. Raises `FleetError`."""

    def way(self, settings: HostSettings, role: RoleName) -> tuple[Certificate, ...]:
        """What a new leaf of a role is placed with: the CA that issues, its issuer and so on. Raises `FleetError`."""

    def root(self) -> str:
        """The root CA above what clients are to know members by, as PEM. Raises `FleetError`."""

    def crl(self, side: Side) -> str:
        """The revocation list of the CA that issues for a side today, as PEM. Raises `FleetError`."""

    def want(self, settings: HostSettings, role: RoleName) -> Want:
        """What the certificate of a role must be on a host. Raises `FleetError`."""

    def decide(self, settings: HostSettings, facts: HostFacts, want: Want) -> Keep | Renew:
        """Whether the pair on the host can stay, by the host's own clock. Raises `FleetError`."""

    def obtain(self, settings: HostSettings, want: Want, request: str | None) -> Obtained:
        """The certificate for ``want``; ``request`` is a CSR as PEM. What comes is not checked yet.

        Raises `FleetError`.
        """


class Answers:
    """Each question asked once, however many hosts need the answer; the answer may be an error."""

    def __init__(self) -> None:
        self._answers: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}

    def once(self, name: str, ask: Callable[[], T]) -> T:
        """What ``ask`` gave or raised when it was called under this name for the first time."""
        with _lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # one host asks, the others wait for its answer, good or bad
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


def source_of(task: Task, settings: HostSettings) -> Source:
    """The source of a host's certificates, shared by all hosts with the same settings. Raises `FleetError`."""
    from etcdfleet.drivers.certificates.files import FilesSource
    from etcdfleet.drivers.certificates.vault import VaultSource

    known: Mapping[str, Callable[[Task, HostSettings], Source]] = {"vault": VaultSource, "files": FilesSource}
    shared = task.nornir.config.user_defined.setdefault(_KEY, {})
    key = settings.pki.model_dump_json()
    with _making:
        if key not in shared:
            shared[key] = known[settings.pki.source](task, settings)
        found: Source = shared[key]
    return found


def needed_roles(settings: HostSettings) -> tuple[RoleName, ...]:
    """The roles that a host needs certificates of: those of the sides that have TLS."""
    roles: tuple[RoleName, ...] = ("peer",) if settings.cluster.peer_tls else ()
    return (*roles, "server", "client") if settings.cluster.client_tls else roles


def needed_sides(settings: HostSettings) -> tuple[Side, ...]:
    """The sides that have TLS."""
    sides: tuple[Side, ...] = ("peer",) if settings.cluster.peer_tls else ()
    return (*sides, "client") if settings.cluster.client_tls else sides


def observed(facts: HostFacts, want: Want) -> Observed:
    """What the host has for a role, for `etcdfleet.certs.decide`."""
    pair = facts.pairs.get(want.role)
    return Observed(
        bundle=pair.pem if pair else None,
        key_fingerprint=pair.key_fingerprint if pair else None,
        clock=facts.clock_now,
    )


def check_fit(settings: HostSettings, want: Want, made: Obtained, facts: HostFacts, key: str = "") -> None:
    """Raises `CertificateError` with everything that is wrong with placing what a source gave.

    ``key`` is the fingerprint of a key that stays on the host.
    """
    problems = check_bundle(want, made.pem, made.key or key, now=datetime.now(UTC), clock_of_host=facts.clock_now)
    if problems:
        raise CertificateError(
            f"the {want.role} certificate is not fit, and was not placed: {'; '.join(problems)}",
            where=made.where or settings.name,
            remedy=made.remedy
            or "correct what is said there: where the certificate comes from (names, usages, address SANs: the role in "
            "Vault), pki in the inventory, or the host's clock",
        )
