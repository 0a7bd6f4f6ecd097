"""The step ``auth`` of deploy and setup_auth: proofs from all hosts of a cluster, then changes through one of them."""

from __future__ import annotations

from collections.abc import Mapping

from nornir.core.task import Result, Task

from etcdfleet.etcd.auth import Proof
from etcdfleet.program.main import Run
from etcdfleet.settings.auth import ROOT
from tasks.auth import Evidence, Proven, client_name, converge_auth, prove_access, read_access
from tasks.observe import site_of

STEP = "auth"


def managed(run: Run, cluster: str) -> bool:
    """Whether the inventory says anything about roles, users or authentication of a cluster."""
    return run.fleet.clusters[cluster][0].auth.managed


def converge(run: Run, clusters: Mapping[str, tuple[str, ...]], *, prune: bool = False) -> None:
    """Carries out the step ``auth`` for these clusters; failures and refusals are recorded in ``run.record``."""
    for cluster, hosts in clusters.items():
        if not managed(run, cluster):
            run.record.skip(hosts, STEP, "the inventory has no section auth for this cluster")
    ours = {cluster: _good(run, hosts) for cluster, hosts in clusters.items() if managed(run, cluster)}
    _converge(run, {cluster: hosts for cluster, hosts in ours.items() if hosts}, prune=prune)


def keep_access(run: Run, clusters: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """Before new client certificates are placed: whom they name must be root already; gives the clusters that go on.

    With authentication on, hosts whose certificates name somebody whom etcd does not know would be locked out, and with
    them everybody who could change that. The user is made now, by the certificates of before, or where the inventory
    does not manage users the cluster is left alone.
    """
    renamed = {
        cluster: hosts
        for cluster, hosts in clusters.items()
        if run.fleet.clusters[cluster][0].cluster.client_tls and _renamed(run, _good(run, hosts))
    }
    early = {cluster: hosts for cluster, hosts in renamed.items() if _needs_user(run, cluster, hosts)}
    _converge(run, {cluster: _good(run, hosts) for cluster, hosts in early.items() if managed(run, cluster)})
    kept = dict(clusters)
    for cluster in early:
        if managed(run, cluster):
            continue
        name = run.fleet.clusters[cluster][0].pki.client_common_name
        run.record.protect(
            cluster,
            f"authentication is on, and {name}, whom the hosts' new client certificates would name, is no user with "
            "role root: etcdctl on the hosts would be locked out",
            f"add a section auth for this cluster (docs/auth.md), make the user with etcdctl (user add --no-password "
            f"{name}; user grant-role {name} root), or correct pki.client_common_name",
        )
        run.record.skip_rest(clusters[cluster], f"stopped to protect cluster {cluster}")
        del kept[cluster]
    return kept


def is_renamed(task: Task) -> Result:
    """Whether the client certificate on a running member's host names somebody else than the inventory says."""
    site = site_of(task)
    seen = site.observe()
    there = client_name(seen)
    wanted = site.settings.pki.client_common_name
    return Result(task.host, result=seen.service.running and bool(there) and there != wanted)


def _renamed(run: Run, hosts: tuple[str, ...]) -> bool:
    if not hosts:
        return False
    return any(result[0].result for result in run.step("look", is_renamed, only=hosts).values() if not result.failed)


def _needs_user(run: Run, cluster: str, hosts: tuple[str, ...]) -> bool:
    """Whether authentication is on and the wanted name is no root; False when no member says."""
    name = run.fleet.clusters[cluster][0].pki.client_common_name
    for host in _good(run, hosts):
        for result in run.step("look", read_access, only=[host]).values():
            state = None if result.failed else result[0].result
            if state is not None:
                return bool(state.enabled and ROOT not in state.users.get(name, frozenset()))
    return False


def _converge(run: Run, clusters: Mapping[str, tuple[str, ...]], *, prune: bool = False) -> None:
    if not clusters:
        return
    proofs = _prove(run, [host for hosts in clusters.values() for host in hosts])
    evidence: dict[str, Evidence] = {}
    for cluster, hosts in clusters.items():
        found = tuple(proofs[host] for host in hosts if host in proofs)
        if not found:
            continue
        chosen = next((proof.host for proof in found if not proof.refusal), found[0].host)
        every = [settings.name for settings in run.fleet.clusters[cluster]]
        unseen = tuple(host for host in every if host not in proofs)
        early = run.options.check and any(_will_change(run, host) for host in hosts)
        evidence[chosen] = Evidence(found, unseen, early)
        run.record.skip([host for host in hosts if host != chosen], STEP, f"done for the whole cluster on {chosen}")
    if evidence:
        run.step(STEP, converge_auth, only=list(evidence), evidence=evidence, prune=prune)


def _prove(run: Run, hosts: list[str]) -> dict[str, Proof]:
    found = {}
    for host, result in run.step("look", prove_access, only=hosts).items():
        outcome = None if result.failed else result[0].result
        if isinstance(outcome, Proven) and outcome.proof:
            found[host] = outcome.proof
    return found


def _will_change(run: Run, host: str) -> bool:
    """With --check: whether steps before this one would change the host."""
    steps = run.record.record.hosts[host].steps
    return any(steps[name].changes for name in ("certificates", "configure", "start") if name in steps)


def _good(run: Run, hosts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(host for host in hosts if host in run.good_hosts)
