"""Credentials of the AppRole, in a file for its owner only: made, or unwrapped from what was handed over."""

from __future__ import annotations

from pathlib import Path

from nornir.core.task import Result, Task

from etcdfleet.errors import UsageError, VaultError
from etcdfleet.outcome import done
from etcdfleet.report.record.secrets import REDACTOR
from etcdfleet.settings.vault import vault_pki
from etcdfleet.text import parse_duration
from etcdfleet.vault import VaultConnection
from etcdfleet.vault.admin import VaultAdmin
from tasks.vault.files import read_credentials, write_credentials
from tasks.vault.work import Setup

WRAPPED = "VAULT_WRAPPED_SECRET_ID"


def wrap_seconds(text: str | None) -> int:
    """Return ``--wrap`` in seconds, 0 for none. Raises `UsageError`."""
    if text is None:
        return 0
    try:
        seconds = int(parse_duration(text).total_seconds())
    except ValueError as error:
        raise UsageError(str(error), where="--wrap", remedy="write a time such as 10m or 1h") from None
    if seconds < 1:
        raise UsageError("a wrapped secret id must live for some time", where="--wrap", remedy="write 10m, or 1h")
    return seconds


def credentials(task: Task, setup: Setup, path: Path, wrap: int) -> Result:
    """Make a secret id of the AppRole, in a file for its owner only.

    With ``wrap`` seconds the file holds a token instead that gives the secret id once within that time, to `unwrap`.
    Raises `UsageError` when the file cannot be written, `VaultError`.
    """
    what = f"a {'wrapped ' if wrap else ''}secret id is made, in {path}"
    if task.is_dry_run():
        return done(task, "", [what])
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
    return done(task, "secret id made", [what])


def unwrap(path: Path) -> str:
    """Replace the wrapped secret id in a file of `credentials` by the secret id; say so. Raises `FleetError`."""
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
            remedy="it can be unwrapped once, and only for a while. If you did not do that, someone else may have it: "
            "have the administrator make a new one (setup_pki.py --secret-id), and destroy the old one",
        ) from error
    REDACTOR.add(secret.reveal())
    write_credentials(path, {**variables, "VAULT_SECRET_ID": secret.reveal()})
    return f"The secret id is in {path} now. To use it: . {path}"
