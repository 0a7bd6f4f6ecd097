"""Which members are to be reached elsewhere than now, and where that stands against a start: pure rules.

Whether one of them may be moved at this moment is decided in ``readdressing.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.membership import Mismatch, mismatches
from etcdfleet.etcd.start_model import MemberState, hosts_of


def moving(states: Sequence[MemberState], cluster: Cluster) -> tuple[MemberState, ...]:
    """Return the members that the running cluster is to reach elsewhere than now, by list or configuration.

    The list tells where the others look for a member, the configuration where it can be found.
    """
    by_name = {state.name: state for state in states}
    told = {
        one.member.name
        for one in mismatches(cluster.matched)
        if one.kind == "peer URL" and one.member and may_be_told(one, by_name, cluster)
    }
    return tuple(state for state in states if state.name in told or (state.ours and state.running and state.moves))


def may_be_told(difference: Mismatch, by_name: Mapping[str, MemberState], cluster: Cluster) -> bool:
    """Return whether the cluster may be told of this peer URL: the member's data are on the host that is to have it.

    Another scheme is no other address: etcd serves its peers by one of the two.
    """
    member = difference.member
    entry = next((entry for wanted, entry in cluster.matched.pairs if wanted == member), None)
    if member is None or entry is None or not entry.started or entry.learner:
        return False
    state = by_name[member.name]
    schemes = {url.partition("://")[0] for url in (*entry.peer_urls, member.peer_url)}
    return state.ours and state.data is not None and state.data.member_id == entry.id and len(schemes) == 1


def renamed(states: Sequence[MemberState]) -> Refusal | None:
    """Find peer URLs that are to change while no member list can be had: without a majority, the list stays as it is.

    The members look for each other by the URLs of that list, and would not find, or not believe, one with another.
    """
    observed = [state for state in states if state.seen]
    past = any(
        state.established is not None or (state.data is not None and state.data.has_past(len(states)))
        for state in observed
    )
    others = [state for state in observed if state.data and state.renamed]
    if not (past and others):
        return None
    hosts = ", ".join(hosts_of(others))
    return Refusal(
        f"{hosts} is to have another peer URL (member.fqdn, cluster.peer_port), and no majority of the members answers"
        " that could take it into the member list",
        hosts_of(others),
        "put the old member.fqdn and cluster.peer_port back into the inventory, and let the old names lead to the hosts"
        " as they are now (DNS, or /etc/hosts on all hosts of the cluster); run deploy; once the cluster is healthy,"
        " change them and run deploy again",
    )
