"""The members that a cluster is to have, as the inventory has them: what etcd's own member list is compared with."""

from __future__ import annotations

from etcdfleet.etcd.answers import ExpectedMember
from etcdfleet.settings.models import HostSettings, MemberSettings, client_url, peer_url


def expected_member(settings: HostSettings, member: MemberSettings) -> ExpectedMember:
    """Return a member with the URLs that its cluster's settings give it; ``settings`` are those of any of its hosts."""
    return ExpectedMember(member.name, peer_url(member, settings.cluster), client_url(member, settings.cluster))


def expected_members(settings: HostSettings) -> list[ExpectedMember]:
    """Return all expected members; ``settings`` are those of any of the cluster's hosts."""
    return [expected_member(settings, member) for member in settings.members]
