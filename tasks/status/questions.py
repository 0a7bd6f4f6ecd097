"""What a member is asked on its own host for a glance at it."""

from __future__ import annotations

from etcdfleet import timeouts
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.settings.models import HostSettings

NOBODY = 44
"""Exit code of a question when nothing listens on the member's port."""


def questions(settings: HostSettings, *, members: bool = True) -> dict[str, str]:
    """What the member on the host is asked, by etcdctl. Where nothing listens, etcdctl would wait all of its time."""
    listens = f"grep -qsiE ':{settings.cluster.client_port:04X} 0+:0000 0A ' /proc/net/tcp /proc/net/tcp6"
    # For one short question, Go's collector and further threads cost a small host more than they give.
    before = f"{listens} || exit {NOBODY}\nexport GOGC=off GOMAXPROCS=1\n"
    asked = {
        "status": "endpoint status",
        "health": "endpoint health",
        **({"members": "member list"} if members else {}),
    }
    endpoint = [local_endpoint(settings)]
    return {
        name: before + etcdctl(settings, f"-w json {words}", endpoint, seconds=timeouts.ETCDCTL_QUICK)
        for name, words in asked.items()
    }
