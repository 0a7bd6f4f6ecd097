"""Vault is set up for the clusters of the inventory: CAs, roles, a policy, and an AppRole.

This is no play of one cluster: clusters share mounts and the AppRole, so their rows are done one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from nornir.core.task import AggregatedResult
from nornir.plugins.runners import SerialRunner

from etcdfleet.errors import UsageError, VaultError
from etcdfleet.program.run import Program
from etcdfleet.report.record.secrets import REDACTOR
from etcdfleet.session import session_of
from etcdfleet.settings.vault import vault_pki
from etcdfleet.text import counted
from etcdfleet.vault import AppRoleAuth, Secret, TokenAuth, VaultConnection, desired
from etcdfleet.vault.admin import VaultAdmin
from plays.options import PkiOptions
from tasks.vault.authority import authorities
from tasks.vault.credentials import credentials, wrap_seconds
from tasks.vault.files import CsrFiles, must_be_ours
from tasks.vault.steps import Checked, approle, checks, mounts, policy, roles
from tasks.vault.work import Setup, no_need

STEPS = (mounts, roles, policy, approle, authorities)


def setup_pki(program: Program[PkiOptions]) -> None:
    """Set Vault up, cluster by cluster. Raises `UsageError` for what was asked for and cannot be, `VaultError`."""
    own = program.own
    wrap = wrap_seconds(own.wrap)
    if wrap and not own.secret_id:
        raise UsageError("there is nothing to wrap", where="--wrap", remedy="add --secret-id FILE")
    for name in program.clusters:
        if reason := no_need(program.fleet.clusters[name]):
            program.record.skip_rest(name, reason)
    files = CsrFiles(own.csr_dir, own.signed_dir or own.csr_dir)
    setup = Setup(program.fleet.clusters, _vaults_of(program), files, own.create_root, own.keep_names)
    chosen = [name for name in program.clusters if name in setup.vaults]
    if not chosen:
        return
    _refuse_conflicts(setup)
    holder = _who_gets_credentials(program, setup, own.secret_id) if own.secret_id else None
    differing = _differing(program.step("checks", checks, only=chosen, runner=SerialRunner(), setup=setup))
    agreed, unasked = _agreed(program, differing)
    setup = replace(setup, agreed=agreed)
    for step in STEPS:
        good = [name for name in chosen if name in program.good_hosts]
        if good:
            program.step(step.__name__, step, only=good, runner=SerialRunner(), setup=setup)
    if holder is not None and own.secret_id:
        complete = all(name in program.good_hosts for name in chosen)
        _give_credentials(program, setup, holder, own.secret_id, wrap, complete=complete)
    if unasked:
        _refuse_left(differing)


def _agreed(program: Program[PkiOptions], differing: Sequence[str]) -> tuple[frozenset[str] | None, bool]:
    """Return which differences may be changed, None for all; and whether they are left for want of a terminal."""
    if program.options.check or program.options.yes:
        return None, False
    if not differing:
        return frozenset(), False
    for text in differing:
        program.say(f"differs: {text}")
    try:
        yes = program.confirm("Change this in Vault to what the inventory says?")
    except UsageError:  # no terminal: it is left as it is, with a warning, and the run does not end well
        return frozenset(), True
    return (frozenset(differing) if yes else frozenset()), False


def _vaults_of(program: Program[PkiOptions]) -> Mapping[str, VaultAdmin]:
    """Return the Vault of each cluster of the inventory that has its certificates from one.

    Those that chosen clusters have are asked about with a token from the environment, or from the terminal: it lives in
    this process alone. Raises `VaultError` when it is not known where Vault is.
    """
    shared: dict[tuple[str, str | None], VaultAdmin] = {}
    vaults: dict[str, VaultAdmin] = {}
    chosen = sorted(program.fleet.clusters, key=lambda name: name not in program.clusters)
    for name in chosen:
        if no_need(program.fleet.clusters[name]):
            continue
        pki = vault_pki(program.fleet.clusters[name][0])
        connection = VaultConnection.from_env(address=pki.address, namespace=pki.namespace)
        key = (connection.address, connection.namespace)
        if key not in shared:
            for text in connection.warnings:
                program.record.warn(connection.address, text)
            if name in program.clusters:
                connection = _with_token(program, connection)
            shared[key] = made = VaultAdmin(connection)
            session_of(program.nornir.config).at_end(made.close)
        vaults[name] = shared[key]
    return {name: vaults[name] for name in program.fleet.clusters if name in vaults}


def _with_token(program: Program[PkiOptions], connection: VaultConnection) -> VaultConnection:
    auth: TokenAuth | AppRoleAuth | None = connection.auth
    if auth is None and sys.stdin.isatty():
        token = program.ask_secret(f"Administrator's token for {connection.address} (it is stored nowhere): ").strip()
        auth = TokenAuth(Secret(token), "the terminal") if token else None
    if auth is not None:
        REDACTOR.add((auth.token if isinstance(auth, TokenAuth) else auth.secret_id).reveal())
    return replace(connection, auth=auth)


def _refuse_conflicts(setup: Setup) -> None:
    """Raise `UsageError` when clusters want different things of what they share."""
    conflicts = [text for name in setup.vaults for text in desired.conflicts(setup.sharing(name))]
    if conflicts:
        raise UsageError(
            "; ".join(dict.fromkeys(conflicts)),
            where="section pki",
            remedy="write the same for both clusters, or give each its own names: pki.mount or pki.mounts, "
            "pki.roles.<role>.name, pki.setup.approle.name",
        )


def _differing(results: AggregatedResult) -> list[str]:
    """Return all that `checks` has found to differ, in sentences."""
    outcomes = [result[0].result for result in results.values() if not result.failed]
    return list(dict.fromkeys(text for each in outcomes if isinstance(each, Checked) for text in each.differs))


def _refuse_left(left: Sequence[str]) -> NoReturn:
    """Raise `VaultError` for what differs and was left for want of a terminal, so that the run does not end well."""
    count = counted(len(left), "thing in Vault is", "things in Vault are")
    raise VaultError(
        f"{count} not as the inventory says, and left alone: there is no terminal to ask at",
        remedy="look at it with --check --diff, then run again with --yes, which changes it, or at a terminal; or "
        "correct the inventory",
    )


def _who_gets_credentials(program: Program[PkiOptions], setup: Setup, path: Path) -> str:
    """Return the cluster in whose row the credentials are reported.

    Raises `UsageError` when the chosen clusters have more than one AppRole, or there is another file of that name.
    """
    rows = [name for name in setup.vaults if name in program.clusters]
    apps = {name: vault_pki(setup.fleet[name][0]).setup.approle for name in rows}
    different = {(id(setup.vaults[name]), app.mount, app.name) for name, app in apps.items()}
    if len(different) != 1:
        raise UsageError(
            f"the chosen clusters have {len(different)} AppRoles",
            where="--secret-id",
            remedy="choose some by --cluster",
        )
    if not program.options.yes:
        must_be_ours(path)
    return rows[0]


def _give_credentials(
    program: Program[PkiOptions], setup: Setup, holder: str, path: Path, wrap: int, *, complete: bool
) -> None:
    """Make the file for ``--secret-id``, in the row of the cluster ``holder``, and say how to use it."""
    if not complete:
        program.record.warn(str(path), "no secret id was made, since something failed")
        return
    program.step("approle", credentials, only=[holder], setup=setup, path=path, wrap=wrap)
    if holder in program.good_hosts and not program.options.check:
        then = f"python runbooks/setup_pki.py --unwrap {path} on the machine that deploys, then " if wrap else ""
        program.say(f"The AppRole's credentials are in {path}. To use them: {then}. {path.absolute()}")
