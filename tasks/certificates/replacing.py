"""Which pairs of a host's running member are due, and whether the cluster must be started before they are replaced."""

from __future__ import annotations

from nornir.core.task import Result, Task

from etcdfleet.certs import Renew
from etcdfleet.drivers.certificates import needed_roles, needed_sides, source_of
from etcdfleet.roles import side_of
from tasks.certificates.anchors import is_live, named_anchors
from tasks.observe import site_of


def shown_and_due(task: Task) -> Result:
    """The roles whose pair is to be replaced while the host's etcd shows it, and those that a run has left unproven.

    No round trip: it is decided from what is known of the host.
    """
    site = site_of(task)
    seen, source = site.observe(), source_of(task, site.settings) if needed_roles(site.settings) else None
    if source is None or not seen.service.running:
        return Result(task.host, result=())
    roles = [role for role in needed_roles(site.settings) if is_live(seen, side_of(role))]
    decisions = {role: source.decide(site.settings, seen.facts, source.want(site.settings, role)) for role in roles}
    due = tuple(r for r, decision in decisions.items() if isinstance(decision, Renew) or r in seen.facts.unproven)
    return Result(task.host, result=due)


def must_wait(task: Task) -> Result:
    """Whether the cluster cannot be judged before the step ``start``.

    Its member was established and does not run, or has TLS on other sides than the inventory wants.
    """
    site = site_of(task)
    seen = site.observe()
    stopped = seen.facts.established is not None and not seen.service.running
    other = seen.service.running and set(named_anchors(seen)) != set(needed_sides(site.settings))
    return Result(task.host, result=stopped or other)
