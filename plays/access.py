"""The step ``auth``: proofs from all hosts of a cluster, then changes of etcd's roles and users through one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etcdfleet.etcd.auth import AuthState
from etcdfleet.program.run import Run
from etcdfleet.settings.auth import ROOT
from plays import lock
from plays.options import AuthOptions
from tasks.auth.converge import Proven, converge_auth, is_renamed, prove_access, read_access
from tasks.verify.member import verify

STEP = "auth"
UNMANAGED = "the inventory has no section auth for this cluster"


def setup_auth(run: Run[AuthOptions]) -> None:
    """Bring roles, users and authentication of a running cluster to what the inventory says."""
    if not managed(run):
        run.leave(UNMANAGED)
    lock.take(run)
    converge(run, prune=run.own.prune, proof="access")
    if run.check and run.changed(STEP):
        run.skip("verify", "something would change")
    else:
        run.step("verify", verify)


def managed(run: Run[Any]) -> bool:
    """Return whether the inventory says anything about roles, users or authentication of the cluster."""
    return run.members[0].auth.managed


def converge(run: Run[Any], *, prune: bool = False, proof: str = "") -> None:
    """Carry out the step ``auth``. ``proof`` names the step that proves access, where that is one of its own."""
    if not managed(run):
        run.skip(STEP, UNMANAGED)
        return
    proven: dict[str, Proven] = run.step(proof, prove_access) if proof else run.ask(prove_access)
    proofs = {host: outcome.proof for host, outcome in proven.items()}
    if not proofs:
        return
    chosen = next((host for host in proofs if not proofs[host].refusal), next(iter(proofs)))
    unseen = [member.name for member in run.members if member.name not in proofs]
    early = run.check and bool(run.changed("certificates", "configure", "start"))
    run.skip(STEP, f"done for the whole cluster on {chosen}", on=[host for host in run.pending(STEP) if host != chosen])
    run.step(STEP, converge_auth, on=[chosen], proofs=list(proofs.values()), unseen=unseen, early=early, prune=prune)


def keep_root(run: Run[Any]) -> None:
    """Before new client certificates are placed: the user they name must be root already, else leave the cluster.

    With authentication on, hosts whose certificates name a user that etcd does not know would be locked out, and with
    them everybody who could change that. The user is made now, by the previous certificates; where the inventory does
    not manage users, the cluster is left alone.
    """
    if not run.members[0].cluster.client_tls or not any(run.ask(is_renamed).values()):
        return
    name = run.members[0].pki.client_common_name
    if not _needs_user(run, name, run.good):
        return
    if managed(run):
        converge(run)
        return
    run.protect(
        f"authentication is on, and {name}, the user in the hosts' new client certificates, is no user with role root: "
        "etcdctl on the hosts would be locked out",
        f"add a section auth for this cluster (docs/auth.md), make the user with etcdctl (user add --no-password "
        f"{name}; user grant-role {name} root), or correct pki.client_common_name",
    )


def _needs_user(run: Run[Any], name: str, hosts: Sequence[str]) -> bool:
    """Return whether authentication is on and the wanted name is no root; False when no member says."""
    for host in hosts:
        state: AuthState | None = run.ask(read_access, on=[host]).get(host)
        if state is not None:
            return bool(state.enabled and ROOT not in state.users.get(name, frozenset()))
    return False
