"""Whether all members run the same version of etcd, judged from what they say. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from etcdfleet.checks.findings import Finding, skipped, warned
from etcdfleet.etcd.canary import Hold, in_force
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.downgrades import unfinished
from etcdfleet.etcd.versions import parse

CHECK = "one version"
_CAUSE = "an upgrade is not complete, or the distribution of a host was upgraded and brought another etcd"


def version_finding(cluster: Cluster, hold: Hold | None, host: str, member: str) -> Finding:
    """Judge what the members run. ``hold`` is that of this host's marker, whose member is ``member``."""
    running = {name: status.version for name, status in cluster.by_name.items() if status.version}
    versions = sorted(set(running.values()), key=lambda text: parse(text) or (0, 0, 0))
    if not versions:
        return skipped(CHECK, "no member says it")
    what, remedy = unfinished(cluster)
    if what:
        return warned(CHECK, what, "a run that was ended on the way, or etcdctl downgrade enable by hand", remedy)
    if len(versions) == 1:
        return Finding(CHECK, True, f"etcd {versions[0]}")
    by_host = {(host if name == member else name): version for name, version in running.items()}
    if counts := in_force([hold], by_host):
        return warned(CHECK, counts.told(), "upgrade.py --canary", counts.ways())
    return warned(CHECK, _told(running), _CAUSE, how_the_others_follow(versions[-1]))


def how_the_others_follow(newest: str) -> str:
    """Return what brings all members to the newest version that runs."""
    return (
        "python runbooks/upgrade.py finishes an upgrade, or deploy within one minor version; where the distribution of"
        f" the other hosts has no {newest}, upgrade that too, or ask for {newest} first by install.method: archive"
    )


def mixed_minors(cluster: Cluster) -> str:
    """Return which members run which version, why that may be and what to do, if their minor versions differ.

    So also where etcd's job to go back by one is under way, which keeps the cluster version down.
    """
    what, remedy = unfinished(cluster)
    if what:
        return f"{what}; {remedy}"
    running = {name: status.version for name, status in cluster.by_name.items() if status.version}
    minors = {version[:2] for text in running.values() if (version := parse(text))}
    if len(minors) < 2:
        return ""
    remedy = how_the_others_follow(max(running.values(), key=lambda text: parse(text) or (0, 0, 0)))
    return f"members run more than one minor version: {_told(running)}; {_CAUSE}; {remedy}"


def _told(running: Mapping[str, str]) -> str:
    versions = sorted(set(running.values()), key=lambda text: parse(text) or (0, 0, 0))
    return "; ".join(
        f"{version} on {', '.join(sorted(name for name, one in running.items() if one == version))}"
        for version in versions
    )
