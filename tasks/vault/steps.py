"""Mounts, roles, policy and AppRole: made, or brought to what the inventory says. The rows are clusters, not hosts.

What must be there is in ``etcdfleet/vault/desired.py``; the CAs of the mounts are in ``authority.py``. Mounts and roles
that differ, maybe made by hand, are changed only where that was agreed to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet.errors import VaultError
from etcdfleet.outcome import StepOutcome
from etcdfleet.roles import ROLE_NAMES
from etcdfleet.settings.vault import vault_pki
from etcdfleet.vault import desired as wanted
from etcdfleet.vault.admin import check_pki
from etcdfleet.vault.answers import words
from etcdfleet.vault.desired import as_diff, differences
from tasks.vault.authority import Mounts, check_authorities, needs_authority
from tasks.vault.work import Setup, Work

_SHOWN_ALONE = ("allow_token_displayname",)
"""What a role shows and does not take: it is answered with "Endpoint ignored these unrecognized parameters"."""


@dataclass(frozen=True)
class Checked(StepOutcome):
    """The outcome of `checks`, with all that is there and differs, in sentences."""

    differs: tuple[str, ...] = ()


def checks(task: Task, setup: Setup) -> Result:
    """Look whether all can be done, and at what differs; change nothing.

    Raises `VaultError` when Vault is not ready, the token may not do it, a path is taken by something else or there is
    no root CA; `CertificateError` for a CA that does not lead to the root.
    """
    work = Work(setup, setup.fleet[task.host.name], task.is_dry_run(), look=True)
    admin = work.admin
    admin.check_ready()
    _may_write(work)
    there = admin.mounts()
    for mount in work.mounts:
        check_pki(there, mount.path)
    check_authorities(work, there)
    for look in (_mounts, _roles, _approle):
        look(work, there)
    summary = f"{len(work.left)} differ" if work.left else "all can be done"
    return Result(task.host, result=Checked(summary, warnings=tuple(work.warnings), differs=tuple(work.left)))


def mounts(task: Task, setup: Setup) -> Result:
    """Make the mounts that issue for a cluster, raise their limits, and set the addresses that certificates name."""
    return _step(task, setup, _mounts, "no mount differs")


def roles(task: Task, setup: Setup) -> Result:
    """Make the three roles of a cluster."""
    return _step(task, setup, _roles, "no role differs")


def policy(task: Task, setup: Setup) -> Result:
    """Make the policy that lets a deploy have certificates of these roles, and nothing else."""
    return _step(task, setup, _policy, "the policy does not differ")


def approle(task: Task, setup: Setup) -> Result:
    """Make the AppRole with the policies of all clusters of this Vault, those that are not chosen included."""
    return _step(task, setup, _approle, "the AppRole does not differ")


def _step(task: Task, setup: Setup, do: Callable[[Work, Mounts], None], summary: str) -> Result:
    work = Work(setup, setup.fleet[task.host.name], task.is_dry_run())
    do(work, work.admin.mounts())
    return work.result(task, summary)


def _may_write(work: Work) -> None:
    """Raise `VaultError` when the token is no administrator's, before it has done half of the work."""
    app = work.pki.setup.approle
    paths = [f"sys/policies/acl/{wanted.policy_name(work.members)}", f"auth/{app.mount}/role/{app.name}"]
    for mount in work.mounts:
        paths += [f"sys/mounts/{mount.path}", f"{mount.path}/config/urls"]
        paths += [f"{mount.path}/intermediate/{what}" for what in ("generate/internal", "set-signed")]
        paths += [f"{mount.root}/root/sign-intermediate"] if mount.root else []
    paths += [f"{work.pki.mount_for(role)}/roles/{work.pki.roles[role].name}" for role in ROLE_NAMES]
    if missing := work.admin.unwritable(paths):
        auth = work.admin.connection.auth
        raise VaultError(
            f"the token from {auth.source if auth else 'nowhere'} may not set Vault up: it may not write "
            f"{', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}",
            where=work.admin.connection.address,
            remedy="use an administrator's token (VAULT_TOKEN; unset VAULT_ROLE_ID and VAULT_SECRET_ID), or one with "
            'the policy in docs/vault.md, "The administrator"',
        )


def _mounts(work: Work, there: Mounts) -> None:
    admin, pki = work.admin, work.pki
    connection, issuing = admin.connection, work.mounts
    root = pki.trust_anchor.mount
    if root is not None:
        lacking = [mount for mount in issuing if needs_authority(work, mount, there)]
        needed = int(pki.setup.ca_ttl.total_seconds())
        if root not in there:
            if work.make(f"{root} is made, a PKI mount"):
                admin.enable_pki(root, int(needed * 1.5))
            urls = wanted.urls(pki, root, connection.address, connection.namespace)
            _urls(work, root, urls, exists=not work.dry_run and not work.look)
        elif lacking:
            _limit(work, root, needed)
    for mount in issuing:
        if mount.path == root:
            continue
        roles = [pki.roles[role] for role in ROLE_NAMES if pki.mount_for(role) == mount.path]
        needed = int(max(role.max_ttl.total_seconds() for role in roles))
        if mount.path in there:
            _limit(work, mount.path, needed)
        elif work.make(f"{mount.path} is made, a PKI mount"):
            admin.enable_pki(mount.path, max(needed, int(mount.ca_ttl.total_seconds())))
        exists = mount.path in there or not (work.dry_run or work.look)
        _urls(work, mount.path, mount.urls, exists=exists)


def _limit(work: Work, mount: str, needed: int) -> None:
    limit = work.admin.longest(mount)
    different = differences({"max_lease_ttl": needed}, {"max_lease_ttl": limit}) if limit < needed else ()
    if work.differs(f"mount {mount}", different):
        work.admin.tune(mount, needed)


def _urls(work: Work, mount: str, urls: Mapping[str, Any], *, exists: bool) -> None:
    """Set the addresses that go into certificates, before the first of them is made."""
    path = f"{mount}/config/urls"
    config = (work.admin.read(path) if exists else None) or {}
    if not any(config.get(key) for key in urls):
        if work.make(f"{mount} puts its addresses into certificates (AIA, CRL)", as_diff(path, differences(urls, {}))):
            work.admin.write(path, {**config, **urls})
    elif work.differs(f"addresses of {mount}", differences(urls, config)):
        # Written whole, here and below: what is not given would fall back to Vault's default.
        work.admin.write(path, {**config, **urls})


def _roles(work: Work, there: Mounts) -> None:
    others = [other for other in work.setup.sharing(work.members[0].cluster.name) if other is not work.members]
    for role in wanted.roles(work.members, others):
        path = f"{role.mount}/roles/{role.name}"
        existing = work.admin.read(path) if role.mount in there else None
        if existing is None:
            new = as_diff(path, differences(role.parameters, {}))
            if work.make(f"role {role.name} is made in {role.mount}", new):
                work.admin.write(path, role.parameters)
            continue
        parameters = wanted.with_names_of(role.parameters, existing) if work.setup.keep_names else role.parameters
        if work.differs(f"role {role.name} in {role.mount}", different := differences(parameters, existing)):
            kept = {key: value for key, value in existing.items() if key not in _SHOWN_ALONE}
            work.admin.write(path, {**kept, **{one.key: one.wanted for one in different}})


def _policy(work: Work, _there: Mounts) -> None:
    name, text = wanted.policy_name(work.members), wanted.policy(work.members)
    path = f"sys/policies/acl/{name}"
    existing = str((work.admin.read(path) or {}).get("policy") or "")
    if existing.strip() == text.strip():
        return
    old, new = existing.splitlines(), text.splitlines()
    lines = [f"--- policy {name} (Vault)", f"+++ policy {name} (wanted)"]
    lines += [f"-{line}" for line in old if line not in new] + [f"+{line}" for line in new if line not in old]
    if work.make(f"policy {name} is {'changed' if existing else 'made'}", "\n".join(lines) + "\n"):
        work.admin.write(path, {"policy": text})


def _approle(work: Work, _there: Mounts) -> None:
    admin, settings = work.admin, work.pki.setup.approle
    sharing = [
        wanted.policy_name(members)
        for members in work.setup.sharing(work.members[0].cluster.name)
        if (app := vault_pki(members[0]).setup.approle).name == settings.name and app.mount == settings.mount
    ]
    enabled = admin.auth_mounts().get(settings.mount)
    if enabled is not None and enabled.get("type") != "approle":
        raise VaultError(
            f"auth/{settings.mount} is of type {enabled.get('type')}, not approle",
            where=admin.connection.address,
            remedy="name another one: pki.setup.approle.mount",
        )
    if enabled is None and work.make(f"logging in by AppRole is enabled at auth/{settings.mount}"):
        admin.enable_approle(settings.mount)
    path, title = f"auth/{settings.mount}/role/{settings.name}", f"AppRole {settings.name}"
    parameters = wanted.approle_parameters(settings, sharing)
    existing = admin.read(path) if enabled is not None else None
    if existing is None:
        if work.make(f"{title} is made", as_diff(title, differences(parameters, {}))):
            admin.write(path, parameters)
        return
    # A cluster that is new in the inventory is no reason to ask. Any other difference may be intended.
    has = words(existing.get("token_policies"))
    lacking = [name for name in parameters["token_policies"] if name not in has]
    together = [*has, *lacking]
    if lacking and work.make(f"{title} gets {' and '.join(lacking)}", f"+{title}: {', '.join(lacking)}\n"):
        admin.write(path, {"token_policies": together})
    if work.differs(title, differences(parameters, {**existing, "token_policies": together})):
        admin.write(path, parameters)
