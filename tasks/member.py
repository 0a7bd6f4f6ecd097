"""What a running member says of itself and of its cluster, asked through etcdctl on its own host."""

from __future__ import annotations

import time
from dataclasses import dataclass

from etcdfleet import timeouts
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.answers import EndpointStatus, MemberList, parse_health, parse_member_list, parse_status, parsed
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.equal import CONFIRMATIONS, PAUSE_SECONDS
from etcdfleet.etcd.etcdctl import all_endpoints, etcdctl
from etcdfleet.etcd.expected import expected_members
from etcdfleet.settings.models import client_url
from tasks.observe import Site

_NO_OTHER_SCHEME = (
    "connect: connection refused",
    "remote error: tls: ",
    "authentication handshake failed: x509: ",
)
"""What etcdctl says of its last attempt to connect where no program listens, or where one speaks TLS, and refuses the
client, cannot load its own pair, or shows a certificate that is of no use."""


@dataclass(frozen=True)
class MemberAnswers:
    """A member's answers: its own status, and the member list as it knows it; ``None`` where it gave no answer."""

    status: EndpointStatus | None = None
    members: MemberList | None = None


def ask_member(site: Site) -> MemberAnswers:
    """Ask the member on its own host. It may still run with the scheme from before a change of ``client_tls``.

    The other scheme is not tried where the answer to the first one shows that it cannot be that: where nothing listens,
    or something speaks TLS. It would cost as much time again.
    """
    wanted = site.settings.cluster.client_tls
    for tls in (wanted, not wanted):
        endpoint = [site.here(tls=tls)]
        answers = site.remote.batch(
            {
                "status": etcdctl(site.settings, "-w json endpoint status", endpoint),
                "members": etcdctl(site.settings, "-w json member list", endpoint),
            },
            parallel=True,
        )
        statuses = parsed(parse_status, answers["status"].stdout, answers["status"].stderr)
        members = parsed(parse_member_list, answers["members"].stdout, answers["members"].stderr)
        if statuses or members:
            return MemberAnswers(statuses[0] if statuses else None, members)
        if any(sign in answer.stderr for answer in answers.values() for sign in _NO_OTHER_SCHEME):
            break
    return MemberAnswers()


def ask_others(site: Site) -> MemberList | None:
    """Return the member list as any other member has it, for when the one on this host does not answer."""
    own = client_url(site.settings.member, site.settings.cluster)
    others = [endpoint for endpoint in all_endpoints(site.settings) if endpoint != own]
    if not others:
        return None
    answer = site.remote.run(etcdctl(site.settings, "-w json member list", others))
    return parsed(parse_member_list, answer.stdout, answer.stderr)


def ask_cluster(site: Site, members: MemberList) -> Cluster:
    """Ask all members of the list at the client URLs that they advertise now. Raises `FleetError`.

    Members that seem to hold different data are asked again: what one look shows of that may be an accident of timing.
    """
    for _ in range(CONFIRMATIONS):
        cluster = _ask_cluster(site, members)
        if not cluster.divergence:
            return cluster
        time.sleep(PAUSE_SECONDS)
    return _ask_cluster(site, members)


def _ask_cluster(site: Site, members: MemberList) -> Cluster:
    endpoints = [url for member in members.members for url in member.client_urls[:1]]
    if not endpoints:
        raise VerificationError(
            "no member advertises a client URL", where=site.settings.name, remedy="see etcd's log on the hosts"
        )
    answers = site.remote.batch(
        {
            "status": etcdctl(site.settings, "-w json endpoint status", endpoints),
            "health": etcdctl(site.settings, "-w json endpoint health", endpoints),
        },
        parallel=True,
        timeout=60 + timeouts.ETCDCTL * len(endpoints),
    )
    return Cluster(
        tuple(expected_members(site.settings)),
        members,
        parse_status(answers["status"].stdout, answers["status"].stderr),
        parse_health(answers["health"].stdout, answers["health"].stderr),
    )
