"""Certificates that are not used any more are revoked, and etcd's revocation lists kept as the CA has them.

A set that was revoked is marked on the host: a run that was cut off between two of them is completed by the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from nornir.core.task import Result, Task

from etcdfleet.certs import Certificate, parse_or_empty
from etcdfleet.drivers.certificates import Source, needed_roles, source_of
from etcdfleet.errors import FleetError, UsageError, VerificationError
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.host.paths import CERTIFICATES, ROLE_FOLDERS, SETS, HostPaths
from etcdfleet.outcome import StepOutcome, done
from etcdfleet.remote import last_lines
from etcdfleet.remote.scripts import script
from etcdfleet.roles import RoleName
from tasks.certificates.crl import crl_files, crl_plans
from tasks.certificates.place import REVOKED, tidy
from tasks.observe import Site, site_of

_SET = re.compile(r"^(?:by-hand-)?(peer|server|client)-")


@dataclass(frozen=True)
class ReplacedSet:
    """A set on a host that is not in use, and not revoked as far as the host knows."""

    name: str
    role: RoleName
    leaf: Certificate


@dataclass(frozen=True)
class Revoked(StepOutcome):
    """The outcome of `revoke_replaced`; ``client_set`` is a client's set that was revoked now, if there is one."""

    client_set: str = ""


def check_may_revoke(site: Site, source: Source) -> None:
    """Raise `FleetError` when certificates of this host cannot be revoked, before anything is done."""
    if not site.settings.pki.can_revoke:
        raise UsageError(
            f"certificates from {source.title} cannot be revoked from here",
            where=site.settings.name,
            remedy="run without --revoke, and revoke with the tool of that CA",
        )
    source.check_revocation(needed_roles(site.settings))


def revoke_replaced(task: Task) -> Result:
    """Revoke the certificates of all sets that lie on the host and are not in use, then remove the oldest sets.

    Raises `VerificationError` when Vault did not revoke one of them; the certificates in use are not touched by that.
    """
    site = site_of(task)
    source = source_of(task, site.settings)
    check_may_revoke(site, source)
    sets = replaced_sets(site)
    if not sets:
        return Result(task.host, result=Revoked("nothing to revoke"))
    changes = tuple(f"{each.role} certificate {each.leaf.serial} is revoked" for each in sets)
    if task.is_dry_run():
        return Result(task.host, result=Revoked("would be revoked", changes), changed=True)
    done, elsewhere, failed = _revoke(source, sets)
    if done or elsewhere:
        marks = " ".join(f"{SETS}/{each.name}/{REVOKED}" for each in [*done, *elsewhere])
        site.remote.run(f"touch {marks} && sync {SETS}", check="noting what was revoked")
    if failed:
        raise VerificationError(
            f"the certificates in use are good, but {'; '.join(failed)}",
            where=site.settings.name,
            remedy="run again with --revoke, or: vault write MOUNT/revoke serial_number=SERIAL",
        )
    tidy(site)
    warnings = tuple(
        f"{each.role} certificate {each.leaf.serial} is of another CA ({each.leaf.issuer}) and was not revoked: do "
        "that there"
        for each in elsewhere
    )
    if done and not site.settings.pki.crl:
        warnings += ("etcd accepts revoked certificates until they end: pki.crl: true has it look at Vault's list",)
    serials = [each.leaf.serial for each in done]
    outcome = Revoked(
        f"{len(done)} revoked",
        tuple(f"{each.role} certificate {each.leaf.serial} is revoked" for each in done),
        warnings,
        {"revoked": serials},
        client_set=next((each.name for each in done if each.role == "client"), ""),
    )
    return Result(task.host, result=outcome, changed=bool(done))


def refresh_crl(task: Task, refused: Mapping[str, str] | None = None) -> Result:
    """Keep the revocation lists on the host as the CA has them; etcd reads them at each handshake.

    ``refused`` may name, by host, a set of a client that must be refused now: that is tried. Raises `CertificateError`
    when what the CA gave is no list of its own, `VerificationError` when a revoked certificate is still served.
    """
    site = site_of(task)
    if not site.settings.pki.crl:
        return done(task, "pki.crl is off", skipped=True)
    plans = crl_plans(site, site.observe(), source_of(task, site.settings))
    changes = [f"{path} {plan.text}" for path, plan in plans.items() if plan.pem]
    warnings = [f"{path}: {plan.warning}" for path, plan in plans.items() if plan.warning]
    if changes and not task.is_dry_run():
        site.place(crl_files(plans), what="placing revocation lists")
    summary = "lists replaced" if changes else "no list differs"
    set_name = (refused or {}).get(task.host.name)
    if set_name and not task.is_dry_run():
        _prove_refused(site, set_name)
        summary += ", a revoked client is refused"
    return done(task, summary, changes, warnings)


def replaced_sets(site: Site) -> list[ReplacedSet]:
    """Return the sets on a host that are not in use and not marked as revoked. Raise `RemoteError`."""
    answer = site.remote.run(
        script(
            "replaced_sets",
            *ROLE_FOLDERS.values(),
            certificates=CERTIFICATES,
            sets=SETS,
            fqdn=site.settings.member.fqdn,
            revoked=REVOKED,
        ),
        check="looking for certificates that are not used any more",
    )
    in_use = {
        chain[0].serial for pair in site.observe().facts.pairs.values() if (chain := parse_or_empty(pair.pem))
    }  # a folder may be a copy of one that is in use
    sets = []
    for part in re.split(r"^= ", answer.stdout, flags=re.MULTILINE)[1:]:
        name, _, pem = part.partition("\n")
        role, chain = _SET.match(name), parse_or_empty(pem)
        if role and chain and chain[0].serial not in in_use:
            sets.append(ReplacedSet(name.strip(), cast(RoleName, role[1]), chain[0]))
    return sets


def _revoke(source: Source, sets: Sequence[ReplacedSet]) -> tuple[list[ReplacedSet], list[ReplacedSet], list[str]]:
    """Return what was revoked, what is of another CA than the source's, and what went wrong with the rest."""
    done, elsewhere, failed = list[ReplacedSet](), list[ReplacedSet](), list[str]()
    for each in sets:
        if each.leaf.not_after < datetime.now(UTC):
            done.append(each)
            continue
        try:
            (done if source.revoke(each.role, each.leaf) else elsewhere).append(each)
        except FleetError as error:
            failed.append(f"{each.role} certificate {each.leaf.serial} was not revoked: {error.what}")
    return done, elsewhere, failed


def _prove_refused(site: Site, set_name: str) -> None:
    """Raise `VerificationError` unless etcd refuses a revoked client's pair, and serves the one in use."""
    if not set_name or not site.observe().service.running or not site.settings.cluster.client_tls:
        return
    paths = HostPaths.of(site.settings)
    here = [local_endpoint(site.settings)]
    usual = etcdctl(site.settings, "endpoint health", here)
    folder = f"{SETS}/{set_name}"
    revoked = etcdctl(site.settings, "endpoint health", here, folder=folder)
    answers = site.remote.batch({"in use": usual, "revoked": revoked}, parallel=True)
    if answers["in use"].rc != 0:
        raise VerificationError(
            f"the certificate in use is not served: {last_lines(answers['in use'].stderr)}",
            where=site.settings.name,
            remedy=f"see etcd's log on this host, and {paths.crl('client')}",
        )
    if answers["revoked"].rc == 0:
        raise VerificationError(
            f"etcd still serves the revoked client certificate of {SETS}/{set_name}",
            where=site.settings.name,
            remedy="run deploy: pki.crl takes effect with the configuration and a restart; then run this again",
        )
