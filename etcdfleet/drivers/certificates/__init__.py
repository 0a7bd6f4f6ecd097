"""Where certificates come from, behind one interface; another source is a module here, and a row in `drivers.table`."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from etcdfleet.certs import Certificate, Keep, Observed, Renew, Want, check_bundle
from etcdfleet.drivers.table import CERTIFICATE_SOURCES, load
from etcdfleet.errors import CertificateError, FleetError
from etcdfleet.roles import RoleName, Side
from etcdfleet.session import session_of
from etcdfleet.settings.pki import KeyType, PkiSettings

if TYPE_CHECKING:
    from nornir.core.task import Task

    from etcdfleet.host.facts import HostFacts
    from etcdfleet.settings.models import HostSettings

P = TypeVar("P", bound=PkiSettings)
T = TypeVar("T")
_lock = threading.Lock()


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


class Answers:
    """Each question asked once, however many hosts need the answer; the answer may be an error."""

    def __init__(self) -> None:
        self._answers: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}

    def once(self, name: str, ask: Callable[[], T]) -> T:
        """Return what ``ask`` gave or raised when it was called under this name for the first time."""
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
        given: T = answer
        return given


class SourceOf(ABC, Generic[P]):
    """Where the certificates of a cluster come from. Shared by its hosts, and safe for all threads of a run.

    It knows its own section of the settings; of a host, what a certificate is for. What it can do is said by the model
    of that section (`etcdfleet.settings.pki.PkiSettings`), so that it can be asked without a source being made.
    """

    title: ClassVar[str]
    """How messages call it."""

    def __init__(self, pki: P, _: Task) -> None:  # the task is for sources that share something within a run
        self.settings = pki
        self._answers = Answers()

    @property
    def signs_requests(self) -> bool:
        """Whether `obtain` wants a certificate request for a key that was made on the host, or brings a key itself."""
        return self.settings.signs_requests

    @property
    def key_type(self) -> KeyType:
        """The kind of key that is made for a request."""
        return self.settings.known_key_type or "rsa-2048"

    @abstractmethod
    def check(self, settings: HostSettings, facts: HostFacts, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
        """Check that all that will be asked is possible; return warnings. Raises `FleetError` for what is not."""

    @abstractmethod
    def anchors(self, side: Side) -> str:
        """Return what etcd is to trust on a side, as PEM. Raises `FleetError`."""

    @abstractmethod
    def issuers(self, side: Side) -> tuple[tuple[Certificate, ...], ...]:
        """Return the CAs that may issue for a side today, each with the known ones above it. Raises `FleetError`."""

    @abstractmethod
    def way(self, settings: HostSettings, role: RoleName) -> tuple[Certificate, ...]:
        """Return what goes with a new leaf of a role: the issuing CA, its issuer and so on. Raises `FleetError`."""

    @abstractmethod
    def root(self) -> str:
        """Return the root CA above what clients are to know members by, as PEM. Raises `FleetError`."""

    @abstractmethod
    def crl(self, side: Side) -> str:
        """Return the revocation list of the CA that issues for a side today, as PEM. Raises `FleetError`."""

    @abstractmethod
    def want(self, settings: HostSettings, role: RoleName) -> Want:
        """Return what the certificate of a role must be on a host. Raises `FleetError`."""

    @abstractmethod
    def decide(self, settings: HostSettings, facts: HostFacts, want: Want) -> Keep | Renew:
        """Return whether the pair on the host can stay, by the host's own clock. Raises `FleetError`."""

    @abstractmethod
    def obtain(self, settings: HostSettings, want: Want, request: str | None) -> Obtained:
        """Return the certificate for ``want``; ``request`` is a CSR as PEM. What comes is not checked yet.

        Raises `FleetError`.
        """

    def check_revocation(self, roles: tuple[RoleName, ...]) -> None:
        """Raise `FleetError` when certificates of these roles may not be revoked, as far as that can be asked.

        Only called where ``can_revoke`` is true, as is `revoke`.
        """

    def revoke(self, role: RoleName, leaf: Certificate) -> bool:
        """Revoke a certificate; false when it is of another CA. Raises `FleetError`."""
        raise NotImplementedError(self.title, role, leaf)

    def check_client_life(self, ttl: timedelta) -> None:
        """Raise `UsageError` for a life that would not be given to a client's certificate.

        Only called where ``makes_clients`` is true, as is `obtain_client`.
        """

    def obtain_client(self, name: str, ttl: timedelta, request: str) -> Obtained:
        """Return a client's certificate for a request as PEM. What comes is not checked yet. Raises `FleetError`."""
        raise NotImplementedError(self.title, name, ttl, request)

    @classmethod
    def issuing(cls, pki: P) -> Mapping[Side, Certificate]:
        """Return the CAs that issue today, by side, asked without a secret and without waiting long.

        Only called where ``tells_issuers`` is true. Raises `FleetError` or `ValueError` where that cannot be told.
        """
        raise NotImplementedError(cls.title, pki)


Source: TypeAlias = SourceOf[Any]
"""A source, whichever it is."""


def driver_of(source: str) -> type[Source]:
    """Return the driver of a source. Raises `KeyError` for one that is not known."""
    driver: type[Source] = load(CERTIFICATE_SOURCES[source].driver)
    return driver


def source_of(task: Task, settings: HostSettings) -> Source:
    """Return the source of a host's certificates, shared by all hosts with the same settings. Raises `FleetError`."""
    pki = settings.pki
    return session_of(task.nornir.config).keep(pki.model_dump_json(), lambda: driver_of(pki.source)(pki, task))


def needed_roles(settings: HostSettings) -> tuple[RoleName, ...]:
    """Return the roles that a host needs certificates of: those of the sides that have TLS."""
    roles: tuple[RoleName, ...] = ("peer",) if settings.cluster.peer_tls else ()
    return (*roles, "server", "client") if settings.cluster.client_tls else roles


def needed_sides(settings: HostSettings) -> tuple[Side, ...]:
    """Return the sides that have TLS."""
    sides: tuple[Side, ...] = ("peer",) if settings.cluster.peer_tls else ()
    return (*sides, "client") if settings.cluster.client_tls else sides


def observed(facts: HostFacts, want: Want) -> Observed:
    """Return what the host has for a role, for `etcdfleet.certs.decide`."""
    pair = facts.pairs.get(want.role)
    return Observed(
        bundle=pair.pem if pair else None,
        key_fingerprint=pair.key_fingerprint if pair else None,
        clock=facts.clock_now,
    )


def check_fit(settings: HostSettings, want: Want, made: Obtained, facts: HostFacts, key: str = "") -> None:
    """Raise `CertificateError` with everything that is wrong with placing what a source gave.

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
