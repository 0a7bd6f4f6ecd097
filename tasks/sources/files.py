"""Certificates from a folder on the controller, named as document B has them from cfssl.

``ca.pem`` (with separate trust ``peer-ca.pem`` and ``client-ca.pem``); ``<host>.pem`` and ``<host>-key.pem`` between
members, where ``<host>`` is the host's FQDN, its name in the inventory or its member name; ``server.pem`` for what
clients see and ``client.pem`` for etcdctl, or ``<host>-server.pem`` and ``<host>-client.pem`` for one host alone.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nornir.core.task import Task

from etcdfleet.certs import (
    Certificate,
    Keep,
    Observed,
    Renew,
    Want,
    bundle,
    decide,
    parse_pem_bundle,
    want_for,
)
from etcdfleet.errors import CertificateError
from etcdfleet.facts import HostFacts
from etcdfleet.settings.base import RoleName, Side, side_of
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.units import RenewBefore
from tasks.sources import Answers, Obtained, check_fit

_NEVER = RenewBefore.parse("0s")


class FilesSource:
    """See `tasks.sources.Source`. Nothing is made here: a file that runs out is only warned of."""

    signs_requests = False

    def __init__(self, task: Task, settings: HostSettings) -> None:  # noqa: ARG002
        self.settings = settings.pki
        self.folder = Path(settings.pki.folder or ".")
        self._answers = Answers()

    def check(self, settings: HostSettings, facts: HostFacts, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
        """Everything that would be placed is there and fit, whether or not it lies on the host already."""
        warnings: list[str] = []
        for role in roles:
            want = self.want(settings, role)
            made = self.obtain(settings, want, None)
            check_fit(settings, want, made, facts)
            warnings += made.warnings
            leaf = parse_pem_bundle(made.pem)[0]
            left = leaf.not_after - facts.clock_now
            if left <= settings.pki.renew_before.threshold(leaf.not_after - leaf.not_before):
                warnings.append(
                    f"{self._certificate(settings, role)} expires at {leaf.not_after:%Y-%m-%d %H:%M} UTC, in "
                    f"{left.days} days: make a new one, put it there, and deploy"
                )
        return tuple(warnings)

    def anchors(self, side: Side) -> str:
        """The CA file of the side."""
        name = "ca.pem" if self.settings.trust == "single" else f"{side}-ca.pem"
        return self._answers.once(name, lambda: self._anchors(self.folder / name))

    def issuer(self, side: Side) -> tuple[Certificate, ...]:
        """The CA of the file: every certificate is checked to lead to it."""
        return parse_pem_bundle(self.anchors(side))[:1]

    def want(self, settings: HostSettings, role: RoleName) -> Want:
        """What etcd needs; the file may have more names, and any common name."""
        needed = want_for(
            role,
            fqdn=settings.member.fqdn,
            address=settings.member.address,
            usages=settings.pki.roles[role].usages,
            trust_anchor=self.anchors(side_of(role)),
            service_name=settings.cluster.service_name,
        )
        return replace(needed, more_names=True)

    def decide(self, settings: HostSettings, facts: HostFacts, want: Want) -> Keep | Renew:
        """The pair on the host stays if it is the one of the files."""
        pair = facts.pairs.get(want.role)
        observed = Observed(
            bundle=pair.pem if pair else None,
            key_fingerprint=pair.key_fingerprint if pair else None,
            clock=facts.clock_now,
        )
        decision = decide(want, observed, renew_before=_NEVER)
        given = self._certificate(settings, want.role)
        if isinstance(decision, Keep) and decision.certificate != parse_pem_bundle(_text(given))[0]:
            return Renew((f"another certificate is in {given}",), decision.certificate)
        return decision

    def obtain(self, settings: HostSettings, want: Want, request: str | None) -> Obtained:  # noqa: ARG002
        """The pair of the files."""
        certificate = self._certificate(settings, want.role)
        key = certificate.with_name(f"{certificate.stem}-key.pem")
        secret = _text(key)
        warnings: tuple[str, ...] = ()
        if key.stat().st_mode & 0o077:
            warnings = (f"others may read the private key {key}: chmod 600 {key}",)
        if "ENCRYPTED" in secret:
            raise CertificateError(
                "the private key is encrypted, which etcd cannot read", where=str(key), remedy="decrypt it"
            )
        leaf, *chain = (c.pem for c in parse_pem_bundle(_text(certificate)))
        return Obtained(bundle(leaf, chain), secret, warnings)

    def _certificate(self, settings: HostSettings, role: RoleName) -> Path:
        hosts = dict.fromkeys((settings.member.fqdn, settings.name, settings.member.name))
        names = [f"{host}.pem" for host in hosts]
        if role != "peer":
            names = [*(f"{host}-{role}.pem" for host in hosts), f"{role}.pem"]
        for name in names:
            if (self.folder / name).is_file():
                return self.folder / name
        raise CertificateError(
            f"there is no {role} certificate for {settings.name}: none of {', '.join(names)}",
            where=str(self.folder),
            remedy="put the certificate there under one of these names, and its key beside it as NAME-key.pem",
        )

    def _anchors(self, path: Path) -> str:
        text = _text(path)
        now = datetime.now(UTC)
        for anchor in parse_pem_bundle(text):
            if not anchor.is_ca or anchor.not_after < now:
                why = "expired" if anchor.is_ca else "no CA"
                raise CertificateError(
                    f"{anchor.title!r} is {why}, so nothing can be trusted by it",
                    where=str(path),
                    remedy="put the certificate of the CA there that signs yours",
                )
        return text


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            remedy="docs/settings.md says which files there must be with source: files",
        ) from None
