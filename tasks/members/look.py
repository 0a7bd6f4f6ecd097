"""What there is before a change of members: what lies on the host that is to hold one, and how the others are."""

from __future__ import annotations

from nornir.core.task import Result, Task

from etcdfleet.errors import FleetError
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.expected import expected_member, expected_members
from etcdfleet.etcd.replacement import Place
from etcdfleet.host.facts import HostFacts
from etcdfleet.host.paths import ASIDE
from tasks.member import ask_cluster, ask_member
from tasks.observe import Site, site_of


def read_place(task: Task, gone: str = "") -> Result:
    """Read what lies on the host that is to hold a member: a `Place`. Raises `FleetError`."""
    return Result(task.host, result=place_of(site_of(task), gone))


def place_of(site: Site, gone: str = "") -> Place:
    """Return what lies on a host. Raises `FleetError`."""
    observed = site.observe()
    facts = observed.facts
    return Place(
        site.settings.name,
        expected_member(site.settings, site.settings.member),
        data=facts.data.ids,
        data_unreadable=facts.data.unreadable,
        marked=facts.established is not None,
        removed=any(name.startswith(ASIDE) for name in facts.data.foreign),
        running=observed.service.running,
        gone=gone,
        foreign=_foreign(site, facts),
    )


def _foreign(site: Site, facts: HostFacts) -> str:
    if facts.others.processes:
        units = ", ".join(process.unit or f"process {process.pid}" for process in facts.others.processes)
        return f"an etcd runs there that this project has not set up ({units})"
    if facts.data_elsewhere:
        return f"its data lie in {facts.data_elsewhere}, and member.data_dir says {site.settings.member.data_dir}"
    return ""


def see_cluster(task: Task) -> Result:
    """Ask for the cluster as the member on this host sees it: a `Cluster`, whose ``no_list`` says why there is none."""
    try:
        site = site_of(task)
        members = ask_member(site).members
        if members is None:
            cluster = Cluster(tuple(expected_members(site.settings)), no_list="its member does not answer")
        else:
            cluster = ask_cluster(site, members)
    except FleetError as error:
        cluster = Cluster(no_list=error.what)
    return Result(task.host, result=cluster)
