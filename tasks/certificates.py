"""Certificates from Vault on a host: what is still good stays, what is not is issued, checked, and swapped in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nornir.core.task import Result, Task

from etcdfleet.certs import (
    Certificate,
    Keep,
    Observed,
    Renew,
    Want,
    bundle,
    check_bundle,
    decide,
    parse_pem_bundle,
    public_key_fingerprint,
    same_certificates,
    want_for,
)
from etcdfleet.errors import CertificateError
from etcdfleet.facts import HostFacts
from etcdfleet.paths import CERTIFICATES, SETS, TRUST_ANCHOR, HostPaths, mark_restart_pending
from etcdfleet.remote import RemoteFile
from etcdfleet.settings.base import RoleName
from etcdfleet.settings.models import HostSettings
from etcdfleet.step import StepOutcome
from tasks.observe import Site, site_of
from tasks.pki import Pki, needed_roles, pki_of

KEY_MODE, FOLDER_MODE = 0o600, 0o700


@dataclass(frozen=True)
class NewPair:
    """A pair that was issued and checked, to be placed. The key's text is in no repr."""

    role: RoleName
    leaf: Certificate
    pem: str = field(repr=False)
    key: str = field(repr=False)

    @property
    def set_name(self) -> str:
        """The folder of this pair under ``sets/``: unique, and found again by the serial."""
        return f"{self.role}-{self.leaf.serial.replace(':', '')}"


def certificates(task: Task) -> Result:
    """Places the certificates that the host needs, from Vault; keeps those that are good.

    Good is: the wanted names and usages, a chain to the trust anchor from the CA that issues today, the key that
    belongs to it, and more life left than the renewal threshold, by the host's own clock. A new leaf needs no restart
    of etcd (it reads them at each handshake), a new trust anchor does. Result: ``result`` is a `StepOutcome`. Raises
    `VaultError`, or `CertificateError` when Vault's certificate is not fit (nothing is then placed).
    """
    site = site_of(task)
    roles = needed_roles(site.settings)
    if not roles:
        return Result(task.host, result=StepOutcome("no TLS", skipped=True))
    pki = pki_of(task, site.settings)
    facts = site.observe().facts
    wants = {role: want(site.settings, pki, role) for role in roles}
    decisions = {role: decide_role(site.settings, facts, wants[role]) for role in roles}
    anchor = not same_certificates(
        pki.trust_anchor(), facts.trust_anchor.content.decode() if facts.trust_anchor else None
    )
    changes, warnings = _changes(decisions, anchor), list[str]()
    modes = [role for role in roles if isinstance(decisions[role], Keep) and facts.pairs[role].key_mode != "600 etcd"]
    changes += [f"the {role} key gets mode 0600 and owner etcd back" for role in modes]
    leaves: dict[RoleName, Certificate] = {
        role: decision.certificate for role, decision in decisions.items() if isinstance(decision, Keep)
    }
    if changes and not task.is_dry_run():
        pairs = []
        for role, decision in decisions.items():
            if isinstance(decision, Renew):
                pair, said = obtain(site.settings, pki, wants[role], facts)
                pairs.append(pair)
                warnings += said
                leaves[role] = pair.leaf
        place(site, pairs, pki.trust_anchor() if anchor else None, modes)
    days = min(((leaf.not_after - facts.clock_now).days for leaf in leaves.values()), default=0)
    summary = f"{len(leaves)} good, {days} days left" if leaves else "to be issued"
    outcome = StepOutcome(summary, tuple(changes), tuple(warnings), {"certificates": certificate_facts(leaves)})
    return Result(task.host, result=outcome, changed=bool(changes))


def want(settings: HostSettings, pki: Pki, role: RoleName) -> Want:
    """What the certificate of a role must be on this host. Raises `FleetError` when Vault cannot say who issues."""
    return want_for(
        role,
        fqdn=settings.member.fqdn,
        address=settings.member.address,
        usages=settings.pki.roles[role].usages,
        trust_anchor=pki.trust_anchor(),
        service_name=settings.cluster.service_name,
        common_name=settings.pki.client_common_name if role == "client" else None,
        issuing_ca=pki.issuing_ca(),
    )


def decide_role(settings: HostSettings, facts: HostFacts, wanted: Want) -> Keep | Renew:
    """Whether the pair of a role on the host can stay, by the host's own clock."""
    pair = facts.pairs.get(wanted.role)
    observed = Observed(
        bundle=pair.pem if pair else None,
        key_fingerprint=pair.key_fingerprint if pair else None,
        trust_anchor=facts.trust_anchor.content.decode("utf-8", "replace") if facts.trust_anchor else None,
        clock=facts.clock_now,
    )
    return decide(wanted, observed, renew_before=settings.pki.renew_before)


def obtain(settings: HostSettings, pki: Pki, wanted: Want, facts: HostFacts) -> tuple[NewPair, tuple[str, ...]]:
    """A new pair from Vault, checked as it would be used; and Vault's warnings.

    Raises `VaultError` when Vault refuses, `CertificateError` when what it gave is not fit for the job.
    """
    role = settings.pki.roles[wanted.role]
    issued = pki.vault.issue(
        settings.pki.mount,
        role.name,
        common_name=wanted.common_name,
        alt_names=wanted.alt_names,
        ip_sans=wanted.ip_addresses,
        ttl=role.ttl,
    )
    if issued.private_key is None:
        raise CertificateError("Vault gave no private key", where=settings.name, remedy=f"check the role {role.name}")
    key = issued.private_key.reveal()
    pem = bundle(issued.certificate, issued.chain)
    problems = check_bundle(wanted, pem, key, now=datetime.now(UTC), clock_of_host=facts.clock_now)
    if problems:
        raise CertificateError(
            f"the {wanted.role} certificate that Vault issued is not fit, and was not placed: {'; '.join(problems)}",
            where=f"{settings.name}, role {role.name}",
            remedy="correct what is said there: the role in Vault (names, usages, address SANs), pki.roles or "
            "pki.trust_anchor in the inventory, or the host's clock",
        )
    return NewPair(wanted.role, parse_pem_bundle(pem)[0], pem, key), issued.warnings


def place(site: Site, pairs: list[NewPair], anchor: str | None, modes: list[RoleName]) -> None:
    """Puts pairs and trust anchor on the host in one round trip, and swaps each well-known folder to its new set."""
    paths = HostPaths.of(site.settings.member)
    files: list[RemoteFile] = []
    before = [f"mkdir -p -m 0755 /etc/etcd {CERTIFICATES} {SETS}"]
    after = []
    for pair in pairs:
        folder = f"{SETS}/{pair.set_name}"
        name = f"{folder}/{site.settings.member.fqdn}"
        before.append(f"mkdir -p {folder}; chown etcd:etcd {folder}; chmod {FOLDER_MODE:04o} {folder}")
        key = pair.key.strip().encode() + b"\n"
        note = {
            "role": pair.role,
            "serial": pair.leaf.serial,
            "public_key": public_key_fingerprint(pair.key),
            "key_sha256": hashlib.sha256(key).hexdigest(),
        }
        text = json.dumps(note, indent=1).encode() + b"\n"
        files += [
            RemoteFile(f"{name}.key", key, KEY_MODE, "etcd", "etcd"),
            RemoteFile(f"{name}.pem", pair.pem.encode(), KEY_MODE, "etcd", "etcd"),
            RemoteFile(f"{folder}/note.json", text, KEY_MODE, "etcd", "etcd"),
        ]
        after.append(_swap(paths.folder(pair.role), pair.set_name))
    if anchor is not None:
        if site.observe().service.running:
            before.append(mark_restart_pending("changed: the trust anchor"))
        files.append(RemoteFile(TRUST_ANCHOR, anchor.encode()))
    for role in modes:
        folder = paths.folder(role)
        after.append(
            f"chown -R etcd:etcd {folder}/; chmod {FOLDER_MODE:04o} {folder}/; chmod {KEY_MODE:04o} {folder}/*"
        )
    site.remote.place(files, before="\n".join(before), after="\n".join(after), what="placing certificates")
    site.forget()


def _swap(link: str, set_name: str) -> str:
    # A folder that somebody made by hand, as in document A, is kept as a set of its own.
    return f"""if [ -d {link} ] && [ ! -L {link} ]; then mv {link} {SETS}/by-hand-{set_name}; fi
ln -sfn sets/{set_name} {link}.new
mv -fT {link}.new {link}
sync {CERTIFICATES}"""


def _changes(decisions: Mapping[RoleName, Keep | Renew], anchor: bool) -> list[str]:
    changes = [
        f"{role} certificate is issued: {'; '.join(decision.reasons)}"
        for role, decision in decisions.items()
        if isinstance(decision, Renew)
    ]
    return [*changes, f"{TRUST_ANCHOR} is placed"] if anchor else changes


def certificate_facts(leaves: Mapping[RoleName, Certificate]) -> dict[str, dict[str, object]]:
    """The report's record of the certificates on a host."""
    now = datetime.now(UTC)
    return {
        role: {
            "serial": leaf.serial,
            "not_after": leaf.not_after.isoformat(),
            "days_left": (leaf.not_after - now).days,
        }
        for role, leaf in leaves.items()
    }
