"""Certificates from a folder on the controller, named as cfssl's users name them.

``ca.pem`` (with separate trust ``peer-ca.pem`` and ``client-ca.pem``); ``<host>.pem`` and ``<host>-key.pem`` between
members, where ``<host>`` is the host's FQDN, its name in the inventory or its member name; ``server.pem`` for what
clients see and ``client.pem`` for etcdctl, or ``<host>-server.pem`` and ``<host>-client.pem`` for one host alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from etcdfleet.certs import Certificate, Keep, Renew, Want, decide, parse_or_empty, parse_pem_bundle, want_for
from etcdfleet.certs.cfssl import remedy
from etcdfleet.certs.chain import find_path
from etcdfleet.certs.crl import parse_crl
from etcdfleet.certs.model import pem_blocks
from etcdfleet.certs.want import LOOPBACK, utc
from etcdfleet.drivers.certificates import Obtained, SourceOf, check_fit, observed
from etcdfleet.errors import CertificateError
from etcdfleet.renewal import RenewBefore
from etcdfleet.roles import RoleName, Side, side_of
from etcdfleet.settings.pki import PkiSettings

if TYPE_CHECKING:
    from nornir.core.task import Task

    from etcdfleet.host.facts import HostFacts
    from etcdfleet.settings.models import HostSettings
    from etcdfleet.settings.notes import Notes
    from etcdfleet.settings.partial import Draft

_NEVER = RenewBefore.parse("0s")
_KEYS = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")


class FilesPki(PkiSettings):
    """Certificates from files in ``folder``, a folder on the controller that is filled by other means."""

    made_elsewhere: ClassVar[bool] = True
    same_in_cluster: ClassVar[tuple[str, ...]] = (*PkiSettings.same_in_cluster, "folder")

    source: Literal["files"] = "files"
    folder: Annotated[str, Field(min_length=1)] | None = None

    def anchor_file(self, side: Side) -> Path:
        """``ca.pem``, or with separate trust ``peer-ca.pem`` and ``client-ca.pem``."""
        return Path(self.folder or ".") / ("ca.pem" if self.trust == "single" else f"{side}-ca.pem")

    def resolved(self, resolve: Callable[[str], Path]) -> Self:
        """With the path of the folder made absolute."""
        return self if self.folder is None else self.model_copy(update={"folder": str(resolve(self.folder))})

    def check(self, draft: Draft, notes: Notes, _: Mapping[str, str]) -> None:
        """Check that the folder is there."""
        if not draft.sound("pki.folder"):
            return
        if self.folder is None:
            what = "is missing: with source: files, certificates are taken from a folder on this machine"
            notes.mistake(draft, "pki.folder", what, "write its path; docs/settings.md says how the files are named")
        elif not Path(self.folder).is_dir():
            what = f"there is no folder {self.folder} on this machine"
            remedy = "correct the path: a relative one starts at the folder of config.yaml"
            notes.mistake(draft, "pki.folder", what, remedy)


class FilesSource(SourceOf[FilesPki]):
    """See `etcdfleet.drivers.certificates.Source`. Nothing is made here: a file that runs out is only warned of.

    Each file is read once in a run, so that what was checked is what is placed.
    """

    title = "files"

    def __init__(self, pki: FilesPki, task: Task) -> None:
        super().__init__(pki, task)
        self.folder = Path(pki.folder or ".")

    def check(self, settings: HostSettings, facts: HostFacts, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
        """Check that everything that would be placed is there and fit, whether or not it lies on the host already."""
        warnings: list[str] = []
        errors: list[CertificateError] = []
        for role in roles:
            try:
                warnings += self._check(settings, facts, role)
            except CertificateError as error:
                if str(error) not in map(str, errors):  # a missing CA is said once, not for each role
                    errors.append(error)
        if errors:
            raise _together(errors)
        return tuple(dict.fromkeys(warnings))

    def anchors(self, side: Side) -> str:
        """Return the certificates of the CA file of the side, and nothing else that may be in it."""
        path = self.settings.anchor_file(side)
        return self._answers.once(str(path), lambda: self._anchors(path))

    def issuers(self, side: Side) -> tuple[tuple[Certificate, ...], ...]:
        """Any CA of the file: each certificate is checked to lead to one of them."""
        return tuple((anchor,) for anchor in parse_pem_bundle(self.anchors(side)))

    def way(self, settings: HostSettings, role: RoleName) -> tuple[Certificate, ...]:
        """Return what stands above the certificate in its file, up to the trust anchor."""
        certificates = parse_pem_bundle(self.obtain(settings, self.want(settings, role), None).pem)
        anchors = parse_pem_bundle(self.anchors(side_of(role)))
        return (find_path(certificates, anchors, at=datetime.now(UTC)) or (*certificates, *anchors))[1:]

    def root(self) -> str:
        """Of a PKI in files, no more is known than the CA of the side."""
        return self.anchors("client")

    def crl(self, side: Side) -> str:
        """Return the list beside the CA's file: ``ca.crl``, or ``peer-ca.crl`` and ``client-ca.crl``."""
        path = self.settings.anchor_file(side).with_suffix(".crl")
        return self._answers.once(str(path), lambda: parse_crl(self._text(path), where=str(path)).pem)

    def want(self, settings: HostSettings, role: RoleName) -> Want:
        """Return what etcd needs. The file may have more names, and any common name."""
        needed = want_for(
            role,
            fqdn=settings.member.fqdn,
            address=settings.member.address,
            usages=self.settings.roles[role].usages,
            trust_anchor=self.anchors(side_of(role)),
            service_name=settings.cluster.service_name,
        )
        return replace(needed, made_elsewhere=True)

    def decide(self, settings: HostSettings, facts: HostFacts, want: Want) -> Keep | Renew:
        """Keep the pair on the host if it is the one of the files."""
        pair = observed(facts, want)
        decision = decide(want, pair, renew_before=_NEVER)
        made = self.obtain(settings, want, None)
        if isinstance(decision, Keep) and parse_or_empty(pair.bundle) != parse_pem_bundle(made.pem):
            return Renew((f"another certificate is in {made.where}",), decision.certificate)
        return decision

    def obtain(self, settings: HostSettings, want: Want, _: str | None) -> Obtained:
        """Return the pair that lies in the files."""
        path = self._certificate(settings, want.role)
        pem, key = self._text(path), self._key(_key_file(path))
        try:
            certificates = parse_pem_bundle(pem)
            shared = replace(want, **_of_all_members(settings)) if path.name == "server.pem" else want
            advice = remedy(shared, pem, key, stem=path.stem, ca=self.settings.anchor_file(side_of(want.role)).name)
        except CertificateError as error:
            raise _no_certificate(path, pem, error) from None
        return Obtained("".join(c.pem for c in certificates), key, where=str(path), remedy=advice)

    def _check(self, settings: HostSettings, facts: HostFacts, role: RoleName) -> list[str]:
        want = self.want(settings, role)
        made = self.obtain(settings, want, None)
        check_fit(settings, want, made, facts)
        certificates, path = parse_pem_bundle(made.pem), Path(made.where)
        leaf = certificates[0]
        name = self.settings.client_common_name
        if role == "client" and settings.auth.enabled and leaf.common_name != name:
            raise CertificateError(
                f"its common name is {leaf.common_name!r}: with auth.enabled, etcdctl on the hosts would act as that "
                f"user, and not as {name!r}",
                where=made.where,
                remedy=f'write "CN": "{name}" in {path.stem}.json and make it again, or make '
                f"pki.client_common_name: {leaf.common_name}",
            )
        ends = _ends(self.settings, facts, want, certificates, path, self.settings.anchor_file(side_of(role)))
        return [*_readable_by_others(_key_file(path)), *ends]

    def _anchors(self, path: Path) -> str:
        if not path.exists() and self.settings.trust == "separate" and (self.folder / "ca.pem").exists():
            raise CertificateError(
                "there is no such file, and with pki.trust: separate (the default) the CA of this side is in it",
                where=str(path),
                remedy="write pki.trust: single, to have the one CA in ca.pem for everything; or make one CA for peers "
                "(peer-ca.pem) and one for clients (client-ca.pem)",
            )
        text = self._text(path)
        try:
            anchors = parse_pem_bundle(text)
        except CertificateError as error:
            raise _no_certificate(path, text, error) from None
        now = datetime.now(UTC)
        for anchor in anchors:
            if not anchor.is_ca or anchor.not_after < now:
                why = f"expired at {utc(anchor.not_after)}" if anchor.is_ca else "not the certificate of a CA"
                raise CertificateError(
                    f"{anchor.title!r} is {why}, so nothing can be trusted by it",
                    where=str(path),
                    remedy="put the certificate of the CA that signs yours there, and no other "
                    "(cfssl gencert -initca writes it, with cfssljson -bare ca)",
                )
        return "".join(anchor.pem for anchor in anchors)  # never the CA's key, should it be in the same file

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
            remedy="put the certificate there under one of these names, and its key beside it, such as "
            f"{names[-1].removesuffix('.pem')}-key.pem",
        )

    def _key(self, path: Path) -> str:
        text = self._text(path)
        if "ENCRYPTED" in text:
            raise CertificateError(
                "the private key is encrypted, and etcd cannot ask for its password",
                where=str(path),
                remedy=f"decrypt it: (umask 077; openssl pkey -in {path} -out {path}.new) && mv {path}.new {path}",
            )
        keys = [block for label in _KEYS for block in pem_blocks(text, label)]
        if len(keys) != 1:
            raise CertificateError(
                f"there {'are several private keys' if keys else 'is no private key'} in it",
                where=str(path),
                remedy=f"put the one there that belongs to {path.name.replace('-key.pem', '.pem')}, as PEM "
                "(cfssljson -bare NAME writes NAME.pem and NAME-key.pem)",
            )
        return keys[0]

    def _text(self, path: Path) -> str:
        return self._answers.once(f"text of {path}", lambda: _read(path))


def _key_file(certificate: Path) -> Path:
    return certificate.with_name(f"{certificate.stem}-key.pem")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        why, what = "it is not text, so not PEM", "have it as PEM: for DER, openssl x509 -inform der (or openssl pkey)"
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        what = "put it there, or correct its mode; docs/settings.md says which files there are with pki.source: files"
    raise CertificateError(why, where=str(path), remedy=what)


def _no_certificate(path: Path, text: str, error: CertificateError) -> CertificateError:
    if text.lstrip().startswith("{"):
        return CertificateError(
            "this is what cfssl prints, JSON, and no certificate",
            where=str(path),
            remedy=f"pipe it through cfssljson: cfssl gencert … | cfssljson -bare {path.stem}",
        )
    return CertificateError(error.what, where=str(path), remedy="put a certificate there, as PEM")


def _readable_by_others(key: Path) -> list[str]:
    try:
        mode = key.stat().st_mode
    except OSError:  # gone since it was read
        return []
    return [f"others may read the private key {key}: chmod 600 {key}"] if mode & 0o077 else []


def _ends(
    pki: FilesPki,
    facts: HostFacts,
    want: Want,
    certificates: Sequence[Certificate],
    path: Path,
    ca: Path,
) -> list[str]:
    leaf = certificates[0]
    chain = find_path(certificates, parse_pem_bundle(want.trust_anchor), at=facts.clock_now) or (leaf,)
    last = min(chain, key=lambda certificate: certificate.not_after)
    warnings = []
    if last.not_after < leaf.not_after:  # the same words for all certificates and hosts: it is said once
        warnings.append(
            f"{ca}: the CA {last.title!r} ends at {utc(last.not_after)}, and with it all its certificates, while some "
            'say that they are valid for longer; make the next one with "ca": {"expiry": …} in its request, where '
            "cfssl's default is 5 years"
        )
    left = last.not_after - facts.clock_now
    if left <= pki.renew_before.threshold(leaf.not_after - leaf.not_before):
        whose = "expires" if last == leaf else f"ends with its CA {last.title!r}"
        warnings.append(
            f"{path} {whose} at {utc(last.not_after)}, in {left.days} days: make a new one, put it there, and deploy"
        )
    return warnings


def _of_all_members(settings: HostSettings) -> dict[str, Any]:
    """Return what a certificate for all members must be valid for, so that a person has to correct it once."""
    service = settings.cluster.service_name
    names = (*(member.fqdn for member in settings.members), *([service] if service else []))
    return {"dns_names": names, "ip_addresses": (*(member.address for member in settings.members), LOOPBACK)}


def _together(errors: Sequence[CertificateError]) -> CertificateError:
    if len(errors) == 1:
        return errors[0]
    whats = [f"{error.where}: {error.what}" for error in errors]
    return CertificateError(
        "; ".join(f"[{number}] {what}" for number, what in enumerate(whats, 1)),
        remedy="; ".join(f"[{number}] {error.remedy}" for number, error in enumerate(errors, 1)),
    )
