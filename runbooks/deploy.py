#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Turn hosts into verified, TLS-secured etcd clusters, and keep them so: run it as often as you like."""

from __future__ import annotations

import sys

import _start  # type: ignore[import-not-found] # noqa: F401  sets the import path, finds the project's own Python

from etcdfleet.program.arguments import add_lock_argument
from etcdfleet.program.main import Run, run_runbook

STEPS = [
    ("preflight", "Preflight"),
    ("install", "Install"),
    ("trust", "Trust"),
    ("certificates", "Certificates"),
    ("configure", "Configure"),
    ("start", "Start"),
    ("auth", "Roles and users"),
    ("verify", "Verify"),
]

DESCRIPTION = """\
Installs etcd on all hosts of the inventory, places certificates, renders the configuration, starts the members of each
cluster, brings etcd's roles and users to what the inventory says, and proves that all of it works. Nothing is changed
before all chosen hosts have passed the preflight. A second run changes nothing; a changed setting is brought to a live
cluster by a rolling restart, one healthy member at a time."""

EXAMPLES = """\
  python runbooks/deploy.py --check --diff          what would change, and how
  python runbooks/deploy.py                         all clusters of the inventory
  python runbooks/deploy.py --cluster k8s-home      one cluster
  python runbooks/deploy.py --limit 'etcd-az-*'     some hosts"""


def deploy(run: Run) -> None:
    """The steps of a deploy, in order; a host that fails one takes no part in the later ones."""
    from tasks.access import converge, keep_access
    from tasks.configure import configure
    from tasks.handover import keep_clients
    from tasks.install import install
    from tasks.lock import take_locks
    from tasks.preflight import preflight
    from tasks.reach import look_between
    from tasks.replacing import place_pairs, replace_late
    from tasks.rollout import bring_up, due_for_restart, look_ahead
    from tasks.trust import no_longer_needed, spread_trust
    from tasks.upgrades import refuse_versions
    from tasks.verify import verify

    run.step("preflight", preflight)
    if len(run.good_hosts) == len(run.hosts):
        look_between(run, run.clusters)
    failed = [host for host in run.hosts if host not in run.good_hosts]
    if failed:
        run.record.skip_rest(run.good_hosts, f"nothing was changed, since {_some(failed)} failed the preflight")
        return
    clusters = take_locks(run, run.clusters)
    outlook = look_ahead(run, clusters)
    clusters = {name: hosts for name, hosts in clusters.items() if name not in outlook.refused}
    refused = refuse_versions(run, clusters)
    clusters = {name: hosts for name, hosts in clusters.items() if name not in refused}
    clusters = keep_access(run, clusters)

    def good() -> list[str]:
        return [host for hosts in clusters.values() for host in hosts if host in run.good_hosts]

    due: set[str] = set()
    if good():
        due |= due_for_restart(run.step("install", install, only=good()))
    clusters = keep_clients(run, spread_trust(run, clusters, due))
    clusters, late = place_pairs(run, clusters)
    if good():
        final = no_longer_needed(run, clusters)
        due |= due_for_restart(run.step("configure", configure, only=good(), final=final, fresh=outlook.fresh))
    clusters = bring_up(run, clusters, due=due if run.options.check else (), programs=True)
    clusters = replace_late(run, clusters, late)
    converge(run, clusters)
    ready = [host for host in good() if not _unfinished(run, host)]
    run.record.skip([host for host in good() if host not in ready], "verify", "its cluster is not as wanted yet")
    if ready:
        whole = [name for name, hosts in clusters.items() if len(hosts) == len(run.fleet.clusters[name])]
        as_wanted = [name for name in whole if set(clusters[name]) <= set(ready)]
        run.step("verify", verify, only=ready, as_wanted=as_wanted)


def _unfinished(run: Run, host: str) -> bool:
    """With --check, a host on which something would change cannot be as the inventory says; nor can its cluster."""
    if not run.options.check:
        return False
    cluster = next(hosts for hosts in run.clusters.values() if host in hosts)
    return any(step.changes for name in cluster for step in run.record.record.hosts[name].steps.values())


def _some(hosts: list[str]) -> str:
    return ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")


if __name__ == "__main__":
    sys.exit(
        run_runbook(
            "deploy", deploy, description=DESCRIPTION, steps=STEPS, examples=EXAMPLES, add_arguments=add_lock_argument
        )
    )
