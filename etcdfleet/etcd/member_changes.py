"""Why a cluster's members must not be changed now: pure rules, the same for each that comes or goes."""

from __future__ import annotations

from collections.abc import Sequence

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import Member
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.versions import parse

RECOVER = (
    "without a majority no member can be removed or added: bring members back until there is one (see etcd's log on"
    " them), or restore the cluster: python runbooks/restore.py --cluster NAME says from what, and what each loses"
)
HEAL = "bring the others back to health first (see etcd's log on them), then run again"


def unfit(host: str, name: str, others: Sequence[Member], cluster: Cluster) -> Refusal | None:
    """Return why the member ``name`` on ``host`` must not come or go now: the others have to carry the cluster.

    ``others`` are the entries of the list but its own. A majority of their votes must be healthy, and nothing else
    under way among them.
    """
    voters = [entry for entry in others if not entry.learner]
    if not voters:
        what = f"{name} is the only member of its cluster: what it has lost is nowhere else"
        remedy = "restore the cluster: python runbooks/restore.py --cluster NAME says from what, and what each loses"
        return Refusal(what, (host,), remedy)
    well = [entry for entry in voters if entry.id in cluster.by_id and not cluster.sickness(entry)]
    quorum = len(voters) // 2 + 1
    if len(well) < quorum:
        sick = "; ".join(
            f"{cluster.name(entry.id)}: {cluster.sickness(entry)}" for entry in voters if entry not in well
        )
        return Refusal(
            f"nothing was changed: {len(well)} of the {len(voters)} other members are healthy, and {quorum} must be"
            f" ({sick})",
            (host,),
            RECOVER,
        )
    return _unsettled(host, others, well, cluster)


def _unsettled(host: str, others: Sequence[Member], well: Sequence[Member], cluster: Cluster) -> Refusal | None:
    ids = {entry.id for entry in others}
    corrupt = [cluster.name(number) for number in cluster.alarms.get("CORRUPT", ()) if number in ids]
    if corrupt:
        what = f"{', '.join(corrupt)} reports corrupt data (alarm CORRUPT), and a new member would get its data"
        return Refusal(what, (host,), "replace that member first, as long as a majority of the others agrees")
    learners = [cluster.name(entry.id) for entry in others if entry.learner]
    if learners:
        what = f"{', '.join(learners)} is a learner already, and a cluster takes in one member at a time"
        return Refusal(what, (host,), f"finish that first: runbooks/replace_member.py {learners[0]}")
    joining = [cluster.name(entry.id) for entry in others if not entry.started]
    if joining:
        what = f"{', '.join(joining)} was added and has never started"
        return Refusal(what, (host,), f"finish that first: runbooks/replace_member.py {joining[0]}")
    statuses = [cluster.by_id[entry.id] for entry in well]
    if cluster.divergence and sum(cluster.divergence.concerns(entry.id) for entry in well) > 0:
        odd = {status.member_id for status in cluster.divergence.odd}
        if not odd or odd & {entry.id for entry in well}:
            what = f"the others do not hold the same data: {cluster.diverged()}"
            return Refusal(what, (host,), "see docs/hosts.md, A member with other data")
    minors = {(parse(status.version) or ())[:2] for status in statuses}
    if len(minors) > 1:
        versions = ", ".join(f"{cluster.name(status.member_id)} {status.version}" for status in statuses)
        what = f"the members run different versions of etcd ({versions})"
        return Refusal(what, (host,), "finish the upgrade first: run deploy for the members that are left")
    leaders = {(status.leader_id, status.term) for status in statuses}
    if len(leaders) > 1 or 0 in {leader for leader, _ in leaders}:
        return Refusal("an election is under way", (host,), "run again in a moment")
    return None


def unfit_version(host: str, version: str, cluster: Cluster) -> Refusal | None:
    """Return why a host that would run this etcd must not join: its minor is not the one that the members run.

    etcd would let it, as in the midst of an upgrade; but what the first of a newer minor writes as a learner, older
    members have got wrong (etcd pull request 20793). Nothing is refused where a version is not known.
    """
    wanted = parse(version)
    running = sorted({status.version for status in cluster.statuses if parse(status.version)})
    if wanted is None or not running or any((parse(text) or ())[:2] == wanted[:2] for text in running):
        return None
    return Refusal(
        f"{host} would join with etcd {version}, and the members run {', '.join(running)}: a cluster takes in no member"
        " of another minor version",
        (host,),
        "let install.version or install.method bring it the minor version that they run (docs/hosts.md, Another version"
        " of etcd), or upgrade them first",
    )
