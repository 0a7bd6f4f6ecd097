"""Certificates on a host: what is still good stays, what is not is obtained, checked, and swapped in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from nornir.core.task import Result, Task

from etcdfleet.certs import Certificate, Keep, Renew, Want, parse_pem_bundle, public_key_fingerprint
from etcdfleet.drivers.certificates import Obtained, Source, check_fit, needed_roles, needed_sides, source_of
from etcdfleet.errors import FleetError
from etcdfleet.etcd.configuration import pair_files_in
from etcdfleet.host.paths import CERTIFICATES, CONFIG, SETS, HostPaths
from etcdfleet.outcome import done
from etcdfleet.remote import RemoteFile
from etcdfleet.remote.scripts import script
from etcdfleet.roles import RoleName, Side, side_of
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.texts import is_address
from tasks.certificates.anchors import AnchorChange, anchor_changes, anchor_files, is_live, mark_if_read, named_anchors
from tasks.certificates.crl import crl_files, crl_plans
from tasks.certificates.keys import Request, discard, discarding, make_requests
from tasks.observe import Site, site_of

KEY_MODE, FOLDER_MODE = 0o600, 0o700
_IN_CONFIGURATION: Mapping[Side, RoleName] = {"peer": "peer", "client": "server"}
"""The role whose pair etcd's configuration names, by side."""
REVOKED = "revoked"
"""The file in a set whose certificate was revoked."""
KEY_OWNED = "600 etcd"
"""Mode and owner of a private key, as the host's probe tells them (`etcdfleet.host.facts.PairFacts`)."""


@dataclass(frozen=True)
class NewPair:
    """A pair that was obtained and checked, to be placed.

    ``key`` is the private key's text (in no repr), or None when it was made on the host and waits in ``staged``.
    """

    role: RoleName
    leaf: Certificate
    pem: str = field(repr=False)
    key: str | None = field(repr=False)
    public_key: str
    key_sha256: str
    staged: str = ""

    @property
    def set_name(self) -> str:
        """The folder of this pair under ``sets/``: found by the serial, and unique where two CAs count alike."""
        return f"{self.role}-{self.leaf.serial.replace(':', '')}-{self.leaf.fingerprint[:8]}"


def certificates(task: Task, later: Mapping[str, Collection[RoleName]] | None = None) -> Result:
    """Place the certificates that the host needs; keep those that are good.

    Good is: the wanted names and usages, a chain to the trust anchor from the CA that issues today, the key that
    belongs to it, and more life left than the renewal threshold, by the host's own clock. A new leaf needs no restart
    of etcd (it reads them at each handshake). Trust anchors are placed as far as that is safe now: what is trusted
    already stays so until ``configure`` is told that it is not needed any more. Pairs of the roles that ``later`` names
    by host are left for `plays.certificates`, as a running member shows them. Raises `VaultError`, or
    `CertificateError` when what was given is not fit (nothing is then placed).
    """
    site = site_of(task)
    roles = needed_roles(site.settings)
    if not roles:
        return done(task, "no TLS", skipped=True)
    source = source_of(task, site.settings)
    observed = site.observe()
    facts = observed.facts
    decisions = decisions_of(site, source, roles)
    anchors = anchor_changes(site, observed, source)
    lists = crl_plans(site, observed, source)
    shown = (later or {}).get(task.host.name, ())
    if not task.is_dry_run():
        decisions = {role: decision for role, decision in decisions.items() if role not in shown}
    changes = [*renewals(decisions).values(), *(change.text for change in anchors)]
    changes += [f"{path} {plan.text}" for path, plan in lists.items() if plan.pem]
    warnings = [f"{path}: {plan.warning}" for path, plan in lists.items() if plan.warning]
    modes = [
        role for role in decisions if isinstance(decisions[role], Keep) and facts.pairs[role].key_mode != KEY_OWNED
    ]
    changes += [f"the {role} key gets mode 0600 and owner etcd back" for role in modes]
    leaves: dict[RoleName, Certificate] = {
        role: decision.certificate for role, decision in decisions.items() if isinstance(decision, Keep)
    }
    if changes and not task.is_dry_run():
        pairs, notices = obtain(site, source, list(renewals(decisions)))
        warnings += notices
        leaves |= {pair.role: pair.leaf for pair in pairs}
        place(site, pairs, anchors, modes, crl_files(lists))
        if pairs:
            tidy(site)
    days = min(((leaf.not_after - facts.clock_now).days for leaf in leaves.values()), default=0)
    summary = f"{len(leaves)} good, {days} days left" if leaves else "to be obtained"
    if shown and task.is_dry_run():
        summary = "to be replaced, one member at a time"
    elif shown:
        summary = f"{', '.join(shown)} to be replaced when it is this member's turn"
    return done(task, summary, changes, warnings, {"certificates": certificate_facts(site.settings, leaves)})


def decisions_of(site: Site, source: Source, roles: Sequence[RoleName]) -> dict[RoleName, Keep | Renew]:
    """Return whether the pairs on the host can stay, by role. No round trip where the source is known."""
    facts = site.observe().facts
    return {role: source.decide(site.settings, facts, source.want(site.settings, role)) for role in roles}


def shown_and_due(task: Task) -> Result:
    """Return the roles whose pair is to be replaced while the host's etcd shows it, and those that a run has left
    unproven.

    No round trip: it is decided from what is known of the host.
    """
    site = site_of(task)
    observed = site.observe()
    roles = [
        role for role in needed_roles(site.settings) if observed.service.running and is_live(observed, side_of(role))
    ]
    if not roles:
        return Result(task.host, result=())
    source = source_of(task, site.settings)
    due = renewals(decisions_of(site, source, roles))
    return Result(task.host, result=tuple(role for role in roles if role in due or role in observed.facts.unproven))


def must_wait(task: Task) -> Result:
    """Return whether the cluster cannot be judged before the step ``start``.

    Its member was established and does not run, or has TLS on other sides than the inventory wants.
    """
    site = site_of(task)
    observed = site.observe()
    stopped = observed.facts.established is not None and not observed.service.running
    other = observed.service.running and set(named_anchors(observed)) != set(needed_sides(site.settings))
    return Result(task.host, result=stopped or other)


def obtain(
    site: Site, source: Source, roles: Sequence[RoleName], also: Sequence[str] = ()
) -> tuple[list[NewPair], list[str]]:
    """Return new pairs of these roles, each checked as it would be used, and the warnings of their source.

    ``also`` are names and addresses for which they are to be valid, too, while a member moves (`also_valid_for`).
    Where the source signs requests, the keys are made on the host, all in one round trip. Raises `VaultError` when
    Vault refuses, `CertificateError` when what was given is not fit, `RemoteError` when no key can be made.
    """
    requests: dict[RoleName, Request] = {}
    pairs, warnings, facts = [], list[str](), site.observe().facts
    wants = [also_valid_for(source.want(site.settings, role), also) for role in roles]
    try:
        if wants and source.signs_requests:
            requests = make_requests(site, wants, source.key_type)
        for want in wants:
            request = requests.get(want.role)
            made = source.obtain(site.settings, want, request.csr if request else None)
            check_fit(site.settings, want, made, facts, key=request.public_key if request else "")
            pairs.append(_pair(want.role, made, request))
            warnings += made.warnings
    except FleetError:
        if source.signs_requests:
            discard(site)
        raise
    return pairs, warnings


def _pair(role: RoleName, made: Obtained, request: Request | None) -> NewPair:
    leaf = parse_pem_bundle(made.pem)[0]
    if made.key is None and request is not None:
        return NewPair(role, leaf, made.pem, None, request.public_key, request.key_sha256, request.folder)
    key = (made.key or "").strip() + "\n"
    return NewPair(role, leaf, made.pem, key, public_key_fingerprint(key), hashlib.sha256(key.encode()).hexdigest())


def also_valid_for(want: Want, names: Sequence[str]) -> Want:
    """Return what a certificate must be that is valid for these names and addresses, too.

    A pure client's certificate has none: nothing connects to it.
    """
    if want.role == "client":
        return want
    addresses = [name for name in names if is_address(name)]
    dns_names = [name for name in names if name not in addresses]
    return replace(want, dns_names=(*want.dns_names, *dns_names), ip_addresses=(*want.ip_addresses, *addresses))


def place(
    site: Site,
    pairs: Sequence[NewPair],
    anchors: Sequence[AnchorChange],
    modes: Sequence[RoleName],
    others: Sequence[RemoteFile] = (),
) -> None:
    """Put pairs and trust anchors on the host in one round trip, and swap each well-known folder to its new set.

    ``others`` are placed in the same round trip.
    """
    paths = HostPaths.of(site.settings)
    fqdn = site.settings.member.fqdn
    moves = _reads_other_names(site)
    files: list[RemoteFile] = []
    before = [f"mkdir -p -m 0755 /etc/etcd {CERTIFICATES} {SETS}", *mark_if_read(site, anchors)]
    after = []
    for pair in pairs:
        final = f"{SETS}/{pair.set_name}"
        folder = pair.staged or final
        if not pair.staged:
            before.append(f"mkdir -p {folder}; chown etcd:etcd {folder}; chmod {FOLDER_MODE:04o} {folder}")
        note = {
            "role": pair.role,
            "serial": pair.leaf.serial,
            "public_key": pair.public_key,
            "key_sha256": pair.key_sha256,
        }
        text = json.dumps(note, indent=1).encode() + b"\n"
        if pair.key is not None:
            files.append(RemoteFile(f"{folder}/{fqdn}.key", pair.key.encode(), KEY_MODE, "etcd", "etcd"))
        files += [
            RemoteFile(f"{folder}/{fqdn}.pem", pair.pem.encode(), KEY_MODE, "etcd", "etcd"),
            RemoteFile(f"{folder}/note.json", text, KEY_MODE, "etcd", "etcd"),
        ]
        if pair.staged:
            after.append(
                f"chown -R etcd:etcd {folder}; chmod {FOLDER_MODE:04o} {folder}; chmod {KEY_MODE:04o} {folder}/*\n"
                f"sync {folder}/{fqdn}.key; rm -rf {final}; mv -T {folder} {final}; sync {SETS}"
            )
        if moves:
            after.append(keep_names(paths.folder(pair.role), final, fqdn))
        after.append(swap(paths.folder(pair.role), pair.set_name))
    files += [*anchor_files(anchors), *others]
    for role in modes:
        folder = paths.folder(role)
        after.append(
            f"chown -R etcd:etcd {folder}/; chmod {FOLDER_MODE:04o} {folder}/; chmod {KEY_MODE:04o} {folder}/*"
        )
    staged = any(pair.staged for pair in pairs)
    after += [discarding()] if staged else []
    try:
        site.place(files, before="\n".join(before), after="\n".join(after), what="placing certificates")
    except FleetError:
        if staged:
            discard(site)
        raise


def _reads_other_names(site: Site) -> bool:
    """Return whether a running etcd may read its pairs under names of an FQDN that it was started with."""
    observed, paths = site.observe(), HostPaths.of(site.settings)
    if not observed.service.running:
        return False
    file = observed.facts.files.get(CONFIG)
    named = pair_files_in(file.content if file else None)
    wanted = {side: paths.certificate(_IN_CONFIGURATION[side]) for side in named}
    return named != wanted or bool(observed.facts.restart_pending)


def keep_names(link: str, folder: str, fqdn: str) -> str:
    """Return shell that lets a set be found under the file names of the present one, too.

    etcd reads its pair at each handshake, by the names that it was started with.
    """
    return f"""for there in {link}/*.pem {link}/*.key; do
  name=${{there##*/}}
  [ ! -e "$there" ] || [ -e "{folder}/$name" ] || ln -s "{fqdn}.${{name##*.}}" "{folder}/$name"
done"""


def tidy(site: Site) -> None:
    """Remove sets that are neither in use nor among the newest ``pki.kept_sets`` of their role.

    With ``pki.revoke`` only those that are marked as revoked: the others are the record of what is still to be, and
    `tasks.certificates.revoke` marks them. It raises nothing: what stays is removed the next time.
    """
    paths = HostPaths.of(site.settings)
    pairs = [word for role in needed_roles(site.settings) for word in (role, paths.folder(role))]
    only = REVOKED if site.settings.pki.revoke else ""
    try:
        site.remote.run(script("tidy_sets", *pairs, sets=SETS, kept=site.settings.pki.kept_sets, only_marked=only))
    except FleetError:
        return


def swap(link: str, set_name: str) -> str:
    """Return shell that lets a well-known folder be another set, from one moment to the next."""
    # A folder that was made by hand is kept as a set of its own.
    return f"""if [ -d {link} ] && [ ! -L {link} ]; then mv {link} {SETS}/by-hand-{set_name}; fi
ln -sfn sets/{set_name} {link}.new
mv -fT {link}.new {link}
sync {CERTIFICATES}"""


def renewals(decisions: Mapping[RoleName, Keep | Renew]) -> dict[RoleName, str]:
    """Return what is done with the pairs that cannot stay, and why, in words."""
    return {
        role: f"{role} certificate is {'renewed' if decision.certificate else 'placed'}: {'; '.join(decision.reasons)}"
        for role, decision in decisions.items()
        if isinstance(decision, Renew)
    }


def certificate_facts(settings: HostSettings, leaves: Mapping[RoleName, Certificate]) -> dict[str, dict[str, object]]:
    """Return the report's record of the certificates on a host; due are those that a run would renew for their age."""
    threshold = settings.pki.renew_before.threshold
    now = datetime.now(UTC)
    return {
        role: {
            "serial": leaf.serial,
            "not_after": leaf.not_after.isoformat(),
            "days_left": (leaf.not_after - now).days,
            "due": leaf.not_after - now <= threshold(leaf.not_after - leaf.not_before),
        }
        for role, leaf in leaves.items()
    }
