"""Whether all members run the same version of etcd, judged from what they say. Pure."""

from __future__ import annotations

from etcdfleet.checks.findings import Finding, skipped, warned
from etcdfleet.etcd.canary import Hold, in_force
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.versions import parse

CHECK = "one version"


def version_finding(cluster: Cluster, hold: Hold | None, host: str, member: str) -> Finding:
    """Judge what the members run. ``hold`` is that of this host's marker, whose member is ``member``."""
    running = {name: status.version for name, status in cluster.by_name.items() if status.version}
    versions = sorted(set(running.values()), key=lambda text: parse(text) or (0, 0, 0))
    if not versions:
        return skipped(CHECK, "no member says it")
    if len(versions) == 1:
        return Finding(CHECK, True, f"etcd {versions[0]}")
    by_host = {(host if name == member else name): version for name, version in running.items()}
    if counts := in_force([hold], by_host):
        return warned(CHECK, counts.told(), "upgrade.py --canary", counts.ways())
    told = "; ".join(
        f"{version} on {', '.join(sorted(name for name, one in running.items() if one == version))}"
        for version in versions
    )
    return warned(
        CHECK,
        told,
        "an upgrade was interrupted, or one member is tried out before the others (status says which)",
        "python runbooks/upgrade.py goes on",
    )
