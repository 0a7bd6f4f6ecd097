"""A key is written through a member, and deleted: for what etcd does with its database or its log upon a write."""

from __future__ import annotations

from etcdfleet import timeouts
from etcdfleet.checks.write_probe import RESERVED_PREFIX
from etcdfleet.etcd.etcdctl import etcdctl
from etcdfleet.etcd.removed_members import loses_members
from tasks.observe import Site
from tasks.programs import offered


def write_key(site: Site, *, tls: bool | None = None) -> None:
    """Write a key below `RESERVED_PREFIX` through the member on the host, and delete it.

    ``tls``: whether it serves clients with TLS now, else as the settings say. Raises `RemoteError`.
    """
    here = [site.here(tls=site.settings.cluster.client_tls if tls is None else tls)]
    key = f"{RESERVED_PREFIX}written/{site.settings.member.name}"
    put, delete = f"put {key} 1", f"del {key}"
    both = (etcdctl(site.settings, words, here, seconds=timeouts.ETCDCTL_PATIENT) for words in (put, delete))
    site.remote.run(
        " && ".join(f"{one} >/dev/null" for one in both),
        check="writing a key and deleting it",
        remedy="see that this member takes writes (etcdctl put), and from this host's certificate; then run again",
    )


def write_before_3_5(site: Site, runs: str, *, tls: bool, programs: bool) -> str:
    """Write a key through a member whose next start would take members for removed ones; say so, or nothing.

    ``runs`` is the version that it runs; with ``programs``, the one that is due is what starts next. Why, and when:
    `etcdfleet.etcd.removed_members`. Raises `RemoteError`, and `FleetError` where what would be installed is not known.
    """
    observed = site.observe()
    starts = (offered(site, observed) if programs else None) or observed.installed.version or ""
    if not loses_members(runs, starts):
        return ""
    write_key(site, tls=tls)
    return "a key is written and deleted: its database is at the last change of members"
