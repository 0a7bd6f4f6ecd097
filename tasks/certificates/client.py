"""A client certificate for a person or a program: key made here, certificate signed by Vault, files written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from nornir.core.task import Result, Task

from etcdfleet.certs import (
    Certificate,
    MemberTrust,
    Want,
    check_bundle,
    must_trust_first,
    parse_pem_bundle,
    request_problems,
    want_for,
)
from etcdfleet.certs.clients import ClientAnchors, client_anchors
from etcdfleet.certs.local import key_pem, make_key, request_for
from etcdfleet.client_files import ClientFiles
from etcdfleet.drivers.certificates import Obtained, Source, source_of
from etcdfleet.errors import CertificateError, FleetError
from etcdfleet.etcd.auth import wanted_auth
from etcdfleet.outcome import done
from etcdfleet.settings.models import HostSettings, client_url
from etcdfleet.settings.problems import did_you_mean
from etcdfleet.text import go_duration
from tasks.certificates.anchors import member_trust
from tasks.observe import site_of

CUT = timedelta(minutes=5)
"""A life that is shorter by more than this was cut by Vault, and not by clocks that differ a little."""


@dataclass(frozen=True)
class ClientRequest:
    """Whose certificate is asked for (its common name, so the user in etcd), for how long, and where it goes."""

    name: str
    ttl: timedelta
    files: ClientFiles


@dataclass(frozen=True)
class MembersSeen:
    """How a cluster's members stand to their clients: those that were looked at, and by host why others were not."""

    members: tuple[MemberTrust, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)


NONE_SEEN = MembersSeen()


def client_side(task: Task) -> Result:
    """Return what the host trusts and shows to clients. Result: a `MemberTrust`, or why it cannot be had, as text."""
    try:
        site = site_of(task)
        return Result(task.host, result=member_trust(site, site.observe(), "client"))
    except FleetError as error:
        return Result(task.host, result=error.what)


def client_certificate(
    task: Task,
    settings: HostSettings,
    request: ClientRequest,
    seen: MembersSeen = NONE_SEEN,
    ca_only: bool = False,
) -> Result:
    """Make a key here, have Vault sign for it, check what comes back, and write the files of a client.

    ``settings`` are those of any host of the cluster. The key is nowhere but in its file. What comes out works with the
    members as they were ``seen``: they trust the CA that signed, and the client knows what they show. With ``ca_only``
    the file of CAs is written, and nothing else. Raises `UsageError` for a life beyond that of Vault's role,
    `VaultError` when Vault refuses, `CertificateError` when its certificate is not fit, or members would refuse it;
    nothing is written then.
    """
    source, files = source_of(task, settings), request.files
    anchors, warnings = known_by(source, seen)
    trusts = f"by {files.ca}, members are known by {_titles(anchors.certificates)}{_reach(anchors)}"
    if ca_only:
        if not task.is_dry_run():
            files.write_ca(anchors.pem)
        return done(task, "ca.pem alone", [trusts], warnings, {"files": str(files.folder)})
    must_be_trusted(settings, source, seen)
    source.check_client_life(request.ttl)
    warnings += unknown_user(settings, request.name)
    if task.is_dry_run():
        change = f"{files.certificate} and its key are made, for {go_duration(request.ttl)}"
        return done(task, "would be made", [change, trusts], warnings)
    want = want_client(settings, source, request.name)
    key = make_key(source.key_type)
    csr = request_for(key, request.name)
    if problems := request_problems(want, csr, source.key_type):
        raise CertificateError(f"the request is not what was meant: {'; '.join(problems)}", where=request.name)
    signed = source.obtain_client(request.name, request.ttl, csr)
    leaf = must_fit(want, signed, key_pem(key), request.ttl, source.title)
    endpoints = [client_url(member, settings.cluster) for member in settings.members]
    end = f"{leaf.not_after:%Y-%m-%d %H:%M} UTC"
    files.write(
        key=key_pem(key),
        certificate=signed.pem,
        ca=anchors.pem,
        endpoints=endpoints,
        about=f"etcdctl as {request.name} on cluster {settings.cluster.name}, until {end}\n{trusts}",
    )
    return done(
        task,
        f"user {request.name}, valid until {end}",
        [f"{files.certificate} and its key are made", trusts],
        [*warnings, *signed.warnings],
        {"client_certificate": leaf.facts(), "files": str(files.folder)},
    )


def known_by(source: Source, cluster: MembersSeen) -> tuple[ClientAnchors, list[str]]:
    """Return what a client is to trust, and what is worth a warning. Raise `FleetError` when the CA cannot be had."""
    warnings = [
        f"{host} could not be looked at ({why}): whether it works with these files is not known"
        for host, why in cluster.unseen.items()
    ]
    try:
        roots = parse_pem_bundle(source.root())
    except FleetError as error:
        roots = ()
        warnings.append(f"the root CA cannot be had: {error.what}")
    wanted = parse_pem_bundle(source.anchors("client"))
    anchors = client_anchors(source.issuers("client")[0], wanted, roots, cluster.members, at=datetime.now(UTC))
    if anchors.before:
        warnings.append(
            f"a change of CA is under way: members show certificates of {_titles(anchors.before)} as well, so ca.pem "
            "has that, too; make it anew once the change is complete"
        )
    if anchors.headless:
        warnings.append(
            f"no root is known above {_titles(anchors.headless)}: clients with OpenSSL (Python, node, Ruby and more) "
            "refuse to verify members with this ca.pem, Go and curl accept it; put the root's certificate into "
            "pki.trust_anchor (mount or file)"
        )
    return anchors, warnings


def must_be_trusted(settings: HostSettings, source: Source, cluster: MembersSeen) -> None:
    """Raise `CertificateError` when members would refuse a certificate of the CA that issues now."""
    way = source.way(settings, "client")
    late = must_trust_first(cluster.members, way, at=datetime.now(UTC))
    if not late:
        return
    trusted = dict.fromkeys(ca for member in late for ca in member.trusted)
    due = " or are due for a restart" if any(member.restart_due for member in late) else ""
    raise CertificateError(
        f"it would be of no use: {way[0].title!r} issues now, and {', '.join(member.name for member in late)} trust "
        f"{_titles(tuple(trusted)) or 'nothing that can be read'}{due}",
        where=settings.cluster.name,
        remedy=f"move the cluster to that CA first: python runbooks/rotate_certs.py --ca --cluster "
        f"{settings.cluster.name}; after its first pass members trust both CAs, and this works",
    )


def _reach(anchors: ClientAnchors) -> str:
    """Warn that a root vouches for more than one CA."""
    return f"; whatever {_titles(anchors.roots)} certifies under a member's name is one" if anchors.roots else ""


def _titles(certificates: Sequence[Certificate]) -> str:
    return ", ".join(dict.fromkeys(repr(certificate.title) for certificate in certificates))


def want_client(settings: HostSettings, source: Source, name: str) -> Want:
    """Return what the certificate of client ``name`` must be. Raise `FleetError` when the CA cannot be had."""
    return want_for(
        "client",
        fqdn=settings.member.fqdn,
        address=settings.member.address,
        usages=settings.pki.roles.client.usages,
        trust_anchor=source.anchors("client"),
        common_name=name,
        issuing_ca=source.issuers("client")[0][0].pem,
    )


def must_fit(want: Want, signed: Obtained, key: str, ttl: timedelta, signer: str) -> Certificate:
    """Return the leaf of what ``signer`` signed. Raise `CertificateError` when it is not what was asked for."""
    now = datetime.now(UTC)
    problems = list(check_bundle(want, signed.pem, key, now=now, clock_of_host=now))
    leaf = parse_pem_bundle(signed.pem)[0]
    if leaf.not_after < now + ttl - CUT:
        problems.append(f"it ends at {leaf.not_after:%Y-%m-%d %H:%M} UTC, and {go_duration(ttl)} were asked for")
    if problems:
        heard = f" ({signer} says: {'; '.join(signed.warnings)})" if signed.warnings else ""
        raise CertificateError(
            f"the certificate that {signer} signed is not fit, and was not written: {'; '.join(problems)}{heard}",
            where=signed.where,
            remedy=signed.remedy,
        )
    return leaf


def unknown_user(settings: HostSettings, name: str) -> tuple[str, ...]:
    """Warn when etcd will not know the user, or will not ask who it is, as far as the inventory says."""
    auth, warnings = settings.auth, []
    if not auth.enabled:
        warnings.append(
            f"the inventory does not turn authentication on (auth.enabled): while it is off, {name} may read and write "
            "everything, as any client may"
        )
    users = wanted_auth(auth, settings.pki.client_common_name).users
    if auth.managed and auth.enabled is not False and name not in users:
        guess = did_you_mean(name, users)
        warnings.append(
            f"user {name} is not among auth.users{guess}: with authentication on, etcd refuses this certificate"
        )
    return tuple(warnings)
