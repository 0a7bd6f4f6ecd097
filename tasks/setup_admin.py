"""What ``runbooks/setup_pki.py`` does beside its steps: the administrator's token, the question, the credentials."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from nornir.plugins.runners import SerialRunner

from etcdfleet.cli import Run
from etcdfleet.errors import UsageError, VaultError
from etcdfleet.report.secrets import REDACTOR
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.units import parse_duration
from etcdfleet.step import StepOutcome
from etcdfleet.vault import VaultConnection
from etcdfleet.vault.admin import VaultAdmin
from tasks.csr_files import read_credentials, write_credentials
from tasks.setup_pki import approle, roles

WRAPPED = "VAULT_WRAPPED_SECRET_ID"


def ask_for_token(run: Run) -> None:
    """Asks for a token at the terminal where the environment has none. It lives in this process alone."""
    for members in run.fleet.clusters.values():
        pki = members[0].pki
        if pki.source != "vault" or members[0].cluster.name not in run.clusters:
            continue
        connection = VaultConnection.from_env(address=pki.address, namespace=pki.namespace)
        if connection.auth is None and sys.stdin.isatty():
            token = getpass.getpass(f"Administrator's token for {connection.address} (stored nowhere): ").strip()
            if token:
                REDACTOR.add(token)
                os.environ["VAULT_TOKEN"] = token


def differing(run: Run) -> list[str]:
    """All that is in Vault already and differs, in sentences."""
    found: dict[str, None] = {}
    for task in (roles, approle):
        if not run.good_hosts:
            break
        results = run.step(
            "look",
            task,
            only=run.good_hosts,
            runner=SerialRunner(),
            fleet=run.fleet.clusters,
            agreed=False,
            look=True,
        )
        for result in results.values():
            if not result.failed and isinstance(outcome := result[0].result, StepOutcome):
                found |= dict.fromkeys(outcome.facts.get("left_as_they_are", ()))
    return list(found)


def hand_out(run: Run, path: Path, wrap: str | None) -> None:
    """A new secret id of the AppRole, in a file for its owner only.

    With ``wrap`` (a duration) the file holds a token instead that gives the secret id once, to `unwrap`. Raises
    `UsageError` when the clusters do not have one AppRole, `VaultError` when Vault refuses.
    """
    seconds = _seconds(wrap) if wrap else 0
    settings = {_key(pki): pki for members in _chosen(run) if (pki := members[0].pki)}
    if len(settings) != 1:
        raise UsageError(
            f"the chosen clusters have {len(settings)} AppRoles", where="--secret-id", remedy="choose some by --cluster"
        )
    pki = next(iter(settings.values()))
    app = pki.setup.approle
    connection = VaultConnection.from_env(address=pki.address, namespace=pki.namespace)
    with VaultAdmin(connection) as admin:
        role = admin.read(f"auth/{app.mount}/role/{app.name}/role-id") or {}
        secret = admin.new_secret_id(app.mount, app.name, seconds)
    REDACTOR.add(secret.reveal())
    variables = {"VAULT_ADDR": connection.address}
    variables |= {"VAULT_CACERT": str(Path(connection.verify).resolve())} if isinstance(connection.verify, str) else {}
    variables |= {"VAULT_NAMESPACE": connection.namespace} if connection.namespace else {}
    variables |= {"VAULT_APPROLE_MOUNT": app.mount} if app.mount != "approle" else {}
    variables["VAULT_ROLE_ID"] = str(role.get("role_id", ""))
    variables[WRAPPED if seconds else "VAULT_SECRET_ID"] = secret.reveal()
    write_credentials(path, variables, replace=run.options.yes)
    then = f"on the machine that deploys: python runbooks/setup_pki.py --unwrap {path.name}, then " if seconds else ""
    run.say(f"The AppRole's credentials are in {path}. To use them, {then}. {path.name if seconds else path}")


def unwrap(path: Path) -> str:
    """Replaces the wrapped secret id in a file of `hand_out` by the secret id; says so. Raises `FleetError`."""
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
    write_credentials(path, {**variables, "VAULT_SECRET_ID": secret.reveal()}, replace=False)
    return f"The secret id is in {path} now. To use it: . {path}"


def _chosen(run: Run) -> list[tuple[HostSettings, ...]]:
    return [run.fleet.clusters[name] for name in run.clusters if run.fleet.clusters[name][0].pki.source == "vault"]


def _key(pki: PkiSettings) -> tuple[object, ...]:
    return pki.address, pki.namespace, pki.setup.approle.mount, pki.setup.approle.name


def _seconds(text: str) -> int:
    try:
        return int(parse_duration(text).total_seconds())
    except ValueError as error:
        raise UsageError(str(error), where="--wrap", remedy="write a time such as 10m or 1h") from None
