"""A client certificate for a person or a program: key made here, certificate signed by Vault, files written here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nornir.core.task import Result, Task

from etcdfleet.certs import Certificate, Want, bundle, check_bundle, parse_pem_bundle, request_problems, want_for
from etcdfleet.certs.local import key_pem, make_key, request_for
from etcdfleet.errors import CertificateError, UsageError
from etcdfleet.etcd.auth import wanted_auth
from etcdfleet.etcd.client_files import ClientFiles
from etcdfleet.settings.models import HostSettings, client_url
from etcdfleet.settings.problems import did_you_mean
from etcdfleet.settings.units import go_duration
from etcdfleet.step import StepOutcome
from etcdfleet.vault import Vault
from tasks.sources import Source, source_of
from tasks.sources.vault import vault_of

CUT = timedelta(minutes=5)
"""A life that is shorter by more than this was cut by Vault, and not by clocks that differ a little."""


@dataclass(frozen=True)
class ClientRequest:
    """For whom a certificate is asked (its common name, so the user in etcd), for how long, and where it goes."""

    name: str
    ttl: timedelta
    files: ClientFiles


def client_certificate(task: Task, settings: HostSettings, request: ClientRequest) -> Result:
    """Makes a key here, has Vault sign for it, checks what comes back, and writes the files of a client.

    ``settings`` are those of any host of the cluster. The key is nowhere but in its file. Result: ``result`` is a
    `StepOutcome`. Raises `UsageError` for a life beyond that of Vault's role, `VaultError` when Vault refuses,
    `CertificateError` when its certificate is not fit; nothing is written then.
    """
    vault = vault_of(task, settings.pki)
    must_be_allowed(settings, vault, request.ttl)
    warnings = list(unknown_user(settings, request.name))
    if task.is_dry_run():
        change = f"{request.files.certificate} and its key are made, for {go_duration(request.ttl)}"
        outcome = StepOutcome("would be made", (change,), tuple(warnings))
        return Result(task.host, result=outcome, changed=True)
    source = source_of(task, settings)
    want = want_client(settings, source, request.name)
    key = make_key(settings.pki.key_type)
    csr = request_for(key, request.name)
    if problems := request_problems(want, csr, settings.pki.key_type):
        raise CertificateError(f"the request is not what was meant: {'; '.join(problems)}", where=request.name)
    signed = vault.sign(
        settings.pki.mount_for("client"),
        settings.pki.roles.client.name,
        csr=csr,
        common_name=request.name,
        ttl=request.ttl,
    )
    pem = bundle(signed.certificate, signed.chain)
    leaf = must_fit(settings, want, pem, key_pem(key), request.ttl, signed.warnings)
    endpoints = [client_url(member, settings.cluster) for member in settings.members]
    end = f"{leaf.not_after:%Y-%m-%d %H:%M} UTC"
    request.files.write(
        key=key_pem(key),
        certificate=pem,
        ca=source.anchors("client"),
        endpoints=endpoints,
        about=f"etcdctl as {request.name} on cluster {settings.cluster.name}, until {end}",
    )
    outcome = StepOutcome(
        f"user {request.name}, valid until {end}",
        (f"{request.files.certificate} and its key are made",),
        (*warnings, *signed.warnings),
        {"client_certificate": leaf.facts(), "files": str(request.files.folder)},
    )
    return Result(task.host, result=outcome, changed=True)


def want_client(settings: HostSettings, source: Source, name: str) -> Want:
    """What the certificate of client ``name`` must be. Raises `FleetError` when the CA cannot be had."""
    return want_for(
        "client",
        fqdn=settings.member.fqdn,
        address=settings.member.address,
        usages=settings.pki.roles.client.usages,
        trust_anchor=source.anchors("client"),
        common_name=name,
        issuing_ca=source.issuers("client")[0][0].pem,
    )


def must_be_allowed(settings: HostSettings, vault: Vault, ttl: timedelta) -> None:
    """Raises `UsageError` for a life beyond that of the role in Vault, which would cut it short."""
    mount, role = settings.pki.mount_for("client"), settings.pki.roles.client
    facts = vault.read_role(mount, role.name)  # None when the token may not read it
    limit = facts.max_ttl if facts else role.max_ttl
    if limit is not None and ttl > limit:
        raise UsageError(
            f"{go_duration(ttl)} is longer than {go_duration(limit)}, max_ttl of role {role.name} in Vault",
            where="--ttl, or auth.certificate_ttl",
            remedy="ask for less, or raise the role's limit",
        )


def must_fit(
    settings: HostSettings, want: Want, pem: str, key: str, ttl: timedelta, said: tuple[str, ...]
) -> Certificate:
    """The leaf of what Vault signed. Raises `CertificateError` when it is not what was asked for."""
    now = datetime.now(UTC)
    problems = list(check_bundle(want, pem, key, now=now, clock_of_host=now))
    leaf = parse_pem_bundle(pem)[0]
    if leaf.not_after < now + ttl - CUT:
        problems.append(f"it ends at {leaf.not_after:%Y-%m-%d %H:%M} UTC, and {go_duration(ttl)} were asked for")
    if problems:
        heard = f" (Vault says: {'; '.join(said)})" if said else ""
        raise CertificateError(
            f"the certificate that Vault signed is not fit, and was not written: {'; '.join(problems)}{heard}",
            where=f"role {settings.pki.roles.client.name} of {settings.pki.mount_for('client')}",
            remedy="correct the role in Vault (python runbooks/setup_pki.py does), or ask for less with --ttl",
        )
    return leaf


def unknown_user(settings: HostSettings, name: str) -> tuple[str, ...]:
    """Warnings when etcd will not know the user, or will not ask who it is, as far as the inventory says."""
    auth, found = settings.auth, []
    if not auth.enabled:
        found.append(
            f"the inventory does not turn authentication on (auth.enabled): while it is off, {name} may read and write "
            "everything, as any client may"
        )
    known = wanted_auth(auth, settings.pki.client_common_name).users
    if auth.managed and auth.enabled is not False and name not in known:
        guess = did_you_mean(name, known)
        found.append(
            f"user {name} is not among auth.users{guess}: with authentication on, etcd refuses this certificate"
        )
    return tuple(found)
