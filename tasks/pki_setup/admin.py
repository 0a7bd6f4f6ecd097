"""What ``runbooks/setup_pki.py`` does beside its steps: the administrator's token, the question, the credentials."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from nornir.core.task import AggregatedResult, Result, Task

from etcdfleet.errors import UsageError, VaultError
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.main import Run
from etcdfleet.program.session import at_end
from etcdfleet.report.record.secrets import REDACTOR
from etcdfleet.settings.units import parse_duration
from etcdfleet.settings.vault import vault_pki
from etcdfleet.vault import AppRoleAuth, Secret, TokenAuth, VaultConnection
from etcdfleet.vault import desired as wanted
from etcdfleet.vault.admin import VaultAdmin
from tasks.pki_setup.files import must_be_ours, read_credentials, write_credentials
from tasks.pki_setup.steps import Checked
from tasks.pki_setup.work import Setup, no_need

WRAPPED = "VAULT_WRAPPED_SECRET_ID"


def vaults_of(run: Run) -> Mapping[str, VaultAdmin]:
    """The Vault of each cluster of the inventory that has its certificates from one.

    Those that chosen clusters have are asked about with a token from the environment, or from the terminal: it lives in
    this process alone. Raises `VaultError` when it is not known where Vault is.
    """
    shared: dict[tuple[str, str | None], VaultAdmin] = {}
    found: dict[str, VaultAdmin] = {}
    chosen = sorted(run.fleet.clusters, key=lambda name: name not in run.clusters)
    for name in chosen:
        if no_need(run.fleet.clusters[name]):
            continue
        pki = vault_pki(run.fleet.clusters[name][0])
        connection = VaultConnection.from_env(address=pki.address, namespace=pki.namespace)
        key = (connection.address, connection.namespace)
        if key not in shared:
            for text in connection.warnings:
                run.record.warn(connection.address, text)
            if name in run.clusters:
                connection = _with_token(run, connection)
            shared[key] = made = VaultAdmin(connection)
            at_end(run.nornir.config, made.close)
        found[name] = shared[key]
    return {name: found[name] for name in run.fleet.clusters if name in found}


def _with_token(run: Run, connection: VaultConnection) -> VaultConnection:
    auth: TokenAuth | AppRoleAuth | None = connection.auth
    if auth is None and sys.stdin.isatty():
        token = run.ask_secret(f"Administrator's token for {connection.address} (it is stored nowhere): ").strip()
        auth = TokenAuth(Secret(token), "the terminal") if token else None
    if auth is not None:
        REDACTOR.add((auth.token if isinstance(auth, TokenAuth) else auth.secret_id).reveal())
    return replace(connection, auth=auth)


def refuse_conflicts(setup: Setup) -> None:
    """Raises `UsageError` when clusters want something that they share otherwise."""
    said = [text for name in setup.vaults for text in wanted.conflicts(setup.sharing(name))]
    if said:
        raise UsageError(
            "; ".join(dict.fromkeys(said)),
            where="section pki",
            remedy="write the same for both clusters, or give them names of their own: pki.mount or pki.mounts, "
            "pki.roles.<role>.name, pki.setup.approle.name",
        )


def differing(results: AggregatedResult) -> list[str]:
    """All that `checks` has found to be otherwise, in sentences."""
    outcomes = [result[0].result for result in results.values() if not result.failed]
    return list(dict.fromkeys(text for each in outcomes if isinstance(each, Checked) for text in each.differs))


def refuse_left(left: Sequence[str]) -> NoReturn:
    """Raises `VaultError` for what differs, and was left since nobody could be asked: this is not what the inventory
    says, so the run does not end well."""
    count = "1 thing in Vault is" if len(left) == 1 else f"{len(left)} things in Vault are"
    raise VaultError(
        f"{count} not as the inventory says, and left alone: there is no terminal to ask at",
        remedy="look at it with --check --diff, then run again with --yes, which changes it, or at a terminal; or "
        "correct the inventory",
    )


def wrap_seconds(text: str | None) -> int:
    """``--wrap`` in seconds, 0 for none. Raises `UsageError`."""
    if text is None:
        return 0
    try:
        seconds = int(parse_duration(text).total_seconds())
    except ValueError as error:
        raise UsageError(str(error), where="--wrap", remedy="write a time such as 10m or 1h") from None
    if seconds < 1:
        raise UsageError("a wrapped secret id must live for some time", where="--wrap", remedy="write 10m, or 1h")
    return seconds


def who_gets_credentials(run: Run, setup: Setup, path: Path) -> str:
    """The cluster in whose row the credentials are reported.

    Raises `UsageError` when the chosen clusters have more than one AppRole, or there is another file of that name.
    """
    rows = [name for name in setup.vaults if name in run.clusters]
    apps = {name: vault_pki(setup.fleet[name][0]).setup.approle for name in rows}
    different = {(id(setup.vaults[name]), app.mount, app.name) for name, app in apps.items()}
    if len(different) != 1:
        raise UsageError(
            f"the chosen clusters have {len(different)} AppRoles",
            where="--secret-id",
            remedy="choose some by --cluster",
        )
    if not run.options.yes:
        must_be_ours(path)
    return rows[0]


def give_credentials(run: Run, setup: Setup, holder: str, *, complete: bool) -> None:
    """Makes the file for ``--secret-id``, in the row of the cluster ``holder``, and says how to use it."""
    path, wrap = run.options.extra["secret_id"], wrap_seconds(run.options.extra["wrap"])
    if not complete:
        run.record.warn(str(path), "no secret id was made, since something failed")
        return
    run.step("approle", credentials, only=[holder], setup=setup, path=path, wrap=wrap)
    if holder in run.good_hosts and not run.options.check:
        then = f"python runbooks/setup_pki.py --unwrap {path} on the machine that deploys, then " if wrap else ""
        run.say(f"The AppRole's credentials are in {path}. To use them: {then}. {path.absolute()}")


def credentials(task: Task, setup: Setup, path: Path, wrap: int) -> Result:
    """A new secret id of the AppRole, in a file for its owner only.

    With ``wrap`` seconds the file holds a token instead that gives the secret id once within that time, to `unwrap`.
    Result: ``result`` is a `StepOutcome`. Raises `UsageError` when the file cannot be written, `VaultError`.
    """
    what = f"a {'wrapped ' if wrap else ''}secret id is made, in {path}"
    if task.is_dry_run():
        return Result(task.host, result=StepOutcome(changes=(what,)), changed=True)
    admin, app = setup.vaults[task.host.name], vault_pki(setup.fleet[task.host.name][0]).setup.approle
    role = admin.read(f"auth/{app.mount}/role/{app.name}/role-id") or {}
    secret = admin.new_secret_id(app.mount, app.name, wrap)
    REDACTOR.add(secret.reveal())
    connection = admin.connection
    variables = {"VAULT_ADDR": connection.address}
    if isinstance(connection.verify, str):
        folder = Path(connection.verify).is_dir()
        variables["VAULT_CAPATH" if folder else "VAULT_CACERT"] = str(Path(connection.verify).resolve())
    variables |= {"VAULT_NAMESPACE": connection.namespace} if connection.namespace else {}
    variables |= {"VAULT_APPROLE_MOUNT": app.mount} if app.mount != "approle" else {}
    variables["VAULT_ROLE_ID"] = str(role.get("role_id", ""))
    variables[WRAPPED if wrap else "VAULT_SECRET_ID"] = secret.reveal()
    write_credentials(path, variables)
    return Result(task.host, result=StepOutcome("secret id made", (what,)), changed=True)


def unwrap(path: Path) -> str:
    """Replaces the wrapped secret id in a file of `credentials` by the secret id; says so. Raises `FleetError`."""
    variables = read_credentials(path)
    token = variables.pop(WRAPPED, "")
    if not token:
        raise UsageError("there is no wrapped secret id in it", where=str(path), remedy="was it unwrapped already?")
    REDACTOR.add(token)
    connection = VaultConnection.from_env(environ={**variables, "VAULT_TOKEN": token})
    try:
        with VaultAdmin(connection) as vault:
            secret = vault.unwrap()
    except VaultError as error:
        raise VaultError(
            f"the secret id cannot be unwrapped: {error.what}",
            where=error.where,
            remedy="it can be unwrapped once, and only for a while. If nobody here did it, somebody else may have it: "
            "have the administrator make a new one (setup_pki.py --secret-id), and destroy the old one",
        ) from error
    REDACTOR.add(secret.reveal())
    write_credentials(path, {**variables, "VAULT_SECRET_ID": secret.reveal()})
    return f"The secret id is in {path} now. To use it: . {path}"
